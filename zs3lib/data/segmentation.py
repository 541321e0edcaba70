"""Segmentation data as published: VOC 2012 (with SBD's masks), Pascal-Context, COCO-Stuff."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from ..classes import (
    COCOSTUFF_CLASSES,
    COCOSTUFF_LABELS,
    CONTEXT_CLASSES,
    CONTEXT_LABEL_OF,
    CONTEXT_LABELS,
    DATASETS,
    VOC_CLASSES,
    VOID,
    voc_palette,
)
from ..errors import ZS3Error, named, one_line
from ..storage import read_text, text_hash

# "2007_000032", "2007_000032.jpg", or DeepLab's
# "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png".
LINE = re.compile(r"(?:/?JPEGImages/)?([\w-]+?)(?:\.jpg)?(?:\s+/?(\w+)/\1\.png)?")
Files = list[tuple[str, Path, Path]]  # of each image: its id, the picture, the mask
# The class of each of Context's 459 labels, numbered from 1: background for those but 59.
CONTEXT_TO_CLASS = np.array([VOID] + [0] * len(CONTEXT_LABELS), np.uint8)
for _index, _name in enumerate(CONTEXT_CLASSES[1:], start=1):
    CONTEXT_TO_CLASS[1 + CONTEXT_LABELS.index(CONTEXT_LABEL_OF.get(_name, _name))] = _index
# The class of each of COCO-Stuff's 182 labels, and of 255; void for one that is no class.
COCOSTUFF_TO_CLASS = np.full(256, VOID, np.uint8)
for _index, _name in enumerate(COCOSTUFF_CLASSES):
    COCOSTUFF_TO_CLASS[COCOSTUFF_LABELS.index(_name)] = _index
# Where SBD may lie: as `make data` puts it, as its archive unpacks, as ZS3Net has it.
SBD = ("sbd", "SBD", "benchmark_RELEASE/dataset", "VOCdevkit/VOC2012/benchmark_RELEASE/dataset")
GIVE = 'give the folder that holds it (PARAMS="-p data_root <folder>")'


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Name the file in whatever Pillow and scipy raise on a damaged one: that is of many kinds."""
    try:
        yield
    except Exception as error:
        reason = one_line(error).replace(f" {str(path)!r}", "")
        raise ZS3Error(f"{path} cannot be read as {what} ({reason}): replace the file") from error


def read_list(path: Path) -> list[tuple[str, str | None]]:
    """(id, its mask's folder where the line names one) of a list's lines; blank ones are left out.

    Raises ZS3Error, naming the file, where an id could be a path or the list is no split's.
    """
    found = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        match = LINE.fullmatch(line)
        if not match:
            why = "ids have letters, digits, '_' and '-' only (lists of ImageSets/Main, which say "
            why += "whether one class is there, are no splits: use that of ImageSets/Segmentation)"
            raise ZS3Error(f"{path} holds the id {line[:60]!r}: {why}")
        found.append(match.groups())
    return found


def read_ids(path: Path) -> list[str]:
    """The image ids of a split's list, one a line; ZS3Error where one could be a path."""
    return [i for i, _ in read_list(path)]


def pair(ids: list[str], images: Path, masks: Path, suffix: str) -> Files:
    """(id, image file, mask file) for each id: a .jpg in one folder, its mask in the other."""
    return [(i, images / f"{i}.jpg", masks / f"{i}{suffix}") for i in ids]


def colours_to_labels(picture: Image.Image, classes: int) -> np.ndarray:
    """Labels, (H, W) uint8, of an RGB or RGBA mask; ValueError on a colour that is no class's."""
    pixels = np.array(picture.convert("RGBA"))
    palette = voc_palette()
    labels = np.full(pixels.shape[:2], -1)
    for label in (*range(classes), VOID):
        labels[(pixels == (*palette[label], 255)).all(2)] = label
    if (foreign := pixels[labels < 0]).size:
        colour = tuple(foreign[0, : len(picture.mode)].tolist())
        raise ValueError(f"its colour {colour} is none of VOC's; as labels, save it in mode P or L")
    return labels.astype(np.uint8)


