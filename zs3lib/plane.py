"""A world of two dimensions, for notebooks/method.ipynb: words, features and "images" that fit on paper.

Words are points in the plane (how furry, how big) and so are features: a smooth map of the word, plus spread. The same
`Trainer` that learns from a backbone's features learns here, in a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .classes import Split

WORDS = {  # (how furry, how big), from -1 to 1
    "background": (-0.9, -0.9), "person": (-0.8, 0.1), "dog": (0.4, -0.6), "sheep": (0.9, 0.0), "horse": (0.0, 0.9),
    "cow": (0.5, 0.5),
}  # fmt: skip
UNSEEN = ("cow",)
SPREAD = 0.55  # standard deviation of a class's cloud, in feature units


def split() -> Split:
    """Five seen classes and one unseen: the cow."""
    names = tuple(WORDS)
    unseen = tuple(names.index(name) for name in UNSEEN)
    return Split("plane", len(unseen), names, tuple(i for i in range(len(names)) if i not in unseen), unseen)


def words() -> Tensor:
    """Word vectors, (6, 2) float32."""
    return torch.tensor(list(WORDS.values()))


def real_features(c: int, n: int, *, seed: int = 0) -> Tensor:
    """n real features of class c, (n, 2) float32: a bent map of the word, and a cloud longer than it is wide."""
    furry, big = list(WORDS.values())[c]
    centre = torch.tensor([4 * furry + 1.5 * big**2, 4 * big - 1.5 * furry * big])
    draw = torch.randn(n, 2, generator=torch.Generator().manual_seed(1000 * seed + c))
    angle = torch.tensor(0.6 * c)
    long = torch.stack([angle.cos(), angle.sin()])
    wide = torch.stack([-long[1], long[0]])
    return centre + SPREAD * (1.3 * draw[:, :1] * long + 0.6 * draw[:, 1:] * wide)


@dataclass(frozen=True)
class PlaneCache:
    """What `Trainer` reads of a `features.FeatureCache`, in memory.

    Attributes:
        features: (N, 8, 8, 2) float32, the real feature of every cell; labels: (N, 8, 8) uint8.
        views: 1.
    """

    features: Tensor
    labels: Tensor
    views: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.features[rows], self.labels[rows]


def images(n: int = 24, *, seed: int = 0) -> PlaneCache:
    """n images of 8 x 8 cells: background above, one object at the lower left and another at the lower right.

    Every class but background is in as many images as any other. Unseen objects are in some, with their true features:
    no method that uses a generator looks at those (`Trainer._classify`).
    """
    objects = len(WORDS) - 1
    labels = torch.zeros(n, 8, 8, dtype=torch.uint8)
    for i in range(n):
        labels[i, 4:, :4] = 1 + i % objects
        labels[i, 4:, 4:] = 1 + (i // objects + 2 * i) % objects
    features = torch.zeros(n, 8, 8, 2)
    for c in range(len(WORDS)):
        cells = labels == c
        features[cells] = real_features(c, int(cells.sum()), seed=seed)
    return PlaneCache(features, labels)
