"""What to expect of a class added by its name: words that the toy world draws but does not list."""

from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image

from ..data.augment import validation_input
from ..errors import ZS3Error
from ..method.features import predict
from ..method.metrics import class_iou, confusion_matrix
from ..runs.finished import FinishedRun
from ..toy.attributes import EXTRA
from ..toy.scenes import stranger
from .new_classes import WEIGHT, Segmenter, add_classes, fit
from .statistics import cosine_similarity


def trial(
    run: FinishedRun,
    words: Sequence[str],
    *,
    count: int,
    method: str = "ours",
    weight: float | None = None,
) -> pd.DataFrame:
    """How well words are segmented that a toy run never saw, each alone, on `count` pictures of it.

    Returns: one row per word, IoU in percent over all pixels of its pictures:
        "its word vector": the class added by `add_classes`.
        "a random vector": the same, from a random vector as long as a word's. Chance.
        "renamed": no generator; what the run takes for the known class nearest in meaning,
            "nearest", renamed.
        "known before", "known after": mean IoU, on the same pictures, of the known classes in
            them, without and with the new class; "taken for": the class that most of the word's
            pixels are given to, with the new class.

    Raises ZS3Error without a word.
    """
    if not words:
        raise ZS3Error(f"no word to try that the toy world can draw, such as {', '.join(EXTRA)}")
    head = run.heads[method]
    drawn = torch.randn(1, head.words.shape[1], generator=torch.Generator().manual_seed(0))
    random = drawn * head.words.norm(dim=1).mean().cpu() / drawn.norm()
    chance, _ = fit(head, random, weight=weight or WEIGHT)
    rows = {}
    for word in words:
        segmenter = add_classes(run, word, method=method, weight=weight)
        by = {"known": head.classifier, "word": segmenter.classifier, "chance": chance}
        confusion = dict.fromkeys(by, 0)
        for index in range(count):
            image, labels = stranger([word], segmenter.names, index)
            inputs = validation_input(Image.fromarray(image), run.settings)
            found = predict(run.model, by, inputs, labels.shape, run.settings)
            for name, answer in found.items():
                maps = (torch.from_numpy(labels), answer.cpu())
                confusion[name] += confusion_matrix(*maps, len(segmenter.names)).numpy()
        rows[word] = _scores(segmenter, confusion)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("word")


def _scores(segmenter: Segmenter, confusion: dict) -> dict:
    """A row of `trial` from each classifier's confusion matrix, (C, C) with the new class."""
    names = segmenter.names
    new = len(names) - 1
    cosines = cosine_similarity(segmenter.vectors, names).iloc[new, :new]
    nearest = names.index(cosines.drop("background", errors="ignore").idxmax())
    renamed = confusion["known"].copy()
    renamed[:, [nearest, new]] = renamed[:, [new, nearest]]  # its pixels are called by the word
    iou = {name: 100 * class_iou(matrix) for name, matrix in confusion.items()}
    there = confusion["word"][:new].any(1)
    return {
        "its word vector": iou["word"][new],
        "a random vector": iou["chance"][new],
        "renamed": 100 * class_iou(renamed)[new],
        "nearest": names[nearest],
        "known before": iou["known"][:new][there].mean(),
        "known after": iou["word"][:new][there].mean(),
        "taken for": names[confusion["word"][new].argmax()],
    }
