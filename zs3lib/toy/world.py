"""Write the toy world to disk in the real datasets' formats, so that one set of loaders reads both."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from tqdm.auto import tqdm

from ..classes import CONTEXT_CLASSES, VOC_CLASSES
from ..errors import ZS3Error
from . import corpus
from .render import labels, render_scene
from .scenes import context_scene, voc_scene

VERSION = 1
SOURCES = ("attributes", "texture", "canvas", "shape", "render", "scenes", "corpus", "world")
LABELS_459 = Path(__file__).parents[1] / "resources" / "context_labels_459.txt"
RENAMED = {"diningtable": "table", "clothes": "cloth", "bedcloth": "bedclothes", "background": "unknown"}
LONG_SIDES = (1.0, 1.2, 1.33)  # long side / short side: 160, 192 and 213 pixels at 160
BORDER = 2  # width of VOC's void band, pixels


def voc_palette() -> list[int]:
    """The official VOC palette, 768 numbers: the bits of the index, spread over R, G, B from the top bit down."""
    table = np.zeros((256, 3), int)
    for shift in range(8):
        for channel in range(3):
            table[:, channel] |= (np.arange(256) >> (3 * shift + channel) & 1) << (7 - shift)
    return table.ravel().tolist()


@lru_cache(maxsize=1)
def context_codes() -> np.ndarray:
    """For each of the 60 Context classes its line number in the 459-label list, (60,) uint16; background: "unknown"."""
    lines = dict(reversed(line.split(": ", 1)) for line in LABELS_459.read_text().splitlines() if line.strip())
    return np.array([int(lines[RENAMED.get(name, name)]) for name in CONTEXT_CLASSES], np.uint16)


def _start(seed: int, dataset: int, index: int, short_side: int) -> tuple[np.random.Generator, tuple[int, int]]:
    """The generator of one image (no image depends on another) and its (H, W)."""
    rng = np.random.default_rng([seed, dataset, index])
    sides = [short_side, round(short_side * LONG_SIDES[rng.integers(len(LONG_SIDES))])]
    return rng, (sides[0], sides[1]) if rng.random() < 0.65 else (sides[1], sides[0])


def _first(names: tuple[str, ...], seed: int, dataset: int, index: int) -> str:
    """The class that image `index` is about: every class once in each round, in an order of the round's own."""
    turn, k = divmod(index, len(names))
    return names[np.random.default_rng([seed, dataset, turn, 7]).permutation(len(names))[k]]


