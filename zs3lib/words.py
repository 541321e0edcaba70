"""Word vectors of class names, through gensim's KeyedVectors."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from .errors import ZS3Error
from .paths import plain_name

# Spellings to try, in order, when a class name itself is not in the vocabulary. A tuple is averaged over its words.
SPELLINGS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "aeroplane": ("airplane",),
    "bedcloth": ("bedclothes", ("bed", "cloth")),
    "clothes": ("cloth", "clothing"),
    "diningtable": ("dining_table", "table", ("dining", "table")),
    "motorbike": ("motorcycle",),
    "pottedplant": ("potted_plant", ("potted", "plant")),
    "tvmonitor": ("television", "tv", ("tv", "monitor")),
}


def _downloaded(name: str) -> Path:
    """The file of a model of gensim's downloader, fetched and checked by it when it is not on disk yet."""
    import gensim.downloader

    try:
        return Path(gensim.downloader.load(plain_name(name, "word_vectors"), return_path=True))
    except Exception as error:  # gensim raises plain Exceptions: an unknown name, no network, a wrong checksum
        reason = " ".join(str(error).split())[:200]
        raise ZS3Error(
            f"word vectors {name} are neither a file nor to be had through gensim ({reason}): -p word_vectors <file>"
        ) from error


def _open(source: str, limit: int | None):
    from gensim.models import KeyedVectors  # here, so that the core imports without the notebook packages

    path = Path(source)
    if not path.exists() and path.suffix == "" and "/" not in source:
        path = _downloaded(source)
    if not path.is_file():
        raise ZS3Error(f"word vectors {source} not found: give a word2vec file with -p word_vectors <file>")
    if path.suffix in (".kv", ".model", ".pkl"):
        raise ZS3Error(f"word vectors {path} are a pickle, which can run code: save them with save_word2vec_format")
    try:
        binary = ".bin" in path.suffixes
        return KeyedVectors.load_word2vec_format(str(path), binary=binary, limit=limit)
    except (ValueError, EOFError, OverflowError, MemoryError, OSError) as error:  # zlib's and gzip's are among them
        raise ZS3Error(f"word vectors {path} are not in word2vec format ({error}): save them with gensim") from error


def load_word_vectors(
    source: str, names: tuple[str, ...], *, dim: int = 300, norm: str = "unit", limit: int | None = 1_000_000
) -> tuple[np.ndarray, dict[str, str]]:
    """Word vectors of class names.

    Arguments:
        source: a word2vec file (text, or `.bin`, gzipped or not) or a name in gensim's downloader. Gensim's own `.kv`
            is a pickle and is refused.
        names: class names.
        dim: the length every vector must have.
        norm: "unit" (L2 norm 1), "noise" (L2 norm sqrt(dim), as long as the generator's noise) or "none" (as stored).
        limit: read only the most frequent words of a large file.

    Returns: vectors (len(names), dim) float32, and the substitutions made, {class name: what was looked up}.

    Raises ZS3Error on a missing or malformed file, a wrong dimension, a name without a vector, a value not finite, a zero vector.
    """
    vectors = _open(source, limit)
    if vectors.vector_size != dim:
        raise ZS3Error(f"word vectors {source} have {vectors.vector_size} dimensions: {dim} are needed")
    rows, substitutions = [], {}
    for name in names:
        for spelling in (name, *SPELLINGS.get(name, ())):
            words = (spelling,) if isinstance(spelling, str) else spelling
            if all(word in vectors for word in words):
                break
        else:
            near = difflib.get_close_matches(name, vectors.index_to_key[:200_000], 3)
            hint = f"; nearest spellings there: {', '.join(near)}" if near else ""
            raise ZS3Error(f"word vectors {source} have no vector for '{name}'{hint}")
        rows.append(np.mean([vectors[word] for word in words], axis=0))
        if words != (name,):
            substitutions[name] = " + ".join(words)
    table = np.stack(rows).astype(np.float32)
    for problem, bad in (("are not finite", ~np.isfinite(table).all(1)), ("are all 0", ~table.any(1))):
        if bad.any():
            raise ZS3Error(f"word vectors {source} hold values that {problem} for {', '.join(np.array(names)[bad])}")
    if norm != "none":
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        if norm == "noise":
            table *= np.sqrt(dim)
    return table, substitutions
