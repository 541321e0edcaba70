"""A small COCO-Stuff in its official layout: the toy world's Context pictures, labels renamed."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from ..classes import COCOSTUFF_CLASSES, COCOSTUFF_LABELS, CONTEXT_CLASSES, VOID
from ..data import words
from ..data.segmentation import Context
from ..storage import locked, replaced
from .attributes import INI

# The labels of Context's 59 classes, or the nearest; background has none.
NAMES = tuple(INI["cocostuff"].get(name, name) for name in CONTEXT_CLASSES[1:])


def _write_pictures(root: Path, target: Path, part: str) -> None:
    """The pictures of a part, and their label maps: a label's number less one, 255 unlabelled."""
    data = Context(root, part)
    to_label = np.full(256, VOID, np.uint8)
    to_label[1 : len(NAMES) + 1] = [COCOSTUFF_LABELS.index(name) for name in NAMES]
    images = target / "images" / f"{part}2017"
    masks = target / "annotations" / f"{part}2017"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for i, source in enumerate(data.images):
        number = f"{int(source.stem.partition('_')[2]):012d}"
        shutil.copyfile(source, images / f"{number}.jpg")
        Image.fromarray(to_label[data.load_mask(i)]).save(masks / f"{number}.png")


def _write_words(root: Path, target: Path) -> None:
    """A word vector for all 171 classes; those that no toy picture shows have random ones."""
    from gensim.models import KeyedVectors

    known = words.read(root / "wordvectors.txt")
    random = np.random.default_rng(0)
    table = random.normal(0, known.vectors.std(), (len(COCOSTUFF_CLASSES), known.vector_size))
    for own, name in zip(CONTEXT_CLASSES[1:], NAMES):
        table[COCOSTUFF_CLASSES.index(name)] = known[own]
    vectors = KeyedVectors(known.vector_size)
    vectors.add_vectors([name.replace(" ", "_") for name in COCOSTUFF_CLASSES], table)
    vectors.save_word2vec_format(str(target / "wordvectors.txt"))


def ensure(root: Path | str) -> Path:
    """<root>/cocostuff of the toy world at `root`, made where it is not there; its path.

    It is COCO-Stuff's layout with `wordvectors.txt` beside: images/{train,val}2017/*.jpg and
    annotations/{train,val}2017/*.png.
    """
    place = Path(root).absolute() / "cocostuff"
    with locked(place):
        if not (place / "wordvectors.txt").is_file():
            with replaced(place) as fresh:
                for part in ("train", "val"):
                    _write_pictures(Path(root), fresh, part)
                _write_words(Path(root), fresh)
    return place
