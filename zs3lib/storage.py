"""Files that are whole or not there: atomic writes, locks, weights; hashes of what made them."""

import ast
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import BaseFileLock, FileLock, Timeout

from .errors import ZS3Error, one_line
from .paths import PACKAGE

SCHEMA = 4  # of run records


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say of what cannot be written what a user can do about it."""
    try:
        yield
    except OSError as error:
        remedy = "free space there or choose another folder"
        raise ZS3Error(f"{path} cannot be written ({error.strerror or error}): {remedy}") from error


@contextmanager
def atomic_write(path: Path | str) -> Iterator[IO[bytes]]:
    """Open a file that appears under `path` whole or not at all; ZS3Error where it cannot."""
    path = Path(path)
    name = {"dir": path.parent, "prefix": f".{path.name}.", "suffix": ".tmp"}
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(delete=False, **name) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)  # not 0600: the user's own group may read results
                os.replace(file.name, path)
            finally:
                Path(file.name).unlink(missing_ok=True)


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Fill a new folder that takes the place of `folder` at the end: no reader meets half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh = Path(scratch, "new")
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(Path(scratch, "old"))  # it moves off: no rename replaces it
        fresh.rename(folder)


def first_free(locks: Mapping[Any, BaseFileLock], busy: str) -> tuple[Any, Any]:
    """The first key whose lock nobody holds, and that lock for `with`.

    Whoever finds all of them held says `busy` once and waits for whichever is free first. A lock
    ends with its process, however that ends.
    """
    while True:
        for key, lock in locks.items():
            with suppress(Timeout):
                return key, lock.acquire(blocking=False)
        if busy:
            print(busy, flush=True)
        busy = ""
        time.sleep(0.05)


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f".{folder.name}.lock"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Work in `folder` alone; what a killed process left half-written there is removed first.

    Machines that share the folder exclude each other where its file system has flock: NFS with
    lockd, Lustre mounted with `-o flock`. Raises ZS3Error where the folder cannot be made.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"another process is at work in {folder}: waiting for it"
        _, held = first_free({folder: _lock(folder)}, busy)
    with held:
        for half in folder.rglob(".*.tmp"):
            half.unlink(missing_ok=True)
        yield


def discard(folder: Path) -> None:
    """Remove a folder, unless another process is at work in it (`locked`): that one will."""
    if folder.is_dir():
        with suppress(Timeout), _lock(folder).acquire(blocking=False):
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (no NaN) atomically; raises ValueError on a number that is not finite."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_texts(path.parent, {path.name: f"{text}\n"})


def write_texts(folder: Path | str, texts: Mapping[str, str]) -> list[Path]:
    """Write {file name: UTF-8 text} into `folder`, each atomically and in order; their paths."""
    for name, text in texts.items():
        with atomic_write(Path(folder, name)) as file:
            file.write(text.encode())
    return [Path(folder, name) for name in texts]


def read_text(path: Path | str) -> str:
    """A text in UTF-8, with or without a byte-order mark; ZS3Error where it is none or missing."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ZS3Error(f"{path} cannot be read ({error.strerror}): add the file") from error
    with suppress(UnicodeDecodeError):
        if b"\0" not in content:  # ASCII saved as UTF-16 without a mark is UTF-8, but not as meant
            return content.decode("utf-8-sig")
    kind = "UTF-16" if b"\0" in content else "in another encoding"
    raise ZS3Error(f"{path} is not UTF-8 text but {kind}: save it as UTF-8")


def save(path: Path, state: dict) -> None:
    """Write tensors and plain values atomically. Raises ZS3Error where it cannot be written."""
    import torch

    with atomic_write(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own words for a full disk do not say so
            raise error.__context__ if isinstance(error.__context__, OSError) else error


def load_weights(path: str | Path, remedy: str = "give one with -p weights <file>") -> dict:
    """Read a file of weights with `weights_only=True`, on the CPU: none can run code.

    Raises ZS3Error when it is missing, damaged, or holds more than tensors and plain values, which
    says what the `remedy` is.
    """
    import numpy as np
    import torch

    if not Path(path).is_file():
        raise ZS3Error(f"weights file {path} not found: {remedy}")
    # ZS3Net's checkpoints carry their best mIoU as a NumPy number, under NumPy's old or new name.
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32")]
    scalar = np.float64(0).__reduce__()[0]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals([np.dtype, *kinds, *names]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise many kinds on a damaged or unsafe file
        problem = f"weights file {path} cannot be read safely ({one_line(error)})"
        raise ZS3Error(f"{problem}: {remedy}") from error


class Checkpoint:
    """The state of a training, read back by a run with the same key: all that it depends on."""

    def __init__(self, path: Path, key: str):
        self.path = path
        self.key = key
        self.resumed = False  # whether a state was read: the time before it is lost

    def load(self) -> dict | None:
        """The saved state; None where there is none, it is another key's, or it is damaged."""
        if not self.path.is_file():
            return None
        try:
            state = load_weights(self.path)
        except ZS3Error:
            damaged = f"{self.path} is damaged and is not used: that stage starts anew"
            warnings.warn(damaged, stacklevel=2)
            return None
        self.resumed = state.get("key") == self.key
        return state if self.resumed else None

    def save(self, state: dict) -> None:
        save(self.path, state | {"key": self.key})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def text_hash(text: str | bytes) -> str:
    """Short hash of a text."""
    content = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(content).hexdigest()[:16]


def file_hash(path: str | Path) -> str:
    """Short hash of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def python_hash(paths: Iterable[Path]) -> str:
    """Hash of Python files without comments, formatting and docstrings: those may be mended."""
    codes = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = ""
        codes.append(ast.unparse(tree))
    return text_hash("\0".join(codes))


def code_hash(*names: str) -> str:
    """`python_hash` of some modules and folders of modules of zs3lib."""
    places = [PACKAGE / name for name in names]
    return python_hash(
        path for place in places for path in sorted(place.rglob("*.py")) or [Path(f"{place}.py")]
    )


def sealed(record: dict) -> dict:
    """A record with its schema and SHA-256: a guard against slips of the hand, not forgery."""
    content = {"schema": SCHEMA} | {k: v for k, v in record.items() if k != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return content | {"checksum": hashlib.sha256(text.encode()).hexdigest()}
