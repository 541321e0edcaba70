"""What a dataset holds and what K unseen classes take from it, counted from the label maps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..classes import DATASETS, PAPER_KS, Split, split


def _ks(dataset: str, unseen_list: str) -> list[int]:
    """The paper's K that a list of unseen classes has; a later paper's split has its one."""
    most = len(DATASETS[dataset].lists[unseen_list])
    return [most] if unseen_list in DATASETS[dataset].splits else [k for k in PAPER_KS if k <= most]


def unseen_from(dataset: str, unseen_list: str = "paper") -> pd.Series:
    """The smallest of a list's K at which each class is unseen; 0 for one that never is."""
    ks = pd.Series(0, DATASETS[dataset].classes, name="unseen from K")
    for k in reversed(_ks(dataset, unseen_list)):
        ks[list(DATASETS[dataset].lists[unseen_list][:k])] = k
    return ks


def class_frequency(counts: np.ndarray, dataset: str, unseen_list: str = "paper") -> pd.DataFrame:
    """By class, of `pixel_counts`: images with it, its shares of images and of pixels (percent)."""
    known = counts[:, :-1]
    frame = pd.DataFrame({"images": (known > 0).sum(0)}, list(DATASETS[dataset].classes))
    frame["images (%)"] = 100 * frame["images"] / len(counts)
    frame["pixels (%)"] = 100 * known.sum(0) / known.sum()
    return frame.join(unseen_from(dataset, unseen_list)).rename_axis("class")


def left_for_stage1(
    counts: np.ndarray, dataset: str, unseen_list: str = "paper"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What stage 1 may learn from at each K: the images without any pixel of an unseen class.

    Returns: one row per K with images and labelled pixels (millions), in numbers and as percent of
    all, and of all labelled pixels besides background the unseen classes' share and the share that
    is left; and the images left that hold each class, (C, K), NaN where the class is unseen.
    """
    known = counts[:, :-1]
    rows = {}
    per_class = {}
    for k in _ks(dataset, unseen_list):
        parts = split(dataset, k, unseen_list)
        objects = known[:, [*parts.seen_objects, *parts.unseen]].sum(1)
        hidden = known[:, list(parts.unseen)].sum(1)
        left = known[hidden == 0]
        rows[k] = {
            "images": len(left),
            "images (%)": 100 * len(left) / len(known),
            "pixels (millions)": left.sum() / 1e6,
            "pixels (%)": 100 * left.sum() / known.sum(),
            "object pixels unseen (%)": 100 * hidden.sum() / objects.sum(),
            "object pixels left (%)": 100 * objects[hidden == 0].sum() / objects.sum(),
        }
        per_class[k] = pd.Series((left > 0).sum(0), parts.names, dtype=float)
        per_class[k][list(parts.unseen_names)] = np.nan
    return pd.DataFrame(rows).T.rename_axis("K"), pd.DataFrame(per_class).rename_axis("K", axis=1)


def cosine_similarity(vectors, names: Sequence[str]) -> pd.DataFrame:
    """Cosines of the classes' word vectors, (C, D) -> (C, C)."""
    unit = np.asarray(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    return pd.DataFrame(unit @ unit.T, list(names), list(names))


def nearest_seen(similarity: pd.DataFrame, parts: Split) -> pd.DataFrame:
    """For each unseen class the "nearest" seen word besides background, by cosine "similarity"."""
    seen = [parts.names[c] for c in parts.seen_objects]
    near = similarity.loc[list(parts.unseen_names), seen]
    return pd.DataFrame({"nearest": near.idxmax(axis=1), "similarity": near.max(axis=1)})