class SegmentationData:
    """Images with one label map each: `ids`, `images` and `masks`.

    A subclass sets `names`, the classes that a label map's numbers mean, and hands over `files`,
    (id, image file, mask file) of every image, and the list that names them as `source`.
    """

    names: tuple[str, ...]
    relabel: np.ndarray | None = None  # of a subset: the new label of each old one, a row an image
    replaced: frozenset[Path] = frozenset()  # masks that `with_masks` brought in
    first = 0  # the label in the dataset's own masks that is class 0

    def __init__(self, files: Files, source: Path):
        if not files:
            raise ZS3Error(f"{source} lists no image: an empty split is of no use")
        self.ids, self.images, self.masks = map(list, zip(*files))
        name, count = Counter(self.ids).most_common(1)[0]
        if count > 1:
            raise ZS3Error(f"{source} lists {name} twice: every image may appear once")
        if lost := [path for path in (*self.images, *self.masks) if not path.is_file()]:
            raise ZS3Error(f"{lost[0]} not found, but {source} lists it: add it or remove its line")

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: list[int], *, relabel: np.ndarray | None = None) -> SegmentationData:
        """The images `indices` alone; with `relabel`, (len(indices), 256) uint8, labels change."""
        names = ("ids", "images", "masks")
        kept = {name: [getattr(self, name)[i] for i in indices] for name in names}
        return self._with(relabel=relabel, **kept)

    def without_background(self) -> SegmentationData:
        """The same images with background void: the other classes move down by one."""
        return self._with(names=self.names[1:], first=1)

    def with_masks(self, masks: Mapping[int, Path]) -> SegmentationData:
        """The same images, some with other label maps: {index: PNG file of class indices}."""
        changed = [masks.get(i, own) for i, own in enumerate(self.masks)]
        return self._with(masks=changed, replaced=frozenset(masks.values()))

    def _with(self, **changes) -> SegmentationData:
        """A copy with other attributes, whose `presence` is not this one's."""
        changed = copy.copy(self)
        vars(changed).pop("presence", None)
        vars(changed).update(changes)
        return changed

    def read_mask(self, path: Path) -> np.ndarray:
        """The label map in a mask's file, (H, W): of mode P or L, or in VOC's colours."""
        with _reading(path, "a mask of 8-bit labels"), Image.open(path) as mask:
            if mask.mode in ("RGB", "RGBA"):
                return colours_to_labels(mask, len(self.names) + self.first)
            if mask.mode not in ("P", "L"):
                raise ValueError(f"its mode is {mask.mode}, not P or L")
            return np.array(mask)

    def load_mask(self, i: int) -> np.ndarray:
        """Label map i, (H, W) uint8: class indices and 255."""
        path = self.masks[i]
        png = path in self.replaced  # a dataset's own masks may be of any format
        mask = SegmentationData.read_mask(self, path) if png else self.read_mask(path)
        first = 0 if png else self.first
        count = len(self.names) + first
        wrong = mask[(mask >= count) & (mask != VOID)]
        if wrong.size:
            raise ZS3Error(f"{path} holds label {wrong[0]}: there are {count}, and 255")
        mask = mask.astype(np.uint8)
        if first:
            mask[mask != VOID] -= first  # where background is no class, its 0 becomes 255
        return mask if self.relabel is None else self.relabel[i][mask]

    def load(self, i: int) -> tuple[Image.Image, np.ndarray]:
        """Image i, RGB (grey and CMYK files are converted), and its label map, (H, W) uint8."""
        with _reading(self.images[i], "an image"), Image.open(self.images[i]) as file:
            image = file.convert("RGB")
        mask = self.load_mask(i)
        if image.size != mask.shape[::-1]:
            sizes = f"{self.images[i].name} is {image.width} x {image.height}: make both one size"
            raise ZS3Error(f"{self.masks[i]} is {mask.shape[1]} x {mask.shape[0]} pixels, {sizes}")
        return image, mask

    def pixel_counts(self) -> np.ndarray:
        """Pixels of each class in each image, (N, C + 1) int64; the last column is void."""
        counts = [np.bincount(self.load_mask(i).ravel(), minlength=256) for i in range(len(self))]
        return np.stack(counts)[:, [*range(len(self.names)), VOID]]

    @cached_property
    def presence(self) -> np.ndarray:
        """Which classes each image holds, (N, C) bool."""
        return self.pixel_counts()[:, :-1] > 0

    @property
    def fingerprint(self) -> str:
        """Hash of ids, new labels and the sizes of all files: tells this data from other data."""
        files = zip(self.ids, self.images, self.masks)
        sizes = [(i, image.stat().st_size, mask.stat().st_size) for i, image, mask in files]
        changes = "" if self.relabel is None else self.relabel.tobytes().hex()
        return text_hash(f"{sizes}{changes}")


def _kit(root: Path, year: str) -> Path:
    """The folder VOCdevkit/VOC<year> in `root`, which may be VOCdevkit or VOC<year> itself."""
    root = root.expanduser().resolve()
    for base in (root, root.parent, root.parent.parent):
        if (kit := base / "VOCdevkit" / f"VOC{year}").is_dir():
            return kit
    remedy = f"get it (make data PROFILE=lite) or {GIVE}"
    raise ZS3Error(f"no VOCdevkit/VOC{year} under data_root {root}: {remedy}")


def sbd_folder(base: Path) -> Path | None:
    """The folder with SBD's `img/`, `cls/` and list; None where there is no SBD."""
    return next((base / place for place in SBD if (base / place / "cls").is_dir()), None)


