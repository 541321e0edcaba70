"""Evaluation on the validation split: one pass of the network serves every method."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from .deeplab import DeepLabV3Plus
from .features import extract
from .metrics import confusion_matrix


def upsample(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Logits of each pixel, (h, w, C) float -> (C, H, W)."""
    batch = logits.permute(2, 0, 1)[None]
    return F.interpolate(batch, size, mode="bilinear", align_corners=align_corners)[0]


def predict(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    image: Tensor,
    size: tuple[int, int],
    settings,
) -> dict[str, Tensor]:
    """The most likely class of each pixel by each classifier, (H, W) uint8.

    Arguments:
        image: (1, 3, h, w) float32, resized and normalised as for validation.
        size: (H, W) of the label map.
    """
    features = extract(network, image, settings)[0].float()
    corners = settings.align_corners
    with torch.inference_mode():
        return {
            name: upsample(classifier(features), size, align_corners=corners).argmax(0).byte()
            for name, classifier in classifiers.items()
        }


def evaluate(
    network: DeepLabV3Plus, classifiers: Mapping[str, nn.Linear], images, *, classes: int, settings
) -> dict[str, Tensor]:
    """Confusion matrices over all pixels, at the masks' own size, (C, C) int64 by classifier.

    Arguments:
        images: yields (image (1, 3, h, w) float32, labels (H, W) uint8).
    """
    device = next(network.parameters()).device
    confusions = {
        name: torch.zeros(classes, classes, dtype=torch.int64, device=device)
        for name in classifiers
    }
    for image, labels in tqdm(images, desc="evaluation", unit="image"):
        truth = labels.to(device)
        found = predict(network, classifiers, image, tuple(labels.shape), settings)
        for name, prediction in found.items():
            confusions[name] += confusion_matrix(truth, prediction, classes)
    return {name: confusion.cpu() for name, confusion in confusions.items()}
