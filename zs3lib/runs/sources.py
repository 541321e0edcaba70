"""Where stage 2's batches come from: the frozen network's features of augmented training images.

View v of an image, of which a cache keeps a few, is the picture that a live epoch v shows.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.augment import Source
from ..errors import ZS3Error
from ..method.deeplab import DeepLabV3Plus
from ..method.features import extract
from ..seeds import stream

# (view, the images of each batch) -> those batches: images (B, 3, S, S) float32, labels (B, S, S)
Batches = Callable[[int, list[list[int]]], Iterable[tuple[Tensor, Tensor]]]


class LiveFeatures(Source):
    """Features computed in every step: fresh augmentation in each epoch, nothing on the disk."""

    def __init__(self, network: DeepLabV3Plus, ids: list[str], pictures: Batches, settings):
        super().__init__(ids, settings, settings.batch_size, settings.seed, 22)
        self.network = network
        self.pictures = pictures

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (features (B, h, w, F) float16 on the network's device, labels (B, S, S))."""
        for n, (images, labels) in enumerate(self.pictures(epoch, self.order(epoch))):
            # Dropout's draws belong to the batch: a resumed run repeats them.
            torch.manual_seed(stream(self.settings.seed, 24, epoch, n))
            yield extract(self.network, images, self.settings, training=True), labels


class FeatureCache(Source):
    """Features and label maps of a few views of every image, in a file.

    It holds one row after the other, view by view: features (h, w, F) float16, then labels (S, S)
    uint8, and is read row by row: memory does not depend on the number of images.
    """

    def __init__(self, path: Path, ids: list[str], settings):
        super().__init__(ids, settings, settings.batch_size, settings.seed, 22)
        self.path = path
        self.resumed = False  # whether another attempt had computed a part
        self.partial = self.path.with_suffix(".partial")
        size = settings.crop_size
        side = -(-size // 4)
        features = ("features", np.float16, (side, side, settings.feature_dim))
        self.row = np.dtype([features, ("labels", np.uint8, (size, size))], align=True)

    def fill(self, network: DeepLabV3Plus, pictures: Batches) -> None:
        """Compute what is not there yet; what an interrupted run had written is kept.

        Raises ZS3Error where the disk has no room or a feature is not finite.
        """
        whole = self.settings.views * len(self.image_ids) * self.row.itemsize
        if not (self.path.is_file() and self.path.stat().st_size == whole):
            self._compute(network, pictures)
        self.file = open(self.path, "rb")  # stays readable where another run removes it

    def _compute(self, network: DeepLabV3Plus, pictures: Batches) -> None:
        count = len(self.image_ids)
        size = self.size
        views = self.settings.views
        with self._writing(), open(self.partial, "ab") as file:
            rows = file.tell() // self.row.itemsize
            rows -= rows % count % size  # whole batches: the same features to the last bit
            file.truncate(rows * self.row.itemsize)
        self.resumed = rows > 0
        start, first = divmod(rows, count)
        with tqdm(total=views * count, initial=rows, desc="features", unit="image") as bar:
            for view in range(start, views):
                order = [[*range(n, min(n + size, count))] for n in range(first, count, size)]
                for batch, (images, labels) in zip(order, pictures(view, order)):
                    # Dropout's draws belong to the place in the file.
                    row = view * count + batch[0]
                    torch.manual_seed(stream(self.settings.backbone_seed, 31, row))
                    features = extract(network, images, self.settings, training=True).cpu()
                    self._append(batch, features, labels)
                    bar.update(len(batch))
                first = 0
        with self._writing():
            os.replace(self.partial, self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Where it cannot be written, say so and delete what has been: it may fill the disk."""
        try:
            yield
        except OSError as error:
            self.partial.unlink(missing_ok=True)
            raise ZS3Error(
                f"the feature cache {self.path} cannot be written ({error.strerror}): free space, "
                "set cache_root, or keep no features (options: features: live)"
            ) from error

    def _append(self, batch: list[int], features: Tensor, labels: Tensor) -> None:
        finite = features.isfinite().flatten(1).all(1)
        if not finite.all():
            lost = self.image_ids[batch[int(finite.int().argmin())]]
            problem = f"the features of image {lost} are not finite"
            raise ZS3Error(f"{problem}: train the backbone at a lower rate")
        rows = np.zeros(len(batch), self.row)
        rows["features"] = features.numpy()
        rows["labels"] = labels.numpy()
        with self._writing(), open(self.partial, "ab") as file:
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def read(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Rows as (features (B, h, w, F) float16, labels (B, S, S) uint8)."""
        found = np.empty(len(rows), self.row)
        for n, row in enumerate(rows):
            self.file.seek(row * self.row.itemsize)
            self.file.readinto(found[n : n + 1].view(np.uint8))
        return torch.from_numpy(found["features"]), torch.from_numpy(found["labels"])

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, every image in one of its views."""
        first = epoch % self.settings.views * len(self.image_ids)
        for images in self.order(epoch):
            yield self.read([first + image for image in images])
