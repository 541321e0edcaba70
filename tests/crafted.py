"""Label maps, features and pictures made up for the tests of both stages: nothing on disk."""

from __future__ import annotations

import torch
from tiny import EPOCHS, TINY
from torch import Tensor, nn

from zs3lib import Settings, split
from zs3lib.method.methods import METHODS, trainer_of
from zs3lib.method.stage2 import Trainer

VOID = 255
BIRD, BOAT, DOG = 3, 4, 12  # seen at every K
COW, SOFA = 10, 18  # unseen at K = 10
SPLIT = split("voc", 10)
WORDS = torch.randn(21, 300, generator=torch.Generator().manual_seed(5))


def tiny(**changes) -> Settings:
    return Settings.make(**(TINY | EPOCHS | {"k": 10, "feature_dim": 16} | changes))


def stripes(*classes: int) -> Tensor:
    """A label map, (32, 32) uint8, of as many horizontal stripes, one below the other."""
    height = 32 // len(classes)
    rows = torch.tensor(classes, dtype=torch.uint8).repeat_interleave(height)
    return rows[:, None].expand(32, 32).contiguous()


def features_of(labels: Tensor, seed: int = 0, features: int = 16) -> Tensor:
    """Random features of label maps, (B, 8, 8, F)."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), 8, 8, features, generator=random)


class Source:
    """Batches as both stages read them, of tensors held in memory.

    Arguments:
        inputs: pictures or features of all images; labels: (N, 32, 32); size: images a batch.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, size: int = 4):
        self.inputs = inputs
        self.labels = labels
        self.size = size
        self.batches = -(-len(labels) // size)
        self.stop_at = None  # (epoch, batch) at which the power is cut

    def epoch(self, epoch: int):
        for n in range(self.batches):
            if (epoch, n) == self.stop_at:
                raise RuntimeError("power cut")
            rows = slice(n * self.size, (n + 1) * self.size)
            yield self.inputs[rows], self.labels[rows]

    def ids(self, epoch: int, step: int) -> list[str]:
        numbers = range(len(self.labels))[step * self.size : (step + 1) * self.size]
        return [f"image{n}" for n in numbers]


def pictures(size: int = 4) -> Source:
    """Eight pictures of a bird and a dog, of the ground, of a boat; how much is void differs."""
    torch.manual_seed(0)
    kinds = [stripes(BIRD, DOG), stripes(0, VOID, VOID, VOID), stripes(BOAT, VOID)]
    labels = torch.stack([kinds[n % 3] for n in range(8)])
    return Source(torch.randn(8, 3, 32, 32) + labels[:, None] / 10, labels, size)


def trainer(method: str, *, steps: int = 10, **changes) -> Trainer:
    """A trainer past its warm-up."""
    kind = trainer_of(method)
    made = kind(METHODS[method], WORDS, SPLIT, tiny(**changes), steps=steps)
    made.recursing = made.method.recursive
    return made


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
