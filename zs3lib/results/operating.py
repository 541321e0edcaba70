"""Methods apart from their operating point: the curve between seen and unseen mIoU.

An unseen weight, or an offset added to the unseen logits, moves every method along one curve. Two
methods at two places of it differ in hIoU though neither knows more.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..classes import DATASETS
from ..storage import write_texts
from . import paper
from .texts import markdown, spread

ABOUT = (
    "Percent, mean over seeds ± sample standard deviation. hIoU: as trained. Best hIoU: with an "
    "offset added to the logits of unseen classes; it is chosen on a tenth of the training images. "
    "Area: under the curve of unseen over seen mIoU that all offsets give, in percent of the "
    "square; it does not depend on where a method stands on its curve."
)


def curves(runs: list[dict]) -> pd.DataFrame:
    """The curve of each method of each run, in the order of the offsets, percent.

    Returns: columns dataset, k, seed, method, offset (NaN at the ends), seen_miou, unseen_miou.
    """
    parts = []
    for run in runs:
        for method, result in run["methods"].items():
            part = pd.DataFrame(result["curve"], dtype=float)
            row = {"dataset": run["dataset"], "k": run["k"], "seed": run["seed"]}
            parts.append(part.assign(**row, method=method))
    columns = ["dataset", "k", "seed", "method", "offset", "seen_miou", "unseen_miou"]
    return pd.concat(parts, ignore_index=True)[columns]


def points(runs: list[dict]) -> pd.DataFrame:
    """Mean over seeds, percent: rows (Dataset, K, Model), columns hIoU, Best hIoU, Area."""
    scores = paper.frame(runs)
    scores["dataset"] = scores["dataset"].map({name: one.title for name, one in DATASETS.items()})
    groups = scores.groupby(["dataset", "k", "model"], sort=False)[["hiou", *paper.CURVE]]
    cells = spread(groups.mean(), groups.std()).rename_axis(["Dataset", "K", "Model"])
    return cells.set_axis(["hIoU", "Best hIoU", "Area"], axis=1)


def write(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/operating.{md,csv}`; returns the paths."""
    heading = f"# Methods apart from their operating point, profile {profile}"
    files = {
        "operating.md": f"{heading}\n\n{ABOUT}\n\n{markdown(points(runs).reset_index())}\n",
        "operating.csv": curves(runs).to_csv(index=False, float_format="%.4f"),
    }
    return write_texts(Path(out, profile), files)
