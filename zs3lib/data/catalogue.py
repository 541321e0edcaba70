"""What the paper and lite profiles need: addresses, checksums, sizes, and how to tell that it is on disk already.

Addresses and checksums are torchvision's and gensim's own where they have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT
from torchvision.models import MobileNet_V2_Weights, ResNet101_Weights

from ..errors import ZS3Error
from . import sbd
from .segmentation import VOC

CONTEXT_URL = "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz"  # no checksum is published
SBD_LIST_URL = "http://home.bharathh.info/pubs/codes/SBD/train_noval.txt"  # its author's page; torchvision's is another
WORDS = "word2vec-google-news-300"


@dataclass(frozen=True)
class Item:
    """Something to have on disk.

    Attributes:
        urls: where it may be downloaded from, tried in order.
        file: where the download goes, below the data folder or absolute; an archive is removed once it is unpacked.
        gb: GB to download, and on disk afterwards (about).
        ready: whether it is there in whole, given the data folder.
        place: for an archive, `fetch.extract`'s; None where the file itself is wanted.
        md5, sha256: published checksums; a function is asked when it is needed.
    """

    name: str
    urls: tuple[str, ...]
    file: str
    gb: tuple[float, float]
    ready: Callable[[Path], bool]
    place: Callable[[str], str | None] | None = None
    md5: str | Callable[[], str] = ""
    sha256: str = ""

    def path(self, root: Path) -> Path:
        return root / self.file

    @property
    def checksums(self) -> dict[str, str]:
        return {"md5": self.md5() if callable(self.md5) else self.md5, "sha256": self.sha256}


def _opens(*openers: Callable[[Path], object]) -> Callable[[Path], bool]:
    """Whether data can be opened, which checks that every listed file is there."""

    def ready(root: Path) -> bool:
        try:
            return all(opener(root) is not None for opener in openers)
        except ZS3Error:
            return False

    return ready


def _devkit(year: str, *parts: str) -> Callable[[str], str | None]:
    """Of a VOC archive only these folders: boxes and instance masks stay out."""

    def place(name: str) -> str | None:
        wanted = any(name.startswith(f"VOCdevkit/VOC{year}/{part}/") for part in parts)
        return name if wanted else None

    return place


def _sbd_place(name: str) -> str | None:
    for part in ("img", "cls"):
        if name.startswith(f"benchmark_RELEASE/dataset/{part}/"):
            return f"{sbd.PLACES[0]}/{name.removeprefix('benchmark_RELEASE/dataset/')}"
    return None


def _context_place(name: str) -> str | None:
    """The archive is known by its name alone, so its folders are not relied on."""
    file = name.rpartition("/")[2]
    if file.startswith("._"):
        return None
    return (
        f"context/trainval/{file}" if file.endswith(".mat") else "context/labels.txt" if file == "labels.txt" else None
    )


def _context_ids(root: Path) -> list[str]:
    """Ids of both splits, from context/ or from VOC 2010's own lists; none where neither is there."""
    for folder in (root / "context", root / "VOCdevkit" / "VOC2010" / "ImageSets" / "Main"):
        files = [folder / "train.txt", folder / "val.txt"]
        if all(file.is_file() for file in files):
            return [i for file in files for i in file.read_text().split()]
    return []


def _context_pictures(root: Path) -> bool:
    ids, pictures = _context_ids(root), root / "VOCdevkit" / "VOC2010" / "JPEGImages"
    return bool(ids) and all((pictures / f"{i}.jpg").is_file() for i in ids)


def _annotations(root: Path) -> bool:
    folder = root / "context"
    folder = folder / "full_annotations" if (folder / "full_annotations").is_dir() else folder
    there = {path.stem for path in (folder / "trainval").glob("*.mat")}
    return bool(there) and (folder / "labels.txt").is_file() and there >= set(_context_ids(root))


def _sbd_folder(root: Path) -> Path:
    return next((root / place for place in sbd.PLACES if (root / place / "cls").is_dir()), root / sbd.PLACES[0])


