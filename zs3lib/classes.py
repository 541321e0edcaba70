"""The datasets: their classes, which K are unseen, and the paper's tau and gamma (Sec. IV-A).

A dataset is one entry of `DATASETS` and one reader (`data/segmentation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ZS3Error

if TYPE_CHECKING:
    import numpy as np

VOID = 255
PAPER_KS = (2, 4, 6, 8, 10)

VOC_CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor".split()
)
CONTEXT_CLASSES = (
    *VOC_CLASSES,
    *"bag bed bench book building cabinet ceiling clothes computer cup door fence floor flower "
    "food grass ground keyboard light mountain mouse curtain platform sign plate road rock shelves "
    "sidewalk sky snow bedcloth track tree truck wall water window wood".split(),
)
# The list of Pascal-Context's 459 labels names three of the 59 classes differently.
CONTEXT_LABEL_OF = {"diningtable": "table", "clothes": "cloth", "bedcloth": "bedclothes"}

# In the paper's words: cow, motorbike, airplane, sofa, cat, tv, train, bottle, chair, potted-plant.
PAPER_UNSEEN = tuple(
    "cow motorbike aeroplane sofa cat tvmonitor train bottle chair pottedplant".split()
)
# ZS3Net's list for Context; the first two are the paper's as well.
ZS3NET_CONTEXT_UNSEEN = tuple(
    "cow motorbike sofa cat boat fence bird tvmonitor aeroplane keyboard".split()
)


def voc_palette() -> np.ndarray:
    """The official Pascal VOC colour map, (256, 3) uint8: a label's bits, spread over R, G, B."""
    import numpy as np  # not at the top: a command's parameters are checked before it is loaded

    labels = np.arange(256)[:, None] >> (3 * np.arange(8))  # (256, 8): three bits per bit plane
    planes = (labels[:, :, None] >> np.arange(3)) & 1  # (256, 8, 3)
    return (planes << np.arange(7, -1, -1)[:, None]).sum(1).astype(np.uint8)


@dataclass(frozen=True)
class Dataset:
    """A dataset as the paper's experiments use it.

    Attributes:
        name: as in settings and file names; title: as in a table's heading.
        classes: class names, label 0 first; background is a class, and a seen one.
        unseen_order: the K unseen classes are its first K.
        other_lists: {name: such an order} of other work, chosen by the setting `unseen_list`.
        tau_gamma: {K: (tau, gamma)}; a K that is not here takes those of the next larger one.
        table: the paper's table of its results, "" for none.
        reader: the class that reads it, "module:Class", called with (root, part).
    """

    name: str
    title: str
    classes: tuple[str, ...]
    reader: str
    unseen_order: tuple[str, ...] = PAPER_UNSEEN
    other_lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tau_gamma: dict[int, tuple[float, float]] = field(default_factory=lambda: {10: (0.85, 1 / 40)})
    table: str = ""


DATASETS: dict[str, Dataset] = {}


def register(dataset: Dataset) -> Dataset:
    """Add a dataset under its name."""
    DATASETS[dataset.name] = dataset
    return dataset


register(
    Dataset(
        name="voc",
        title="Pascal-VOC 2012",
        classes=VOC_CLASSES,
        reader="zs3lib.data.segmentation:VOC",
        tau_gamma={
            2: (0.85, 1 / 40),
            4: (0.7, 1 / 80),
            6: (0.7, 1 / 80),
            8: (0.7, 1 / 80),
            10: (0.85, 1 / 40),
        },
        table="I",
    )
)
register(
    Dataset(
        name="context",
        title="Pascal-Context",
        classes=CONTEXT_CLASSES,
        reader="zs3lib.data.segmentation:Context",
        other_lists={"zs3net": ZS3NET_CONTEXT_UNSEEN},
        tau_gamma={
            2: (0.85, 1 / 160),
            4: (0.7, 1 / 160),
            6: (0.85, 1 / 80),
            8: (0.85, 1 / 80),
            10: (0.7, 1 / 160),
        },
        table="II",
    )
)


@dataclass(frozen=True)
class Split:
    """Seen and unseen class indices of one (dataset, K); background is a seen class."""

    dataset: str
    k: int
    names: tuple[str, ...]
    seen: tuple[int, ...]
    unseen: tuple[int, ...]

    @property
    def unseen_names(self) -> tuple[str, ...]:
        return tuple(self.names[i] for i in self.unseen)


def split(dataset: str, k: int, unseen_list: str = "paper") -> Split:
    """The split of a dataset with the first `k` unseen classes of a list.

    Raises ZS3Error on an unknown dataset or list, or a K out of range.
    """
    if dataset not in DATASETS:
        raise ZS3Error(f"unknown dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    entry = DATASETS[dataset]
    lists = {"paper": entry.unseen_order} | entry.other_lists
    if unseen_list not in lists:
        raise ZS3Error(
            f"unknown unseen_list '{unseen_list}' of {dataset}: choose one of {', '.join(lists)}"
        )
    order = lists[unseen_list]
    most = len(order)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= most:
        paper = ", ".join(map(str, PAPER_KS))
        raise ZS3Error(
            f"k is {k!r}: K must be a whole number from 1 to {most} (the paper's: {paper})"
        )
    unseen = tuple(entry.classes.index(name) for name in order[:k])
    seen = tuple(i for i in range(len(entry.classes)) if i not in unseen)
    return Split(dataset, k, entry.classes, seen, unseen)


def tau_gamma(dataset: str, k: int) -> tuple[float, float]:
    """The paper's tau and gamma; for a K that the paper lacks those of its next larger K."""
    given = DATASETS[dataset].tau_gamma
    return given[min((paper for paper in given if paper >= k), default=max(given))]
