"""PA, MA, mIoU and hIoU from one confusion matrix (Sec. IV-A)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..classes import VOID, Split

# Added to the logits of unseen classes: which of them win moves a method along one curve between
# seen and unseen accuracy, and says nothing of the method. At the ends only seen, or only unseen
# classes are ever predicted.
OFFSETS = (-math.inf, -8.0, -4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, math.inf)


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Count (ground truth, prediction) pairs.

    Arguments:
        labels: any shape, integer; 255 is ignored.
        predictions: same shape, integer in [0, classes).
        classes: number of classes.

    Returns: (classes, classes) int64, rows are the ground truth.
    """
    pairs = labels.flatten().int() * classes + predictions.flatten()
    rows = VOID + 1  # void has a row of its own: nothing is sorted out before
    counts = torch.bincount(pairs, minlength=rows * classes).view(rows, classes)
    return counts[:classes].clone()


def confusions(counts: Tensor) -> Tensor:
    """Confusion matrices at each of `OFFSETS`, from `evaluate.margins`.

    Arguments:
        counts: (2, n, rows, C) int64; [0, i] are the seen predictions and [1, i] the unseen ones of
            the pixels that are called unseen from the i-th offset on, seen before it.

    Returns: (n, rows, C) int64.
    """
    seen, unseen = counts
    return seen.sum(0) - seen.cumsum(0) + unseen.cumsum(0)


def harmonic_mean(seen: float, unseen: float) -> float:
    """hIoU: harmonic mean of seen and unseen mIoU; 0 when both are 0."""
    return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else 0.0


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (C, C) -> (C,) in [0, 1].

    A class that is nowhere present counts 0 (ZS3Net's way).
    """
    hit = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - hit
    return np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)


def scores(confusion: np.ndarray | Tensor, split: Split) -> dict[str, float]:
    """The ten numbers of a table row, in percent: {seen,unseen,overall}_{pa,ma,miou} and hiou.

    A class that is nowhere present counts 0 in MA and mIoU.

    Arguments:
        confusion: (C, C) counts over all validation pixels, rows are the ground truth.
        split: seen and unseen class indices; background is seen.
    """
    confusion = np.asarray(confusion)
    hit = np.diag(confusion).astype(float)
    total = confusion.sum(1).astype(float)
    accuracy = np.divide(hit, total, out=np.zeros_like(hit), where=total > 0)
    iou = class_iou(confusion)
    row: dict[str, float] = {}
    groups = {"seen": split.seen, "unseen": split.unseen, "overall": range(len(hit))}
    for group, classes in groups.items():
        members = list(classes)
        pixels = total[members].sum()
        row[f"{group}_pa"] = float(100 * hit[members].sum() / pixels) if pixels else 0.0
        row[f"{group}_ma"] = float(100 * accuracy[members].mean())
        row[f"{group}_miou"] = float(100 * iou[members].mean())
    row["hiou"] = harmonic_mean(row["seen_miou"], row["unseen_miou"])
    return row


def operating_point(
    at_offsets: np.ndarray | Tensor, tuning: np.ndarray | Tensor | None, split: Split
) -> dict:
    """A method's scores, and how good it is at every balance of seen against unseen classes.

    Arguments:
        at_offsets: confusion matrices on the validation images at each of `OFFSETS`, (n, C, C).
        tuning: the same on images that an offset is chosen on; None where there are none.

    Returns: "metrics", the `scores` at offset 0; "curve", {"seen_miou", "unseen_miou": percent at
        each of `OFFSETS`, "offset": these, None for the ends}; "area" under it, in percent of a
        square of 100 by 100; "offset" with the best hIoU on `tuning`, and "best_hiou", what it
        gives on the validation images (both None without `tuning`).
    """
    rows = [scores(confusion, split) for confusion in at_offsets]
    curve = {name: [row[name] for row in rows] for name in ("seen_miou", "unseen_miou")}
    curve["offset"] = [offset if math.isfinite(offset) else None for offset in OFFSETS]
    # from unseen classes alone to seen ones alone: seen mIoU grows
    unseen, seen = (torch.tensor(curve[name][::-1]) for name in ("unseen_miou", "seen_miou"))
    area = torch.trapezoid(unseen, seen)
    best = None
    if tuning is not None:
        chosen = [scores(confusion, split)["hiou"] for confusion in tuning]
        best = int(np.argmax(chosen[1:-1])) + 1  # at the ends hIoU is 0
    return {
        "metrics": rows[OFFSETS.index(0.0)],
        "curve": curve,
        "area": float(area) / 100,
        "offset": None if best is None else OFFSETS[best],
        "best_hiou": None if best is None else rows[best]["hiou"],
    }
