"""The Semantic Boundaries Dataset in its own format: more training masks for VOC's pictures (Sec. IV-A: VOC 2012)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from torchvision.datasets import SBDataset

from ..errors import ZS3Error

# Where SBD may lie below the folder of VOCdevkit: as `make data` puts it, as its archive unpacks, as ZS3Net has it.
PLACES = ("sbd", "SBD", "benchmark_RELEASE/dataset", "VOCdevkit/VOC2012/benchmark_RELEASE/dataset")
SPLIT = "train_noval"  # SBD's training images without any of VOC 2012's val


def find(base: Path) -> Path | None:
    """The folder with SBD's `img/`, `cls/` and `train_noval.txt`, or None where there is no SBD.

    Raises ZS3Error when the masks are there without the list.
    """
    for place in PLACES:
        if (base / place / "cls").is_dir():
            if not (base / place / f"{SPLIT}.txt").is_file():
                raise ZS3Error(f"{base / place} has no {SPLIT}.txt: put {SBDataset.voc_train_url} there")
            return base / place
    return None


def files(folder: Path) -> tuple[list[str], list[Path], list[Path]]:
    """Ids, pictures and `.mat` files of `train_noval`, as torchvision's SBDataset lists them."""
    data = SBDataset(folder, image_set=SPLIT, mode="segmentation")
    images = [Path(path) for path in data.images]
    return [path.stem for path in images], images, [Path(path) for path in data.masks]


def read_mask(path: Path) -> np.ndarray:
    """`GTcls.Segmentation` of a `.mat` file, (H, W): VOC's 21 classes, no void.

    Raises ZS3Error when the file cannot be read or is none of SBD's.
    """
    try:
        content = loadmat(path, variable_names="GTcls")
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise ZS3Error(f"{path} cannot be read as a MATLAB file ({error}): replace the file") from error
    try:
        mask = content["GTcls"][0]["Segmentation"][0]
    except (KeyError, IndexError, ValueError):
        raise ZS3Error(f"{path} has no 'GTcls.Segmentation': is it from SBD's folder cls/?") from None
    if mask.ndim != 2:
        raise ZS3Error(f"{path} holds a Segmentation of {mask.ndim} dimensions: SBD's have 2")
    return mask
