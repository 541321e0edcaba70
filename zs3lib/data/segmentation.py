"""Segmentation data on disk: VOC 2012 (with SBD extras) and Pascal-Context, in their official formats."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torchvision.datasets import VOCSegmentation

from ..classes import CONTEXT_CLASSES, VOC_CLASSES, VOID
from ..errors import ZS3Error
from . import sbd

# The 59-class list and the 459-label list of Pascal-Context name three classes differently.
CONTEXT_LABEL_OF = {"diningtable": "table", "clothes": "cloth", "bedcloth": "bedclothes"}


class SegmentationData(ABC):
    """Images with one label map each.

    Attributes:
        names: class names; a label map holds indices into them, or 255.
        ids, images, masks: image ids and the two files of each.
    """

    names: tuple[str, ...]

    def __init__(self, ids: list[str], images: list[Path], masks: list[Path], source: Path):
        self.ids, self.images, self.masks = ids, images, masks
        if not ids:
            raise ZS3Error(f"{source} lists no image: an empty split cannot be trained or evaluated on")
        repeated = {i for i in ids if ids.count(i) > 1} if len(set(ids)) < len(ids) else ()
        if repeated:
            raise ZS3Error(f"{source} lists {sorted(repeated)[0]} twice: every image may appear once")
        for path in (*images, *masks):
            if not path.is_file():
                raise ZS3Error(f"{path} not found, though {source} lists it: add the file or remove its line")

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: list[int]) -> SegmentationData:
        """The same data with the images `indices` alone."""
        part = copy.copy(self)
        for cached in ("presence", "fingerprint"):
            part.__dict__.pop(cached, None)
        part.ids, part.images, part.masks = (
            [paths[i] for i in indices] for paths in (self.ids, self.images, self.masks)
        )
        return part

    @abstractmethod
    def _read_mask(self, path: Path) -> np.ndarray: ...

    def load_image(self, i: int) -> Image.Image:
        """Image i as RGB; grey and CMYK files are converted."""
        try:
            with Image.open(self.images[i]) as image:
                return image.convert("RGB")
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ZS3Error(f"{self.images[i]} cannot be read as an image ({error}): replace the file") from error

    def load_mask(self, i: int) -> np.ndarray:
        """Label map i, (H, W) uint8: class indices and 255."""
        path = self.masks[i]
        mask = self._read_mask(path)
        wrong = mask[(mask >= len(self.names)) & (mask != VOID)]
        if wrong.size:
            raise ZS3Error(f"{path} holds label {wrong[0]}: labels are 0 to {len(self.names) - 1}, and 255 for void")
        return mask.astype(np.uint8)

    def load(self, i: int) -> tuple[Image.Image, np.ndarray]:
        """Image i, RGB, and its label map, (H, W) uint8."""
        image, mask = self.load_image(i), self.load_mask(i)
        if image.size != mask.shape[::-1]:
            raise ZS3Error(
                f"{self.masks[i]} is {mask.shape[1]} x {mask.shape[0]} pixels, its image {self.images[i].name} is"
                f" {image.width} x {image.height}: they must be of one size"
            )
        return image, mask

    @cached_property
    def presence(self) -> np.ndarray:
        """Which classes each image holds, (len(self), classes) bool, from the label maps."""
        table = np.zeros((len(self), 256), bool)
        for i in range(len(self)):
            table[i] = np.bincount(self.load_mask(i).ravel(), minlength=256) > 0
        return table[:, : len(self.names)]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ids and of the sizes of all files: tells one set of data from another."""
        sizes = [(i, a.stat().st_size, b.stat().st_size) for i, a, b in zip(self.ids, self.images, self.masks)]
        return hashlib.sha256(repr(sizes).encode()).hexdigest()[:16]


def _read_ids(path: Path) -> list[str]:
    if not path.is_file():
        raise ZS3Error(f"split file {path} not found: it lists one image id a line")
    ids = path.read_text().split()
    for i in ids:
        if not i.replace("_", "").replace("-", "").isalnum():
            raise ZS3Error(f"{path} holds the id {i!r}: an id has only letters, digits, '_' and '-'")
    return ids


def _devkit(root: str | Path, year: str) -> Path:
    """The folder that holds VOCdevkit/VOC<year>, given it, VOCdevkit itself or VOC<year> itself."""
    root = Path(root).expanduser().resolve()
    for base in (root, root.parent, root.parent.parent):
        if (base / "VOCdevkit" / f"VOC{year}").is_dir():
            return base
    raise ZS3Error(f"no VOCdevkit/VOC{year} under data_root {root}: give the folder that holds VOCdevkit")


