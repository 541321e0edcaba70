"""Where things lie: the checkout this package was installed from, or the current folder."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import ZS3Error

_package = Path(__file__).resolve().parent
ROOT = _package.parent if (_package.parent / "pyproject.toml").exists() else Path.cwd()
DATA = ROOT / "data"
RUNS = ROOT / "runs"
CACHE = ROOT / "cache"
TABLES = ROOT / "tables"
FIGURES = ROOT / "figures"


def run_name(dataset: str, k: int, seed: int, *, protocol: str = "paper", holdout: float = 0.0) -> str:
    """A run's folder below runs/<profile>/: "voc-k10-s0", with "-strict" and "-holdout" where it is such a run."""
    return f"{dataset}-k{k}-s{seed}" + "-strict" * (protocol == "strict") + "-holdout" * bool(holdout)


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under `path` whole or not at all (temporary file, fsync, rename).

    Raises ZS3Error, naming the file, where it cannot be written: no space, no permission, a file in a folder's place.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide results from the user's own group
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise ZS3Error(f"{path} cannot be written ({reason}): free space there or choose another folder") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work in `folder` alone: another process that wants to waits, and says so. A lock ends with its process, however it ends.

    What a killed process left half-written there is removed first. Raises ZS3Error where the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder.with_name(f".{folder.name}.lock"), "w")
    except OSError as error:
        reason = error.strerror or error
        raise ZS3Error(f"{folder} cannot be written ({reason}): free space there or choose another folder") from error
    with file:
        _lock(file, folder)
        for half in folder.rglob(".*.tmp"):
            half.unlink(missing_ok=True)
        yield


def _lock(file: IO[Any], folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another process is at work in {folder}: waiting for it", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a power cut, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (no NaN) atomically; raises ValueError on a number that is not finite."""
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")


def write_texts(folder: Path | str, texts: Mapping[str, str]) -> list[Path]:
    """Write {file name: UTF-8 text} into `folder`, each file atomically and in order; returns the paths."""
    for name, text in texts.items():
        with atomic_write(Path(folder, name)) as file:
            file.write(text.encode())
    return [Path(folder, name) for name in texts]


def plain_name(value: object, what: str) -> str:
    """`value` as one plain part of a path; raises ZS3Error on separators, "..", an empty name or anything but text."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) or ".." in value:
        raise ZS3Error(f"{what} is {value!r}: a name has only letters, digits, '_', '-' and '.'")
    return value


def inside(folder: Path, relative: object, source: Path) -> Path:
    """The file that `source` names by its path below `folder`; raises ZS3Error where it would lie outside."""
    path = Path(folder, relative) if isinstance(relative, str) else Path()
    if not path.resolve().is_relative_to(Path(folder).resolve()) or not isinstance(relative, str):
        raise ZS3Error(f"{source} names the file {relative!r}, which is not below {folder}: do not use this file")
    return path
