"""From files to batches: the paper's augmentation (Sec. IV-A), seeded for each image."""

import os
import shutil
import sys
import warnings
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from ..classes import VOID
from ..errors import ZS3Error
from ..seeds import shuffled, stream

MEAN = (0.485, 0.456, 0.406)  # ImageNet's
STD = (0.229, 0.224, 0.225)
SHARED = "/dev/shm"  # where workers of Linux leave their batches


class _RandomResize(v2.RandomResize):
    """Labels are taken at a new pixel's centre, as images are: v2's lie up to a pixel beside it."""

    def transform(self, inpt, params):
        if isinstance(inpt, tv_tensors.Mask):
            nearest = InterpolationMode.NEAREST_EXACT
            return tv_tensors.Mask(F.resize_image(inpt[None], params["size"], nearest)[0])
        return super().transform(inpt, params)


def normalise() -> v2.Transform:
    """Images to float32 with ImageNet's mean and deviation; labels as they are."""
    to_float = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)
    return v2.Compose([to_float, v2.Normalize(MEAN, STD)])


def augmentation(settings) -> v2.Transform:
    """Sec. IV-A: scale-crop around the short side, flip, Gaussian blur."""
    low = round(settings.base_size * settings.scale_min)
    high = round(settings.base_size * settings.scale_max)
    fill = {tv_tensors.Image: 124, tv_tensors.Mask: VOID}
    return v2.Compose(
        [
            _RandomResize(low, high + 1, antialias=True),
            v2.RandomCrop(settings.crop_size, pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], settings.blur),
            normalise(),
        ]
    )


class Augmented(Dataset):
    """Augmented images: (image (3, S, S) float32, labels (S, S) uint8).

    What is drawn depends on (seed, epoch, image) alone: an interrupted run goes on with the
    pictures it would have seen.
    """

    def __init__(self, data, indices: list[int], settings, *, seed, epoch):
        self.data = data
        self.indices = indices
        self.seed = seed
        self.epoch = epoch
        self.transform = augmentation(settings)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        i = self.indices[position]
        image, mask = self.data.load(i)
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would ask every device
            torch.default_generator.manual_seed(stream(self.seed, self.epoch, i))
            image, mask = self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def workers(settings) -> int:
    """Processes that load: as many as asked for, but one core of several is the network's.

    Fewer where shared memory, 64 MB in a container, has no room for two batches of each and the
    one in use; their number changes no result.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = min(settings.workers, max(1, (cores or 1) - 1))
    most = max(settings.batch_size, settings.stage1_batch_size)
    pixels = max(most * settings.crop_size**2, 3 * settings.val_size**2)
    batch = pixels * (3 * 4 + 1)  # bytes: three float32 and a label each
    free = shutil.disk_usage(SHARED).free if os.path.isdir(SHARED) else sys.maxsize
    fit = max(0, (free // batch - 1) // 2)
    if fit < wanted:
        lack = f"{SHARED} has no room for the batches of {wanted} workers: fewer load; give it more"
        none = '-y "options: {workers: 0}"'
        warnings.warn(f"{lack} (docker run --shm-size 1g), or ask for none ({none})")
    return min(wanted, fit)


def batches(dataset: Dataset, settings, order: list[list[int]] | None = None) -> DataLoader:
    """Batches of a dataset: of the positions in `order`, by default all, one after the other."""
    which = {"batch_sampler": order} if order else {"batch_size": settings.batch_size}
    pinned = torch.cuda.is_available() and settings.device != "cpu"
    return DataLoader(dataset, **which, num_workers=workers(settings), pin_memory=pinned)


class Source:
    """Images in batches of `size`, in an order of each epoch's own; see `method/stage1.py`.

    `parts` are a seed and the number of its random stream, see `seeds.stream`.
    """

    def __init__(self, ids: list[str], settings, size: int, *parts: int):
        self.image_ids = list(ids)
        self.settings = settings
        self.size = size
        self.parts = parts
        self.batches = -(-len(ids) // size)

    def order(self, epoch: int) -> list[list[int]]:
        """The images of each batch of an epoch."""
        return shuffled(len(self.image_ids), self.size, *self.parts, epoch)[: self.batches]

    def ids(self, epoch: int, step: int) -> list[str]:
        """The image ids of a batch."""
        return [self.image_ids[image] for image in self.order(epoch)[step]]


class Pictures(Source):
    """A source of batches for stage 1: augmented images; a last batch that is not full is left out.

    Of each batch only `share` is loaded, where other processes take the rest. Raises ZS3Error on a
    single image: ASPP's batch norm has no variance of it.
    """

    def __init__(self, data, indices: list[int], settings, *, share: slice = slice(None)):
        if len(indices) < 2:
            alone = f"only one training image, {data.ids[indices[0]]}, shows no unseen class"
            remedy = "stage 1 needs at least two; add images or lower k"
            raise ZS3Error(f"{alone} at K = {settings.k}: {remedy}")
        size = settings.stage1_batch_size
        super().__init__([data.ids[i] for i in indices], settings, size, settings.backbone_seed, 13)
        self.data = data
        self.indices = indices
        self.share = share
        self.batches = max(1, len(indices) // size)

    def epoch(self, epoch: int) -> DataLoader:
        """Batches of (images (B, 3, S, S) float32, labels (B, S, S) uint8)."""
        seed = stream(self.settings.backbone_seed, 12)
        pictures = Augmented(self.data, self.indices, self.settings, seed=seed, epoch=epoch)
        return batches(pictures, self.settings, [b[self.share] for b in self.order(epoch)])


def validation_input(image: Image.Image, settings) -> Tensor:
    """An RGB picture with its short side resized to `val_size`: (1, 3, H, W) float32."""
    resized = F.resize(F.pil_to_tensor(image), [settings.val_size], antialias=True)
    return normalise()(tv_tensors.Image(resized)).as_subclass(Tensor)[None]


def _validation_pair(data, settings, i: int) -> tuple[Tensor, Tensor]:
    image, labels = data.load(i)
    return validation_input(image, settings), torch.from_numpy(labels)


def validation_batches(data, settings) -> DataLoader:
    """One image at a time: (image (1, 3, H, W) float32, labels (H, W) uint8 at their own size)."""
    load = partial(_validation_pair, data, settings)
    indices = range(len(data))
    return DataLoader(indices, batch_size=None, collate_fn=load, num_workers=workers(settings))
