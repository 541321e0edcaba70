"""Toy pictures of words that no dataset lists ("zebra"), with label maps: to see what a class added by its name can do.

Not part of the toy world on disk: no training or validation image is made here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from ..classes import VOC_CLASSES
from ..errors import ZS3Error
from ..evaluate import predict
from ..finished import FinishedRun
from ..metrics import class_iou, confusion_matrix
from ..new_classes import WEIGHT, add_classes, fit
from ..stage2 import Head
from .attributes import EXTRA, TABLE
from .render import Item, labels, render_scene
from .scenes import SETTINGS, _band, _mild, _pick, _spread, companions
from .world import BORDER, _start

WORDS = EXTRA  # in the corpus and drawable, but in no dataset
STREAM = 2  # VOC's and Context's pictures of a seed are streams 0 and 1: none of these is one of them


def drawable(words: Sequence[str]) -> list[str]:
    """Those of `words`, each once, that the toy world can draw and that VOC does not list."""
    return [word for word in dict.fromkeys(map(str.strip, words)) if word in TABLE and word not in VOC_CLASSES]


def kin(word: str) -> str:
    """The VOC object whose attributes are most like those of `word` (cosine): a zebra is met where horses are."""
    looks = TABLE[word]

    def likeness(name: str) -> float:
        other = TABLE[name]
        return float(looks @ other / np.linalg.norm(looks) / np.linalg.norm(other))

    return max(VOC_CLASSES[1:], key=likeness)


def picture(
    words: Sequence[str], names: Sequence[str], index: int, *, seed: int = 0, short_side: int = 160
) -> tuple[np.ndarray, np.ndarray]:
    """A VOC style picture that shows every one of `words` besides up to two VOC objects.

    Arguments:
        words: words of `toy.attributes.TABLE`.
        names: class names; label i of the map means names[i], and VOC's 21 and `words` must be among them.
        index, seed: which picture; the same for the same numbers.
        short_side: in pixels.

    Returns: the picture, (H, W, 3) uint8 RGB, and its label map, (H, W) uint8: 0 is background, 255 a band around things.

    Raises ZS3Error on a word that the toy world cannot draw.
    """
    if not words or (unknown := [word for word in words if word not in TABLE]):
        what = f"'{unknown[0]}'" if words else "these words"
        raise ZS3Error(f"the toy world cannot draw {what}: give a picture of your own with -p image FILE")
    rng, size = _start(seed, STREAM + zlib.crc32(" ".join(words).encode()), index, short_side)
    label_of = {name: label for label, name in enumerate(names)}
    setting, company = companions(kin(words[0]), rng, more=(0.6, 0.4)[len(words) - 1 :])
    things = [*words, *company[1:]]
    horizon = float(rng.uniform(0.25, 0.65))
    _, above, below = SETTINGS[setting]
    ground = Item(0, _mild(_pick(rng, below), 0.5), outline=_band(rng, horizon, 1.02))
    upper = _mild(_pick(rng, above), 0.5)
    scale = {1: 1.4, 2: 1.15}.get(len(things), 1.0) * rng.uniform(0.9, 1.1)
    items = [ground, *_spread(things, [], label_of.__getitem__, size, rng, horizon, scale)]
    image, owner = render_scene(items, size, rng, backdrop=upper)
    owner[owner < 1] = -1
    return image, labels(owner, items, border=BORDER)


def trial(
    run: FinishedRun,
    words: Sequence[str],
    *,
    count: int = 24,
    seed: int = 0,
    method: str = "ours",
    weight: float | None = None,
) -> pd.DataFrame:
    """How well words are segmented that `run` (profile toy) never saw, each added alone, on `count` pictures that show it.

    Returns: one row per word, IoU in percent over all pixels of its pictures:
        "its word vector": the class added by `add_classes`.
        "a random vector": the same, from a random vector as long as the word's. Chance.
        "renamed": no generator; what the run takes for the known class nearest in meaning, renamed ("nearest").
        "known before", "known after": mean IoU, on the same pictures, of the known classes in them, without and with the
        new class; "taken for": the class that most of the word's pixels are given to, with the new class.
    """
    rows, chance = {}, None
    for word in words:
        segmenter = add_classes(run, word, method=method, weight=weight)
        names, new = segmenter.names, len(segmenter.names) - 1
        similarity = torch.cosine_similarity(segmenter.vectors[1:new], segmenter.vectors[new:])
        nearest = 1 + int(similarity.argmax())
        classifiers = {"known": run.heads[method].classifier, "word": segmenter.classifier}
        chance = chance or _chance(run.heads[method], segmenter.vectors[new:], weight or WEIGHT, seed)
        classifiers["chance"] = chance
        confusion = {name: torch.zeros(new + 1, new + 1, dtype=torch.long) for name in classifiers}
        for index in range(count):
            image, labels = picture([word], names, index, seed=seed)
            for name, found in predict(run.model, classifiers, Image.fromarray(image), run.settings).items():
                confusion[name] += confusion_matrix(torch.from_numpy(labels), found.cpu(), new + 1)
        iou = {name: 100 * class_iou(matrix.numpy()) for name, matrix in confusion.items()}
        renamed = confusion["known"].clone()
        renamed[:, [nearest, new]] = renamed[:, [new, nearest]]  # every pixel taken for `nearest` is called by the word
        there = confusion["word"].sum(1)[:new] > 0
        rows[word] = {
            "its word vector": iou["word"][new], "a random vector": iou["chance"][new],
            "renamed": 100 * class_iou(renamed.numpy())[new], "nearest": names[nearest],
            "known before": iou["known"][:new][there].mean(), "known after": iou["word"][:new][there].mean(),
            "taken for": names[int(confusion["word"][new].argmax())],
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("word")


def _chance(head: Head, vector: Tensor, weight: float, seed: int) -> nn.Linear:
    """A classifier whose new class comes from a random direction as long as `vector`, (1, D)."""
    drawn = torch.randn(vector.shape, generator=torch.Generator().manual_seed(seed))
    return fit(head, drawn * (vector.norm() / drawn.norm()), weight=weight)[0]
