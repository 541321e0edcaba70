"""The cases of test_one_line.py: how an input is spoiled, and what the one line that answers must name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from zs3lib import checkpoints
from zs3lib.seal import sealed

KIT = "VOCdevkit/VOC2012"
JPEG, MASK = f"{KIT}/JPEGImages/2012_000001.jpg", f"{KIT}/SegmentationClass/2012_000001.png"
TRAIN, MAT = f"{KIT}/ImageSets/Segmentation/train.txt", "context/trainval/2010_000001.mat"


class Code:
    def __reduce__(self):
        return exec, ("import zs3lib; zs3lib.code_ran = True",)


# ---- what is done to a copy of the world (w), and what the line must name -------------------------------------------


def damage(path: str, content: bytes | str | None):
    """Replace a file's content, or remove it."""

    def do(w: Path) -> None:
        if content is None:
            (w / path).unlink()
        else:
            (w / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    return do


def half(path: str):
    return lambda w: (w / path).write_bytes((w / path).read_bytes()[: (w / path).stat().st_size // 2])


def mask(make):
    """Replace the first mask by make(it as an array)."""
    return lambda w: Image.fromarray(make(np.array(Image.open(w / MASK)))).save(w / MASK)


def mat(**content):
    return lambda w: savemat(w / MAT, content or {"Labels": loadmat(w / MAT)["LabelMap"]})


def lines_of(w: Path) -> list[str]:
    return (w / "wordvectors.txt").read_text().splitlines()


def words(change):
    """Rewrite the word vectors: change(lines) -> lines, the first the header."""
    return lambda w: (w / "wordvectors.txt").write_text("\n".join(change(lines_of(w))) + "\n")


def pickled(w: Path) -> None:
    from gensim.models import KeyedVectors

    KeyedVectors.load_word2vec_format(str(w / "wordvectors.txt")).save(str(w / "words.kv"))


def cow(value: str):
    return words(lambda lines: [f"cow {' '.join([value] * 300)}" if x.startswith("cow ") else x for x in lines])


def tensors(change):
    """Rewrite the weights: change(state dict) -> what is saved."""
    return lambda w: torch.save(change(checkpoints.load_weights(w / "weights.pt")), w / "weights.pt")


def backbone(name: str):
    def do(w: Path) -> None:
        from torchvision import models

        torch.save(getattr(models, name)(weights=None).state_dict(), w / "weights.pt")

    return do


def nothing(w: Path) -> None:
    pass


DATA = {  # damage, dataset, what the line names
    "truncated JPEG": (half(JPEG), "voc", "2012_000001.jpg"),
    "zero-byte JPEG": (damage(JPEG, b""), "voc", "2012_000001.jpg"),
    "text for a JPEG": (damage(JPEG, "a picture"), "voc", "2012_000001.jpg"),
    "missing JPEG": (damage(JPEG, None), "voc", "2012_000001.jpg"),
    "16-bit mask": (mask(lambda m: m.astype(np.uint16)), "voc", "2012_000001.png"),
    "RGB mask": (mask(lambda m: np.stack([m, m, m], 2)), "voc", "2012_000001.png"),
    "label 77": (mask(lambda m: np.full_like(m, 77)), "voc", "label 77"),
    "mask of another size": (mask(lambda m: m[:-3]), "voc", "2012_000001.png"),
    "missing mask": (damage(MASK, None), "voc", "2012_000001.png"),
    "empty split list": (damage(TRAIN, ""), "voc", "train.txt"),
    "missing split list": (damage(TRAIN, None), "voc", "train.txt"),
    "duplicate ids": (damage(TRAIN, "2012_000001\n2012_000001\n"), "voc", "2012_000001 twice"),
    "an id with ../": (damage(TRAIN, "../../2012_000001\n"), "voc", "train.txt"),
    "no devkit": (lambda w: shutil.rmtree(w / "VOCdevkit"), "voc", "VOC2012"),
    ".mat without LabelMap": (mat(), "context", "2010_000001.mat"),
    "truncated .mat": (half(MAT), "context", "2010_000001.mat"),
    "label 460 in a .mat": (mat(LabelMap=np.full((9, 9), 460)), "context", "label 460"),
    "458 labels": (lambda w: damage("context/labels.txt", "\n".join(
        (w / "context/labels.txt").read_text().splitlines()[:458]))(w), "context", "458"),
    "word vectors of 50 dimensions": (words(lambda x: [x[0].replace("300", "50"), *(" ".join(y.split()[:51]) for y in x[1:])]),
                                      "voc", "50 dimensions"),
    "NaN in word vectors": (cow("nan"), "voc", "not finite for cow"),
    "a word vector of zeros": (cow("0"), "voc", "all 0 for cow"),
    "a word without a vector": (words(lambda x: [x[0].replace(x[0].split()[0], str(len(x) - 2)),
                                                 *(y for y in x[1:] if not y.startswith("sofa "))]), "voc", "'sofa'"),
    "wrong header": (words(lambda x: ["words and vectors", *x[1:]]), "voc", "wordvectors.txt"),
    "word vectors cut off": (half("wordvectors.txt"), "voc", "wordvectors.txt"),
    "no word vectors": (damage("wordvectors.txt", None), "voc", "wordvectors.txt"),
    "pickled word vectors": (pickled, "voc", "words.kv"),
    "truncated weights": (half("weights.pt"), "voc", "weights.pt"),
    "empty weights": (damage("weights.pt", b""), "voc", "weights.pt"),
    "weights with code": (tensors(lambda s: s | {"x": Code()}), "voc", "weights.pt"),
    "weights of another backbone": (backbone("mobilenet_v2"), "voc", "weights.pt"),
    "no weights": (damage("weights.pt", None), "voc", "weights.pt"),
    "weights of NaN": (tensors(lambda s: {k: v * float("nan") if v.is_floating_point() else v for k, v in s.items()}),
                       "voc", "weights.pt"),
}  # fmt: skip

PARAMETERS = {  # as -p hands them over: name, value, what the line says
    "K = 0": ("k", "0", "k is 0"), "K = 11": ("k", "11", "k is 11"), "K in words": ("k", "six", "k is 'six'"),
    "K = 2.5": ("k", "2.5", "k is 2.5"), "tau = 1.5": ("tau", "1.5", "tau is 1.5"),
    "tau in words": ("tau", "high", "tau is 'high'"),
    "tau = true": ("tau", "true", "tau is True"), "gamma < 0": ("gamma", "-1", "gamma is -1"),
    "gamma as 1/40": ("gamma", "1/40", "gamma is '1/40'"), "no epochs": ("stage1_epochs", "0", "stage1_epochs is 0"),
    "half an epoch": ("stage2_epochs", "0.5", "stage2_epochs is 0.5"),
    "a list of epochs": ("stage2_epochs", "[3]", "stage2_epochs is [3]"),
    "warm-up beyond the end": ("warmup_epochs", "9", "warmup_epochs is 9"), "seed < 0": ("seed", "-1", "seed is -1"),
    "batch of 1": ("options", '{"batch_size": 1}', "batch_size is 1"),
    "batch in words": ("options", '{"batch_size": "large"}', "batch_size is 'large'"),
    "unknown option": ("options", '{"batchsize": 8}', "unknown setting 'batchsize'"),
    "options that are none": ("options", "fast", "options is 'fast'"),
    "unknown dataset": ("dataset", "coco", "dataset 'coco'"), "unknown profile": ("profile", "../x", "profile '../x'"),
    "unknown method": ("methods", "zs4net", "method 'zs4net'"), "no such device": ("device", "tpu", "device 'tpu'"),
}  # fmt: skip

RECORDS = {  # a finished run's files, by what reads them: done to its folder (f), what the line names
    "record edited": ("tables", lambda f: edit(f, lambda r: r["methods"]["ours"]["metrics"].update(hiou=99.0)), "metrics.json"),
    "record of another version": ("tables", lambda f: edit(f, lambda r: r.update(schema=1)), "schema is 1"),
    "record cut off": ("tables", half("metrics.json"), "metrics.json"),
    "record of another run": ("tables", lambda f: f.rename(f.with_name("voc-k8-s0")), "voc-k8-s0/metrics.json"),
    "runs of two settings": ("tables", lambda f: another(f), "unseen_weight is 5.0 in one and 10.0 in the other"),
    "heads cut off": ("heads", half("heads.pt"), "heads.pt"),
    "heads of another K's data": ("heads", lambda f: reheads(f, lambda s: s["heads"]["ours"].update(
        words=torch.zeros(60, 300))), "heads.pt"),
    "heads that name a file elsewhere": ("heads", lambda f: reheads(f, lambda s: s.update(backbone="../../x.pt")), "heads.pt"),
    "heads of another run": ("heads", lambda f: reheads(f, lambda s: s.update(key="other")), "heads.pt"),
    "backbone cut off": ("heads", lambda f: half(next(f.parent.glob("backbones/*/backbone.pt")))(f), "backbone.pt"),
    "no backbone": ("heads", lambda f: shutil.rmtree(f.parent / "backbones"), "backbone.pt"),
}  # fmt: skip


def edit(folder: Path, change) -> None:
    record = json.loads((folder / "metrics.json").read_text())
    change(record)
    (folder / "metrics.json").write_text(json.dumps(record))


def another(folder: Path) -> None:
    """A second run, of K = 8 and another weight of unseen classes."""
    record = json.loads((folder / "metrics.json").read_text())
    record["settings"]["unseen_weight"], record["k"] = 5.0, 8
    (folder.with_name("voc-k8-s0")).mkdir()
    (folder.with_name("voc-k8-s0") / "metrics.json").write_text(json.dumps(sealed(record)))


def reheads(folder: Path, change) -> None:
    saved = checkpoints.load_weights(folder / "heads.pt")
    change(saved)
    torch.save(saved, folder / "heads.pt")
