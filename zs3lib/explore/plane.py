"""A world of two dimensions, for notebooks/method.ipynb: words and features that fit on paper.

Words are points in the plane (how furry, how big) and so are features: a smooth map of the word,
plus spread. The same `Trainer` that learns from a backbone's features learns here, in a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..classes import Split
from ..method.generator import Head
from ..method.methods import METHODS
from ..method.stage2 import Stage2, Trainer
from ..seeds import stream

WORDS = {  # (how furry, how big), from -1 to 1
    "background": (-0.9, -0.9),
    "person": (-0.8, 0.1),
    "dog": (0.4, -0.6),
    "sheep": (0.9, 0.0),
    "horse": (0.0, 0.9),
    "cow": (0.5, 0.5),
}
SPREAD = 0.55  # standard deviation of a class's cloud, in feature units


def split() -> Split:
    """Five seen classes and one unseen: the cow."""
    return Split("plane", 1, tuple(WORDS), seen=(0, 1, 2, 3, 4), unseen=(5,))


def words() -> Tensor:
    """Word vectors, (6, 2) float32."""
    return torch.tensor(list(WORDS.values()))


def real_features(c: int, n: int, *, seed: int = 0) -> Tensor:
    """n real features of class c, (n, 2) float32: a bent map of the word, and an oblong cloud."""
    furry, big = list(WORDS.values())[c]
    centre = torch.tensor([4 * furry + 1.5 * big**2, 4 * big - 1.5 * furry * big])
    draw = torch.randn(n, 2, generator=torch.Generator().manual_seed(1000 * seed + c))
    angle = torch.tensor(0.6 * c)
    long = torch.stack([angle.cos(), angle.sin()])
    wide = torch.stack([-long[1], long[0]])
    return centre + SPREAD * (1.3 * draw[:, :1] * long + 0.6 * draw[:, 1:] * wide)


class Images:
    """A source of batches for `Stage2`, as a `FeatureCache` is: n images of 8 x 8 cells.

    Background above, one object at the lower left and another at the lower right. Every class but
    background is in as many images as any other. Unseen objects are in some, with their true
    features: no method that uses a generator looks at those.

    Attributes:
        features: (n, 8, 8, 2) float32, the real feature of every cell; labels: (n, 8, 8) uint8.
    """

    def __init__(self, n: int = 24, *, batch_size: int = 4, seed: int = 0):
        objects = len(WORDS) - 1
        self.seed = seed
        self.batch_size = batch_size
        self.batches = -(-n // batch_size)
        self.labels = torch.zeros(n, 8, 8, dtype=torch.uint8)
        for i in range(n):
            self.labels[i, 4:, :4] = 1 + i % objects
            self.labels[i, 4:, 4:] = 1 + (i // objects + 2 * i) % objects
        self.features = torch.zeros(n, 8, 8, 2)
        for c in range(len(WORDS)):
            cells = self.labels == c
            self.features[cells] = real_features(c, int(cells.sum()), seed=seed)

    def epoch(self, epoch: int):
        """The batches of an epoch: (features (B, 8, 8, 2), labels (B, 8, 8))."""
        random = torch.Generator().manual_seed(stream(self.seed, 22, epoch))
        for rows in torch.randperm(len(self.labels), generator=random).split(self.batch_size):
            yield self.features[rows], self.labels[rows]

    def ids(self, epoch: int, step: int) -> list[str]:
        """Nothing has a name here."""
        return []


def train(methods: Sequence[str], images: Images, settings, epochs: int) -> dict[str, Head]:
    """The heads of some methods after so many epochs of stage 2 from the start, in eval mode."""
    count = settings.stage2_epochs * images.batches
    trainers = {
        name: Trainer(METHODS[name], words(), split(), settings, steps=count) for name in methods
    }
    stage = Stage2(trainers, images)
    for _ in range(epochs):
        stage.train_epoch(tqdm(disable=True))
    return {name: trainer.head.eval() for name, trainer in trainers.items()}
