"""Evaluation on the validation split: one pass of the network serves every method."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..classes import VOID, Split
from .deeplab import DeepLabV3Plus
from .features import pixel_logits
from .metrics import OFFSETS, confusions

ROWS = VOID + 1  # void has a row of its own: nothing is sorted out before counting


def evaluate(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    images,
    *,
    split: Split,
    settings,
    title: str = "evaluation",
) -> dict[str, Tensor]:
    """Confusion matrices over all pixels, at the masks' own size, for each of `OFFSETS`.

    Arguments:
        images: yields (image (1, 3, h, w) float32, labels (H, W) uint8).
        split: which classes are unseen, whose logits the offsets are added to.
        title: of the progress bar.

    Returns: (len(OFFSETS), C, C) int64 by classifier; rows are the ground truth.
    """
    device = next(network.parameters()).device
    classes = len(split.names)
    shape = (2, len(OFFSETS), ROWS, classes)
    counts = {name: torch.zeros(shape, dtype=torch.int64, device=device) for name in classifiers}
    for image, labels in tqdm(images, desc=title, unit="image"):
        truth = labels.to(device)
        for name, logits in pixel_logits(
            network, classifiers, image, tuple(labels.shape), settings
        ):
            counts[name] += margins(logits, truth, split)
    return {name: confusions(count)[:, :classes].cpu() for name, count in counts.items()}


def margins(logits: Tensor, labels: Tensor, split: Split) -> Tensor:
    """Count pixels by their best seen and best unseen class, and by the least offset from which the
    unseen one wins: at offset 0 that is where it has the greatest logit of all.

    Arguments:
        logits: (C, H, W) float.
        labels: (H, W) uint8; 255 is void.

    Returns: (2, len(OFFSETS), 256, C) int64: [0, i] counts (label, best seen class), [1, i] (label,
        best unseen class) of the pixels that are called unseen from the i-th offset on.
    """
    found = []
    for group in (split.seen, split.unseen):
        members = torch.tensor(group, device=logits.device)
        value, index = logits[members].max(0)
        found.append((value, members[index]))
    (seen, seen_class), (unseen, unseen_class) = found
    offsets = torch.tensor(OFFSETS[1:-1], device=logits.device)
    step = torch.bucketize(seen - unseen, offsets) + 1
    place = (step * ROWS + labels) * len(logits)
    size = len(OFFSETS) * ROWS * len(logits)
    counts = [
        torch.bincount((place + best).flatten(), minlength=size)
        for best in (seen_class, unseen_class)
    ]
    return torch.stack(counts).view(2, len(OFFSETS), ROWS, len(logits))
