"""Beside the paper: a method at every balance between seen and unseen classes.

An offset added to the logits of unseen classes moves a method along one curve between seen and
unseen mIoU, and says nothing of the method. The paper's numbers are those at offset 0.
"""

import math

import numpy as np
import torch
from torch import Tensor

from ..classes import Split
from .metrics import ROWS, scores

# At the ends only seen, or only unseen classes are ever predicted.
OFFSETS = (-math.inf, -8.0, -4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, math.inf)


def confusions(logits: Tensor, labels: Tensor, split: Split) -> Tensor:
    """Confusion matrices with each of `OFFSETS` added to the unseen logits, void left out.

    A pixel is called its best unseen class, in place of its best seen one, from the least offset
    on that makes up for their difference: at offset 0 that is where it has the greatest of all.

    Arguments:
        logits: (C, H, W) float.
        labels: (H, W) uint8; 255 is void.

    Returns: (len(OFFSETS), C, C) int64; rows are the ground truth.
    """
    classes = len(logits)
    found = []
    for group in (split.seen, split.unseen):
        members = torch.tensor(group, device=logits.device)
        value, index = logits[members].max(0)
        found.append((value, members[index]))
    (seen, seen_class), (unseen, unseen_class) = found
    offsets = torch.tensor(OFFSETS[1:-1], device=logits.device)
    first = torch.bucketize(seen - unseen, offsets) + 1
    place = (first * ROWS + labels) * classes
    shape = (len(OFFSETS), ROWS, classes)
    by_first = [
        torch.bincount((place + best).flatten(), minlength=math.prod(shape)).view(shape)
        for best in (seen_class, unseen_class)
    ]
    as_seen, as_unseen = (counts[:, :classes] for counts in by_first)
    return as_seen.sum(0) - as_seen.cumsum(0) + as_unseen.cumsum(0)


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
    # seen mIoU falls from offset to offset, or nearly so
    area = -torch.trapezoid(*map(torch.tensor, (curve["unseen_miou"], curve["seen_miou"])))
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
