"""Word vectors of class names, through gensim's KeyedVectors."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from .errors import ZS3Error

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


def _open(source: str, limit: int | None):
    from gensim.models import KeyedVectors  # here, so that the core imports without the notebook packages

    path = Path(source)
    if not path.exists() and path.suffix == "" and "/" not in source:
        import gensim.downloader

        path = Path(gensim.downloader.load(source, return_path=True))
    if not path.is_file():
        raise ZS3Error(f"word vectors {source} not found: give a word2vec file with -p word_vectors <file>")
    try:
        if path.suffix == ".kv":
            return KeyedVectors.load(str(path), mmap="r")
        binary = ".bin" in path.suffixes
        return KeyedVectors.load_word2vec_format(str(path), binary=binary, limit=limit)
    except (ValueError, EOFError, UnicodeDecodeError) as error:
        raise ZS3Error(f"word vectors {path} are not in word2vec format ({error}): save them with gensim") from error


def load_word_vectors(
    source: str, names: tuple[str, ...], *, dim: int = 300, norm: str = "unit", limit: int | None = 1_000_000
) -> tuple[np.ndarray, dict[str, str]]:
    """Word vectors of class names.

    Arguments:
        source: a word2vec file (text, or `.bin`, gzipped or not), a gensim `.kv`, or a name in gensim's downloader.
        names: class names.
        dim: the length every vector must have.
        norm: "unit" (L2 norm 1), "noise" (L2 norm sqrt(dim), as long as the generator's noise) or "none" (as stored).
        limit: read only the most frequent words of a large file.

    Returns: vectors (len(names), dim) float32, and the substitutions made, {class name: what was looked up}.

    Raises ZS3Error on a missing or malformed file, a wrong dimension, a name without a vector, a value not finite.
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
    bad = [name for name, row in zip(names, table) if not np.isfinite(row).all()]
    if bad:
        raise ZS3Error(f"word vectors {source} hold values that are not finite for {', '.join(bad)}")
    if norm != "none":
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        if norm == "noise":
            table *= np.sqrt(dim)
    return table, substitutions
