"""A small made-up corpus about the toy world's words, and the word vectors trained on it."""

import numpy as np

from .attributes import ATTRIBUTES, ROLE_OF, SAID_AS, TABLE, having

# "the cow has horns": the name comes first, so with FUNCTION_WORDS left out and a window of one a
# word's neighbours in training are what is said of it, and what is said has names as neighbours.
VERBS = {"kinds": "is a", "parts": "has", "places": "stays", "outlines": "looks"}
FUNCTION_WORDS = frozenset("a the is has stays looks and".split())


def salience(name: str) -> np.ndarray:
    """How much is said of each attribute of a word, (len(ATTRIBUTES),) float64, sum 1.

    People name what is salient, three times as often what one sees at a glance. The square: as
    word2vec takes logarithms, the faint would otherwise weigh almost as much as the strong.
    """
    emphasis = np.where(having("materials", "colours"), 3.0, 1.0)
    weight = emphasis * TABLE[name].astype(float) ** 2
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
        for attribute in rng.choice(ATTRIBUTES, size=4, p=salience(name)):
            verb = VERBS.get(ROLE_OF[attribute], "is")
            clauses.append(f"the {name} {verb} {rng.choice(SAID_AS[attribute])}")
        said.append(" and ".join(clauses).split())
    return said


def train_word2vec(corpus: list[list[str]], seed: int = 0):
    """gensim KeyedVectors, 300-d float32, of every word in `corpus` but FUNCTION_WORDS.

    Skip-gram with one worker: the same vectors in every process. Two passes are enough: after
    more, the cosines follow rare attributes more than common ones.
    """
    from gensim.models import Word2Vec

    content = [[word for word in said if word not in FUNCTION_WORDS] for said in corpus]
    how = {"vector_size": 300, "window": 1, "min_count": 1, "sg": 1, "epochs": 2, "sample": 0}
    return Word2Vec(content, **how, seed=seed + 1, workers=1).wv
