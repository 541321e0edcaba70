"""Word vectors of class names, through gensim's KeyedVectors; of a large file only a few words."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from ..classes import DATASETS
from ..errors import ZS3Error
from ..storage import CACHE, atomic_write, locked, plain_name, text_hash

# Spellings to try, in order, when a class name itself is unknown. A tuple is averaged.
SPELLINGS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "aeroplane": ("airplane",),
    "bedcloth": ("bedclothes", ("bed", "cloth")),
    "clothes": ("cloth", "clothing"),
    "diningtable": ("dining_table", "table", ("dining", "table")),
    "motorbike": ("motorcycle",),
    "pottedplant": ("potted_plant", ("potted", "plant")),
    "tvmonitor": ("television", "tv", ("tv", "monitor")),
}
LARGE = 50_000_000  # bytes on disk: smaller files are read whole


def candidates(name: str) -> list[tuple[str, ...]]:
    """The words whose mean may stand for a class, in the order they are tried.

    "school bus" is looked up also as school_bus, schoolbus and school + bus, "Zebra" as zebra.
    """
    parts = tuple(name.split())
    tried = [name, *SPELLINGS.get(name, ()), "_".join(parts), "".join(parts), parts]
    spellings = [(words,) if isinstance(words, str) else words for words in tried]
    return spellings if name == name.lower() else spellings + candidates(name.lower())


def class_words(*names: str) -> set[str]:
    """Every word that a class of any dataset, or one of these, may need: one excerpt serves all."""
    classes = {*names, *(name for dataset in DATASETS.values() for name in dataset.classes)}
    return {word for name in classes for spelling in candidates(name) for word in spelling}


def locate(source: str) -> Path:
    """The file behind `source`; a model of gensim's downloader is fetched by it if need be."""
    path = Path(source)
    if not path.exists() and path.suffix == "" and "/" not in source:
        path = _downloaded(plain_name(source, "word_vectors"))
    if not path.is_file():
        raise ZS3Error(f"word vectors {source} not found: give a file with -p word_vectors <file>")
    if path.suffix in (".kv", ".model", ".pkl"):
        raise ZS3Error(
            f"word vectors {path} are a pickle, which can run code: use save_word2vec_format"
        )
    return path


def _downloaded(name: str) -> Path:
    import gensim.downloader

    there = Path(gensim.downloader.BASE_DIR, name, f"{name}.gz")
    try:  # without the network where it is there: gensim would ask for its file name
        return there if there.is_file() else Path(gensim.downloader.load(name, return_path=True))
    except Exception as error:  # gensim raises plain ones: unknown name, no network, checksum
        reason = " ".join(str(error).split())[:200]
        raise ZS3Error(
            f"word vectors {name} are neither a file nor to be had through gensim ({reason}): "
            "-p word_vectors <file>"
        ) from error


def _is_binary(path: Path) -> bool:
    """Whether what follows the first word is no plain text; Google News' is just called .gz."""
    from gensim import utils

    with utils.open(str(path), "rb") as file:
        if b"\0" in file.readline(100):
            raise UnicodeError("it is UTF-16, or no text at all")
        numbers = file.readline(10_000).partition(b" ")[2].strip()
    return not (numbers.isascii() and numbers.decode().isprintable())


def read(path: Path, *, words: set[str] | None = None, limit: int | None = None):
    """Gensim's KeyedVectors of a word2vec file, text or binary; of its first `limit` words.

    With `words` given only their vectors are kept: Google News' would fill 3.6 GB.

    Raises ZS3Error where gensim cannot read the file.
    """
    from gensim.models import KeyedVectors  # takes a second, which not all need

    class Excerpt(KeyedVectors):
        def __init__(self, vector_size, count=0, dtype=np.float32):
            super().__init__(vector_size, dtype=dtype)

        def add_vector(self, key, vector):
            if key in words:
                self.add_vectors([key], [vector])
            return len(self) - 1

        def set_vecattr(self, key, attr, val):
            if key in self:
                super().set_vecattr(key, attr, val)

    reader = KeyedVectors if words is None else Excerpt
    try:
        binary = _is_binary(path)
        errors = "replace" if binary else "strict"  # word2vec's own tool cuts words at bytes
        return reader.load_word2vec_format(
            str(path), binary=binary, limit=limit, unicode_errors=errors
        )
    except Exception as error:  # gensim, gzip and zlib raise many kinds on a damaged file
        reason = " ".join(str(error).split())[:200]
        remedy = "save it as UTF-8" if isinstance(error, UnicodeError) else "save them with gensim"
        raise ZS3Error(
            f"word vectors {path} are not in word2vec format ({reason}): {remedy}"
        ) from error


