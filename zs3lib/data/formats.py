"""Lists of images and coloured masks, in the forms in which they circulate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ZS3Error

# "2007_000032", "2007_000032.jpg", or DeepLab's
# "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png".
LINE = re.compile(r"(?:/?JPEGImages/)?([\w-]+?)(?:\.jpg)?(?:\s+/?(\w+)/\1\.png)?")
OF_ONE_CLASS = re.compile(r"[\w-]+\s+(?:1|0|-1)")


def entries(text: str, path: Path) -> list[tuple[str, str | None]]:
    """(id, its mask's folder where the line names one) of a list's lines; blank ones are left out.

    Raises ZS3Error, naming its file, where an id could be a path or the list is no split's.
    """
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if OF_ONE_CLASS.fullmatch(line):
            raise ZS3Error(
                f"{path} says of each image whether it shows one class ('{line[:40]}'), as lists "
                "of ImageSets/Main do: use the list of ImageSets/Segmentation"
            )
        if not (match := LINE.fullmatch(line)):
            what = f"the id {line[:60]!r}"
            raise ZS3Error(f"{path} holds {what}: ids have letters, digits, '_' and '-' only")
        found.append((match[1], match[2]))
    return found


def pair(ids: list[str], images: Path, masks: Path, suffix: str) -> list[tuple[str, Path, Path]]:
    """(id, image file, mask file) for each id: a .jpg in one folder, its mask in the other."""
    return [(i, images / f"{i}.jpg", masks / f"{i}{suffix}") for i in ids]


def from_colours(picture: Image.Image, palette: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """The label map, (H, W) uint8, of an RGB or RGBA picture.

    Arguments:
        palette: the colour of every label, (256, 3) uint8; labels: those that may appear.

    Raises ValueError on any other colour, and on one that is not opaque.
    """
    palette = np.pad(palette, ((0, 0), (0, 1)), constant_values=255)  # opaque
    pixels = np.array(picture.convert("RGBA"))
    known = np.array(labels, np.uint8)
    codes = palette[known].view(np.uint32)[:, 0]  # a colour's four bytes as one number
    order = codes.argsort()
    place = np.searchsorted(codes, pixels.view(np.uint32)[..., 0], sorter=order)
    found = known[order[place.clip(max=len(known) - 1)]]
    foreign = pixels[(palette[found] != pixels).any(2)]
    if len(foreign):
        colour = tuple(foreign[0, : len(picture.mode)].tolist())
        raise ValueError(f"its colour {colour} is none of VOC's; as labels, save it in mode P or L")
    return found
