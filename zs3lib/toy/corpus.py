"""A small made-up corpus about the toy world's words, and the word vectors trained on it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from .attributes import ATTRIBUTES, ROLE_OF, SAID_AS, TABLE, having

# "the cow has horns": the name comes first, so with FUNCTION_WORDS left out and a window of one a
# word's neighbours in training are what is said of it, and what is said has names as neighbours.
VERBS = {"kinds": "is a", "parts": "has", "places": "stays", "outlines": "looks"}
FUNCTION_WORDS = frozenset("a the is has stays looks and".split())
# An attribute is mentioned in proportion to strength ** SHARPNESS: people name the salient ones,
# and word2vec takes logarithms, so that with 1 the faint would weigh almost as much as the strong.
SHARPNESS = 2.0
GLANCE = 3.0  # what one sees at a glance, colour and surface, is said so many times as often


def salience(name: str) -> np.ndarray:
    """How much is said of each attribute of a word, (len(ATTRIBUTES),) float64, sum 1."""
    emphasis = np.where(having("materials", "colours"), GLANCE, 1.0)
    weight = emphasis * TABLE[name].astype(float) ** SHARPNESS
    return weight / weight.sum()


def sentences(seed: int = 0, n: int = 8000) -> list[list[str]]:
    """`n` tokenised sentences about the words of TABLE, each word in as many.

    Each has four clauses about one word ("the cow is furry and the cow has horns ..."), their
    attributes drawn by `salience` and put in one of several synonyms. The same for the same seed.
    """
    rng = np.random.default_rng([seed, 1])
    names = list(TABLE)
    said = []
    for i in rng.permutation(n):
        name = names[i % len(names)]
        clauses = []
        for k in rng.choice(len(ATTRIBUTES), size=4, p=salience(name)):
            verb = VERBS.get(ROLE_OF[ATTRIBUTES[k]], "is")
            clauses.append(f"the {name} {verb} {rng.choice(SAID_AS[ATTRIBUTES[k]])}")
        said.append(" and ".join(clauses).split())
    return said


def _stable_hash(word: str) -> int:
    return zlib.crc32(word.encode())  # Python's own hash of a str differs from process to process


def train_word2vec(corpus: Sequence[Sequence[str]], seed: int = 0):
    """gensim KeyedVectors, 300-d float32, of every word in `corpus` but FUNCTION_WORDS.

    Skip-gram with one worker and a stable hash: the same vectors in every process. Two passes are
    enough: after more, the cosines follow rare attributes more than common ones.
    """
    from gensim.models import Word2Vec

    content = [[word for word in said if word not in FUNCTION_WORDS] for said in corpus]
    model = Word2Vec(
        content,
        vector_size=300,
        window=1,
        min_count=1,
        sg=1,
        epochs=2,
        sample=0,
        seed=seed + 1,
        workers=1,
        hashfxn=_stable_hash,
    )
    return model.wv
