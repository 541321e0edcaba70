"""Lists of images and masks in colours, in the forms in which they circulate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ..classes import VOID, voc_palette
from ..errors import ZS3Error
from ..storage import read_text

# "2007_000032", "2007_000032.jpg", or DeepLab's
# "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png".
LINE = re.compile(r"(?:/?JPEGImages/)?([\w-]+?)(?:\.jpg)?(?:\s+/?(\w+)/\1\.png)?")
OF_ONE_CLASS = re.compile(r"[\w-]+\s+(?:1|0|-1)")
Files = list[tuple[str, Path, Path]]  # of each image: its id, the picture, the mask


def read_list(path: Path) -> list[tuple[str, str | None]]:
    """(id, its mask's folder where the line names one) of a list's lines; blank ones are left out.

    Raises ZS3Error, naming the file, where an id could be a path or the list is no split's.
    """
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    for line in lines:
        if not LINE.fullmatch(line):
            why = "ids have letters, digits, '_' and '-' only"
            if OF_ONE_CLASS.fullmatch(line):
                why = "it says whether one class is there, as lists of ImageSets/Main do: use the "
                why += "list of ImageSets/Segmentation"
            raise ZS3Error(f"{path} holds the id {line[:60]!r}: {why}")
    return [LINE.fullmatch(line).groups() for line in lines]


def read_ids(path: Path) -> list[str]:
    """The image ids of a split's list, one a line; ZS3Error where one could be a path."""
    return [i for i, _ in read_list(path)]


def pair(ids: list[str], images: Path, masks: Path, suffix: str) -> Files:
    """(id, image file, mask file) for each id: a .jpg in one folder, its mask in the other."""
    return [(i, images / f"{i}.jpg", masks / f"{i}{suffix}") for i in ids]


def colours_to_labels(picture: Image.Image, classes: int) -> np.ndarray:
    """Labels, (H, W) uint8, of an RGB or RGBA mask; ValueError on a colour that is no class's."""
    pixels = np.array(picture.convert("RGBA"))
    codes = pixels.view(np.uint32)[..., 0]  # a colour's four bytes as one number
    opaque = np.pad(voc_palette(), ((0, 0), (0, 1)), constant_values=255).view(np.uint32)[:, 0]
    labels = np.full(codes.shape, -1)
    for label in (*range(classes), VOID):
        labels[codes == opaque[label]] = label
    if (foreign := pixels[labels < 0]).size:
        colour = tuple(foreign[0, : len(picture.mode)].tolist())
        raise ValueError(f"its colour {colour} is none of VOC's; as labels, save it in mode P or L")
    return labels.astype(np.uint8)
