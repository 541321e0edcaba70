"""Toy pictures of words that no dataset lists ("zebra"), to see what a class added by name can do.

Not part of the toy world on disk: no training or validation picture is made here.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from ..classes import VOC_CLASSES
from ..errors import ZS3Error
from . import scenes
from .attributes import EXTRA, TABLE

WORDS = EXTRA  # in the corpus and drawable, but in no dataset


def drawable(words: Sequence[str]) -> list[str]:
    """Those of `words`, each once, that the toy world can draw and that VOC does not list."""
    once = dict.fromkeys(word.strip() for word in words)
    return [word for word in once if word in TABLE and word not in VOC_CLASSES]


def picture(
    words: Sequence[str], names: Sequence[str], index: int, *, seed: int = 0, short_side: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, VOC style, that shows every one of `words` besides up to two VOC objects.

    names: the class of each label; VOC's 21 and `words` must be among them. short_side: pixels.
    Returns (H, W, 3) uint8 RGB and the label map, (H, W) uint8: 0 is background, 255 a band around
    things. Raises ZS3Error on a word that the toy world cannot draw.
    """
    unknown = [f"'{word}'" for word in words if word not in TABLE]
    if unknown or not words:
        what = ", ".join(unknown) or "these words"
        raise ZS3Error(
            f"the toy world cannot draw {what}: give a picture of your own with -p image FILE"
        )
    kind = 2 + zlib.crc32(" ".join(words).encode())  # 0 and 1 are VOC's and Context's pictures
    rng, size = scenes.start(seed, kind, index, short_side)
    items = scenes.voc_scene(words, names, size, rng)
    return scenes.picture(items, size, rng, border=True)
