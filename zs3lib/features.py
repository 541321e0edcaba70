"""The frozen backbone's features, computed once: a memory-mapped float16 cache that all methods share."""

from __future__ import annotations

import hashlib
import json
import mmap
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
from .devices import autocast, cast_once, device
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
        """Rows as (features (B, h, w, 256) float16, labels (B, S, S) uint8), in memory of their own."""
        read = torch.from_numpy(self.features[rows]), torch.from_numpy(self.labels[rows])
        _release(self.features, self.labels)
        return read

    def ids(self, rows: np.ndarray) -> list[str]:
        """The image ids of rows, for an error's line."""
        return [str(self.meta.get("ids", range(len(self)))[row // self.views]) for row in rows]

    def _intact(self) -> bool:
        sums = self.meta["crc32"]
        return len(sums) == len(self.features) and all(
            _sums(self.features, self.labels, row) == tuple(expected) for row, expected in enumerate(sums)
        )

    @classmethod
    def open(cls, folder: Path, *, key: str | None = None) -> FeatureCache | None:
        """The cache in `folder`, or None when there is none, it was written under another key, or a byte has changed.

        Reading all of it takes a core about a second for 2 GB, where computing that takes minutes.
        """
        try:
            cache = cls(folder)
            return cache if (key is None or cache.meta.get("key") == key) and cache._intact() else None
        except (OSError, ValueError, KeyError, EOFError):
            return None

    @classmethod
    def build(
        cls, folder: Path, model: DeepLabV3Plus, data: SegmentationData, settings: Settings, *, seed: int
    ) -> FeatureCache:
        """Open the cache in `folder`, or compute it: `settings.views` augmented views of every image.

        It is computed again when anything has changed that changes features: the network's weights, the data, the
        augmentation. It appears only when complete; what an interrupted run had computed is checked and kept. Memory in
        use does not depend on the number of images. Raises ZS3Error where the disk has no room or a feature is not finite.
        """
        key = _key(model, data, settings, seed)
        if cache := cls.open(folder, key=key):
            return cache
        partial = folder.with_name(f"{folder.name}.partial")
        try:
            shutil.rmtree(folder, ignore_errors=True)
            written = partial / "key"
            if not written.is_file() or written.read_text() != key:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True, exist_ok=True)
            written.write_text(key)
            with cast_once(model.to(device(settings)), device(settings), settings):
                cls._fill(partial, model, data, settings, seed)
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
                    _release(features, labels, sums)
                    bar.update(len(maps))
        features.flush()
        labels.flush()
        key = (folder / "key").read_text()
        meta = {"views": views, "images": count, "ids": list(data.ids), "key": key, "crc32": sums.tolist()}
        (folder / "meta.json").write_text(json.dumps(meta))

    @staticmethod
    def _done(features: np.ndarray, labels: np.ndarray, sums: np.ndarray, views: int) -> int:
        """How many rows, view by view, an interrupted run left whole; a row is whole when its checksums hold."""
        for n in range(len(sums)):
            row = n % (len(sums) // views) * views + n // (len(sums) // views)
            if _sums(features, labels, row) != tuple(sums[row]):
                return n
        return len(sums)


def _key(model: DeepLabV3Plus, data: SegmentationData, settings: Settings, seed: int) -> str:
    """Hash of all that decides the features."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().numpy().tobytes())
    names = ("crop_size", "base_size", "scale_min", "scale_max", "blur", "views", "amp")
    digest.update(repr([data.fingerprint, list(data.ids), seed, settings.key(*names)]).encode())
    return digest.hexdigest()[:16]


def _sums(features: np.ndarray, labels: np.ndarray, row: int) -> tuple[int, int]:
    """Checksums of a row; what was read to work them out is let go of."""
    sums = zlib.crc32(np.ascontiguousarray(features[row])), zlib.crc32(np.ascontiguousarray(labels[row]))
    _release(features, labels)
    return sums


def _release(*arrays: np.ndarray) -> None:
    """Take the pages of memory-mapped files out of this process; the system keeps or writes them as it has room.

    Without it a process that has read or written the whole cache counts as having all of it in memory.
    """
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


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
