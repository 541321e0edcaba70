"""Class lists of the two datasets and the paper's seen / unseen splits (Sec. IV-A)."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ZS3Error

VOID = 255  # border and unlabelled pixels: ignored by every loss and metric

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CONTEXT_CLASSES = VOC_CLASSES + (
    "bag", "bed", "bench", "book", "building", "cabinet", "ceiling", "clothes", "computer", "cup", "door", "fence",
    "floor", "flower", "food", "grass", "ground", "keyboard", "light", "mountain", "mouse", "curtain", "platform",
    "sign", "plate", "road", "rock", "shelves", "sidewalk", "sky", "snow", "bedcloth", "track", "tree", "truck",
    "wall", "water", "window", "wood",
)  # fmt: skip
CLASSES = {"voc": VOC_CLASSES, "context": CONTEXT_CLASSES}
DATASETS = tuple(CLASSES)

# The paper's order; K unseen classes are the first K. In the paper's words: cow, motorbike, airplane, sofa, cat, tv,
# train, bottle, chair, potted-plant.
UNSEEN_ORDER = (
    "cow", "motorbike", "aeroplane", "sofa", "cat", "tvmonitor", "train", "bottle", "chair", "pottedplant",
)  # fmt: skip
PAPER_KS = (2, 4, 6, 8, 10)


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


def split(dataset: str, k: int) -> Split:
    """The split of `dataset` ("voc" or "context") with the first `k` (1..10) unseen classes.

    Raises ZS3Error on an unknown dataset or K out of range.
    """
    if dataset not in CLASSES:
        raise ZS3Error(f"unknown dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= len(UNSEEN_ORDER):
        raise ZS3Error(f"k is {k!r}: K must be a whole number from 1 to 10 (the paper's are 2, 4, 6, 8, 10)")
    names = CLASSES[dataset]
    unseen = tuple(names.index(name) for name in UNSEEN_ORDER[:k])
    seen = tuple(i for i in range(len(names)) if i not in unseen)
    return Split(dataset, k, names, seen, unseen)
