"""Real data, ImageNet weights and word vectors, as `resources/downloads.ini` lists them."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from configparser import ConfigParser, SectionProxy
from functools import partial
from pathlib import Path
from typing import IO
from zipfile import ZipFile

import gensim.downloader
from torchvision.datasets.utils import check_integrity

from ..errors import ZS3Error
from ..paths import RESOURCES
from ..storage import atomic_write, file_hash
from . import words
from .segmentation import sbd_folder

CATALOGUE = RESOURCES / "downloads.ini"
GOOGLE_NEWS = "word2vec-google-news-300"
EXCERPT = "wordvectors.txt"  # of it, where the lite profile looks for word vectors
NO_RANGES = 33  # curl's exit code when the server sends a file from its beginning only


class Item:
    """Something to have on disk, a section of `downloads.ini`."""

    def __init__(self, row: SectionProxy, root: Path):
        self.row = row
        self.root = root
        self.url = row["url"]
        self.path = self._paths("file")[0]  # where the download goes
        self.part = self.path.with_name(f"{self.path.name}.part")  # what has come of it so far

    def _paths(self, key: str) -> list[Path]:
        sbd = sbd_folder(self.root) or self.root / "sbd"
        places = {"sbd": sbd, "gensim": gensim.downloader.BASE_DIR}
        return [self.root / part.format(**places) for part in self.row.get(key, "").split()]

    def ready(self) -> bool:
        """Whether it is there already, and no archive waits to be unpacked."""
        found = any(path.exists() for path in self._paths("have") or [self.path])
        return found and not ("unpack" in self.row and self.path.is_file())

    def get(self, retries: int) -> None:
        """Fetch it, unless its file was put there by hand, and put it in place.

        Raises OSError where it cannot be had, ZS3Error where a file is not the published one.
        """
        file = self.path if self.path.is_file() else self.part
        if file == self.part:
            curl(self.url, self.part, retries)
        digits = self.row.get("sha256", "")
        same = not digits or file_hash(file).startswith(digits)
        if not same or not check_integrity(file, self.row.get("md5")):
            raise ZS3Error(f"{file} is not the file of {self.url} (checksum): remove it")
        file.replace(self.path)
        if "unpack" in self.row:
            unpack(self.path, self.root, *self.row["unpack"].split())
            self.path.unlink()


def catalogue(profile: str, datasets: Iterable[str], root: Path) -> list[Item]:
    """What a profile needs for these datasets below `root`, in the order it is fetched."""
    rows = ConfigParser(interpolation=None)
    rows.read(CATALOGUE)
    needs = {profile, *datasets}
    names = [name for name in rows.sections() if needs & set(rows[name]["for"].split())]
    if profile == "lite" and (root / EXCERPT).is_file():
        names.remove(GOOGLE_NEWS)
    return [Item(rows[name], root) for name in names]


def curl(url: str, part: Path, retries: int) -> None:
    """Fill `part` to its end, as long as each attempt gets further than those before.

    Raises OSError where that fails, or there is no curl.
    """
    if not shutil.which("curl"):
        raise OSError("curl is not installed")
    part.parent.mkdir(parents=True, exist_ok=True)
    command = ["curl", "-C", "-", "--retry", str(retries), "--connect-timeout", "20", "-L"]
    command += ["--fail", "-o", str(part), "--write-out", "%{http_code} %{errormsg}", url]
    part.touch()
    furthest = part.stat().st_size
    while True:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        status, _, reason = done.stdout.strip().partition(" ")
        if done.returncode == 0 or status == "416":  # nothing is left to send
            return
        size = part.stat().st_size
        if done.returncode == NO_RANGES:
            part.write_bytes(b"")
        elif size <= furthest:
            raise OSError(reason)
        furthest = max(furthest, size)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], IO[bytes]]]]:
    """What a tar archive holds, or the files of a zip, as tar describes it, and what opens it."""
    if archive.suffix == ".zip":
        with ZipFile(archive) as pack:
            for member in pack.infolist():
                if not member.is_dir():
                    yield tarfile.TarInfo(member.filename), partial(pack.open, member)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                yield member, partial(tar.extractfile, member)


def unpack(archive: Path, root: Path, pattern: str, place: str) -> None:
    """Unpack a tar or zip archive's members of which `pattern` matches the whole name.

    Each goes to its `place` below `root`; files that are there stay as they are. Raises ZS3Error
    where the archive is damaged, or holds a member that points outside of it.
    """
    try:
        for member, opened in _members(archive):
            name = tarfile.data_filter(member, root).name.removeprefix("./")
            match = re.fullmatch(pattern, name)
            target = root / match.expand(place) if match else root
            if target.exists() or not member.isfile():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            half = target.with_name(f".{target.name}.tmp")  # an interruption leaves no half
            half.write_bytes(opened().read())
            half.replace(target)
    except Exception as error:  # tarfile, zipfile and zlib raise many kinds on a damaged archive
        raise ZS3Error(f"{archive} cannot be unpacked ({error}): remove it, try again") from error


def main(profile: str, datasets: Iterable[str], root: Path, *, only_list: bool = False) -> str:
    """Download what a profile needs, or with `only_list` just list it; says where it is.

    Raises ZS3Error, after everything that can be had is there, with one line that names each
    missing file, its address and where to put it.
    """
    missing = [item for item in catalogue(profile, datasets, root) if not item.ready()]
    print("Missing:" if missing else "Everything is there.")
    for item in missing:
        print(f"  {item.row.name}: {item.row['gb']} GB to download from {item.url}")
    if only_list:
        return "Nothing was downloaded."
    failures = []
    for item in missing:
        if item.ready():  # with what came before it
            continue
        print(f"{item.row.name} ...", flush=True)
        try:  # where one server cannot be reached there may be no network: wait less for the others
            item.get(retries=0 if failures else 3)
        except OSError as error:
            failures.append(f"{item.url} -> {item.path} ({error})")
        except ZS3Error as error:
            failures.append(str(error))
    if failures:
        lost = f"{len(failures)} of {len(missing)} could not be had"
        remedy = "put the files by hand where the arrows point, then run this again"
        raise ZS3Error(f"{lost}; {remedy}: {'; '.join(failures)}")
    if profile == "lite" and not (root / EXCERPT).is_file():
        vectors = words.read(words.locate(GOOGLE_NEWS), words=words.class_words())
        with atomic_write(root / EXCERPT) as file:
            vectors.save_word2vec_format(file.fileno())
    return f"Data: {root}"
