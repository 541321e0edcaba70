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


def label_map(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Most likely class of each pixel after bilinear upsampling, (h, w, C) -> (H, W) uint8."""
    logits = logits.permute(2, 0, 1)[None].float()
    upsampled = F.interpolate(logits.contiguous(), size, mode="bilinear", align_corners=align_corners)[0]
    return upsampled.max(0).indices.to(torch.uint8)  # on a CPU five times as fast as argmax


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
