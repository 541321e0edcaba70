"""A world of two dimensions, for notebooks/method.ipynb: words and features that fit on paper.

Words are points in the plane (how furry, how big) and so are features: a smooth map of the word,
plus spread. The same `Trainer` that learns from a backbone's features learns here, in a second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..classes import Split
from ..method.methods import METHODS
from ..method.stage2 import Trainer
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
    """Batches for `Trainer`, as a `FeatureCache` gives them: n images of 8 x 8 cells.

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


def train(
    method: str, images: Images, settings, epochs: range, start: Trainer | None = None
) -> Trainer:
    """Train one method as stage 2 does, without history and checkpoints.

    Arguments:
        settings: a `zs3lib.Settings` with `feature_dim` 2.
        epochs: which ones; start: the trainer that went before, which stays as it is.
    """
    steps = settings.stage2_epochs * images.batches
    trainer = Trainer(METHODS[method], words(), split(), settings, steps=steps)
    if start:
        trainer.load_state_dict(start.state_dict())
    for epoch in epochs:
        trainer.recursing = trainer.method.recursive and epoch >= settings.warmup_epochs
        for n, (features, labels) in enumerate(images.epoch(epoch)):
            torch.manual_seed(stream(settings.seed, 21, epoch, n))
            trainer.step(trainer.batch(features, labels))
    trainer.head.eval()
    return trainer
