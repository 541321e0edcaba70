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
        It appears only when complete. Memory in use does not depend on the number of images.
        """
        if cache := cls.open(folder):
            return cache
        for stale in (folder, *folder.parent.glob(f"{folder.name}.*.partial")):
            shutil.rmtree(stale, ignore_errors=True)
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            cls._fill(partial, model.to(device(settings)), data, settings, seed)
            os.replace(partial, folder)
        except OSError as error:
            raise ZS3Error(
                f"the feature cache {folder} cannot be written ({error}): free space or set cache_root"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls(folder)

    @staticmethod
    def _fill(folder: Path, model: DeepLabV3Plus, data: SegmentationData, settings: Settings, seed: int) -> None:
        count, size, views = len(data), settings.crop_size, settings.views
        side = -(-size // 4)

        def array(name: str, *shape: int, dtype) -> np.memmap:
            return np.lib.format.open_memmap(folder / name, "w+", dtype, (count * views, *shape))

        features = array("features.npy", side, side, FEATURE_DIM, dtype=np.float16)
        labels = array("labels.npy", size, size, dtype=np.uint8)
        sums = np.zeros((count * views, 2), np.int64)
        bar = tqdm(total=count * views, desc="features", unit="image")
        for view in range(views):
            start = 0
            for images, maps in batches(Augmented(data, list(range(count)), settings, seed=seed, epoch=view), settings):
                values = extract(model, images, settings).cpu().numpy()
                for x, y in zip(values, maps.numpy()):
                    row = start * views + view
                    features[row], labels[row] = x, y
                    sums[row] = zlib.crc32(np.ascontiguousarray(x)), zlib.crc32(y)
                    start += 1
                bar.update(len(maps))
        bar.close()
        features.flush()
        labels.flush()
        meta = {"views": views, "images": count, "crc32": sums.tolist()}
        (folder / "meta.json").write_text(json.dumps(meta))


def at_feature_resolution(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest label of each feature cell, (B, S, S) -> (B, h, w)."""
    rows, columns = (
        ((torch.arange(n, device=labels.device) + 0.5) * (full / n)).long() for n, full in zip(size, labels.shape[1:])
    )
    return labels[:, rows][:, :, columns]
