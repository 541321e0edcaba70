"""What every word of the toy world is like: one table that drives both the pictures and the corpus.

The table is `resources/toy_words.ini`. A word's *looks* are one number in [0, 1] per attribute:
`drawing.py` draws from those alone and `corpus.py` mentions an attribute as often as it is strong,
so words carry news about looks, as they do in life.
"""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "resources" / "toy_words.ini"
_table = ConfigParser()
_table.read_string(FILE.read_text(encoding="utf-8"))

ROLES = ("kinds", "places", "materials", "parts", "outlines", "colours")
ROLE_OF = {name: role for role in ROLES for name in _table[role]}
ATTRIBUTES = tuple(ROLE_OF)
SAID_AS = {name: _table[role][name].split() for name, role in ROLE_OF.items()}


def having(*roles: str) -> np.ndarray:
    """Which attributes have one of these roles, (len(ATTRIBUTES),) bool."""
    return np.array([role in roles for role in ROLE_OF.values()])


def vector(**strengths: float) -> np.ndarray:
    """Looks, (len(ATTRIBUTES),) float32 in [0, 1], from their non-zero attributes.

    Raises ValueError on an attribute that is not in ATTRIBUTES.
    """
    if unknown := sorted(set(strengths) - set(ATTRIBUTES)):
        raise ValueError(f"unknown attribute(s) {unknown}: choose from {', '.join(ATTRIBUTES)}")
    looks = [strengths.get(name, 0.0) for name in ATTRIBUTES]
    return np.clip(looks, 0, 1).astype(np.float32)


def _words(section: str) -> dict[str, np.ndarray]:
    words = {}
    for name, text in _table[section].items():
        pairs = [part.split() for part in text.split(",")]
        words[name] = vector(**{attribute: float(strength) for attribute, strength in pairs})
    return words


EXTRA = tuple(_table["extra"])  # drawable and spoken of, but in no dataset
TABLE = _words("voc") | _words("context") | _words("extra")  # word -> looks


def made_up(rng: np.random.Generator, n: int, *, apart: float = 0.6) -> np.ndarray:
    """Looks of `n` things that do not exist, (n, len(ATTRIBUTES)) float32 in [0, 1].

    Each mixes the shape of one listed word, the material of another and fresh colours, then shakes
    all three; mixtures nearer than `apart` (Euclidean) to a listed word are drawn again, so that
    no dataset's class is among them.
    """
    listed = np.stack(list(TABLE.values()))
    material = having("materials")
    colour = having("colours")
    found = np.zeros((n, len(ATTRIBUTES)), np.float32)
    done = 0
    while done < n:
        shape, stuff, tint = listed[rng.integers(len(listed), size=3)]
        mix = rng.uniform(0.4, 1)
        fresh = rng.uniform(0, 0.7, colour.sum()) * (rng.random(colour.sum()) < 0.3)
        new = np.where(material, mix * stuff + (1 - mix) * shape, shape)
        new[colour] = 0.6 * tint[colour] + fresh
        new = np.where(new > 0, new + rng.normal(0, 0.12, new.shape), 0).clip(0, 1)
        if np.linalg.norm(listed - new, axis=1).min() >= apart:
            found[done] = new
            done += 1
    return found
