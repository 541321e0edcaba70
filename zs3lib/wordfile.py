"""A few words out of a large word2vec file, never holding its vectors in memory.

word2vec-google-news-300 is 3.6 GB of vectors, of which a run needs sixty. They are copied out once, byte for byte and without
being parsed, into a small word2vec file of the same kind that gensim then reads.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .paths import atomic_write

LARGE = 50_000_000  # bytes on disk: smaller files gensim reads whole
BLOCK = 1 << 20  # bytes read at a time


def open_file(path: Path) -> BinaryIO:
    """The file's content, unpacked where it is gzipped (by its first bytes, whatever its name)."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else open(path, "rb")


def _header(file: BinaryIO) -> tuple[int, int]:
    """Number of words and dimensions, from the first line. Raises ValueError where it says something else."""
    words, dimensions = file.readline(100).split()
    return int(words), int(dimensions)


def is_binary(path: Path) -> bool:
    """Whether the vectors are stored as float32 rather than as text, told by the first one.

    Gensim's downloader names its binary Google News file `.gz`, without `.bin`. Raises ValueError without a word2vec header.
    """
    with open_file(path) as file:
        _, dimensions = _header(file)
        numbers = file.readline(100 + 40 * dimensions).partition(b" ")[2].strip()
    return not (numbers.isascii() and numbers.decode().isprintable())


def records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """(word, its record as it lies in the file) one after the other, in constant memory.

    Raises EOFError when a binary file ends within a record.
    """
    if not is_binary(path):
        with open_file(path) as file:
            _header(file)
            for line in file:
                yield line.split(b" ", 1)[0], line
        return
    with open_file(path) as file:
        count, dimensions = _header(file)
        size, block, at = 4 * dimensions, b"", 0
        for _ in range(count):
            while (blank := block.find(b" ", at)) < 0 or len(block) < blank + 1 + size:
                more = file.read(BLOCK)
                if not more:
                    raise EOFError(f"it ends before the last of its {count} words")
                block, at = block[at:] + more, 0
            end = blank + 1 + size
            yield block[at:blank].lstrip(b"\n"), block[at:end]
            at = end


def vocabulary(path: Path, limit: int) -> list[str]:
    """The first `limit` words of a file, its most frequent ones."""
    return [word.decode(errors="replace") for word, _ in islice(records(path), limit)]


def excerpt(path: Path, words: set[str], folder: Path, *, limit: int | None = None) -> Path:
    """The word2vec file of those `words` that `path` has, among its first `limit`; made in `folder` at first use.

    Its name changes with the source's place, size and time, with the words and with the limit.
    """
    stat, wanted = path.stat(), {word.encode() for word in words}
    content = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, sorted(words), limit)
    key = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
    binary = is_binary(path)
    small = folder / f"{path.name.partition('.')[0]}-{key}{'.bin' if binary else '.txt'}"
    if small.is_file():
        return small
    found: dict[bytes, bytes] = {}
    for word, record in islice(records(path), limit):
        if word in wanted:
            found.setdefault(word, record)
    with open_file(path) as file:
        _, dimensions = _header(file)
    with atomic_write(small) as out:
        out.write(f"{len(found)} {dimensions}\n".encode())
        out.writelines(found.values())
    return small
