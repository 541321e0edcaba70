"""A small made-up corpus about the toy world's words, and the word vectors trained on it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from .attributes import ATTRIBUTES, TABLE

# How people put each attribute into words: adjectives, things it has, places, kinds. Never another word of the TABLE.
ADJECTIVES = {
    "furry": "furry hairy shaggy", "woolly": "woolly curly fleecy", "metal": "metallic steel iron",
    "wooden": "wooden timber oak", "fabric": "soft woven cotton", "stony": "stony gritty concrete",
    "smooth": "smooth plain even", "shiny": "shiny glossy gleaming", "spotted": "spotted patchy blotched",
    "striped": "striped stripy banded", "lettered": "printed written lettered", "hollow": "open slatted skeletal",
    "boxy": "boxy square angular", "elongated": "long wide stretched", "tall": "tall upright slender",
    "big": "big large huge", "pointed": "pointed peaked sharp", "pale": "pale whitish bright",
    "dark": "dark blackish dim", "warm": "red reddish brown", "cool": "blue bluish azure",
    "green": "green leafy verdant",
    "yellow": "yellow golden tan",
}  # fmt: skip
PARTS = {
    "wheels": "wheels tyres axles", "winged": "wings feathers flaps", "horned": "horns antlers tusks",
    "legs": "legs feet limbs", "windows": "windows panes glazing", "screen": "display pixels screen",
    "backrest": "backrest armrest upholstery", "neck": "neck throat spout", "floats": "sail hull mast",
}  # fmt: skip
KINDS = {
    "animal": "animal beast creature", "human": "human worker child", "vehicle": "vehicle machine transport",
    "furniture": "furniture seat furnishing", "plant": "plant foliage bush",
}  # fmt: skip
PLACES = {"indoor": "indoors home room", "high": "above overhead aloft"}
WORDS = {name: words.split() for group in (ADJECTIVES, PARTS, KINDS, PLACES) for name, words in group.items()}
CLAUSES = 4  # attributes mentioned in a sentence
# An attribute of strength s is mentioned in proportion to s ** SHARPNESS: people name the salient ones, and word2vec
# takes logarithms, so that with 1 the faint attributes would weigh almost as much as the strong.
SHARPNESS = 2.0
# What one sees at a glance, colour and surface, is said this many times as often as the rest.
GLANCE = 3.0

# The name comes first in every clause, so that with FUNCTION_WORDS left out in training a word's neighbours are the
# names it is said of (a window of one), and never other attributes.
CLAUSE = {
    "adjectives": ("the {name} is {word}", "a {name} looks {word}"),
    "parts": ("the {name} has {word}", "a {name} with {word}"),
    "kinds": ("the {name} is a {word}", "a {name} as a {word}"),
    "places": ("the {name} is {word}", "a {name} seen {word}"),
}
FUNCTION_WORDS = frozenset(["a", "the", "is", "has", "with", "looks", "as", "seen", "and"])
GROUP_OF = {a: group for group, names in (("adjectives", ADJECTIVES), ("parts", PARTS), ("kinds", KINDS),
                                          ("places", PLACES)) for a in names}  # fmt: skip


def salience(name: str) -> np.ndarray:
    """How much is said of each attribute of a word, (len(ATTRIBUTES),) float64, not normalised."""
    emphasis = np.ones(len(ATTRIBUTES))
    emphasis[ATTRIBUTES.index("furry") : ATTRIBUTES.index("wheels")] = GLANCE
    emphasis[ATTRIBUTES.index("pale") :] = GLANCE
    return emphasis * TABLE[name].astype(float) ** SHARPNESS


def sentences(seed: int = 0, n: int = 8000) -> list[list[str]]:
    """`n` tokenised sentences about the words of TABLE, each word in as many; the same for the same arguments.

    Each has CLAUSES clauses about one word ("the cow is furry and a cow with horns"), with the attributes drawn in
    proportion to strength ** SHARPNESS (x GLANCE for colours and surfaces) and put in one of several synonyms.
    """
    rng = np.random.default_rng([seed, 1])
    names = list(TABLE)
    out = []
    for i in rng.permutation(n):
        name = names[i % len(names)]
        weight = salience(name)
        clauses = []
        for k in rng.choice(len(ATTRIBUTES), size=CLAUSES, p=weight / weight.sum()):
            attribute = ATTRIBUTES[k]
            options = CLAUSE[GROUP_OF[attribute]]
            word = WORDS[attribute][rng.integers(len(WORDS[attribute]))]
            clauses.append(options[rng.integers(len(options))].format(name=name, word=word))
        out.append(" and ".join(clauses).split())
    return out


def _stable_hash(word: str) -> int:
    return zlib.crc32(word.encode())  # Python's own hash of a str differs from process to process


def train_word2vec(corpus: Sequence[Sequence[str]], seed: int = 0, *, size: int = 300, epochs: int = 2):
    """gensim KeyedVectors, `size`-d float32, of every word in `corpus` but FUNCTION_WORDS (skip-gram).

    One worker and a stable hash: the same vectors in every process. Two passes are enough and more are worse: the
    cosines then follow rare attributes more than common ones. Needs gensim (the `notebooks` extra).
    """
    from gensim.models import Word2Vec

    content = [[word for word in sentence if word not in FUNCTION_WORDS] for sentence in corpus]
    model = Word2Vec(
        content, vector_size=size, window=1, min_count=1, sg=1, negative=5, epochs=epochs, alpha=0.025, sample=0,
        seed=seed + 1, workers=1, hashfxn=_stable_hash,
    )  # fmt: skip
    return model.wv


def similarity_agreement(vectors, names: Sequence[str]) -> float:
    """Correlation, over all pairs of `names`, between the cosines of word vectors and those of what is said of them.

    What is said is compared by its square root (Hellinger), since word2vec's cosines grow with its logarithm.
    """
    words = np.stack([vectors[name] for name in names])
    looks = np.stack([salience(name) ** 0.5 for name in names])
    pairs = np.triu_indices(len(names), 1)
    cosines = []
    for m in (words, looks):
        m = m / np.linalg.norm(m, axis=1, keepdims=True)
        cosines.append((m @ m.T)[pairs])
    return float(np.corrcoef(cosines)[0, 1])
