"""Both protocols in one table: what it is worth to know where unseen classes lie in training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import ZS3Error
from ..storage import RUNS, TABLES, write_texts
from . import paper, records
from .paper import SHORT as METRICS
from .texts import bullets, markdown, spread

ROW = ["dataset", "k", "model"]
PROTOCOL = (
    "Percent. paper: the label maps of training images with unseen classes lay out the generated "
    "features (ZS3Net's protocol, the default). strict: these images are left out of stage 2, and "
    "layouts are seen label maps in which some classes were relabelled as unseen ones "
    "(zs3lib/data/strict.py says how). Stage 1 is the same in both."
)


def write_table(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/protocol.{csv,md}` of runs under both protocols; the paths, if any.

    The CSV has a row per (dataset, k, model, protocol): each metric's mean in percent, and its
    sample standard deviation. Raises ZS3Error when two runs differ in more than the protocol.
    """
    found = paper.frame(runs).groupby(["dataset", "k", "seed"])["protocol"].nunique()
    runs = [r for r in runs if found[r["dataset"], r["k"], r["seed"]] == 2]
    if not runs:
        return []
    records.check_same_settings(runs, free=["protocol"])
    scores = paper.frame(runs)
    for column in ("dataset", "model"):  # in their order, not the alphabet's
        scores[column] = pd.Categorical(scores[column], scores[column].unique())
    groups = scores.groupby([*ROW, "protocol"], observed=True)[METRICS]
    mean = groups.mean()
    std = groups.std()
    csv = mean.join(std.add_suffix("_std"))[[m + end for m in METRICS for end in ("", "_std")]]
    csv.insert(0, "profile", profile)
    csv.insert(1, "seeds", groups.size())
    cells = spread(mean, std).unstack("protocol")
    cells.columns = [f"{paper.head(metric)}, {protocol}" for metric, protocol in cells]
    hiou = mean["hiou"].unstack("protocol")
    cells["hIoU, strict - paper"] = (hiou["strict"] - hiou["paper"]).map("{:+.1f}".format)
    cells = cells.rename_axis(["Dataset", "K", "Model"]).reset_index()
    images = []
    seeds = []
    strict = pd.DataFrame(runs).query("protocol == 'strict'")
    for (dataset, k), own in strict.groupby(["dataset", "k"], sort=False):
        left = f"{own['stage1_images'].iloc[0]} of {own['train_images'].iloc[0]} training images"
        images.append(f"{dataset}, K = {k}: {left} have no unseen class")
        seeds.append(f"{dataset}, K = {k}: seeds {records.several(own['seed'])}")
    notes = [records.SETTING[profile].partition(" The published")[0], PROTOCOL]
    notes += ["; ".join(images) + ".", "; ".join(seeds) + ". No significance test."]
    md = f"# Both protocols, profile {profile}\n\n{markdown(cells)}\n\n{bullets(notes)}\n"
    texts = {"protocol.csv": csv.round(4).to_csv(), "protocol.md": md}
    return write_texts(Path(out, profile), texts)


def write(profile: str, *, runs: Path | str = RUNS, out: Path | str = TABLES) -> list[Path]:
    """Write the table of a profile's run records. ZS3Error where nothing was run under both."""
    files = write_table(records.read_records(runs, profile, protocol=None), out, profile)
    if not files:
        folder = Path(runs, profile)
        raise ZS3Error(f"no configuration in {folder} was run under both protocols: make protocol")
    return files
