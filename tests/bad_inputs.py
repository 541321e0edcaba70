"""What people get wrong: how an input is spoiled, and what the one line that answers must name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat, savemat
from torchvision import models

from zs3lib import storage

KIT = "VOCdevkit/VOC2012"
LISTS = f"{KIT}/ImageSets/Segmentation"
TRAIN = f"{LISTS}/train.txt"
JPEG = f"{KIT}/JPEGImages/2012_000001.jpg"
MASK = f"{KIT}/SegmentationClass/2012_000001.png"
MAT = "context/trainval/2010_000001.mat"
LABELS = "context/labels.txt"
WORDS = "wordvectors.txt"
WEIGHTS = "weights.pt"
Damage = Callable[[Path], object]


class Code:
    """What runs code where it is unpickled."""

    def __reduce__(self):
        return exec, ("import zs3lib; zs3lib.code_ran = True",)


# ---- damages of a folder: its path -> None ------------------------------------------------------


def replaced(path: str, content: bytes | str) -> Damage:
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda root: (root / path).write_bytes(raw)


def removed(path: str) -> Damage:
    return lambda root: (
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
    )


def saved_as(path: str, encoding: str) -> Damage:
    """A text file in another encoding, with an accent at its second line."""
    return lambda root: (root / path).write_bytes(
        (root / path).read_text().replace("\n", "\n\u00e9", 1).encode(encoding)
    )


def half(path: str) -> Damage:
    return lambda root: (root / path).write_bytes(
        (root / path).read_bytes()[: size(root / path) // 2]
    )


def size(path: Path) -> int:
    return path.stat().st_size


def mask(make: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """The first mask as make(it as an array)."""
    return lambda root: Image.fromarray(make(np.array(Image.open(root / MASK)))).save(root / MASK)


def picture(mode: str) -> Damage:
    return lambda root: Image.new(mode, (64, 64)).save(root / MASK)


def coloured(*foreign: tuple[int, int, int]) -> Damage:
    """The first mask in the colours of its palette, but for some pixels."""

    def damage(root: Path) -> None:
        colours = Image.open(root / MASK).convert("RGB")
        for x, colour in enumerate(foreign, start=1):
            colours.putpixel((x, 1), colour)
        colours.save(root / MASK)

    return damage


def only_cows(root: Path) -> None:
    for path in (root / MASK).parent.glob("*.png"):
        labels = np.array(Image.open(path))
        labels[5, 5] = 10
        Image.fromarray(labels).save(path)


def mat(**content) -> Damage:
    """The first .mat with other content; without any, its map under another name."""
    return lambda root: savemat(root / MAT, content or {"Labels": loadmat(root / MAT)["LabelMap"]})


def lines(path: str, change: Callable[[list[str]], list[str]]) -> Damage:
    """A text file with other lines."""

    def damage(root: Path) -> None:
        changed = change((root / path).read_text().splitlines())
        (root / path).write_text("".join(f"{line}\n" for line in changed))

    return damage


def cow(value: str) -> Damage:
    vector = f"cow {' '.join([value] * 300)}"
    return lines(WORDS, lambda x: [vector if y.startswith("cow ") else y for y in x])


def shorter(x: list[str]) -> list[str]:
    return [x[0].replace("300", "50"), *(" ".join(y.split()[:51]) for y in x[1:])]


def without_sofa(x: list[str]) -> list[str]:
    rest = [y for y in x[1:] if not y.startswith("sofa ")]
    return [f"{len(rest)} 300", *rest]


def pickled(root: Path) -> None:
    from gensim.models import KeyedVectors

    KeyedVectors.load_word2vec_format(str(root / WORDS)).save(str(root / "words.kv"))


def tensors(change: Callable[[dict], object]) -> Damage:
    """The weights as change(state dict)."""
    return lambda root: torch.save(change(storage.load_weights(root / WEIGHTS)), root / WEIGHTS)


def a_folder(root: Path) -> None:
    (root / WEIGHTS).unlink()
    (root / WEIGHTS).mkdir()


def imagenet(name: str) -> Damage:
    return tensors(lambda _: getattr(models, name)(weights=None).state_dict())


NAN = float("nan")
# Found when a run is opened, or its first training image is read: damage, dataset, what is named.
DATA: dict[str, tuple[Damage, str, str]] = {
    "truncated JPEG": (half(JPEG), "voc", "2012_000001.jpg"),
    "zero-byte JPEG": (replaced(JPEG, b""), "voc", "2012_000001.jpg"),
    "text for a JPEG": (replaced(JPEG, "a picture"), "voc", "2012_000001.jpg"),
    "missing JPEG": (removed(JPEG), "voc", "2012_000001.jpg"),
    "16-bit mask": (mask(lambda m: m.astype(np.uint16)), "voc", "2012_000001.png"),
    "grey RGB mask": (mask(lambda m: np.stack([m + 1] * 3, 2)), "voc", "2012_000001.png"),
    "a colour that is not VOC's": (
        coloured((12, 34, 56), (1, 2, 3)),
        "voc",
        "2012_000001.png cannot be read as a mask of 8-bit labels (its colour (12, 34, 56) is",
    ),
    "a colour of VOC's palette for no class": (coloured((128, 64, 128)), "voc", "(128, 64, 128)"),
    "mask with alpha": (picture("RGBA"), "voc", "2012_000001.png"),
    "grey mask with alpha": (picture("LA"), "voc", "2012_000001.png"),
    "black-and-white mask": (picture("1"), "voc", "2012_000001.png"),
    "text for a mask": (replaced(MASK, "mask"), "voc", "2012_000001.png"),
    "label 77": (mask(lambda m: np.full_like(m, 77)), "voc", "label 77"),
    "mask of another size": (mask(lambda m: m[:-3]), "voc", "2012_000001.png is"),
    "missing mask": (removed(MASK), "voc", "2012_000001.png"),
    "no masks at all": (removed(f"{KIT}/SegmentationClass"), "voc", "SegmentationClass"),
    "empty split list": (replaced(TRAIN, ""), "voc", "train.txt"),
    "missing split list": (removed(TRAIN), "voc", "train.txt"),
    "duplicate ids": (replaced(TRAIN, "2012_000001\n2012_000001\n"), "voc", "2012_000001 twice"),
    "an id with ../": (replaced(TRAIN, "../../2012_000001\n"), "voc", "train.txt"),
    "an absolute path as id": (replaced(TRAIN, "/etc/passwd\n"), "voc", "train.txt"),
    "a web page for a list": (replaced(TRAIN, "<!DOCTYPE html>\n"), "voc", "train.txt"),
    "a list of ImageSets/Main": (
        replaced(TRAIN, "2012_000001 -1\n2012_000002  1\n"),
        "voc",
        "as lists of ImageSets/Main do: use the list of ImageSets/Segmentation",
    ),
    "a pair of two images": (
        replaced(TRAIN, "/JPEGImages/2012_1.jpg /SegmentationClass/2012_2.png\n"),
        "voc",
        "train.txt holds the id",
    ),
    "a list in UTF-16": (
        saved_as(TRAIN, "utf-16"),
        "voc",
        "train.txt is not UTF-8 text but UTF-16",
    ),
    "a list in UTF-16 without mark": (
        lambda root: (root / TRAIN).write_bytes("2012_000001\n".encode("utf-16-le")),
        "voc",
        "train.txt is not UTF-8 text but UTF-16: save it as UTF-8",
    ),
    "a list in Latin-1": (saved_as(TRAIN, "latin-1"), "voc", "train.txt is not UTF-8 text"),
    "no val split": (removed(f"{LISTS}/val.txt"), "voc", "val.txt"),
    "empty val split": (replaced(f"{LISTS}/val.txt", ""), "voc", "val.txt"),
    "an extra twice": (replaced(f"{LISTS}/train_aug.txt", "2008_1\n2008_1\n"), "voc", "2008_1"),
    "an extra without mask": (replaced(f"{LISTS}/train_aug.txt", "2012_99\n"), "voc", "2012_99"),
    "no devkit": (removed("VOCdevkit"), "voc", "make data PROFILE=lite"),
    "no VOC2012": (removed(KIT), "voc", 'PARAMS="-p data_root <folder>"'),
    "an unseen class everywhere": (only_cows, "voc", "unseen class"),
    "no Context split": (removed("context/train.txt"), "context", "train.txt"),
    "no VOC2010": (removed("VOCdevkit/VOC2010"), "context", "VOC2010"),
    "no .mat": (removed(MAT), "context", "2010_000001.mat"),
    ".mat without LabelMap": (mat(), "context", "2010_000001.mat"),
    "truncated .mat": (half(MAT), "context", "2010_000001.mat"),
    "empty .mat": (replaced(MAT, b""), "context", "2010_000001.mat"),
    "text for a .mat": (replaced(MAT, "LabelMap"), "context", "2010_000001.mat"),
    "a volume for a LabelMap": (mat(LabelMap=np.ones((4, 4, 3))), "context", "2010_000001.mat"),
    "a map of another size": (mat(LabelMap=np.ones((7, 9))), "context", "2010_000001.mat is 9 x 7"),
    "label 460 in a .mat": (mat(LabelMap=np.full((9, 9), 460)), "context", "label 460"),
    "458 labels": (lines(LABELS, lambda x: x[:458]), "context", "458"),
    "a number twice": (lines(LABELS, lambda x: [*x[:6], "8: x", *x[7:]]), "context", "labels.txt"),
    "a class under another name": (
        lines(LABELS, lambda x: [y.replace(": cow", ": ox") for y in x]),
        "context",
        "'cow'",
    ),
    "labels in UTF-16": (saved_as(LABELS, "utf-16"), "context", "labels.txt is not UTF-8 text"),
    "labels in Latin-1": (saved_as(LABELS, "latin-1"), "context", "labels.txt is not UTF-8 text"),
    "word vectors in UTF-16": (saved_as(WORDS, "utf-16"), "voc", "save it as UTF-8"),
    "word vectors in Latin-1": (saved_as(WORDS, "latin-1"), "voc", "save it as UTF-8"),
    "word vectors of 50 dimensions": (lines(WORDS, shorter), "voc", "50 dimensions"),
    "NaN in word vectors": (cow("nan"), "voc", "not finite for cow"),
    "a word vector of zeros": (cow("0"), "voc", "all 0 for cow"),
    "a word without a vector": (lines(WORDS, without_sofa), "voc", "'sofa'"),
    "wrong header": (lines(WORDS, lambda x: ["words and vectors", *x[1:]]), "voc", WORDS),
    "word vectors cut off": (half(WORDS), "voc", WORDS),
    "no word vectors": (removed(WORDS), "voc", WORDS),
    "pickled word vectors": (pickled, "voc", "words.kv"),
    "truncated weights": (half(WEIGHTS), "voc", WEIGHTS),
    "empty weights": (replaced(WEIGHTS, b""), "voc", WEIGHTS),
    "text for weights": (replaced(WEIGHTS, "weights"), "voc", WEIGHTS),
    "a folder for weights": (a_folder, "voc", WEIGHTS),
    "no weights": (removed(WEIGHTS), "voc", WEIGHTS),
    "weights with code": (tensors(lambda s: s | {"x": Code()}), "voc", WEIGHTS),
    "a tensor for weights": (tensors(lambda s: torch.zeros(3)), "voc", WEIGHTS),
    "a list for weights": (tensors(lambda s: [1, 2]), "voc", WEIGHTS),
    "no tensors in weights": (tensors(lambda s: {}), "voc", WEIGHTS),
    "weights under a key": (tensors(lambda s: {"network": s}), "voc", WEIGHTS),
    "weights of another size": (
        tensors(lambda s: s | {"decoder.reduce.0.weight": torch.zeros(48, 65, 1, 1)}),
        "voc",
        WEIGHTS,
    ),
    "a tensor too many": (tensors(lambda s: s | {"decoder.more": torch.zeros(1)}), "voc", WEIGHTS),
    "weights of another backbone": (imagenet("mobilenet_v2"), "voc", WEIGHTS),
    "weights of NaN": (
        tensors(lambda s: {k: v * NAN if v.is_floating_point() else v for k, v in s.items()}),
        "voc",
        WEIGHTS,
    ),
}

# As papermill's -p hands them over: name, value, what the line says.
PARAMETERS: list[tuple[str, str, str]] = [
    ("k", "0", "k is 0"),
    ("k", "11", "k is 11"),
    ("k", "six", "k is 'six'"),
    ("k", "2.5", "k is 2.5"),
    ("k", "True", "k is True"),
    ("dataset", "coco", "dataset 'coco'"),
    ("profile", "../x", "profile '../x'"),
    ("seed", "-1", "seed is -1"),
    ("methods", "zs4net", "method 'zs4net'"),
    ("device", "tpu", "'tpu'"),
    ("device", "cuda:99", "'cuda:99'"),
    ("tau", "1.5", "tau is 1.5"),
    ("tau", "high", "tau is 'high'"),
    ("tau", "True", "tau is True"),
    ("tau", "nan", "tau is nan"),
    ("gamma", "-1", "gamma is -1"),
    ("gamma", "1/40", "gamma is '1/40'"),
    ("stage1_epochs", "0", "stage1_epochs is 0"),
    ("stage2_epochs", "0.5", "stage2_epochs is 0.5"),
    ("stage2_epochs", "[3]", "stage2_epochs is '[3]'"),
    ("warmup_epochs", "9", "warmup_epochs is 9"),
    ("protocol", "loose", "protocol is 'loose'"),
    ("options", "fast", "options is 'fast'"),
    ("options", '{"batch_size": 1}', "batch_size is 1"),
    ("options", '{"batch_size": "large"}', "batch_size is 'large'"),
    ("options", '{"batchsize": 8}', "unknown setting 'batchsize'"),
]


# ---- a finished run's files: damage of its folder, what the line names --------------------------


def edited(change: Callable[[dict], object]) -> Damage:
    def damage(folder: Path) -> None:
        record = json.loads((folder / "metrics.json").read_text())
        change(record)
        (folder / "metrics.json").write_text(json.dumps(record))

    return damage


def another(folder: Path) -> None:
    """A second run, of K = 8 and another weight of unseen classes."""
    record = json.loads((folder / "metrics.json").read_text())
    record["settings"]["unseen_weight"] = 7.0
    record["k"] = 8
    second = folder.with_name("voc-k8-s0")
    second.mkdir()
    (second / "metrics.json").write_text(json.dumps(storage.sealed(record)))


def reheaded(change: Callable[[dict], object]) -> Damage:
    def damage(folder: Path) -> None:
        saved = storage.load_weights(folder / "heads.pt")
        change(saved)
        torch.save(saved, folder / "heads.pt")

    return damage


def half_backbone(folder: Path) -> None:
    half("backbone.pt")(next(folder.parent.glob("backbones/*/")))


RECORDS: dict[str, tuple[Damage, str]] = {
    "record edited": (
        edited(lambda r: r["methods"]["ours"]["metrics"].update(hiou=99.0)),
        "metrics.json",
    ),
    "record of another version": (edited(lambda r: r.update(schema=1)), "schema is 1"),
    "record cut off": (half("metrics.json"), "metrics.json"),
    "record of another run": (lambda f: f.rename(f.with_name("voc-k8-s0")), "voc-k8-s0/metrics"),
    "runs of two settings": (another, "unseen_weight is 7.0 in one and 5.0 in the other"),
}
HEADS: dict[str, tuple[Damage, str]] = {
    "heads cut off": (half("heads.pt"), "heads.pt"),
    "heads of other words": (
        reheaded(lambda s: s["heads"]["ours"].update(words=torch.zeros(60, 300))),
        "heads.pt",
    ),
    "heads that name a file elsewhere": (
        reheaded(lambda s: s.update(backbone="../../x.pt")),
        "heads.pt",
    ),
    "heads of another run": (reheaded(lambda s: s.update(key="other")), "heads.pt"),
    "no heads": (removed("heads.pt"), "voc-k10-s0"),
    "backbone cut off": (half_backbone, "backbone.pt"),
    "no backbone": (lambda f: shutil.rmtree(f.parent / "backbones"), "backbone.pt"),
}