def _augmented(root: Path) -> bool:
    """A devkit that brings SBD's masks as SegmentationClassAug needs no SBD."""
    listed = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train_aug.txt"
    return listed.is_file() and _opens(lambda r: VOC(r, "train"))(root)


def _sbd_ready(root: Path) -> bool:
    folder = _sbd_folder(root)
    masks, listed = {path.stem for path in (folder / "cls").glob("*.mat")}, folder / f"{sbd.SPLIT}.txt"
    ids = listed.read_text().split() if listed.is_file() else masks
    pictures = {path.stem for path in (folder / "img").glob("*.jpg")}
    return _augmented(root) or (bool(ids) and masks >= set(ids) and pictures >= set(ids))


def words_file() -> Path:
    """Where gensim's downloader keeps Google News' vectors (GENSIM_DATA_DIR, or ~/gensim-data)."""
    import gensim.downloader

    return Path(gensim.downloader.BASE_DIR) / WORDS / f"{WORDS}.gz"


def _words() -> Item:
    import gensim.downloader

    def md5() -> str:
        gensim.downloader.logger.disabled = True  # without a network it would print a traceback
        try:
            return gensim.downloader.info(WORDS)["checksum"]
        except ValueError as error:
            raise OSError(f"gensim's list of checksums is not to be had ({error})") from error
        finally:
            gensim.downloader.logger.disabled = False

    url = f"{gensim.downloader.DOWNLOAD_BASE_URL}/{WORDS}/{WORDS}.gz"
    return Item(WORDS, (url,), str(words_file()), (1.74, 1.74), lambda root: words_file().is_file(), md5=md5)


def _weights(backbone: str, url: str, gb: float) -> Item:
    """Weights by torchvision, whose file names end in the first digits of their SHA-256."""
    file = f"weights/{backbone}_imagenet.pth"
    sha256 = url.rpartition("-")[2].removesuffix(".pth")
    return Item(f"{backbone} (ImageNet)", (url,), file, (gb, gb), lambda root: (root / file).is_file(), sha256=sha256)


def catalogue(profile: str, root: Path, datasets: Iterable[str] = ("voc", "context")) -> list[Item]:
    """What a profile needs for these datasets below `root`, in the order it is fetched."""
    items, voc12, voc10 = [], DATASET_YEAR_DICT["2012"], DATASET_YEAR_DICT["2010"]
    if "voc" in datasets:
        both = _opens(lambda r: VOC(r, "train", extras=False), lambda r: VOC(r, "val"))
        kit = _devkit("2012", "ImageSets/Segmentation", "JPEGImages", "SegmentationClass")
        archive, listed = f"downloads/{SBDataset.filename}", _sbd_folder(root) / f"{sbd.SPLIT}.txt"
        items += [
            Item("VOC 2012", (voc12["url"],), f"downloads/{voc12['filename']}", (2.0, 2.0), both, kit, voc12["md5"]),
            Item("SBD's train_noval.txt", (SBDataset.voc_train_url, SBD_LIST_URL), str(listed), (0.0, 0.0),
                 lambda root: _augmented(root) or listed.is_file(), md5=SBDataset.voc_split_md5),
            Item("SBD", (SBDataset.url,), archive, (1.4, 1.4), _sbd_ready, _sbd_place, SBDataset.md5),
        ]  # fmt: skip
    if "context" in datasets:
        kit = _devkit("2010", "ImageSets/Main", "JPEGImages")
        items += [
            Item("VOC 2010's pictures", (voc10["url"],), f"downloads/{voc10['filename']}", (1.3, 1.3), _context_pictures,
                 kit, voc10["md5"]),
            Item("Pascal-Context", (CONTEXT_URL,), "downloads/pascal-context-trainval.tar.gz", (0.03, 0.1), _annotations,
                 _context_place),
        ]  # fmt: skip
    weights = {"paper": ("resnet101", ResNet101_Weights.IMAGENET1K_V1.url, 0.18),
               "lite": ("mobilenet_v2", MobileNet_V2_Weights.IMAGENET1K_V1.url, 0.01)}  # fmt: skip
    return [*items, _weights(*weights[profile]), _words()]
