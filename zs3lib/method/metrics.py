"""PA, MA, mIoU and hIoU from one confusion matrix (Sec. IV-A)."""

import numpy as np
import torch
from torch import Tensor

from ..classes import VOID, Split

ROWS = VOID + 1  # void has a row of its own: nothing is sorted out before counting


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Count (ground truth, prediction) pairs.

    Arguments:
        labels: any shape, integer; 255 is ignored.
        predictions: same shape, integer in [0, classes).

    Returns: (classes, classes) int64, rows are the ground truth.
    """
    pairs = labels.flatten().int() * classes + predictions.flatten()
    counts = torch.bincount(pairs, minlength=ROWS * classes).view(ROWS, classes)
    return counts[:classes]


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (C, C) -> (C,) in [0, 1].

    A class that is nowhere present counts 0, here and in MA (ZS3Net's way).
    """
    hit = np.diag(confusion).astype(float)
    union = confusion.sum(0) + confusion.sum(1) - hit
    return np.divide(hit, union, out=np.zeros_like(hit), where=union > 0)


def scores(confusion: np.ndarray | Tensor, split: Split) -> dict[str, float]:
    """The ten numbers of a table row, in percent: {seen,unseen,overall}_{pa,ma,miou} and hiou.

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
    seen = row["seen_miou"]
    unseen = row["unseen_miou"]
    row["hiou"] = 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else 0.0
    return row
