"""From files to batches: the paper's augmentation through torchvision's transforms, seeded per image."""

from __future__ import annotations

import os

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from ..classes import VOID
from ..settings import Settings
from .segmentation import SegmentationData

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def stream(*parts: int) -> int:
    """A seed for one random stream: independent of every other tuple of numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def normalise() -> v2.Transform:
    return v2.Compose(
        [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True), v2.Normalize(MEAN, STD)]
    )


def augmentation(settings: Settings) -> v2.Transform:
    """Sec. IV-A: scale-crop around the short side, flip, Gaussian blur."""
    low, high = (round(settings.base_size * s) for s in (settings.scale_min, settings.scale_max))
    return v2.Compose([
        v2.RandomResize(low, high + 1, antialias=True),
        v2.RandomCrop(settings.crop_size, pad_if_needed=True, fill={tv_tensors.Image: 124, tv_tensors.Mask: VOID}),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], settings.blur),
        normalise(),
    ])  # fmt: skip


class Augmented(Dataset):
    """Augmented images of a subset: (image (3, S, S) float32, labels (S, S) uint8), the same for the same epoch.

    The random stream depends on (seed, epoch, image) alone: neither on workers nor on what was loaded before,
    so an interrupted run goes on with the pictures it would have seen.
    """

    def __init__(self, data: SegmentationData, indices: list[int], settings: Settings, *, seed: int, epoch: int):
        self.data, self.indices, self.seed, self.epoch = data, indices, seed, epoch
        self.transform = augmentation(settings)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        i = self.indices[position]
        image, mask = self.data.load(i)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream(self.seed, self.epoch, i))  # torch.manual_seed asks every device
            image, mask = self.transform(tv_tensors.Image(v2.functional.pil_to_tensor(image)), tv_tensors.Mask(mask))
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def workers(settings: Settings) -> int:
    """Processes that load: as many as asked for, but one less than there are cores, and one where one is asked for.

    Each runs on one thread (PyTorch sees to that). More would take the cores from the network; what is loaded does not
    depend on their number.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(settings.workers, max(1, cores - 1))


def batches(dataset: Dataset, settings: Settings, *, order: list[int] | None = None, drop_last: bool = False):
    """A DataLoader over `dataset` in the given order (its own by default)."""
    return DataLoader(
        dataset, batch_size=settings.batch_size, sampler=order, num_workers=workers(settings), drop_last=drop_last,
        pin_memory=torch.cuda.is_available() and settings.device != "cpu",
    )  # fmt: skip


def validation_input(image: Image.Image, settings: Settings) -> Tensor:
    """An RGB picture with its short side resized to `val_size`, normalised: (1, 3, H, W) float32."""
    resized = v2.functional.resize(v2.functional.pil_to_tensor(image), [settings.val_size], antialias=True)
    return normalise()(tv_tensors.Image(resized)).as_subclass(Tensor)[None]
