"""Evaluation on the validation split: one pass of the network serves every method."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .deeplab import DeepLabV3Plus
from .features import predict
from .metrics import confusion_matrix


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
