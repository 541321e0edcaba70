"""Evaluation on the validation split: one pass of the backbone serves every method."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from .data.loading import validation_input
from .data.segmentation import SegmentationData
from .deeplab import DeepLabV3Plus
from .features import extract
from .metrics import confusion_matrix
from .settings import Settings


def _contenders(logits: Tensor) -> Tensor:
    """Classes that may be the most likely somewhere between the cells of (C, h, w) logits, in order.

    Every other one is behind one and the same class at all four corners of each square of cells, so also inside.
    """
    if min(logits.shape[1:]) < 2:
        return torch.arange(len(logits), device=logits.device)
    first = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    first[logits.max(0).indices.flatten()] = True
    winners, rest = first.nonzero()[:, 0], (~first).nonzero()[:, 0]
    ahead = logits[rest] - logits[winners][:, None]
    ahead = torch.maximum(ahead[..., 1:, :], ahead[..., :-1, :])
    ahead = torch.maximum(ahead[..., 1:], ahead[..., :-1]).amin(0)
    return torch.cat([winners, rest[(ahead >= 0).flatten(1).any(1)]]).sort().values


def label_map(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Most likely class of each pixel after bilinear upsampling, (h, w, C) -> (H, W) uint8."""
    logits = logits.permute(2, 0, 1).float().contiguous()
    classes = _contenders(logits)  # an image holds few classes: to upsample those alone costs a third
    upsampled = F.interpolate(logits[classes][None], size, mode="bilinear", align_corners=align_corners)[0]
    return classes.to(torch.uint8)[upsampled.max(0).indices]  # on a CPU max is five times as fast as argmax


def predict(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], image: Image.Image, settings: Settings
) -> dict[str, Tensor]:
    """Label maps of an RGB picture at its own size, (H, W) uint8, one for each classifier."""
    features = extract(model, validation_input(image, settings), settings)[0].float()
    size = (image.height, image.width)
    with torch.inference_mode():
        return {
            name: label_map(classifier(features), size, align_corners=settings.align_corners)
            for name, classifier in classifiers.items()
        }


def evaluate(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], data: SegmentationData, settings: Settings
) -> dict[str, Tensor]:
    """Confusion matrices (C, C) int64 over all pixels of `data`, at the masks' own size, for each classifier."""
    classes = len(data.names)
    where = next(model.parameters()).device
    confusions = {name: torch.zeros(classes, classes, dtype=torch.long, device=where) for name in classifiers}
    for i in tqdm(range(len(data)), desc="evaluation", unit="image"):
        image, labels = data.load(i)
        labels = torch.from_numpy(labels).to(where)
        for name, prediction in predict(model, classifiers, image, settings).items():
            confusions[name] += confusion_matrix(labels, prediction, classes)
    return {name: confusion.cpu() for name, confusion in confusions.items()}
