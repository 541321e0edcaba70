"""Fig. 3: validation images beside their ground truth and what ZS3Net and Ours see in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..classes import Split
from ..data.segmentation import SegmentationData
from ..errors import ZS3Error
from ..finished import open_run
from ..method.methods import METHODS
from .statistics import pixel_counts

SHOWN = ("zs3net", "ours")
VISIBLE = 0.03  # share of an image's pixels from which on a class counts as shown


def choose(counts: np.ndarray, parts: Split, count: int) -> list[int]:
    """Indices of `count` images by a rule that looks at the labels alone, never at a prediction.

    Each in turn shows an unseen class not shown so far: preferably a seen one besides background
    too, then as many such unseen ones as possible, then the first. Once all have been shown, the
    count starts anew. Where no image shows an unseen class, seen ones take their place.
    `counts` as of `pixel_counts`; a class is shown from VISIBLE of an image's pixels on.
    """
    visible = counts[:, :-1] >= VISIBLE * counts.sum(1, keepdims=True)
    unseen = visible[:, list(parts.unseen)]
    if not unseen.any():
        unseen = visible
    both = visible[:, [c for c in parts.seen if c]].any(1)
    chosen: list[int] = []
    left = unseen.any(0)
    while len(chosen) < min(count, int(unseen.any(1).sum())):
        unused = ~np.isin(np.arange(len(counts)), chosen)
        if not (unseen & left)[unused].any():
            left = unseen.any(0)
        new = (unseen & left).sum(1) * unused
        chosen.append(int(np.argmax(new + len(left) * both * (new > 0))))
        left = left & ~unseen[chosen[-1]]
    return chosen


def examples(
    run_folder: Path,
    *,
    images: str | Sequence[str] | None = None,
    count: int = 6,
    data_root: str | None = None,
    device: str | None = None,
) -> tuple[list[dict], Split]:
    """Rows for `plots.qualitative` from a finished run `runs/<profile>/<dataset>-k<K>-s<seed>`.

    Arguments:
        images: ids of validation images, comma-separated or listed; None: `count` images by the
            rule of `choose`.
        data_root, device: in place of those of the run's record.

    Returns: for each image "id", "Input" (H, W, 3) uint8, and label maps "Ground truth", "ZS3Net",
    "Ours" (H, W) uint8; and the run's split.

    Raises ZS3Error naming the file that is missing, and the command that makes it.
    """
    run = open_run(run_folder, methods=SHOWN, data_root=data_root, device=device)
    data = run.open_data("val")
    wanted = _indices(data, images) if images else choose(pixel_counts(data), run.split, count)
    rows = []
    for i in wanted:
        image, labels = data.load(i)
        found = {METHODS[name].title: p for name, p in run.predict(image, SHOWN).items()}
        row = {"id": data.ids[i], "Input": np.asarray(image), "Ground truth": labels}
        rows.append(row | found)
    return rows, run.split


def _indices(data: SegmentationData, images: str | Sequence[str]) -> list[int]:
    listed = images.replace(",", " ").split() if isinstance(images, str) else np.atleast_1d(images)
    # papermill reads 2007_0033 as the number 20070033
    position = {known.replace("_", ""): i for i, known in enumerate(data.ids)}
    asked = [str(image) for image in listed]
    if unknown := [image for image in asked if image.replace("_", "") not in position]:
        raise ZS3Error(f"no validation image '{unknown[0]}': ids look like {data.ids[0]}")
    return [position[image.replace("_", "")] for image in asked]


def present(rows: Sequence[dict], parts: Split) -> pd.DataFrame:
    """The classes in the ground truth of each image: columns "unseen" and "seen"."""

    def named(classes: Sequence[int]) -> list[str]:
        found = [[c for c in classes if (row["Ground truth"] == c).any()] for row in rows]
        return [", ".join(parts.names[c] for c in listed) for listed in found]

    ids = pd.Index([row["id"] for row in rows], name="image")
    return pd.DataFrame({"unseen": named(parts.unseen), "seen": named(parts.seen)}, ids)


def accuracy(rows: Sequence[dict], parts: Split) -> pd.DataFrame:
    """Percent of these images' seen and unseen pixels, without void, that each model gets right."""
    titles = [METHODS[name].title for name in SHOWN]
    columns = ["Ground truth", *titles]
    pixels = {name: np.concatenate([row[name].ravel() for row in rows]) for name in columns}
    pixels = pd.DataFrame(pixels)
    kinds = dict.fromkeys(parts.seen, "Seen") | dict.fromkeys(parts.unseen, "Unseen")
    right = pixels[titles].eq(pixels["Ground truth"], axis=0)
    return 100 * right.groupby(pixels["Ground truth"].map(kinds)).mean().T
