"""What people get wrong: how an input is spoiled, and what the one line that answers must name.

A row is (file, how, says): the file below the root, what is done to it (None: removed; text or
bytes: what stands in it instead; a function of its path), and what the line names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import papermill
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import models

from zs3lib import storage

KIT = "VOCdevkit/VOC2012"
LISTS = f"{KIT}/ImageSets/Segmentation"
TRAIN = f"{LISTS}/train.txt"
VAL = f"{LISTS}/val.txt"
EXTRA = f"{LISTS}/train_aug.txt"
JPEG = f"{KIT}/JPEGImages/2012_000001.jpg"
MASK = f"{KIT}/SegmentationClass/2012_000001.png"
MAT = "context/trainval/2010_000001.mat"
WORDS = "wordvectors.txt"
WEIGHTS = "weights.pt"
NAN = float("nan")
How = str | bytes | Callable[[Path], object] | None


class Code:
    """What runs code where it is unpickled."""

    def __reduce__(self):
        return exec, ("import zs3lib; zs3lib.code_ran = True",)


def spoil(path: Path, how: How) -> None:
    if callable(how):
        how(path)
    elif how is not None:
        path.write_bytes(how if isinstance(how, bytes) else how.encode())
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def saved_as(encoding: str) -> How:
    """A text file in another encoding, with an accent at its second line."""
    return lambda path: path.write_bytes(
        path.read_text().replace("\n", "\n\u00e9", 1).encode(encoding)
    )


def lines(change: Callable[[list[str]], list[str]]) -> How:
    """A text file with other lines."""
    return lambda path: path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def mask(make: Callable[[np.ndarray], np.ndarray]) -> How:
    """A mask as make(it as an array)."""
    return lambda path: Image.fromarray(make(np.array(Image.open(path)))).save(path)


def picture(mode: str) -> How:
    return lambda path: Image.new(mode, (64, 64)).save(path)


def coloured(*foreign: tuple[int, int, int]) -> How:
    """A mask in the colours of its palette, but for some pixels."""

    def damage(path: Path) -> None:
        colours = Image.open(path).convert("RGB")
        for x, colour in enumerate(foreign, start=1):
            colours.putpixel((x, 1), colour)
        colours.save(path)

    return damage


def only_cows(folder: Path) -> None:
    for path in folder.glob("*.png"):
        mask(lambda m: np.full_like(m, 10))(path)


def mat(**content) -> How:
    return lambda path: savemat(path, content)


def cow(value: str) -> How:
    vector = f"cow {' '.join([value] * 300)}"
    return lines(lambda x: [vector if y.startswith("cow ") else y for y in x])


def shorter(x: list[str]) -> list[str]:
    return [x[0].replace("300", "50"), *(" ".join(y.split()[:51]) for y in x[1:])]


def pickled(path: Path) -> None:
    from gensim.models import KeyedVectors

    KeyedVectors.load_word2vec_format(str(path)).save(str(path.with_name("words.kv")))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def tensors(change: Callable[[dict], object]) -> How:
    """Saved tensors as change(state dict)."""
    return lambda path: torch.save(change(storage.load_weights(path)), path)


def all_nan(state: dict) -> dict:
    return {k: v * NAN if v.is_floating_point() else v for k, v in state.items()}


def mobilenet(_: dict) -> dict:
    return models.mobilenet_v2(weights=None).state_dict()


WIDER = {"decoder.reduce.0.weight": torch.zeros(48, 65, 1, 1)}
MORE = {"decoder.more": torch.zeros(1)}
PNG = "2012_000001.png"
NOT_UTF8 = "train.txt is not UTF-8 text"

# Found when a run is opened, or its first training image is read.
DATA: dict[str, tuple[str, How, str]] = {
    "truncated JPEG": (JPEG, half, "2012_000001.jpg"),
    "zero-byte JPEG": (JPEG, "", "2012_000001.jpg"),
    "text for a JPEG": (JPEG, "a picture", "2012_000001.jpg"),
    "missing JPEG": (JPEG, None, "2012_000001.jpg"),
    "16-bit mask": (MASK, mask(lambda m: m.astype(np.uint16)), PNG),
    "grey RGB mask": (MASK, mask(lambda m: np.stack([m + 1] * 3, 2)), PNG),
    "a colour that is not VOC's": (MASK, coloured((12, 34, 56), (1, 2, 3)), "(12, 34, 56) is"),
    "a colour of VOC's palette for no class": (MASK, coloured((128, 64, 128)), "(128, 64, 128)"),
    "mask with alpha": (MASK, picture("RGBA"), PNG),
    "black-and-white mask": (MASK, picture("1"), PNG),
    "text for a mask": (MASK, "mask", PNG),
    "label 77": (MASK, mask(lambda m: np.full_like(m, 77)), "label 77"),
    "mask of another size": (MASK, mask(lambda m: m[:-3]), f"{PNG} is"),
    "missing mask": (MASK, None, PNG),
    "no masks at all": (f"{KIT}/SegmentationClass", None, "SegmentationClass"),
    "an unseen class everywhere": (f"{KIT}/SegmentationClass", only_cows, "unseen class"),
    "empty split list": (TRAIN, "", "train.txt"),
    "missing split list": (TRAIN, None, "train.txt"),
    "duplicate ids": (TRAIN, "2012_000001\n2012_000001\n", "2012_000001 twice"),
    "an id with ../": (TRAIN, "../../2012_000001\n", "train.txt"),
    "an absolute path as id": (TRAIN, "/etc/passwd\n", "train.txt"),
    "a web page for a list": (TRAIN, "<!DOCTYPE html>\n", "train.txt"),
    "a list of ImageSets/Main": (TRAIN, "2012_1 -1\n2012_2  1\n", "of ImageSets/Segmentation"),
    "a pair of two images": (TRAIN, "/JPEGImages/1.jpg /SegmentationClass/2.png", "holds the id"),
    "a list in UTF-16": (TRAIN, saved_as("utf-16"), f"{NOT_UTF8} but UTF-16"),
    "a list in UTF-16 without mark": (TRAIN, "2012_1".encode("utf-16-le"), "but UTF-16: save it"),
    "a list in Latin-1": (TRAIN, saved_as("latin-1"), NOT_UTF8),
    "no val split": (VAL, None, "val.txt"),
    "empty val split": (VAL, "", "val.txt"),
    "an image of train in val": (VAL, "2012_000001\n", "share 1 images, the first is 2012_000001"),
    "an extra twice": (EXTRA, "2008_1\n2008_1\n", "2008_1"),
    "an extra without mask": (EXTRA, "2012_99\n", "2012_99"),
    "no devkit": ("VOCdevkit", None, "make data PROFILE=lite"),
    "no VOC2012": (KIT, None, 'PARAMS="-p data_root <folder>"'),
    "no Context split": ("context/train.txt", None, "train.txt"),
    "no VOC2010": ("VOCdevkit/VOC2010", None, "VOC2010"),
    "no .mat": (MAT, None, "2010_000001.mat"),
    ".mat without LabelMap": (MAT, mat(Labels=np.ones((9, 9))), "2010_000001.mat"),
    "truncated .mat": (MAT, half, "2010_000001.mat"),
    "empty .mat": (MAT, "", "2010_000001.mat"),
    "text for a .mat": (MAT, "LabelMap", "2010_000001.mat"),
    "a volume for a LabelMap": (MAT, mat(LabelMap=np.ones((4, 4, 3))), "2010_000001.mat"),
    "a map of another size": (MAT, mat(LabelMap=np.ones((7, 9))), "2010_000001.mat is 9 x 7"),
    "label 460 in a .mat": (MAT, mat(LabelMap=np.full((9, 9), 460)), "label 460"),
    "word vectors in UTF-16": (WORDS, saved_as("utf-16"), "save it as UTF-8"),
    "word vectors in Latin-1": (WORDS, saved_as("latin-1"), "save it as UTF-8"),
    "word vectors of 50 dimensions": (WORDS, lines(shorter), "50 dimensions"),
    "NaN in word vectors": (WORDS, cow("nan"), "not finite for cow"),
    "a word vector of zeros": (WORDS, cow("0"), "all 0 for cow"),
    "a word without a vector": (
        WORDS,
        lines(lambda x: [y.replace("sofa ", "couch ") for y in x]),
        "'sofa'",
    ),
    "wrong header": (WORDS, lines(lambda x: ["words and vectors", *x[1:]]), WORDS),
    "word vectors cut off": (WORDS, half, WORDS),
    "no word vectors": (WORDS, None, WORDS),
    "pickled word vectors": (WORDS, pickled, "words.kv"),
    "truncated weights": (WEIGHTS, half, WEIGHTS),
    "empty weights": (WEIGHTS, "", WEIGHTS),
    "text for weights": (WEIGHTS, "weights", WEIGHTS),
    "a folder for weights": (WEIGHTS, a_folder, WEIGHTS),
    "no weights": (WEIGHTS, None, WEIGHTS),
    "weights with code": (WEIGHTS, tensors(lambda s: s | {"x": Code()}), WEIGHTS),
    "a tensor for weights": (WEIGHTS, tensors(lambda s: torch.zeros(3)), WEIGHTS),
    "a list for weights": (WEIGHTS, tensors(lambda s: [1, 2]), WEIGHTS),
    "no tensors in weights": (WEIGHTS, tensors(lambda s: {}), WEIGHTS),
    "weights under a key": (WEIGHTS, tensors(lambda s: {"network": s}), WEIGHTS),
    "weights of another size": (WEIGHTS, tensors(lambda s: s | WIDER), WEIGHTS),
    "a tensor too many": (WEIGHTS, tensors(lambda s: s | MORE), WEIGHTS),
    "weights of another backbone": (
        WEIGHTS,
        tensors(lambda _: models.mobilenet_v2().state_dict()),
        WEIGHTS,
    ),
    "weights of NaN": (WEIGHTS, tensors(all_nan), WEIGHTS),
}

# As papermill's -p hands them over: name, value, what the line says.
PARAMETERS: list[tuple[str, str, str]] = [
    ("k", "0", "k is 0: K must be a whole number from 1 to 10"),
    ("k", "11", "k is 11: K must be"),
    ("k", "six", "k is 'six': K must be"),
    ("k", "2.5", "k is 2.5: K must be"),
    ("k", "True", "k is True: K must be"),
    ("dataset", "coco", "unknown dataset 'coco': choose one of voc, context"),
    ("methods", "ours,ours", "methods lists ours twice"),
    ("profile", "../x", "unknown profile '../x': choose one of toy, lite, paper"),
    ("seed", "-1", "seed is -1: it must be from 0 to"),
    ("methods", "zs4net", "unknown method 'zs4net': choose from no_generator, zs3net, ours"),
    ("methods", "graph_context", "graph_context is for context"),
    ("options", '{"self_training": true, "protocol": "strict"}', "protocol strict"),
    ("device", "tpu", "'tpu'"),
    ("device", "cuda:99", "'cuda:99'"),
    ("tau", "1.5", "tau is 1.5: it must be from 0 to 1"),
    ("tau", "high", "tau is 'high': it must be a number"),
    ("tau", "True", "tau is True: it must be a number"),
    ("tau", "nan", "tau is nan: it must be from 0 to 1"),
    ("gamma", "-1", "gamma is -1: it must be from 0 to 1000"),
    ("gamma", "1/40", "gamma is '1/40'"),
    ("stage1_epochs", "0", "stage1_epochs is 0: it must be from 1 to 10000"),
    ("stage2_epochs", "0.5", "stage2_epochs is 0.5: it must be a whole number"),
    ("stage2_epochs", "[3]", "stage2_epochs is '[3]'"),
    ("warmup_epochs", "9", "warmup_epochs is 9: it must be from 0 to 2"),
    ("protocol", "loose", "protocol is 'loose': it must be 'paper' or 'strict'"),
    ("options", "fast", "options is 'fast': it must be a dictionary of settings by name"),
    ("options", '{"batch_size": 1}', "batch_size is 1"),
    ("options", '{"batch_size": "large"}', "batch_size is 'large'"),
    ("options", '{"batchsize": 8}', "unknown setting 'batchsize': did you mean batch_size"),
]


NUMBERS = [  # (notebook, name, type) of all that take one
    (path, name, parameter["inferred_type_name"])
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
    for name, parameter in papermill.inspect_notebook(path).items()
    if parameter["inferred_type_name"] in ("int", "float") or name in ("ks", "seeds")
]


# ---- a finished run's folder, toy/voc-k10-s0 ----------------------------------------------------


def edited(seal: bool = False, **values) -> How:
    """The record with other values at its top; sealed as if a version of zs3lib had written it."""

    def damage(path: Path) -> None:
        record = json.loads(path.read_text()) | values
        path.write_text(json.dumps(storage.sealed(record) if seal else record))

    return damage


def another(path: Path) -> None:
    """A second run, of K = 8 and another weight of unseen classes."""
    record = json.loads(path.read_text())
    record["settings"]["unseen_weight"] = 7.0
    record["k"] = 8
    second = path.parent.with_name("voc-k8-s0")
    second.mkdir()
    (second / path.name).write_text(json.dumps(storage.sealed(record)))


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("voc-k8-s0"))


def other_words(saved: dict) -> dict:
    saved["heads"]["ours"]["words"] = torch.zeros(60, 300)
    return saved


RECORD = "metrics.json"
HEAD = "heads.pt"
BACKBONES = "../backbones"
AGAIN = "remove runs/toy/voc-k10-s0, then make runs/toy/voc-k10-s0"
OLDER = edited(True, settings={"tau": 7, "depth": 101})
SOFT = edited(True, settings={"methods": ["zs3net", "soft"]})
# What tables and what open_run say.
RECORDS: dict[str, tuple[str, How, str]] = {
    "record edited": (RECORD, edited(wall_s=0), "metrics.json: its content was changed"),
    "record of an unknown dataset": (RECORD, edited(True, dataset="coco"), "install the package"),
    "record of another version": (RECORD, edited(schema=1), "schema is 1"),
    "record cut off": (RECORD, half, RECORD),
    "record of another run": (".", renamed, "voc-k8-s0/metrics"),
    "runs of two settings": (RECORD, another, "unseen_weight is 7.0 in one and 5.0 in the other"),
}
HEADS: dict[str, tuple[str, How, str]] = {
    "record of an unknown method": (RECORD, SOFT, "'soft', which is unknown here: import the mod"),
    "record of other settings": (RECORD, OLDER, f"there is no such setting): {AGAIN}"),
    "heads cut off": (HEAD, half, HEAD),
    "heads of other words": (HEAD, tensors(other_words), HEAD),
    "heads that name a file elsewhere": (HEAD, tensors(lambda s: s | {"backbone": "../x"}), HEAD),
    "heads of another run": (HEAD, tensors(lambda s: s | {"key": "other"}), HEAD),
    "no heads": (HEAD, None, f"heads.pt not found: {AGAIN}"),
    "backbone cut off": (BACKBONES, lambda p: half(next(p.glob("*/backbone.pt"))), "backbone.pt"),
    "no backbone": (BACKBONES, None, "backbone.pt"),
}
