"""`make data PROFILE=paper|lite`: real data, ImageNet weights and word vectors, through curl.

What is on disk already is used as it is. Everything else is downloaded, where a broken download
goes on, checked against the published checksum, unpacked, and the archive removed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets import SBDataset
from torchvision.datasets.utils import check_integrity
from torchvision.datasets.voc import DATASET_YEAR_DICT
from torchvision.models import MobileNet_V2_Weights, ResNet101_Weights

from ..errors import ZS3Error
from ..storage import atomic_write, file_hash, unwritable
from .segmentation import SBD_LIST, context_folder, context_list, read_ids, sbd_folder
from .words import class_words, read

CONTEXT_URL = "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz"
SBD_LIST_URL = "http://home.bharathh.info/pubs/codes/SBD/train_noval.txt"  # its author's own
WORDS = "word2vec-google-news-300"
WORDS_MD5 = "a5e5354d40acb95f9ec66d5977d140ef"  # in gensim-data's list.json
WEIGHTS = {
    "paper": ("resnet101", ResNet101_Weights.IMAGENET1K_V1.url, 0.18),
    "lite": ("mobilenet_v2", MobileNet_V2_Weights.IMAGENET1K_V1.url, 0.01),
}
WRITE_ERROR, NO_RANGES = 23, 33  # of curl's exit codes


@dataclass(frozen=True)
class Item:
    """Something to have on disk.

    Attributes:
        urls: where it may be had, tried in order; path: where the download goes; gb: its size.
        ready: whether all of it is there.
        unpack: for an archive, what its members match and where below the data folder each goes.
        md5, sha256: published checksums; of the second its first digits are enough.
    """

    name: str
    urls: tuple[str, ...]
    path: Path
    gb: float
    ready: Callable[[], bool]
    unpack: tuple[str, str] | None = None
    md5: str | None = None
    sha256: str = ""

    def published(self, path: Path) -> bool:
        """Whether a file is the one that is published, as far as its checksum is known."""
        return check_integrity(path, self.md5) and (
            not self.sha256 or file_hash(path).startswith(self.sha256)
        )


def _all_there(lists: Iterable[Path], folders: dict[Path, str]) -> bool:
    """Whether each image that the lists name has a file of some suffix in each folder."""
    try:
        ids = {i for path in lists for i in read_ids(path)}
    except ZS3Error:
        return False
    found = ({file.stem for file in folder.glob(f"*{end}")} for folder, end in folders.items())
    return bool(ids) and all(ids <= names for names in found)


def _voc(root: Path) -> list[Item]:
    """VOC 2012 without its boxes and instance masks, and SBD, which SegmentationClassAug spares."""
    kit = root / "VOCdevkit" / "VOC2012"
    lists = kit / "ImageSets" / "Segmentation"
    sbd = sbd_folder(root) or root / "sbd"
    spared = (lists / "train_aug.txt").is_file
    year = DATASET_YEAR_DICT["2012"]
    return [
        Item(
            name="VOC 2012",
            urls=(year["url"],),
            path=root / "downloads" / year["filename"],
            gb=2.0,
            ready=lambda: _all_there(
                [lists / "train.txt", lists / "val.txt"],
                {kit / "JPEGImages": ".jpg", kit / "SegmentationClass": ".png"},
            ),
            unpack=(
                r"VOCdevkit/VOC2012/(ImageSets/Segmentation|JPEGImages|SegmentationClass)/[^/]+",
                r"\g<0>",
            ),
            md5=year["md5"],
        ),
        Item(
            name="SBD's train_noval.txt",
            urls=(SBDataset.voc_train_url, SBD_LIST_URL),
            path=sbd / SBD_LIST,
            gb=0.0,
            ready=lambda: spared() or (sbd / SBD_LIST).is_file(),
            md5=SBDataset.voc_split_md5,
        ),
        Item(
            name="SBD",
            urls=(SBDataset.url,),
            path=root / "downloads" / SBDataset.filename,
            gb=1.4,
            ready=lambda: (
                spared() or _all_there([sbd / SBD_LIST], {sbd / "img": ".jpg", sbd / "cls": ".mat"})
            ),
            unpack=(r"benchmark_RELEASE/dataset/((img|cls)/[^/]+)", r"sbd/\1"),
            md5=SBDataset.md5,
        ),
    ]


def _context(root: Path) -> list[Item]:
    """VOC 2010's pictures and lists, and Pascal-Context's annotations, which have no checksum."""
    year = DATASET_YEAR_DICT["2010"]

    def has(folder: Path, suffix: str) -> bool:
        return _all_there([context_list(root, part) for part in ("train", "val")], {folder: suffix})

    return [
        Item(
            name="VOC 2010's pictures",
            urls=(year["url"],),
            path=root / "downloads" / year["filename"],
            gb=1.3,
            ready=lambda: has(root / "VOCdevkit" / "VOC2010" / "JPEGImages", ".jpg"),
            unpack=(r"VOCdevkit/VOC2010/(ImageSets/Main|JPEGImages)/[^/]+", r"\g<0>"),
            md5=year["md5"],
        ),
        Item(
            name="Pascal-Context",
            urls=(CONTEXT_URL,),
            path=root / "downloads" / "pascal-context-trainval.tar.gz",
            gb=0.1,
            ready=lambda: has(context_folder(root) / "trainval", ".mat"),
            unpack=(r"(?:.*/)?(?!\._)([^/]+\.mat)", r"context/trainval/\1"),
        ),
    ]


def words_file() -> Path:
    """Where gensim's downloader keeps Google News' vectors: GENSIM_DATA_DIR, or ~/gensim-data."""
    import gensim.downloader

    return Path(gensim.downloader.BASE_DIR) / WORDS / f"{WORDS}.gz"


def catalogue(profile: str, datasets: Iterable[str], root: Path) -> list[Item]:
    """What a profile needs for these datasets below `root`, in the order it is fetched.

    Raises ZS3Error on a profile or dataset that needs no download.
    """
    sources = {"voc": _voc, "context": _context}
    if profile not in WEIGHTS or not set(datasets) <= set(sources):
        raise ZS3Error(
            f"nothing to download for profile {profile}, {' '.join(datasets)}: there are "
            f"{', '.join(WEIGHTS)} of {', '.join(sources)}"
        )
    backbone, url, gb = WEIGHTS[profile]
    weights = root / "weights" / f"{backbone}_imagenet.pth"
    words = words_file()
    excerpt = root / "wordvectors.txt"
    digits = url.rpartition("-")[2].removesuffix(".pth")  # torchvision's names end in a SHA-256
    words_url = (
        f"https://github.com/RaRe-Technologies/gensim-data/releases/download/{WORDS}/{WORDS}.gz"
    )
    return [
        *(item for name in datasets for item in sources[name](root)),
        Item(backbone, (url,), weights, gb, weights.is_file, sha256=digits),
        Item(
            WORDS,
            (words_url,),
            words,
            1.74,
            lambda: words.is_file() or (profile == "lite" and excerpt.is_file()),
            md5=WORDS_MD5,
        ),
    ]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _curl(url: str, part: Path, retries: int) -> None:
    """Fill `part` to its end, as long as every attempt gets further than those before.

    Raises OSError where the server cannot be reached or has no such file.
    """
    command = [
        "curl",
        "-C",
        "-",
        "--retry",
        str(retries),
        "--connect-timeout",
        "20",
        "-L",
        "--fail",
    ]
    command += ["-o", str(part), "--write-out", "%{errormsg}", url]
    furthest = _size(part)
    while True:
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            raise OSError("curl is not installed") from None
        if done.returncode == 0:
            return
        if done.returncode == WRITE_ERROR:
            raise unwritable(part, OSError(done.stdout or "curl cannot write"))
        if done.returncode == NO_RANGES:  # this server sends a file from its beginning only
            part.unlink(missing_ok=True)
        elif _size(part) <= furthest:
            raise OSError(done.stdout.strip() or f"curl ended with {done.returncode}")
        furthest = max(furthest, _size(part))


def fetch(item: Item, url: str, *, retries: int = 3) -> None:
    """Download `item.path` whole and as published; what has come of it so far stays in `.part`.

    Raises OSError where it cannot be had, ZS3Error on a wrong checksum or a disk that is full.
    """
    part = item.path.with_name(f"{item.path.name}.part")
    begun = part.is_file()
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(part.parent, error) from error
    _curl(url, part, retries)
    if begun and not item.published(part):  # what an earlier call left may be of another file
        part.unlink()
        _curl(url, part, retries)
    if not item.published(part):
        part.unlink()
        raise ZS3Error(
            f"{url} sent a file whose checksum is not the published "
            f"{item.md5 or item.sha256}: it was removed, try again later"
        )
    part.replace(item.path)


def unpack(archive: Path, root: Path, members: tuple[str, str]) -> None:
    """Unpack the members of a tar archive that match; files that are there stay as they are.

    Raises ZS3Error where the archive is damaged, or holds a member that points outside of it.
    """
    aside = root / f".{archive.name}.unpacked"  # so that an interruption leaves no half files
    shutil.rmtree(aside, ignore_errors=True)

    def placed(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        member = tarfile.data_filter(member, folder)  # those left out are checked as well
        match = re.fullmatch(members[0], member.name.removeprefix("./"))
        if not match or not member.isfile() or (root / match.expand(members[1])).exists():
            return None
        return member.replace(name=match.expand(members[1]), deep=False)

    try:
        with tarfile.open(archive) as tar:
            tar.extractall(aside, filter=placed)
        for file in [path for path in aside.rglob("*") if path.is_file()]:
            target = root / file.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    except tarfile.FilterError as error:
        raise ZS3Error(
            f"{archive} may not be unpacked ({error}): it is not the published"
        ) from error
    except Exception as error:  # tarfile, gzip and zlib raise many kinds on a damaged archive
        raise ZS3Error(
            f"{archive} cannot be unpacked ({error}): remove it and try again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def get(item: Item, root: Path, *, retries: int = 3) -> None:
    """Fetch an item, unless its file was put there by hand, and put it in place."""
    if item.path.is_file() and not item.published(item.path):
        raise ZS3Error(
            f"{item.path} is not the file of {item.urls[0]} (by its checksum): remove it"
        )
    for url in item.urls:
        if item.path.is_file():
            break
        try:
            fetch(item, url, retries=retries)
        except (OSError, ZS3Error):
            if url == item.urls[-1]:
                raise
    if item.unpack:
        unpack(item.path, root, item.unpack)
        if not item.ready():
            raise ZS3Error(
                f"{item.path} was unpacked, but files of {item.name} are missing: is it as published?"
            )
        item.path.unlink()


def plan(items: list[Item]) -> None:
    """Print what is missing, its size and address; ZS3Error where a disk has not the space."""
    needs: dict[int, tuple[Path, float]] = {}
    for item in items:
        print(f"  {item.name}: {item.gb:.2f} GB to download from {item.urls[0]}", flush=True)
        place = next(folder for folder in item.path.parents if folder.exists())
        come = _size(item.path) + _size(item.path.with_name(f"{item.path.name}.part"))
        more = max(0.0, item.gb - come / 1e9) + (item.gb if item.unpack else 0.0)
        device = place.stat().st_dev
        needs[device] = (place, needs.get(device, (place, 0.0))[1] + more)
    for place, need in needs.values():
        free = shutil.disk_usage(place).free / 1e9
        if free < need:
            raise ZS3Error(
                f"about {need:.1f} GB are needed on the disk of {place} and {free:.1f} GB are free"
            )


def main(profile: str, datasets: Iterable[str], root: Path, *, only_list: bool = False) -> None:
    """Download what a profile needs; with `only_list` just say what is missing.

    Raises ZS3Error, after everything that can be had is there, with one line that names each
    missing file, its address and where to put it; at once where the disk has not the space.
    """
    root = Path(root)
    missing = [item for item in catalogue(profile, list(datasets), root) if not item.ready()]
    print("Missing:" if missing else "Everything is there.")
    plan(missing)
    failures = []
    for item in () if only_list else missing:
        if item.ready():  # with what came before it
            continue
        try:
            # Without a network one server is not waited for as long as the next.
            get(item, root, retries=0 if failures else 3)
        except OSError as error:
            failures.append(f"{item.urls[0]} -> {item.path} ({error})")
        except ZS3Error as error:
            failures.append(str(error))
    if failures:
        raise ZS3Error(
            f"{len(failures)} of {len(missing)} could not be had; put the files by hand where the "
            f"arrows point, then run this again: {'; '.join(failures)}"
        )
    excerpt = root / "wordvectors.txt"
    if profile == "lite" and not only_list and not excerpt.is_file():
        vectors = read(words_file(), words=class_words())
        with atomic_write(excerpt) as file:
            vectors.save_word2vec_format(file.fileno())
    print(f"Data: {root}")
