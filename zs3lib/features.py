"""The frozen backbone's features, computed once: a memory-mapped float16 cache that all methods share."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .data.loading import Augmented, batches
from .data.segmentation import SegmentationData
from .deeplab import FEATURE_DIM, DeepLabV3Plus
from .devices import autocast, device
from .errors import ZS3Error
from .settings import Settings


def extract(model: DeepLabV3Plus, images: Tensor, settings: Settings) -> Tensor:
    """Features of the frozen network, (B, 3, H, W) float32 -> (B, h, w, 256) float16, on the network's device."""
    where = next(model.parameters()).device
    images = images.to(where, memory_format=torch.channels_last)
    with torch.inference_mode(), autocast(where, settings):
        return model.features(images).permute(0, 2, 3, 1).half()


class FeatureCache:
    """Features and label maps of augmented training images.

    Attributes:
        features: (N * V, h, w, 256) float16, memory-mapped; row n * V + v is view v of image n.
        labels: (N * V, S, S) uint8, memory-mapped; 255 is void.
        views: V.
    """

    def __init__(self, folder: Path):
        self.meta = json.loads((folder / "meta.json").read_text())
        self.views = self.meta["views"]
        self.features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
        self.labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.labels) // self.views

    def read(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows as (features (B, h, w, 256) float16, labels (B, S, S) uint8)."""
        return torch.from_numpy(self.features[rows]), torch.from_numpy(self.labels[rows])

    def _intact(self) -> bool:
        sums = self.meta["crc32"]
        return len(sums) == len(self.features) and all(
            zlib.crc32(x) == s and zlib.crc32(y) == t for x, y, (s, t) in zip(self.features, self.labels, sums)
        )

    @classmethod
    def open(cls, folder: Path) -> FeatureCache | None:
        """The cache in `folder`, or None when there is none or any byte of it is not as written."""
        try:
            cache = cls(folder)
            return cache if cache._intact() else None
        except (OSError, ValueError, KeyError, EOFError):
            return None

    @classmethod
    def build(
        cls, folder: Path, model: DeepLabV3Plus, data: SegmentationData, settings: Settings, *, seed: int
    ) -> FeatureCache:
        """Open the cache in `folder`, or compute it: `settings.views` augmented views of every image.

        The folder's name must change with everything that changes the features (weights, views, sizes, data).
        It appears only when complete; what an interrupted run had computed is checked and kept. Memory in use does not
        depend on the number of images. Raises ZS3Error where the disk has no room or a feature is not finite.
        """
        if cache := cls.open(folder):
            return cache
        partial = folder.with_name(f"{folder.name}.partial")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            partial.mkdir(parents=True, exist_ok=True)
            cls._fill(partial, model.to(device(settings)), data, settings, seed)
            os.replace(partial, folder)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ZS3Error(
                f"the feature cache {folder} cannot be written ({error}): free space or set cache_root"
            ) from error
        return cls(folder)

    @classmethod
    def _fill(cls, folder: Path, model: DeepLabV3Plus, data: SegmentationData, settings: Settings, seed: int) -> None:
        count, size, views = len(data), settings.crop_size, settings.views
        side = -(-size // 4)
        features = _array(folder / "features.npy", np.float16, (count * views, side, side, FEATURE_DIM))
        labels = _array(folder / "labels.npy", np.uint8, (count * views, size, size))
        sums = _array(folder / "crc32.npy", np.int64, (count * views, 2))
        done = cls._done(features, labels, sums, views)
        with tqdm(total=count * views, initial=done, desc="features", unit="image") as bar:
            for view in range(done // count, views):
                # Whole batches: the same features to the last bit as without an interruption.
                start = max(0, done - view * count) // settings.batch_size * settings.batch_size
                rest = Augmented(data, list(range(start, count)), settings, seed=seed, epoch=view)
                for images, maps in batches(rest, settings):
                    values = extract(model, images, settings)
                    finite = values.isfinite().flatten(1).all(1).cpu().numpy()
                    if not finite.all():
                        lost = data.ids[start + int(np.argmin(finite))]
                        raise ZS3Error(
                            f"the features of image {lost} are not finite: train the backbone at a lower rate"
                        )
                    for x, y in zip(values.cpu().numpy(), maps.numpy()):
                        row = start * views + view
                        features[row], labels[row] = x, y
                        sums[row] = zlib.crc32(np.ascontiguousarray(x)), zlib.crc32(y)
                        start += 1
                    bar.update(len(maps))
        features.flush()
        labels.flush()
        meta = {"views": views, "images": count, "ids": list(data.ids), "crc32": sums.tolist()}
        (folder / "meta.json").write_text(json.dumps(meta))

    @staticmethod
    def _done(features: np.ndarray, labels: np.ndarray, sums: np.ndarray, views: int) -> int:
        """How many rows, view by view, an interrupted run left whole; a row is whole when its checksums hold."""
        for n in range(len(sums)):
            row = n % (len(sums) // views) * views + n // (len(sums) // views)
            if (zlib.crc32(features[row]), zlib.crc32(labels[row])) != tuple(sums[row]):
                return n
        return len(sums)


def _array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """The array in a file, to be written on: an interrupted run's, or a new one with its room on the disk reserved.

    Writing through a map where the disk is full would end the process without a word. Raises OSError when it is.
    """
    try:
        array = np.load(path, mmap_mode="r+", allow_pickle=False)
        if array.shape == shape and array.dtype == dtype:
            return array
    except (OSError, ValueError, EOFError):
        pass
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def at_feature_resolution(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest label of each feature cell, (B, S, S) -> (B, h, w)."""
    rows, columns = (
        ((torch.arange(n, device=labels.device) + 0.5) * (full / n)).long() for n, full in zip(size, labels.shape[1:])
    )
    return labels[:, rows][:, :, columns]
