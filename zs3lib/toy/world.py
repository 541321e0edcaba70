"""The toy world on disk, in the real datasets' formats, so that one set of loaders reads both."""

import json
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from tqdm.contrib.concurrent import process_map

from ..classes import CONTEXT_CLASSES, CONTEXT_LABEL_OF, CONTEXT_LABELS, VOC_CLASSES, voc_palette
from ..errors import ZS3Error
from ..paths import DATA, RESOURCES
from ..storage import code_hash, file_hash, replaced
from . import cocostuff, corpus, scenes
from .attributes import FILE

PICTURES = {year: f"VOCdevkit/VOC{year}/JPEGImages" for year in (2012, 2010)}
MASKS = "VOCdevkit/VOC2012/SegmentationClass"
LISTS = "VOCdevkit/VOC2012/ImageSets/Segmentation"
MATS = "context/trainval"
# The number of each Context class among the 459 labels; background is one that is left over.
_label = CONTEXT_LABEL_OF | {"background": "unknown"}
_numbers = [1 + CONTEXT_LABELS.index(_label.get(name, name)) for name in CONTEXT_CLASSES]
CODES = np.array(_numbers, np.uint16)


def _about(names: tuple[str, ...], seed: int, kind: int, index: int) -> str:
    """The class picture `index` is about: each once in a round, in the round's own order."""
    turn, k = divmod(index, len(names))
    order = np.random.default_rng([seed, kind, turn, 7]).permutation(len(names))
    return names[order[k]]


def voc_picture(seed: int, index: int, short_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, (H, W, 3) uint8, and its labels, (H, W) uint8: 0..20, 255 around things."""
    rng, size = scenes.start(seed, 0, index, short_side)
    about = _about(scenes.OBJECTS, seed, 0, index)
    items = scenes.voc_scene([about], VOC_CLASSES, size, rng)
    return scenes.picture(items, size, rng, border=True)


def context_picture(seed: int, index: int, short_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, (H, W, 3) uint8, and its labels, (H, W) uint8: indices of 60 classes."""
    rng, size = scenes.start(seed, 1, index, short_side)
    about = _about(CONTEXT_CLASSES + scenes.OBJECTS, seed, 1, index)
    return scenes.picture(scenes.context_scene(about, size, rng), size, rng, border=False)


def _write_pictures(root: Path, seed: int, short_side: int, index: int) -> None:
    """Picture `index` of both datasets with their masks."""
    name = f"{index + 1:06d}"
    image, mask = voc_picture(seed, index, short_side)
    Image.fromarray(image).save(root / PICTURES[2012] / f"2012_{name}.jpg", quality=90)
    png = Image.fromarray(mask)
    png.putpalette(voc_palette().tobytes())
    png.save(root / MASKS / f"2012_{name}.png")
    image, mask = context_picture(seed, index, short_side)
    Image.fromarray(image).save(root / PICTURES[2010] / f"2010_{name}.jpg", quality=90)
    with open(root / MATS / f"2010_{name}.mat", "wb") as file:
        savemat(file, {"LabelMap": CODES[mask]}, do_compression=True)
        file.seek(0)
        file.write(b"MATLAB 5.0 MAT-file, zs3lib toy world".ljust(116))  # not the time of day


def _write_texts(root: Path, seed: int, train: int, val: int) -> None:
    """Both datasets' lists, Context's labels, the corpus and its word vectors."""
    for folder, year in ((LISTS, 2012), ("context", 2010)):
        ids = [f"{year}_{k + 1:06d}\n" for k in range(train + val)]
        for name, part in {"train": ids[:train], "val": ids[train:], "trainval": ids}.items():
            (root / folder / f"{name}.txt").write_text("".join(part))
    shutil.copyfile(RESOURCES / "context_labels_459.txt", root / "context" / "labels.txt")
    said = corpus.sentences(seed)
    (root / "corpus.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in said))
    corpus.train_word2vec(said, seed).save_word2vec_format(str(root / "wordvectors.txt"))


def ensure(
    root: Path | str,
    *,
    seed: int = 0,
    train: int = 400,
    val: int = 160,
    short_side: int = 128,
    force: bool = False,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """The toy world at `root`: VOC 2012 devkit, Context's .mat files, corpus, word vectors.

    Arguments:
        train, val: images of VOC and of Context each; short_side: in pixels. The files' bytes
            depend on these and `seed` alone.
        force: make it even where it is there and of these settings and this code.
        workers: processes that draw.

    Raises ZS3Error where `root` is something else (nothing of the user's is lost).
    """
    if min(train, val) < 1 or short_side < 32:
        least = "train and val of at least 1 and a short side of at least 32 pixels"
        raise ZS3Error(f"the toy world needs {least}")
    sizes = {"seed": seed, "train": train, "val": val, "short_side": short_side}
    made = sizes | {"sources": f"{code_hash('toy')}-{file_hash(FILE)}"}
    root = Path(root).absolute()
    record = root / "world.json"
    with suppress(OSError, ValueError):
        if json.loads(record.read_text()) == made and not force:
            return root
    if root.exists() and any(root.iterdir()) and not record.exists():
        raise ZS3Error(f"{root} exists and is not a toy world: choose another folder or empty it")
    with replaced(root) as fresh:
        for folder in (*PICTURES.values(), MASKS, LISTS, MATS):
            (fresh / folder).mkdir(parents=True)
        _write_texts(fresh, seed, train, val)
        write = partial(_write_pictures, fresh, seed, short_side)
        bar = {"desc": "toy world", "unit": "pair", "disable": not progress}
        process_map(write, range(train + val), max_workers=max(1, workers), chunksize=1, **bar)
        (fresh / "world.json").write_text(json.dumps(made, indent=1) + "\n")
    return root


def provide(root: Path | str, dataset: str) -> None:
    """Make the checkout's own toy world, if `root` is its place, with all that a dataset needs."""
    if Path(root) == DATA / "toy":
        ensure(root)
        if dataset == "cocostuff":
            cocostuff.ensure(root)
