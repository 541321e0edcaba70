"""Word vectors of class names, through gensim's KeyedVectors; of a large file only the words that are needed."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from . import wordfile
from .classes import CLASSES
from .errors import ZS3Error
from .paths import CACHE, plain_name

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


def candidates(name: str) -> list[tuple[str, ...]]:
    """The words whose mean may stand for a class, in the order they are tried: its own name first.

    "school bus" is looked up also as school_bus, schoolbus and school + bus, "Zebra" also as zebra.
    """
    parts = name.split()
    several = ("_".join(parts), "".join(parts), tuple(parts)) if len(parts) > 1 else ()
    tried = [(word,) if isinstance(word, str) else word for word in (name, *SPELLINGS.get(name, ()), *several)]
    lower = name.lower()
    return tried if lower == name else tried + candidates(lower)


# Every word that a class of either dataset may need: one excerpt of a large file then serves all runs.
CLASS_WORDS = {w for classes in CLASSES.values() for name in classes for spelling in candidates(name) for w in spelling}


def _downloaded(name: str) -> Path:
    """The file of a model of gensim's downloader, fetched and checked by it when it is not on disk yet."""
    import gensim.downloader

    there = Path(gensim.downloader.BASE_DIR, plain_name(name, "word_vectors"), f"{name}.gz")
    if there.is_file():  # gensim would ask the network for its file name first
        return there
    try:
        return Path(gensim.downloader.load(plain_name(name, "word_vectors"), return_path=True))
    except Exception as error:  # gensim raises plain Exceptions: an unknown name, no network, a wrong checksum
        reason = " ".join(str(error).split())[:200]
        raise ZS3Error(
            f"word vectors {name} are neither a file nor to be had through gensim ({reason}): -p word_vectors <file>"
        ) from error


def _open(source: str, names: tuple[str, ...], limit: int | None, cache: Path):
    """The file behind `source`, and gensim's KeyedVectors of it; of a large file, of the words these names may need."""
    from gensim.models import KeyedVectors  # here, so that the core imports without the notebook packages

    path = Path(source)
    if not path.exists() and path.suffix == "" and "/" not in source:
        path = _downloaded(source)
    if not path.is_file():
        raise ZS3Error(f"word vectors {source} not found: give a word2vec file with -p word_vectors <file>")
    if path.suffix in (".kv", ".model", ".pkl"):
        raise ZS3Error(f"word vectors {path} are a pickle, which can run code: save them with save_word2vec_format")
    try:
        small = path
        if path.stat().st_size > wordfile.LARGE:
            words = CLASS_WORDS | {word for name in names for spelling in candidates(name) for word in spelling}
            small, limit = wordfile.excerpt(path, words, cache / "words", limit=limit), None
        return path, KeyedVectors.load_word2vec_format(str(small), binary=wordfile.is_binary(small), limit=limit)
    except (ValueError, EOFError, OverflowError, MemoryError, OSError) as error:  # zlib's and gzip's are among them
        raise ZS3Error(f"word vectors {path} are not in word2vec format ({error}): save them with gensim") from error


def _nearest(path: Path, vectors, name: str) -> str:
    """The end of an error's line: known words near to `name` by spelling, and by meaning to those of its parts known."""
    parts = name.lower().replace("_", " ").split()
    unknown, known = ([part for part in parts if (part in vectors) == wanted] for wanted in (False, True))
    hints = [f": '{part}' is unknown" for part in unknown if len(parts) > 1]
    vocabulary = wordfile.vocabulary(path, 200_000)
    for part in dict.fromkeys((name, *unknown)):
        if near := difflib.get_close_matches(part, vocabulary, 3):
            hints.append(f"; nearest spellings there: {', '.join(near)}")
            break
    if known and unknown:
        near = [word for word, _ in vectors.most_similar(known, topn=3)]
        hints.append(f"; nearest in meaning to {' + '.join(known)}: {', '.join(near)}")
    return "".join(hints)


def of_classes(source: str, *, cache: Path = CACHE):
    """Gensim's KeyedVectors of those words in `source` that a class of either dataset may need."""
    from gensim.models import KeyedVectors

    path, vectors = _open(source, (), None, cache)
    kept = [word for word in vectors.index_to_key if word in CLASS_WORDS]
    if not kept:
        raise ZS3Error(f"word vectors {path} have none of the classes' words")
    result = KeyedVectors(vectors.vector_size)
    result.add_vectors(kept, [vectors[word] for word in kept])
    return result


def load_word_vectors(
    source: str,
    names: tuple[str, ...],
    *,
    dim: int = 300,
    norm: str = "unit",
    limit: int | None = None,
    cache: Path = CACHE,
) -> tuple[np.ndarray, dict[str, str]]:
    """Word vectors of class names.

    Arguments:
        source: a word2vec file (text or binary, gzipped or not) or a name in gensim's downloader. Gensim's own `.kv`
            is a pickle and is refused.
        names: class names.
        dim: the length every vector must have.
        norm: "unit" (L2 norm 1), "noise" (L2 norm sqrt(dim), as long as the generator's noise) or "none" (as stored).
        limit: look only among the so many most frequent words of the file.
        cache: where the few words of a large file are kept (`words/`), so that it is read once.

    Returns: vectors (len(names), dim) float32, and the substitutions made, {class name: what was looked up}.

    Raises ZS3Error on a missing or malformed file, a wrong dimension, a name without a vector, a value not finite, a zero vector.
    """
    path, vectors = _open(source, names, limit, cache)
    if vectors.vector_size != dim:
        raise ZS3Error(f"word vectors {source} have {vectors.vector_size} dimensions: {dim} are needed")
    rows, substitutions = [], {}
    for name in names:
        for words in candidates(name):
            if all(word in vectors for word in words):
                break
        else:
            raise ZS3Error(f"word vectors {source} have no vector for '{name}'{_nearest(path, vectors, name)}")
        rows.append(np.mean([vectors[word] for word in words], axis=0))
        if words != (name,):
            substitutions[name] = " + ".join(words)
    table = np.stack(rows).astype(np.float32)
    for problem, bad in (("are not finite", ~np.isfinite(table).all(1)), ("are all 0", ~table.any(1))):
        if bad.any():
            lost = ", ".join(np.array(names)[bad])
            raise ZS3Error(f"word vectors {source} hold values that {problem} for {lost}: use a file that is whole")
    if norm != "none":
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        if norm == "noise":
            table *= np.sqrt(dim)
    return table, substitutions