class VOC(SegmentationData):
    """Pascal VOC 2012; `train` adds SBD's masks: `SegmentationClassAug`, or else SBD's own files.

    VOC's own mask of an image comes first, and no image of `val` is ever in `train`.
    """

    names = VOC_CLASSES

    def __init__(self, root: Path, part: str):
        kit = _kit(root, "2012")
        lists = kit / "ImageSets" / "Segmentation"
        source = lists / f"{part}.txt"
        files = self._listed(source, kit, "SegmentationClass")
        if part == "train":
            known = {i for i, *_ in files}.union(read_ids(lists / "val.txt"))
            more = []
            if (lists / "train_aug.txt").is_file():
                source = lists / "train_aug.txt"
                more = self._listed(source, kit, "SegmentationClassAug")
            elif sbd := sbd_folder(kit.parents[1]):
                source = sbd / "train_noval.txt"  # SBD's images without any of VOC 2012's val
                more = pair(read_ids(source), sbd / "img", sbd / "cls", ".mat")
            files += [file for file in more if file[0] not in known]
        super().__init__(files, source)

    @staticmethod
    def _listed(source: Path, kit: Path, masks: str) -> Files:
        """The files of a list: a mask lies where its line says, else in `masks`."""
        images = kit / "JPEGImages"
        listed = read_list(source)
        return [(i, images / f"{i}.jpg", kit / (own or masks) / f"{i}.png") for i, own in listed]

    def read_mask(self, path: Path) -> np.ndarray:
        if path.suffix != ".mat":
            return super().read_mask(path)
        with _reading(path, "SBD's GTcls.Segmentation"):
            return loadmat(path)["GTcls"][0]["Segmentation"][0]


class Context(SegmentationData):
    """Pascal-Context: `.mat` files of 459 labels; those but 59 classes are background."""

    names = CONTEXT_CLASSES

    def __init__(self, root: Path, part: str):
        kit = _kit(root, "2010")
        own = kit.parents[1] / "context"
        source = own / f"{part}.txt"
        lists = kit / "ImageSets" / "Main"  # where Pascal-Context's are from
        if not source.is_file() and lists.is_dir():
            source = lists / f"{part}.txt"
        masks = own / "trainval"
        super().__init__(pair(read_ids(source), kit / "JPEGImages", masks, ".mat"), source)

    def read_mask(self, path: Path) -> np.ndarray:
        with _reading(path, "Pascal-Context's LabelMap"):
            labels = loadmat(path)["LabelMap"]
            if labels.ndim != 2 or labels.max(initial=0) > 459:
                raise ValueError(f"label {labels.max()}, {labels.ndim} dimensions")
            return CONTEXT_TO_CLASS[labels.astype(np.int64)]


class CocoStuff(SegmentationData):
    """COCO-Stuff: PNG files of 182 labels, the first one 0; 171 are classes, the rest is void."""

    names = COCOSTUFF_CLASSES

    def __init__(self, root: Path, part: str):
        root = root.expanduser().resolve()
        folders = []
        for place in (f"annotations/{part}2017", f"images/{part}2017"):
            found = [base / place for base in (root / "cocostuff", root) if (base / place).is_dir()]
            if not found:
                remedy = f"get it (make data PROFILE=paper DATASETS=cocostuff) or {GIVE}"
                where = f"data_root {root} or its folder cocostuff"
                raise ZS3Error(f"no {place} under {where}: {remedy}")
            folders.append(found[0])
        source, images = folders
        ids = sorted(path.stem for path in source.glob("*.png"))
        super().__init__(pair(ids, images, source, ".png"), source)

    def read_mask(self, path: Path) -> np.ndarray:
        labels = super().read_mask(path)
        with _reading(path, "COCO-Stuff's labels"):
            if (wrong := labels[(labels >= len(COCOSTUFF_LABELS)) & (labels != VOID)]).size:
                raise ValueError(f"label {wrong[0]}: there are 0 to 181, and 255")
        return COCOSTUFF_TO_CLASS[labels]


def open_data(
    dataset: str, root: Path | str, part: str, *, holdout: float = 0, background: bool = True
) -> SegmentationData:
    """Open a registered dataset, its part "train" or "val", under `root`.

    With `holdout` > 0 that share of train, drawn by a fixed seed, takes val's place. Without
    `background` that is void, and no class.
    """
    entry = DATASETS[dataset]
    reader = named(f"the reader of dataset {dataset}", entry.reader)
    data = reader(Path(root), "train" if holdout else part)
    if tuple(data.names) != entry.classes:
        raise ZS3Error(f"{entry.reader} has other names than dataset {dataset}: give both the same")
    if not background:
        data = data.without_background()
    if holdout:
        order = np.random.default_rng(0).permutation(len(data))
        held = max(1, round(holdout * len(data)))
        data = data.subset(sorted(order[:held] if part == "val" else order[held:]))
    return data


def data_of(settings, part: str) -> SegmentationData:
    """A part of a run's data, as `open_data`."""
    kept = {"holdout": settings.holdout, "background": settings.background}
    return open_data(settings.dataset, settings.data_root, part, **kept)
