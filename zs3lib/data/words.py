"""Word vectors of class names, through gensim's KeyedVectors; of a large file only a few words."""

import difflib
import re
from pathlib import Path

import numpy as np

from ..classes import DATASETS
from ..errors import ZS3Error, one_line
from ..paths import CACHE
from ..storage import atomic_write, locked, text_hash

# Spellings to try, in order, when a class name itself is unknown. A tuple is averaged.
SPELLINGS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "aeroplane": ("airplane",),
    "bedcloth": ("bedclothes", ("bed", "cloth")),
    "clothes": ("cloth", "clothing"),
    "diningtable": ("dining_table", "table", ("dining", "table")),
    "motorbike": ("motorcycle",),
    "playingfield": ("playing_field", ("playing", "field")),
    "pottedplant": ("potted_plant", ("potted", "plant")),
    "tvmonitor": ("television", "tv", ("tv", "monitor")),
    "waterdrops": ("water_drops", ("water", "drops")),
}
# Ends of COCO-Stuff's names that say nothing of looks: "building-other" is looked up as "building".
SILENT = re.compile(r"-(?:other|stuff)$")
LARGE = 50_000_000  # bytes on disk: smaller files are read whole


def candidates(name: str) -> list[tuple[str, ...]]:
    """The words whose mean may stand for a class, in the order they are tried.

    "school bus" is looked up also as school_bus, schoolbus and school + bus, "Zebra" as zebra.
    """
    tried = []
    for case in dict.fromkeys((name, name.lower())):
        parts = tuple(re.split(r"[\s-]+", SILENT.sub("", case).strip()))
        tried += [case, *SPELLINGS.get(case, ()), "_".join(parts), "".join(parts), parts]
    return [(words,) if isinstance(words, str) else words for words in tried]


def class_words(*names: str) -> set[str]:
    """Every word that a class of any dataset, or one of these, may need: one excerpt serves all."""
    classes = set(names).union(*(dataset.classes for dataset in DATASETS.values()))
    return {word for name in classes for spelling in candidates(name) for word in spelling}


def locate(source: str) -> Path:
    """The file behind `source`; a model of gensim's downloader is fetched by it if need be."""
    path = Path(source)
    reason = ""
    if not path.exists() and path.name == source and not path.suffix:
        from gensim import downloader  # it takes a second, and a machine may lack it

        path = Path(downloader.BASE_DIR, source, f"{source}.gz")
        try:  # without the network where it is there: gensim would ask for its file name
            path = path if path.is_file() else Path(downloader.load(source, True))
        except Exception as error:  # plain ones: unknown name, no network, checksum
            reason = f", nor had through gensim ({one_line(error)})"
    if not path.is_file():
        remedy = "give a file with -p word_vectors <file>"
        raise ZS3Error(f"word vectors {source} not found{reason}: {remedy}")
    return path


def _is_binary(path: Path) -> bool:
    """Whether the first row is no word and its numbers; Google News' file is just called .gz."""
    from gensim import utils

    with utils.open(str(path), "rb") as file:
        _, dim = file.readline(100).decode().split()
        return len(file.readline(100_000).split()) != int(dim) + 1


def read(path: Path, *, words: set[str] | None = None, limit: int | None = None):
    """Gensim's KeyedVectors of a word2vec file, text or binary; of its first `limit` words.

    With `words` given only their vectors are kept: Google News' would fill 3.6 GB.

    Raises ZS3Error where gensim cannot read the file.
    """
    from gensim.models import KeyedVectors

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

    reader = Excerpt if words else KeyedVectors
    try:
        binary = _is_binary(path)
        errors = "replace" if binary else "strict"  # word2vec's own tool cuts words at bytes
        how = {"binary": binary, "limit": limit, "unicode_errors": errors}
        return reader.load_word2vec_format(str(path), **how)
    except Exception as error:  # gensim, gzip and zlib raise many kinds on a damaged file
        problem = f"word vectors {path} are not in word2vec format ({one_line(error)})"
        remedy = "save it as UTF-8, with gensim's save_word2vec_format"
        raise ZS3Error(f"{problem}: {remedy}") from error


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
    """The end of an error's line: which part of `name` is unknown, and words near by spelling."""
    known = read(path, limit=200_000).index_to_key
    parts = name.lower().replace("_", " ").split()
    unknown = [part for part in parts if part not in known]
    hint = "".join(f": '{part}' is unknown" for part in unknown if len(parts) > 1)
    near = [x for part in (name, *unknown) for x in difflib.get_close_matches(part, known, 3)]
    near = ", ".join(dict.fromkeys(near))
    return f"{hint}; nearest spellings there: {near}" if near else hint


def load_word_vectors(
    source: str,
    names: tuple[str, ...],
    *,
    norm: str = "unit",
    own: int | None = None,
    cache: Path = CACHE,
    dim: int = 300,
) -> tuple[np.ndarray, dict[str, str]]:
    """Word vectors of class names.

    Arguments:
        source: a word2vec file (text or binary, gzipped or not) or a name in gensim's downloader.
        norm: "unit" (L2 norm 1), "noise" (sqrt(dim), as long as the generator's noise), "largest"
            (all divided by the largest L2 norm) or "none".
        own: how many of the names, from the first on, "largest" looks at; None: all.
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
    table = np.zeros((len(names), dim), np.float32)
    substitutions = {}
    for row, name in zip(table, names):
        known = [words for words in candidates(name) if all(word in vectors for word in words)]
        if not known:
            near = _nearest(path, name)
            raise ZS3Error(f"word vectors {source} have no vector for '{name}'{near}")
        row[:] = np.mean([vectors[word] for word in known[0]], axis=0)
        if not np.isfinite(row).all() or not row.any():
            problem = "not finite" if row.any() else "all 0"
            raise ZS3Error(f"word vectors {source} are {problem} for {name}: use a whole file")
        if known[0] != (name,):
            substitutions[name] = " + ".join(known[0])
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    if norm != "none":
        table /= lengths[:own].max() if norm == "largest" else lengths
    if norm == "noise":
        table = (table * np.sqrt(dim)).astype(np.float32)
    return table, substitutions
