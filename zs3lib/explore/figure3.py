"""Fig. 3: validation images beside their ground truth and what ZS3Net and Ours see in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..classes import Split
from ..errors import ZS3Error
from ..method.methods import SELF_TRAINED, title
from ..runs.finished import open_run
from ..settings import names_of

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
    wanted = visible[:, list(parts.unseen)]
    if not wanted.any():
        wanted = visible
    shown = {i: set(np.flatnonzero(row)) for i, row in enumerate(wanted) if row.any()}
    both = visible[:, list(parts.seen_objects)].any(1)
    chosen: list[int] = []
    left: set[int] = set()
    while shown and len(chosen) < count:
        if not any(classes & left for classes in shown.values()):
            left = set(np.flatnonzero(wanted.any(0)))
        new = {i: len(classes & left) for i, classes in shown.items()}
        chosen.append(max(new, key=lambda i: (new[i] > 0 and both[i], new[i])))
        left = left - shown.pop(chosen[-1])
    return chosen


def examples(
    run_folder: Path,
    *,
    images: str | None = None,
    count: int = 6,
    models: str | Sequence[str] = SHOWN,
    data_root: str | None = None,
    device: str | None = None,
) -> tuple[list[dict], Split]:
    """Rows for `plots.qualitative` from a finished run `runs/<profile>/<dataset>-k<K>-s<seed>`.

    Arguments:
        images: ids of validation images, comma-separated; None: `count` by the rule of `choose`.
        models: the run's methods to show, listed or comma-separated; "zs3net+self_training" too.
        data_root, device: in place of those of the run's record.

    Returns: for each image "id", "Input" (H, W, 3) uint8, and label maps "Ground truth" and, under
    its title, each model's, (H, W) uint8; and the run's split.

    Raises ZS3Error naming the file that is missing, and the command that makes it.
    """
    models = [name for part in names_of(models) for name in part.split()] or SHOWN
    methods = [name.removesuffix(SELF_TRAINED) for name in models]
    run = open_run(run_folder, methods=methods, data_root=data_root, device=device)
    data = run.open_data("val")
    if images:
        # papermill reads 2007_0033 as the number 20070033
        position = {name.replace("_", ""): i for i, name in enumerate(data.ids)}
        asked = str(images).replace(",", " ").replace("_", "").split()
        if unknown := [name for name in asked if name not in position]:
            raise ZS3Error(f"no validation image '{unknown[0]}': ids look like {data.ids[0]}")
        wanted = [position[name] for name in asked]
    else:
        wanted = choose(data.pixel_counts(), run.split, count)
    rows = []
    for i in wanted:
        image, labels = data.load(i)
        row = {"id": data.ids[i], "Input": np.asarray(image), "Ground truth": labels}
        found = run.predict(image, models)
        rows.append(row | {title(name): found[name] for name in models})
    return rows, run.split


def present(rows: Sequence[dict], parts: Split) -> pd.DataFrame:
    """The classes in the ground truth of each image: columns "unseen" and "seen"."""
    table = pd.DataFrame(index=pd.Index([row["id"] for row in rows], name="image"))
    for kind, classes in {"unseen": parts.unseen, "seen": parts.seen}.items():
        shown = [np.intersect1d(row["Ground truth"], classes) for row in rows]
        table[kind] = [", ".join(parts.names[c] for c in found) for found in shown]
    return table
