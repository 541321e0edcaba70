"""Fig. 3: validation images beside their ground truth and what ZS3Net and Ours see in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .classes import Split
from .data import SegmentationData
from .errors import ZS3Error
from .evaluate import predict
from .finished import open_run
from .records import MODELS
from .statistics import pixel_counts

METHODS = ("zs3net", "ours")
VISIBLE = 0.03  # share of an image's pixels from which on a class counts as shown


def shares(data: SegmentationData) -> np.ndarray:
    """Share of the pixels of each image that each class has, (len(data), classes), from the label maps."""
    counts = pixel_counts(data)
    return counts[:, :-1] / counts.sum(1, keepdims=True)


def choose(shown: np.ndarray, parts: Split, count: int) -> list[int]:
    """Indices of `count` images by a rule that looks at the labels alone, never at a prediction.

    Each in turn shows an unseen class not shown so far: preferably a seen one besides background too, then as many such
    unseen ones as possible, then the first. Once all have been shown, the count starts anew.
    `shown` are pixel shares (images, classes), as `shares` returns them; a class counts from VISIBLE on.
    """
    unseen = shown[:, list(parts.unseen)] >= VISIBLE
    both = (shown[:, [c for c in parts.seen if c]] >= VISIBLE).any(1)
    chosen, left = [], unseen.any(0)
    while len(chosen) < min(count, int(unseen.any(1).sum())):
        unused = ~np.isin(np.arange(len(shown)), chosen)
        if not (unseen & left)[unused].any():
            left = unseen.any(0)
        new = (unseen & left).sum(1) * unused
        chosen.append(int(np.argmax(new + len(left) * both * (new > 0))))
        left = left & ~unseen[chosen[-1]]
    return chosen


def examples(
    run_folder: Path, *, images: str | Sequence[str] | None = None, count: int = 6,
    data_root: str | None = None, device: str | None = None,
) -> tuple[list[dict], Split]:  # fmt: skip
    """Rows for `plots.qualitative` from a finished run in `runs/<profile>/<dataset>-k<K>-s<seed>`, and its split.

    Arguments:
        images: ids of validation images, comma-separated or listed; None: `count` images by the rule of `choose`.
        data_root, device: in place of those of the run's record.

    Returns: for each image "id", "Input" (H, W, 3) uint8, and label maps "Ground truth", "ZS3Net", "Ours" (H, W) uint8.

    Raises ZS3Error naming the file that is missing, and the command that makes it.
    """
    run = open_run(run_folder, methods=METHODS, data_root=data_root, device=device)
    data, parts = run.open_data("val"), run.split
    indices = choose(shares(data), parts, count) if not images else _indices(data, images)
    classifiers = {MODELS[method]: run.heads[method].classifier for method in METHODS}
    rows = []
    for i in indices:
        image, labels = data.load(i)
        found = {title: p.cpu().numpy() for title, p in predict(run.model, classifiers, image, run.settings).items()}
        rows.append({"id": data.ids[i], "Input": np.asarray(image), "Ground truth": labels} | found)
    return rows, parts


def _indices(data: SegmentationData, images: str | Sequence[str]) -> list[int]:
    listed = images.replace(",", " ").split() if isinstance(images, str) else np.atleast_1d(images).tolist()
    position = {known.replace("_", ""): i for i, known in enumerate(data.ids)}  # papermill reads 2007_0033 as 20070033
    if unknown := [image for image in listed if str(image).replace("_", "") not in position]:
        raise ZS3Error(f"no validation image {unknown[0]!r}: ids look like {data.ids[0]}")
    return [position[str(image).replace("_", "")] for image in listed]
