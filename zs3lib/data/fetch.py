"""Files over HTTP that survive a broken connection, and archives unpacked without trusting them.

torchvision and gensim know where data lies and its checksums, but start a broken download of gigabytes anew.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from tqdm.auto import tqdm

from ..errors import ZS3Error

BLOCK = 1 << 18
DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)  # waiting does not help with these


def digest(path: Path, kind: str) -> str:
    """The hexadecimal "md5" or "sha256" of a file."""
    result = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            result.update(block)
    return result.hexdigest()


def matches(path: Path, md5: str = "", sha256: str = "") -> bool:
    """Whether a file has the published MD5, and a SHA-256 that begins as given; an empty one is not checked."""
    return (not md5 or digest(path, "md5") == md5) and (not sha256 or digest(path, "sha256").startswith(sha256))


def fetch(
    url: str, path: Path, *, md5: str = "", sha256: str = "", tries: int = 5, wait: float = 1.0, timeout: float = 20
) -> Path:
    """Download `url` to `path`, which appears whole and checked or not at all; a file that is there is used as it is.

    What has come so far stays in `<path>.part`, from where another attempt, or another day's call, goes on.

    Arguments:
        md5, sha256: published checksums, the second possibly its first digits alone; "" where none is published.
        tries: how often in a row an attempt may bring nothing new before OSError is raised; at most twice where the server
            has sent nothing yet.
        wait, timeout: seconds before the next attempt (doubled each time), and for an answer.

    Raises OSError (URLError, HTTPError among them) when the server cannot be reached, ZS3Error on a wrong checksum.
    """
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    whole = _attempts(url, part, tries, wait, timeout)
    if not matches(part, md5, sha256) and not whole:  # what an earlier call had left may be of another file
        part.unlink()
        _attempts(url, part, tries, wait, timeout)
    if not matches(part, md5, sha256):
        kind, published = ("md5", md5) if md5 else ("sha256", sha256)
        found = digest(part, kind)
        part.unlink()
        raise ZS3Error(
            f"{url} sent a file whose {kind} is {found}, published is {published}: it was removed, try again later"
        )
    os.replace(part, path)
    return path


def _attempts(url: str, part: Path, tries: int, wait: float, timeout: float) -> bool:
    """Fill `part` to the end. Returns whether all of it came in this call, from one start."""
    begun = part.stat().st_size if part.is_file() else 0
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _once(url, part, before, timeout):
                return begun == 0
            problem: OSError = ConnectionError(f"{url}: the connection was closed early")
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK:
                raise ZS3Error(
                    f"{part} cannot be written ({error.strerror}): free space there or choose another folder"
                ) from error
            problem = error if isinstance(error, OSError) else ConnectionError(f"{url}: {error!r}")
        failures = 0 if part.is_file() and part.stat().st_size > before else failures + 1
        if failures >= (tries if part.is_file() else min(tries, 2)):
            raise problem
        time.sleep(wait * 2 ** max(0, failures - 1))


def _once(url: str, part: Path, start: int, timeout: float) -> bool:
    """One request, from byte `start` where the server can; True when the file is complete."""
    headers = {"User-Agent": "zs3lib"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{start}"):  # all of it was there already
            return True
        part.unlink()  # more than the file has: not this file
        return False
    with response:
        if start and not (response.status == 206 and f"bytes {start}-" in response.headers.get("Content-Range", "")):
            start = 0  # the server sends it from its beginning
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(total=total, initial=start, desc=part.stem, unit="B", unit_scale=True) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    return total is None or part.stat().st_size >= total


def extract(archive: Path, root: Path, place: Callable[[str], str | None]) -> int:
    """Unpack a tar archive below `root`; files that are there already are left as they are.

    Arguments:
        place: the path below `root` for a member's name, or None to leave the member out.

    Returns: the number of files put in place. It can be interrupted at any moment and called again.

    Raises ZS3Error when the archive is damaged, or holds a member that points outside of it ("..", a link) or is a device.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ZS3Error("this Python cannot unpack archives safely: take 3.10.12, 3.11.4, 3.12 or newer")
    aside, count = root / f".{archive.name}.unpacked", 0
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tqdm(tar, desc=f"unpacking {archive.name}", unit="file"):
                member = tarfile.data_filter(member, str(aside))  # those left out are checked as well
                target = place(member.name.removeprefix("./")) if member.isfile() else None
                if target is None or (root / target).exists():
                    continue
                tar.extract(member, aside, filter="data")
                (root / target).parent.mkdir(parents=True, exist_ok=True)
                os.replace(aside / member.name, root / target)
                count += 1
    except tarfile.FilterError as error:
        raise ZS3Error(
            f"{archive} holds a member that may not be unpacked ({error}): it is not the published archive"
        ) from error
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise ZS3Error(f"{archive} cannot be unpacked ({error}): remove it, so that it is downloaded again") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count
