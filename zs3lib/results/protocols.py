"""Both protocols in one table: what it is worth to know where unseen classes lie in training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import ZS3Error
from ..storage import RUNS, TABLES, write_texts
from . import paper, records
from .formats import HEADS, page, spread

METRICS = ["seen_miou", "unseen_miou", "overall_miou", "hiou"]
PROTOCOL = (
    "Percent. paper: the label maps of training images with unseen classes lay out the generated "
    "features (ZS3Net's protocol, the default). strict: these images are left out of stage 2, and "
    "layouts are seen label maps in which some classes were relabelled as unseen ones "
    "(zs3lib/data/strict.py says how). Stage 1 is the same in both."
)


def both(runs: list[dict]) -> list[dict]:
    """The runs of (dataset, K, seed) that were run under both protocols."""
    found = paper.frame(runs).groupby(["dataset", "k", "seed"])["protocol"].nunique()
    return [r for r in runs if found[r["dataset"], r["k"], r["seed"]] == 2]


def _markdown(mean: pd.DataFrame, std: pd.DataFrame, runs: list[dict], profile: str) -> str:
    """Paper's protocol beside strict; mean ± standard deviation where there are several seeds."""
    shown = spread(mean, std).unstack("protocol")
    cells = shown.index.to_frame(index=False).set_axis(["Dataset", "K", "Model"], axis=1)
    for metric, protocol in shown.columns:
        cells[f"{' '.join(HEADS[metric]).strip()}, {protocol}"] = shown[metric, protocol].array
    hiou = mean["hiou"].unstack("protocol")
    change = (hiou["strict"] - hiou["paper"]).map("{:+.1f}".format)
    cells["hIoU, strict - paper"] = change.array
    images = []
    seeds = []
    strict = pd.DataFrame(runs).query("protocol == 'strict'")
    for (dataset, k), own in strict.groupby(["dataset", "k"], sort=False):
        left = f"{own['stage1_images'].iloc[0]} of {own['train_images'].iloc[0]} training images"
        images.append(f"{dataset}, K = {k}: {left} have no unseen class")
        seeds.append(f"{dataset}, K = {k}: seeds {records.several(own['seed'])}")
    notes = [records.SETTING[profile].partition(" The published")[0], PROTOCOL]
    notes += ["; ".join(images) + ".", "; ".join(seeds) + ". No significance test."]
    return page(f"# Both protocols, profile {profile}", cells, notes)


def write_table(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/protocol.{csv,md}` from what `both` returned; the paths.

    The CSV has a row per (dataset, k, model, protocol): each metric's mean in percent, and its
    sample standard deviation. Raises ZS3Error when two runs differ in more than the protocol.
    """
    records.check_same_settings(runs, free=["protocol"])
    scores = paper.frame(runs)
    for column in ("dataset", "model"):  # in their order, not the alphabet's
        scores[column] = pd.Categorical(scores[column], scores[column].unique())
    groups = scores.groupby(["dataset", "k", "model", "protocol"], observed=True)[METRICS]
    mean = groups.mean()
    std = groups.std()
    found = mean.join(std.add_suffix("_std"))[[m + end for m in METRICS for end in ("", "_std")]]
    found.insert(0, "profile", profile)
    found.insert(1, "seeds", groups.size())
    texts = {"protocol.csv": found.round(4).to_csv()}
    texts["protocol.md"] = _markdown(mean, std, runs, profile)
    return write_texts(Path(out, profile), texts)


def write(profile: str, *, runs: Path | str = RUNS, out: Path | str = TABLES) -> list[Path]:
    """Write the table of a profile's run records. ZS3Error where nothing was run under both."""
    found = both(records.read_records(runs, profile, protocol=None))
    if not found:
        folder = Path(runs, profile)
        raise ZS3Error(f"no configuration in {folder} was run under both protocols: make protocol")
    return write_table(found, out, profile)
