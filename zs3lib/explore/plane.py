"""A world of two dimensions, for notebooks/method.ipynb: words and features that fit on paper.

Words are points in the plane (how furry, how big) and so are features: a smooth map of the word,
plus spread. The same `Trainer` that learns from a backbone's features learns here, in a second.
"""

import torch
from torch import Tensor

from ..classes import Split
from ..method.methods import METHODS
from ..method.stage2 import Trainer
from ..seeds import shuffled, stream

WORDS = {  # (how furry, how big), from -1 to 1
    "background": (-0.9, -0.9),
    "person": (-0.8, 0.1),
    "dog": (0.4, -0.6),
    "sheep": (0.9, 0.0),
    "horse": (0.0, 0.9),
    "cow": (0.5, 0.5),
}
VECTORS = torch.tensor(list(WORDS.values()))  # (6, 2) float32
SPLIT = Split("plane", 1, tuple(WORDS), seen=(0, 1, 2, 3, 4), unseen=(5,))
SPREAD = 0.55  # standard deviation of a class's cloud, in feature units


def real_features(c: int, n: int, *, seed: int = 0) -> Tensor:
    """n real features of class c, (n, 2) float32: a bent map of the word, and an oblong cloud."""
    furry, big = list(WORDS.values())[c]
    centre = torch.tensor([4 * furry + 1.5 * big**2, 4 * big - 1.5 * furry * big])
    draw = torch.randn(n, 2, generator=torch.Generator().manual_seed(1000 * seed + c))
    angle = torch.tensor(0.6 * c)
    long = torch.stack([angle.cos(), angle.sin()])
    wide = torch.stack([-long[1], long[0]])
    return centre + SPREAD * (1.3 * draw[:, :1] * long + 0.6 * draw[:, 1:] * wide)


def images(n: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n images of 8 x 8 cells: features (n, 8, 8, 2) float32 and labels (n, 8, 8) uint8.

    Background above, one object at the lower left and another at the lower right. Unseen objects
    have their true features: no method that uses a generator looks at those.
    """
    objects = len(WORDS) - 1
    labels = torch.zeros(n, 8, 8, dtype=torch.uint8)
    for i in range(n):
        labels[i, 4:, :4] = 1 + i % objects
        labels[i, 4:, 4:] = 1 + (i // objects + 2 * i) % objects
    features = torch.zeros(n, 8, 8, 2)
    for c in range(len(WORDS)):
        features[labels == c] = real_features(c, int((labels == c).sum()), seed=seed)
    return features, labels


def train(method: str, data, settings, epochs: range, start: Trainer | None = None) -> Trainer:
    """Train one method as stage 2 does, without history and checkpoints.

    `data` is what `images` returns, and `start` the trainer that went before, which stays as it is;
    the `settings`' `feature_dim` is 2.
    """
    features, labels = data
    steps = settings.stage2_epochs * -(-len(labels) // settings.batch_size)
    trainer = Trainer(METHODS[method], VECTORS, SPLIT, settings, steps=steps)
    if start:
        trainer.load_state_dict(start.state_dict())
    for epoch in epochs:
        trainer.recursing = trainer.method.recursive and epoch >= settings.warmup_epochs
        order = shuffled(len(labels), settings.batch_size, settings.seed, 22, epoch)
        for n, rows in enumerate(order):
            torch.manual_seed(stream(settings.seed, 21, epoch, n))
            trainer.step(trainer.batch(features[rows], labels[rows]))
    trainer.head.eval()
    return trainer
