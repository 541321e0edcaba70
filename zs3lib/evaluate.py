"""Evaluation on the validation split: one pass of the backbone serves every method."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from .classes import VOID
from .data.loading import validation_input, workers
from .data.segmentation import SegmentationData
from .deeplab import DeepLabV3Plus
from .devices import cast_once
from .features import extract
from .metrics import confusion_matrix
from .settings import Settings
from .threads import ahead

BLOCK = 1 << 19  # upsampled logits at a time: 2 MB


def label_map(
    logits: Tensor, size: tuple[int, int], *, align_corners: bool = False, block: int | None = None
) -> Tensor:
    """Most likely class of each pixel after bilinear upsampling, (h, w, C) float -> (H, W) uint8; C at most 255.

    A pixel's logits are a weighted mean of those of the four cells around it. Where one class is the most likely in all
    four it is so between them, and nothing is upsampled: what is left are the edges of objects. `block` upsampled logits
    are held at a time; labels do not depend on it. The first of equal classes wins.
    """
    block = block or (BLOCK if logits.device.type == "cpu" else 64 * BLOCK)
    (height, width, classes), where = logits.shape, logits.device
    x, best = logits.float().reshape(-1, classes), logits.max(2).indices.to(torch.uint8)
    above, below, down = _taps(size[0], height, align_corners, where)
    left, right, across = _taps(size[1], width, align_corners, where)
    best.masked_fill_(_edges(best), VOID)
    found = best.index_select(1, left).index_select(0, above)
    for pixels in (found == VOID).flatten().nonzero().flatten().split(max(1, block // classes)):
        i = torch.div(pixels, size[1], rounding_mode="floor")
        j = pixels - i * size[1]
        upper, lower = above.index_select(0, i).mul_(width), below.index_select(0, i).mul_(width)
        near, far, t = left.index_select(0, j), right.index_select(0, j), across.index_select(0, j)
        z, under = (
            torch.lerp(x.index_select(0, row + near), x.index_select(0, row + far), t) for row in (upper, lower)
        )
        z = z.lerp_(under, down.index_select(0, i))
        found.view(-1)[pixels] = z.max(1).indices.to(torch.uint8)
    return found


def _edges(best: Tensor) -> Tensor:
    """Whether the four cells (i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1) differ, (h, w) uint8 -> (h, w) bool."""
    x = torch.cat([best, best[-1:]])
    x = torch.cat([x, x[:, -1:]], dim=1)
    return (x[1:, :-1] != best) | (x[:-1, 1:] != best) | (x[1:, 1:] != best)


@lru_cache(maxsize=64)
def _taps(full: int, small: int, align_corners: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `full` rows the two of `small` it lies between, and how near it is to the second, (full, 1)."""
    i = torch.arange(full, dtype=torch.float64)
    at = i * (small - 1) / max(full - 1, 1) if align_corners else ((i + 0.5) * small / full - 0.5).clamp_min(0)
    above = at.long().clamp_max(small - 1)
    share = (at - above).float().view(-1, 1)
    return above.to(device), (above + 1).clamp_max(small - 1).to(device), share.to(device)


def _predict(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], x: Tensor, size: tuple[int, int], settings: Settings
) -> dict[str, Tensor]:
    features = extract(model, x, settings)[0].float()
    with torch.inference_mode():
        return {
            name: label_map(classifier(features), size, align_corners=settings.align_corners)
            for name, classifier in classifiers.items()
        }


def predict(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], image: Image.Image, settings: Settings
) -> dict[str, Tensor]:
    """Label maps of an RGB picture at its own size, (H, W) uint8, one for each classifier."""
    return _predict(model, classifiers, validation_input(image, settings), (image.height, image.width), settings)


def evaluate(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], data: SegmentationData, settings: Settings
) -> dict[str, Tensor]:
    """Confusion matrices (C, C) int64 over all pixels of `data`, at the masks' own size, for each classifier."""
    classes = len(data.names)
    where = next(model.parameters()).device
    confusions = {name: torch.zeros(classes, classes, dtype=torch.long, device=where) for name in classifiers}

    def load(i: int) -> tuple[Tensor, np.ndarray]:
        image, labels = data.load(i)
        return validation_input(image, settings), labels

    loaded = ahead(load, len(data), max(1, workers(settings)))
    with cast_once(model, where, settings):
        for x, labels in tqdm(loaded, total=len(data), desc="evaluation", unit="image"):
            truth = torch.from_numpy(labels).to(where)
            for name, prediction in _predict(model, classifiers, x, labels.shape, settings).items():
                confusions[name] += confusion_matrix(truth, prediction, classes)
    return {name: confusion.cpu() for name, confusion in confusions.items()}
