"""What to expect of a class added by its name: words that the toy world draws but does not list."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from ..data.augment import validation_input
from ..finished import FinishedRun
from ..method.evaluate import evaluate
from ..method.generator import Head
from ..method.metrics import class_iou
from ..toy.strangers import picture
from .new_classes import WEIGHT, add_classes, fit
from .statistics import cosine_similarity


def trial(
    run: FinishedRun,
    words: Sequence[str],
    *,
    count: int = 24,
    seed: int = 0,
    method: str = "ours",
    weight: float | None = None,
) -> pd.DataFrame:
    """How well words are segmented that a toy run never saw, each alone, on `count` pictures of it.

    Returns: one row per word, IoU in percent over all pixels of its pictures:
        "its word vector": the class added by `add_classes`.
        "a random vector": the same, from a random vector as long as the word's. Chance.
        "renamed": no generator; what the run takes for the known class nearest in meaning,
            "nearest", renamed.
        "known before", "known after": mean IoU, on the same pictures, of the known classes in
            them, without and with the new class; "taken for": the class that most of the word's
            pixels are given to, with the new class.
    """
    rows = {}
    head = run.heads[method]
    chance = None
    for word in words:
        segmenter = add_classes(run, word, method=method, weight=weight)
        names = segmenter.names
        new = len(names) - 1
        cosines = cosine_similarity(segmenter.vectors, names).iloc[new, 1:new]
        if chance is None:
            chance = _chance(head, segmenter.vectors[new:], weight or WEIGHT, seed)
        classifiers = {"known": head.classifier, "word": segmenter.classifier, "chance": chance}
        images = []
        for index in range(count):
            image, labels = picture([word], names, index, seed=seed)
            image = validation_input(Image.fromarray(image), run.settings)
            images.append((image, torch.from_numpy(labels)))
        confusion = evaluate(
            run.model, classifiers, images, classes=len(names), settings=run.settings
        )
        iou = {name: 100 * class_iou(matrix.numpy()) for name, matrix in confusion.items()}
        # Every pixel that is taken for the nearest class is called by the word.
        renamed = confusion["known"].clone()
        renamed[:, new] = renamed[:, names.index(cosines.idxmax())]
        renamed[:, names.index(cosines.idxmax())] = 0
        there = confusion["word"].sum(1)[:new] > 0
        rows[word] = {
            "its word vector": iou["word"][new],
            "a random vector": iou["chance"][new],
            "renamed": 100 * class_iou(renamed.numpy())[new],
            "nearest": cosines.idxmax(),
            "known before": iou["known"][:new][there].mean(),
            "known after": iou["word"][:new][there].mean(),
            "taken for": names[int(confusion["word"][new].argmax())],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("word")


def _chance(head: Head, vector: Tensor, weight: float, seed: int) -> nn.Linear:
    """A classifier whose new class comes from a random direction as long as `vector`, (1, D)."""
    drawn = torch.randn(vector.shape, generator=torch.Generator().manual_seed(seed))
    return fit(head, drawn * (vector.norm() / drawn.norm()), weight=weight)[0]