class VOC(SegmentationData):
    """Pascal VOC 2012 segmentation; `train` adds SBD's masks where they are on disk.

    These are `SegmentationClassAug` with `train_aug.txt` inside the devkit, or else SBD's own files (`data/sbd.py`).
    Every image comes once, with VOC's own mask where it has one, and no image of `val` is ever in `train`.
    """

    names = VOC_CLASSES

    def __init__(self, root: str | Path, split: str, *, extras: bool = True):
        base = _devkit(root, "2012")
        kit = base / "VOCdevkit" / "VOC2012"
        lists = kit / "ImageSets" / "Segmentation"
        source = lists / f"{split}.txt"
        ids = _read_ids(source)
        try:
            official = VOCSegmentation(base, "2012", split, download=False)
        except RuntimeError as error:
            raise ZS3Error(f"{kit} is no VOC 2012 devkit ({error})") from error
        found = list(zip(ids, map(Path, official.images), map(Path, official.masks)))
        if split == "train" and extras:
            known = set(ids) | set(_read_ids(lists / "val.txt"))
            source, more = self._extras(base, kit) or (source, [])
            found += [files for files in more if files[0] not in known]
        super().__init__(*([files[n] for files in found] for n in range(3)), source)

    @staticmethod
    def _extras(base: Path, kit: Path) -> tuple[Path, list[tuple[str, Path, Path]]] | None:
        """The list that names SBD's images, and (id, image, mask) of each; None where there is no SBD."""
        listed = kit / "ImageSets" / "Segmentation" / "train_aug.txt"
        if listed.is_file():
            return listed, [
                (i, kit / "JPEGImages" / f"{i}.jpg", kit / "SegmentationClassAug" / f"{i}.png")
                for i in _read_ids(listed)
            ]
        if folder := sbd.find(base):
            _read_ids(listed := folder / f"{sbd.SPLIT}.txt")
            return listed, list(zip(*sbd.files(folder)))
        return None

    def _read_mask(self, path: Path) -> np.ndarray:
        if path.suffix == ".mat":
            return sbd.read_mask(path)
        try:
            with Image.open(path) as mask:
                if mask.mode not in ("P", "L"):
                    raise ZS3Error(f"{path} is a {mask.mode} picture: a mask has one 8-bit label a pixel (mode P or L)")
                return np.array(mask)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ZS3Error(f"{path} cannot be read as a mask ({error}): replace the file") from error


class Context(SegmentationData):
    """Pascal-Context: `.mat` files of 459 labels, mapped by name to 59 classes; every other label is background.

    `context/` holds `trainval/*.mat` and `labels.txt`, itself or in `full_annotations/` (as ZS3Net has them), and
    `train.txt` and `val.txt`; without these the official split is read where it comes from, VOC 2010's ImageSets/Main.
    """

    names = CONTEXT_CLASSES

    def __init__(self, root: str | Path, split: str):
        base = _devkit(root, "2010")
        kit, folder = base / "VOCdevkit" / "VOC2010", base / "context"
        listed = folder / f"{split}.txt"
        if not listed.is_file() and (kit / "ImageSets" / "Main" / listed.name).is_file():
            listed = kit / "ImageSets" / "Main" / listed.name
        ids = _read_ids(listed)
        if (folder / "full_annotations").is_dir():
            folder /= "full_annotations"
        self._to_class = self._label_table(folder / "labels.txt")
        images = [kit / "JPEGImages" / f"{i}.jpg" for i in ids]
        super().__init__(ids, images, [folder / "trainval" / f"{i}.mat" for i in ids], listed)

    @staticmethod
    def _label_table(path: Path) -> np.ndarray:
        """Class index of each of the 459 labels, (460,) uint8; label 0 does not occur in official files: void."""
        if not path.is_file():
            raise ZS3Error(f"{path} not found: Pascal-Context's list of 459 labels, one '<number>: <name>' a line")
        label_of = {}
        for line in path.read_text().splitlines():
            number, _, name = line.partition(":")
            if number.strip().isdigit():
                label_of[name.strip()] = int(number)
        if sorted(label_of.values()) != list(range(1, 460)):
            raise ZS3Error(f"{path} lists {len(label_of)} labels: Pascal-Context has 459, numbered 1 to 459")
        table = np.zeros(460, np.uint8)
        table[0] = VOID
        for index, name in enumerate(CONTEXT_CLASSES[1:], start=1):
            official = name if name in label_of else CONTEXT_LABEL_OF.get(name, name)
            if official not in label_of:
                raise ZS3Error(f"{path} has no label '{official}' for class '{name}'")
            table[label_of[official]] = index
        return table

    def _read_mask(self, path: Path) -> np.ndarray:
        from scipy.io import loadmat

        try:
            content = loadmat(path)
        except Exception as error:  # scipy raises many kinds on a damaged file
            raise ZS3Error(f"{path} cannot be read as a MATLAB file ({error}): replace the file") from error
        if "LabelMap" not in content:
            raise ZS3Error(f"{path} has no 'LabelMap': is it a Pascal-Context annotation?")
        labels = content["LabelMap"]
        if labels.ndim != 2 or labels.max(initial=0) > 459:
            raise ZS3Error(f"{path} holds label {labels.max()}: Pascal-Context's labels are 1 to 459")
        return self._to_class[labels.astype(np.int64)]


def open_data(dataset: str, root: str | Path, split: str, *, holdout: float = 0.0) -> SegmentationData:
    """Open "voc" or "context", split "train" or "val", under `root`.

    With `holdout` > 0, for choosing hyper-parameters: that share of train, drawn by a fixed seed, takes val's place.
    """
    open_split = {"voc": VOC, "context": Context}[dataset]
    if not holdout:
        return open_split(root, split)
    data = open_split(root, "train")
    order = np.random.default_rng(0).permutation(len(data))
    held = max(1, round(holdout * len(data)))
    return data.subset(sorted(order[:held] if split == "val" else order[held:]))