def voc_image(seed: int, index: int, short_side: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, (H, W, 3) uint8 RGB, and its label map, (H, W) uint8: 0..20, 255 around every object."""
    rng, size = _start(seed, 0, index, short_side)
    items, backdrop, ground = voc_scene(_first(VOC_CLASSES[1:], seed, 0, index), size, rng)
    image, owner = render_scene(items, size, rng, backdrop=backdrop)
    owner[owner < ground] = -1
    return image, labels(owner, items, border=BORDER)


def context_image(seed: int, index: int, short_side: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, (H, W, 3) uint8 RGB, and its label map, (H, W) uint8: indices into CONTEXT_CLASSES."""
    rng, size = _start(seed, 1, index, short_side)
    items, backdrop = context_scene(_first(CONTEXT_CLASSES + VOC_CLASSES[1:], seed, 1, index), size, rng)
    image, owner = render_scene(items, size, rng, backdrop=backdrop)
    return image, labels(owner, items)


def _write_voc(root: Path, seed: int, short_side: int, index: int) -> None:
    image, mask = voc_image(seed, index, short_side)
    voc, name = root / "VOCdevkit" / "VOC2012", f"2012_{index + 1:06d}"
    Image.fromarray(image).save(voc / "JPEGImages" / f"{name}.jpg", quality=90)
    png = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
    png.putpalette(voc_palette())
    png.save(voc / "SegmentationClass" / f"{name}.png")


def _write_context(root: Path, seed: int, short_side: int, index: int) -> None:
    image, mask = context_image(seed, index, short_side)
    name = f"2010_{index + 1:06d}"
    Image.fromarray(image).save(root / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{name}.jpg", quality=90)
    with open(root / "context" / "trainval" / f"{name}.mat", "wb") as file:
        savemat(file, {"LabelMap": context_codes()[mask]}, do_compression=True)
        file.seek(0)
        file.write(b"MATLAB 5.0 MAT-file, zs3lib toy world".ljust(116))  # scipy writes the time of day here


def _write_lists(root: Path, train: int, val: int) -> None:
    for folder, prefix in ((root / "VOCdevkit/VOC2012/ImageSets/Segmentation", "2012"), (root / "context", "2010")):
        ids = [f"{prefix}_{k + 1:06d}\n" for k in range(train + val)]
        for name, part in (("train", ids[:train]), ("val", ids[train:]), ("trainval", ids)):
            if (prefix, name) != ("2010", "trainval"):
                (folder / f"{name}.txt").write_text("".join(part))


def _write_words(root: Path, seed: int) -> None:
    said = corpus.sentences(seed)
    (root / "corpus.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in said))
    corpus.train_word2vec(said, seed).save_word2vec_format(str(root / "wordvectors.txt"))


def settings(*, seed: int = 0, train: int = 480, val: int = 160, short_side: int = 160) -> dict:
    """What world.json holds: the settings and a digest of the sources, so that a stale world can be told."""
    sources = [Path(__file__).with_name(f"{name}.py") for name in SOURCES]
    digest = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sources)).hexdigest()
    return {"version": VERSION, "seed": seed, "train": train, "val": val, "short_side": short_side, "sources": digest}


def build(root, *, seed: int = 0, train: int = 480, val: int = 160, short_side: int = 160, workers: int = 2,
          progress: bool = True) -> None:  # fmt: skip
    """Make the toy world at `root`: VOC 2012 devkit, Pascal-Context .mat files, corpus and word vectors.

    train, val: images per dataset (VOC and Context each); short_side in pixels. The bytes depend on the settings alone,
    not on `workers`. Everything is written to a sibling folder that replaces `root` at the end, so no reader meets a
    half-built world. Raises ZS3Error if `root` exists and is not a toy world (nothing of the user's is overwritten).
    """
    root = Path(root).absolute()
    if root.exists() and any(root.iterdir()) and not (root / "world.json").exists():
        raise ZS3Error(f"{root} exists and is not a toy world: choose another folder for --root, or empty this one")
    if min(train, val, workers) < 1 or short_side < 32:
        raise ZS3Error(
            "the toy world needs train, val and workers of at least 1 and a short side of at least 32 pixels"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        fresh.chmod(0o755)
        for folder in ("VOCdevkit/VOC2012/JPEGImages", "VOCdevkit/VOC2012/SegmentationClass", "context/trainval",
                       "VOCdevkit/VOC2012/ImageSets/Segmentation", "VOCdevkit/VOC2010/JPEGImages"):  # fmt: skip
            (fresh / folder).mkdir(parents=True)
        shutil.copyfile(LABELS_459, fresh / "context" / "labels.txt")
        _write_lists(fresh, train, val)
        _write_words(fresh, seed)
        _write_images(fresh, seed, train + val, short_side, workers, progress)
        made = settings(seed=seed, train=train, val=val, short_side=short_side)
        (fresh / "world.json").write_text(json.dumps(made, indent=1) + "\n")
        _swap(fresh, root)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_images(root: Path, seed: int, count: int, short_side: int, workers: int, progress: bool) -> None:
    jobs = [partial(write, root, seed, short_side) for write in (_write_voc, _write_context)]
    with tqdm(total=2 * count, desc="toy world", unit="image", disable=not progress) as bar:
        if workers == 1:
            for job in jobs:
                for index in range(count):
                    job(index)
                    bar.update()
            return
        with ProcessPoolExecutor(workers) as pool:
            for job in jobs:
                for _ in pool.map(job, range(count), chunksize=8):
                    bar.update()


def _swap(fresh: Path, root: Path) -> None:
    """Put `fresh` where `root` is; an older world steps aside first, since a rename cannot replace a full folder."""
    if root.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{root.name}-old-", dir=root.parent))
        os.replace(root, old / "world")
        os.replace(fresh, root)
        shutil.rmtree(old)
    else:
        os.replace(fresh, root)


def ensure(root, *, workers: int = 2, progress: bool = True, **wanted) -> Path:
    """`root` with a world of the `wanted` settings (seed, train, val, short_side), built only if missing or stale."""
    note = Path(root) / "world.json"
    try:
        found = json.loads(note.read_text())
    except (OSError, json.JSONDecodeError):
        found = None
    if found != settings(**wanted):
        build(root, workers=workers, progress=progress, **wanted)
    return Path(root)


def ensure_backbone(root: Path, *, workers: int = 2) -> Path:
    """The pretrained toy backbone `root/weights/resnet18_toy.pt`, trained if missing or made by other code."""
    from . import pretrain  # here: it needs torch, the world does not

    source = Path(pretrain.__file__).read_bytes()
    key = hashlib.sha256(source + settings()["sources"].encode()).hexdigest()
    path, note = Path(root) / "weights" / "resnet18_toy.pt", Path(root) / "weights" / "resnet18_toy.key"
    if not (path.is_file() and note.is_file() and note.read_text() == key):
        pretrain.pretrain(path, workers=workers)
        note.write_text(key)
    return path
