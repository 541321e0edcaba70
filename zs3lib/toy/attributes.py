"""What every word of the toy world is like: one table that drives both the pictures and the corpus.

The table is `resources/toy_words.ini`. A word's *looks* are one number in [0, 1] per attribute:
`drawing.py` draws from those alone and `corpus.py` mentions an attribute as often as it is strong,
so words carry news about looks, as they do in life.
"""

from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np

FILE = Path(__file__).parents[1] / "resources" / "toy_words.ini"
INI = ConfigParser()
INI.read_string(FILE.read_text(encoding="utf-8"))

ROLES = ("kinds", "places", "materials", "parts", "outlines", "colours")
ROLE_OF = {name: role for role in ROLES for name in INI[role]}
SAID_AS = {name: INI[role][name].split() for name, role in ROLE_OF.items()}
ATTRIBUTES = tuple(ROLE_OF)


def having(*roles: str) -> np.ndarray:
    """Which attributes have one of these roles, (len(ATTRIBUTES),) bool."""
    return np.array([role in roles for role in ROLE_OF.values()])


def _looks(text: str) -> np.ndarray:
    """Looks, (len(ATTRIBUTES),) float32 in [0, 1], of text such as "furry 0.5, legs 1"."""
    strengths = dict(part.split() for part in text.split(","))
    if unknown := set(strengths) - set(ATTRIBUTES):
        raise ValueError(f"{FILE}: unknown {unknown}: choose from {', '.join(ATTRIBUTES)}")
    return np.array([float(strengths.get(name, 0)) for name in ATTRIBUTES], np.float32)


def named(looks: np.ndarray) -> SimpleNamespace:
    """The looks under their attributes' names: `a.furry`, `a.wheels`, ... (floats)."""
    return SimpleNamespace(**dict(zip(ATTRIBUTES, looks.tolist())))


def colours(section: str) -> dict[str, np.ndarray]:
    """A section of the table whose values are colours, (3,) float64 RGB."""
    return {name: np.array(text.split(), float) for name, text in INI[section].items()}


EXTRA = tuple(INI["extra"])  # drawable and spoken of, but in no dataset
_words = dict(INI["voc"]) | dict(INI["context"]) | dict(INI["extra"])
TABLE = {name: _looks(text) for name, text in _words.items()}  # word -> looks


def made_up(rng: np.random.Generator, n: int) -> np.ndarray:
    """Looks of `n` things that do not exist, (n, len(ATTRIBUTES)) float32 in [0, 1].

    Each mixes the shape of one listed word, the material of another and fresh colours, then shakes
    all three; what comes nearer than 0.6 (Euclidean) to a listed word is drawn again, so that no
    dataset's class is among them.
    """
    listed = np.stack(list(TABLE.values()))
    colour = having("colours")
    found = []
    while len(found) < n:
        shape, stuff, tint = listed[rng.integers(len(listed), size=3)]
        mix = rng.uniform(0.4, 1)
        fresh = rng.uniform(0, 0.7, colour.sum()) * (rng.random(colour.sum()) < 0.3)
        new = np.where(having("materials"), mix * stuff + (1 - mix) * shape, shape)
        new[colour] = 0.6 * tint[colour] + fresh
        new = np.where(new > 0, new + rng.normal(0, 0.12, new.shape), 0).clip(0, 1)
        if np.linalg.norm(listed - new, axis=1).min() >= 0.6:
            found.append(new)
    return np.array(found, np.float32)
