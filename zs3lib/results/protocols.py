"""Both protocols in one table: what it is worth to know where unseen classes lie in training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import ZS3Error
from ..storage import RUNS, TABLES, write_texts
from . import paper, records
from .formats import markdown, spread

METRICS = {
    "seen_miou": "Seen mIoU",
    "unseen_miou": "Unseen mIoU",
    "overall_miou": "Overall mIoU",
    "hiou": "hIoU",
}
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


def table(runs: list[dict]) -> pd.DataFrame:
    """Rows (dataset, k, model, protocol): seeds, then each metric's mean and std in percent.

    Raises ZS3Error when two runs differ in more than the protocol.
    """
    records.check_same_settings(runs, free=["protocol"])
    scores = paper.frame(runs)
    for column in ("dataset", "model"):  # in their order, not the alphabet's
        scores[column] = pd.Categorical(scores[column], scores[column].unique())
    groups = scores.groupby(["dataset", "k", "model", "protocol"], observed=True)
    found = groups[list(METRICS)].agg(["mean", "std"])
    found.columns = [metric + "_std" * (kind == "std") for metric, kind in found.columns]
    found.insert(0, "seeds", groups.size())
    return found


def to_markdown(frame: pd.DataFrame, runs: list[dict], profile: str) -> str:
    """Paper's protocol beside strict; mean ± standard deviation where there are several seeds."""
    wide = frame.unstack("protocol")
    cells = wide.index.to_frame(index=False).astype(str).set_axis(["Dataset", "K", "Model"], axis=1)
    for metric, label in METRICS.items():
        for protocol in ("paper", "strict"):
            shown = spread(wide[metric, protocol], wide[f"{metric}_std", protocol])
            cells[f"{label}, {protocol}"] = shown.to_numpy()
    change = wide["hiou", "strict"] - wide["hiou", "paper"]
    cells["hIoU, strict - paper"] = change.map("{:+.1f}".format).to_numpy()
    setting = records.SETTING.get(profile, records.OTHER).partition(" The published")[0]
    images: dict[str, None] = {}
    seeds: dict[str, list[str]] = {}
    for r in runs:
        if r["protocol"] == "strict":
            row = f"{r['dataset']}, K = {r['k']}"
            left = f"{r['stage1_images']} of {r['train_images']} training images"
            images[f"{row}: {left} have no unseen class"] = None
            seeds.setdefault(row, []).append(str(r["seed"]))
    seeded = "; ".join(f"{row}: seeds {', '.join(own)}" for row, own in seeds.items())
    notes = [setting, PROTOCOL, "; ".join(images) + ".", seeded + ". No significance test."]
    lines = "".join(f"- {note}\n" for note in notes)
    return f"# Both protocols, profile {profile}\n\n{markdown(cells)}\n{lines}"


def to_csv(frame: pd.DataFrame, profile: str) -> str:
    """One row per (dataset, k, model, protocol): means in percent, `<metric>_std` over seeds."""
    found = frame.round(4).reset_index()
    found.insert(4, "profile", profile)
    return found.to_csv(index=False)


def write_table(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/protocol.{csv,md}` from what `both` returned; the paths."""
    frame = table(runs)
    texts = {"protocol.csv": to_csv(frame, profile)}
    texts["protocol.md"] = to_markdown(frame, runs, profile)
    return write_texts(Path(out, profile), texts)


def write(profile: str, *, runs: Path | str = RUNS, out: Path | str = TABLES) -> list[Path]:
    """Write the table of a profile's run records. ZS3Error where nothing was run under both."""
    found = both(records.read_records(runs, profile, protocol=None))
    if not found:
        folder = Path(runs, profile)
        raise ZS3Error(f"no configuration in {folder} was run under both protocols: make protocol")
    return write_table(found, out, profile)
