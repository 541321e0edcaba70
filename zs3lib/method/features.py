"""Features of the frozen network, and a file that keeps those of the training images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..errors import ZS3Error
from ..seeds import shuffled, stream
from .deeplab import DeepLabV3Plus, autocast


def extract(network: DeepLabV3Plus, images: Tensor, settings, *, training: bool = False) -> Tensor:
    """Features of the frozen network, (B, 3, H, W) float32 -> (B, h, w, F) float16, on its device.

    Arguments:
        settings: a `zs3lib.Settings`; its `amp` allows bfloat16.
        training: whether the features are for stage 2: with `frozen_training` the network then has
            its dropout and the batch's own statistics, as in ZS3Net's code.
    """
    device = next(network.parameters()).device
    images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
    # ASPP's pooled branch has no statistics of a single image.
    network.train(training and settings.frozen_training and len(images) > 1)
    with torch.inference_mode(), autocast(device, settings.amp):
        features = network.features(images).permute(0, 2, 3, 1).half()
    network.eval()
    return features


def upsample(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Logits of each pixel, (h, w, C) float -> (C, H, W)."""
    batch = logits.permute(2, 0, 1)[None].contiguous()  # five times as quick on a CPU
    return F.interpolate(batch, size, mode="bilinear", align_corners=align_corners)[0]


def pixel_logits(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    image: Tensor,
    size: tuple[int, int],
    settings,
) -> Iterator[tuple[str, Tensor]]:
    """The logits of each pixel by each classifier: (its name, (C, H, W) float32).

    Arguments:
        image: (1, 3, h, w) float32, resized and normalised as for validation.
        size: (H, W) of the label map.
    """
    features = extract(network, image, settings)[0].float()
    for name, classifier in classifiers.items():
        with torch.inference_mode():
            logits = upsample(classifier(features), size, align_corners=settings.align_corners)
        yield name, logits


def predict(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    image: Tensor,
    size: tuple[int, int],
    settings,
) -> dict[str, Tensor]:
    """The most likely class of each pixel by each classifier, (H, W) uint8; see `pixel_logits`."""
    logits = pixel_logits(network, classifiers, image, size, settings)
    return {name: found.max(0).indices.byte() for name, found in logits}


def cell_labels(labels: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """The label of the pixel that a feature cell's logits are shown at, (B, S, S) -> (B, h, w).

    Upsampling places cell i of n at pixel (i + 1/2) S / n - 1/2, and with aligned corners at
    i (S - 1) / (n - 1): for n = S / 4 these are 4i + 1.5 and, up to the far border, 4i, the pixel
    that ZS3Net takes.
    """
    positions = []
    for n, full in zip(size, labels.shape[1:]):
        cells = torch.arange(n, device=labels.device)
        if align_corners:
            positions.append((cells * ((full - 1) / max(n - 1, 1))).round().long())
        else:
            positions.append(((cells + 0.5) * (full / n)).long())
    rows, columns = positions
    return labels[:, rows][:, :, columns]


class FeatureCache:
    """Features and label maps of augmented training images, a source of batches for stage 2.

    The file holds one row after the other, view by view: features (h, w, F) float16, then labels
    (S, S) uint8. It is read row by row, so that memory does not depend on the number of images.

    Arguments:
        path: the file; its name tells all that its content depends on.
        ids: ids of the N images; views: augmented copies of each.
        side: h and w of a feature map; features: F; settings: a `zs3lib.Settings`.
    """

    def __init__(self, path: Path, ids: list[str], *, side: int, features: int, settings):
        self.path = Path(path)
        self.image_ids = list(ids)
        self.views = settings.views
        self.settings = settings
        self.shape = (side, side, features)
        self.size = settings.crop_size
        self.feature_bytes = 2 * side * side * features
        self.row_bytes = self.feature_bytes + self.size**2
        self.batches = -(-len(ids) // settings.batch_size)

    def fill(self, network: DeepLabV3Plus, view_batches) -> None:
        """Compute what is not there yet; what an interrupted run had written is kept.

        Arguments:
            view_batches: (view, first image) -> batches of (images, labels) of that view from that
                image on, in order.

        Raises ZS3Error where the disk has no room or a feature is not finite.
        """
        if not self.path.is_file():
            self._compute(network, view_batches)
        self.file = open(self.path, "rb")  # stays readable where another run removes it

    def _compute(self, network: DeepLabV3Plus, view_batches) -> None:
        part = self.path.with_suffix(".partial")
        count = len(self.image_ids)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "ab") as file:
                done = self._whole_batches(part.stat().st_size // self.row_bytes)
                file.truncate(done * self.row_bytes)
                file.seek(0, os.SEEK_END)
                total = count * self.views
                with tqdm(total=total, initial=done, desc="features", unit="image") as bar:
                    for view in range(done // count, self.views):
                        first = max(0, done - view * count)
                        for images, labels in view_batches(view, first):
                            first = self._append(file, network, images, labels, first)
                            bar.update(len(labels))
            os.replace(part, self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ZS3Error(
                f"the feature cache {self.path} cannot be written ({error.strerror}): free space "
                "or set cache_root"
            ) from error

    def _whole_batches(self, rows: int) -> int:
        """Rows up to the last whole batch: the same features to the last bit when gone on with."""
        view, rest = divmod(rows, len(self.image_ids))
        return (
            view * len(self.image_ids) + rest // self.settings.batch_size * self.settings.batch_size
        )

    def _append(self, file, network, images: Tensor, labels: Tensor, first: int) -> int:
        """Write a batch whose first image is `first`; returns the first of the next."""
        # Dropout's draws belong to the place in the file: what is gone on with repeats them.
        torch.manual_seed(stream(self.settings.backbone_seed, 31, file.tell() // self.row_bytes))
        features = extract(network, images, self.settings, training=True).cpu()
        finite = features.isfinite().flatten(1).all(1)
        if not finite.all():
            lost = self.image_ids[first + int(finite.int().argmin())]
            raise ZS3Error(
                f"the features of image {lost} are not finite: train the backbone at a lower rate"
            )
        for x, y in zip(features.numpy(), labels.numpy()):
            file.write(np.ascontiguousarray(x).tobytes() + y.tobytes())
        file.flush()
        os.fsync(file.fileno())
        return first + len(labels)

    def read(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Rows as (features (B, h, w, F) float16, labels (B, S, S) uint8)."""
        features = np.empty((len(rows), *self.shape), np.float16)
        labels = np.empty((len(rows), self.size, self.size), np.uint8)
        for n, row in enumerate(rows):
            self.file.seek(row * self.row_bytes)
            self.file.readinto(memoryview(features[n]).cast("B"))
            self.file.readinto(memoryview(labels[n]).cast("B"))
        return torch.from_numpy(features), torch.from_numpy(labels)

    def _order(self, epoch: int) -> list[list[int]]:
        """The images of each batch of an epoch."""
        settings = self.settings
        return shuffled(len(self.image_ids), settings.batch_size, settings.seed, 22, epoch)

    def epoch(self, epoch: int):
        """The batches of an epoch, every image in one of its views."""
        first = epoch % self.views * len(self.image_ids)
        for images in self._order(epoch):
            yield self.read([first + image for image in images])

    def ids(self, epoch: int, step: int) -> list[str]:
        """The image ids of a batch."""
        return [self.image_ids[image] for image in self._order(epoch)[step]]
