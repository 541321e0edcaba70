"""The datasets: their classes, which K are unseen, and the paper's tau and gamma (Sec. IV-A)."""

from dataclasses import dataclass, field

from .errors import ZS3Error
from .paths import RESOURCES

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


def _labels_in(name: str) -> tuple[str, ...]:
    """The labels of a dataset's own list, by their number from 1 on."""
    lines = (RESOURCES / name).read_text(encoding="utf-8").splitlines()
    return tuple(line.partition(": ")[2] for line in lines)


CONTEXT_LABELS = _labels_in("context_labels_459.txt")
# Eleven of COCO-Stuff's 182 labels have no pixel: 171 are classes.
COCOSTUFF_LABELS = _labels_in("cocostuff_labels.txt")
COCOSTUFF_EMPTY = frozenset(
    "street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, "
    "hair brush".split(", ")
)
COCOSTUFF_CLASSES = tuple(name for name in COCOSTUFF_LABELS if name not in COCOSTUFF_EMPTY)

# In the paper's words: cow, motorbike, airplane, sofa, cat, tv, train, bottle, chair, potted-plant.
PAPER_UNSEEN = tuple(
    "cow motorbike aeroplane sofa cat tvmonitor train bottle chair pottedplant".split()
)
# ZS3Net's list for Context; the first two are the paper's as well.
ZS3NET_CONTEXT_UNSEEN = tuple(
    "cow motorbike sofa cat boat fence bird tvmonitor aeroplane keyboard".split()
)
# The splits of SPNet, which CaGNet and others keep.
VOC_15_5_UNSEEN = tuple("pottedplant sheep sofa train tvmonitor".split())
COCOSTUFF_156_15_UNSEEN = tuple(
    "frisbee skateboard cardboard carrot scissors suitcase giraffe cow road wall-concrete tree "
    "grass river clouds playingfield".split()
)


def voc_palette():
    """The official Pascal VOC colour map, (256, 3) uint8: a label's bits, spread over R, G, B."""
    import numpy as np  # not at the top: a command's parameters are checked before it is loaded

    labels = np.arange(256)[:, None] >> (3 * np.arange(8))  # (256, 8): three bits per bit plane
    planes = (labels[:, :, None] >> np.arange(3)) & 1  # (256, 8, 3)
    return (planes << np.arange(7, -1, -1)[:, None]).sum(1).astype(np.uint8)


@dataclass(frozen=True)
class Dataset:
    """A dataset as the paper's experiments use it."""

    name: str  # as in settings and file names
    title: str  # as in a table's heading
    classes: tuple[str, ...]  # label 0 first; background is a class, and a seen one
    reader: str  # the class that reads it, "module:Class", called with (root, part)
    unseen_order: tuple[str, ...] = PAPER_UNSEEN  # K takes the first K; (): the paper has no such
    # {name: such an order} of other work, chosen by the setting `unseen_list`.
    other_lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # {name: unseen classes} of later papers, chosen likewise; K is how many they are.
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # By K; a K that is not here takes those of the next larger one.
    tau_gamma: dict[int, tuple[float, float]] = field(default_factory=lambda: {10: (0.85, 1 / 40)})
    table: str = ""  # the paper's of its results

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """All that `unseen_list` may name, the default first."""
        own = {"paper": self.unseen_order} if self.unseen_order else {}
        return own | self.other_lists | self.splits


DATASETS: dict[str, Dataset] = {}


def register(dataset: Dataset) -> Dataset:
    """Add a dataset under its name; ZS3Error where its parts do not fit together."""
    for unseen_list in dataset.lists.values():
        if unknown := set(unseen_list).difference(dataset.classes):
            problem = f"'{unknown.pop()}' is unseen, but none of its classes"
            raise ZS3Error(f"dataset {dataset.name}: {problem}")
    if not dataset.tau_gamma:
        raise ZS3Error(f"dataset {dataset.name}: tau_gamma is empty, give the values of one K")
    DATASETS[dataset.name] = dataset
    return dataset


register(
    Dataset(
        name="voc",
        title="Pascal-VOC 2012",
        classes=VOC_CLASSES,
        reader="zs3lib.data.segmentation:VOC",
        splits={"15-5": VOC_15_5_UNSEEN},
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
register(
    Dataset(
        name="cocostuff",
        title="COCO-Stuff",
        classes=COCOSTUFF_CLASSES,
        reader="zs3lib.data.segmentation:CocoStuff",
        unseen_order=(),
        splits={"156-15": COCOSTUFF_156_15_UNSEEN},
    )
)


def in_grid() -> list[str]:
    """The datasets that `make` trains over K: not those of later papers' splits alone."""
    return [name for name, entry in DATASETS.items() if entry.unseen_order]


@dataclass(frozen=True)
class Split:
    """Seen and unseen class indices of one (dataset, K); background, if counted, is seen."""

    dataset: str
    k: int
    names: tuple[str, ...]
    seen: tuple[int, ...]
    unseen: tuple[int, ...]
    unseen_list: str = "paper"

    @property
    def unseen_names(self) -> tuple[str, ...]:
        return tuple(self.names[i] for i in self.unseen)

    @property
    def seen_objects(self) -> tuple[int, ...]:
        """The seen classes besides background."""
        return tuple(i for i in self.seen if self.names[i] != "background")


def split(
    dataset: str, k: int | None = None, unseen_list: str | None = None, background: bool = True
) -> Split:
    """The split of a dataset with the first `k` unseen classes of a list, or all of a split's.

    By default the list is the dataset's first, and K the largest that it has. Without
    `background` it is void, and classes are counted from the next one on. Raises ZS3Error on an
    unknown dataset or list, a K that it has not, or where background is no class anyway.
    """
    if dataset not in DATASETS:
        raise ZS3Error(f"unknown dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    entry = DATASETS[dataset]
    unseen_list = unseen_list or next(iter(entry.lists), "paper")
    if unseen_list not in entry.lists:
        names = ", ".join(entry.lists)
        raise ZS3Error(f"unknown unseen_list '{unseen_list}' of {dataset}: choose one of {names}")
    order = entry.lists[unseen_list]
    most = len(order)
    fitting = range(1, most + 1)
    paper = f" (the paper's: {', '.join(map(str, PAPER_KS))})" if entry.table else ""
    wanted = f"K must be a whole number from 1 to {most}{paper}"
    if unseen_list in entry.splits:
        fitting = [most]
        wanted = f"the split {unseen_list} of {dataset} has K = {most}, no other"
    k = most if k is None else k
    if isinstance(k, bool) or not isinstance(k, int) or k not in fitting:
        raise ZS3Error(f"k is {k!r}: {wanted}")
    if not background and entry.classes[0] != "background":
        raise ZS3Error(f"background is False, but no class of {dataset}: leave it out")
    names = entry.classes if background else entry.classes[1:]
    unseen = tuple(names.index(name) for name in order[:k])
    seen = tuple(i for i in range(len(names)) if i not in unseen)
    return Split(dataset, k, names, seen, unseen, unseen_list)


def tau_gamma(dataset: str, k: int, unseen_list: str = "paper") -> tuple[float, float]:
    """The paper's tau and gamma; of its next larger K for a K that it lacks, of its largest for the
    split of a later paper.
    """
    given = DATASETS[dataset].tau_gamma
    least = max(given) if unseen_list in DATASETS[dataset].splits else k
    return given[min((paper for paper in given if paper >= least), default=max(given))]
