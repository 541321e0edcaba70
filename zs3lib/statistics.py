"""What a dataset holds and what K unseen classes take from it, counted from the label maps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from PIL import Image

from .classes import PAPER_KS, UNSEEN_ORDER, split
from .data import SegmentationData
from .words import load_word_vectors


def pixel_counts(data: SegmentationData) -> np.ndarray:
    """Pixels of each class in each image, (images, classes + 1) int64; the last column is void."""
    counts = np.array([np.bincount(data.load_mask(i).ravel(), minlength=256) for i in range(len(data))])
    return counts[:, [*range(len(data.names)), 255]]


def unseen_from(names: Iterable[str]) -> pd.Series:
    """The smallest K of the paper's at which each class is unseen; 0 for a class that is seen at every K."""
    ks = {name: next(k for k in PAPER_KS if place < k) for place, name in enumerate(UNSEEN_ORDER)}
    return pd.Series({name: ks.get(name, 0) for name in names}, name="unseen from K")


def class_frequency(counts: np.ndarray, names: Iterable[str]) -> pd.DataFrame:
    """Per class: images that hold it, their share of all, and its share of the labelled pixels, in percent.

    `counts` is what `pixel_counts` returns; `attrs["total"]` is the number of images.
    """
    known = counts[:, :-1]
    images, pixels = (known > 0).sum(0), known.sum(0)
    columns = {"images": images, "images (%)": 100 * images / len(counts), "pixels (%)": 100 * pixels / pixels.sum()}
    frame = pd.DataFrame(columns, index=pd.Index(names, name="class")).join(unseen_from(names))
    frame.attrs["total"] = len(counts)
    return frame


def left_for_stage1(
    counts: np.ndarray, dataset: str, ks: Iterable[int] = PAPER_KS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What stage 1 may learn from at each K: the images without any pixel of an unseen class.

    Returns: one row per K with images and labelled pixels (millions), in numbers and as percent of all, and the seen
    classes' and the unseen classes' shares of all labelled pixels besides background; and the images left that hold
    each class, (classes, K), NaN where the class is unseen.
    """
    known, rows, per_class = counts[:, :-1], {}, {}
    objects = known[:, 1:].sum()
    for k in ks:
        parts = split(dataset, k)
        unseen = list(parts.unseen)
        left = known[~(known[:, unseen] > 0).any(1)]
        rows[k] = {
            "images": len(left), "images (%)": 100 * len(left) / len(known),
            "pixels (millions)": left.sum() / 1e6, "pixels (%)": 100 * left.sum() / known.sum(),
            "object pixels seen (%)": 100 * (1 - known[:, unseen].sum() / objects),
            "object pixels unseen (%)": 100 * known[:, unseen].sum() / objects,
            "object pixels left (%)": 100 * left[:, 1:].sum() / objects,
        }  # fmt: skip
        holding = (left > 0).sum(0).astype(float)
        holding[unseen] = np.nan
        per_class[k] = pd.Series(holding, index=parts.names)
    return pd.DataFrame(rows).T.rename_axis("K"), pd.DataFrame(per_class).rename_axis("class").rename_axis("K", axis=1)


def image_sizes(data: SegmentationData) -> pd.DataFrame:
    """Width and height of every image in pixels, and width / height; from the files' headers alone."""
    sizes = []
    for path in data.images:
        with Image.open(path) as image:
            sizes.append(image.size)
    frame = pd.DataFrame(sizes, columns=["width", "height"], index=data.ids)
    return frame.assign(aspect=frame["width"] / frame["height"])


def word_similarity(source: str, names: tuple[str, ...]) -> pd.DataFrame:
    """Cosine similarity of the classes' word vectors, (C, C); `source` as in `words.load_word_vectors`."""
    vectors, _ = load_word_vectors(source, names, norm="unit")
    return pd.DataFrame(vectors @ vectors.T, index=names, columns=names)