def _excerpt(path: Path, words: set[str], folder: Path) -> Path:
    """A word2vec file of those `words` that `path` has, made in `folder` at first use."""
    stat = path.stat()
    key = text_hash(repr((str(path.resolve()), stat.st_size, stat.st_mtime_ns, sorted(words))))
    small = folder / f"{path.name.partition('.')[0]}-{key}.bin"
    with locked(folder):
        if not small.is_file():
            vectors = read(path, words=words)
            with atomic_write(small) as file:
                vectors.save_word2vec_format(file.fileno(), binary=True)
    return small


def _nearest(path: Path, name: str) -> str:
    """The end of an error's line: words near to `name` by spelling, and to its known parts."""
    vectors = read(path, limit=200_000)
    parts = name.lower().replace("_", " ").split()
    known = [part for part in parts if part in vectors]
    unknown = [part for part in parts if part not in vectors]
    hints = [f": '{part}' is unknown" for part in unknown if known]
    near = []
    for part in dict.fromkeys((name, *unknown)):
        near = near or difflib.get_close_matches(part, vectors.index_to_key, 3)
    if near:
        hints.append(f"; nearest spellings there: {', '.join(near)}")
    if known and unknown:
        near = [word for word, _ in vectors.most_similar(known, topn=3)]
        hints.append(f"; nearest in meaning to {' + '.join(known)}: {', '.join(near)}")
    return "".join(hints)


def _scaled(table: np.ndarray, names: tuple[str, ...], source: str, norm: str) -> np.ndarray:
    """The vectors at their length; ZS3Error on values that are not finite or all 0."""
    finite = np.isfinite(table).all(1)
    for problem, bad in (("not finite", ~finite), ("all 0", ~table.any(1))):
        if bad.any():
            lost = ", ".join(np.array(names)[bad])
            raise ZS3Error(
                f"word vectors {source} are {problem} for {lost}: use a file that is whole"
            )
    if norm == "none":
        return table
    if norm == "largest":
        return table / np.linalg.norm(table, axis=1).max()
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    return unit * np.sqrt(table.shape[1]) if norm == "noise" else unit


def load_word_vectors(
    source: str, names: tuple[str, ...], *, norm: str = "unit", cache: Path = CACHE, dim: int = 300
) -> tuple[np.ndarray, dict[str, str]]:
    """Word vectors of class names.

    Arguments:
        source: a word2vec file (text or binary, gzipped or not) or a name in gensim's downloader.
        norm: "unit" (L2 norm 1), "noise" (sqrt(dim), as long as the generator's noise), "largest"
            (all divided by the largest L2 norm) or "none".
        cache: where the few words of a large file are kept (`words/`), so that it is read once.
        dim: the length every vector must have.

    Returns: vectors (len(names), dim) float32, and {class name: what was looked up instead}.

    Raises ZS3Error on a file that is missing or malformed and on a name without a good vector.
    """
    path = locate(source)
    large = path.stat().st_size > LARGE
    vectors = read(_excerpt(path, class_words(*names), Path(cache, "words")) if large else path)
    if vectors.vector_size != dim:
        given = vectors.vector_size
        raise ZS3Error(f"word vectors {source} have {given} dimensions: {dim} are needed")
    rows = []
    substitutions = {}
    for name in names:
        known = [words for words in candidates(name) if all(word in vectors for word in words)]
        if not known:
            near = _nearest(path, name)
            raise ZS3Error(f"word vectors {source} have no vector for '{name}'{near}")
        rows.append(np.mean([vectors[word] for word in known[0]], axis=0))
        if known[0] != (name,):
            substitutions[name] = " + ".join(known[0])
    table = _scaled(np.stack(rows).astype(np.float32), names, source, norm)
    return table.astype(np.float32), substitutions
