"""`Trainer.step` does what an independent loop does: same draws, same losses, same weights.

The loop is `benchmarks/reference.py`, written from the papers without zs3lib.
"""

from __future__ import annotations

import pytest
import torch
from benchmarks.reference import Reference
from crafted import BIRD, BOAT, COW, DOG, SOFA, SPLIT, VOID, WORDS, features_of, trainer
from torch import nn

from zs3lib.method.layout import cell_labels

SAMPLES = 8
RATE = 0.07


class Draws(nn.Module):
    """Noise, dropout and positions of the reference, and the same for ours, in our order.

    They are those of a kind of generation ("fit", "generated", "pseudo", "classify"): its n-th
    vector has the n-th noise, whatever its image and class; of real features the first are taken.
    """

    def __init__(self, seed: int, labels: torch.Tensor, fitted: int, recursed: int):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.noises = {}
        self.masks = {}
        for kind in ("fit", "generated", "pseudo", "classify"):
            self.noises[kind] = torch.randn(64, 300, generator=random).double()
            self.masks[kind] = 2.0 * (torch.rand(64, 256, generator=random) < 0.5).double()
        self.rank = torch.zeros(2, 64, dtype=torch.long)  # of each cell among those of its class
        shown = cell_labels(labels, (8, 8), align_corners=False).flatten(1)
        for cells, rank in zip(shown[2:4], self.rank):
            for c in cells.unique():
                rank[cells == c] = torch.arange(int((cells == c).sum()))
        self.order = ["fit"] * fitted + ["generated", "pseudo"] * recursed + ["classify"]

    def noise(self, key, n):
        return self.noises[key[0]][:n]

    def dropout(self, key, hidden):
        return hidden * self.masks[key[0]][: len(hidden)]

    def positions(self, key, n, samples):
        assert n >= samples
        return torch.arange(samples)

    def sample_noise(self, n):
        kind = self.order.pop(0)
        rows = self.rank.flatten() if kind == "classify" else slice(n)
        self.mask = self.masks[kind][rows]
        return self.noises[kind][rows]

    def forward(self, hidden):
        return hidden * self.mask


def pictures() -> torch.Tensor:
    """Five label maps: two seen throughout, one with an unseen class, one with two, one void."""
    labels = torch.zeros(5, 32, 32, dtype=torch.uint8)
    labels[0, :16] = BIRD
    labels[0, 15:17] = VOID
    labels[1, :, 5:29] = DOG
    labels[1, 20:] = BOAT
    labels[2, 8:24, 8:30] = COW
    labels[2, 24:] = VOID
    labels[3, :12] = SOFA
    labels[3, 12:22] = BIRD
    labels[3, 22:, 12:] = COW
    labels[4] = VOID
    return labels


def aligned(method, **changes):
    """A reference and a trainer, in float64, with the same weights."""
    choices = {"tau": 0.5, "gamma": 0.5, "unseen_weight": 10.0, "classifier_lr": RATE}
    choices |= {"samples": SAMPLES, "generator_lr": 2e-4} | changes
    ours = trainer(method, steps=10**9, noise="gaussian", feature_dim=256, **choices)
    ours.head.double()
    ours.class_weights = ours.class_weights.double()
    theirs = Reference(method, WORDS.double(), set(SPLIT.unseen), **choices)
    for module in (theirs.hidden, theirs.output, theirs.classifier, theirs.criterion):
        module.double()
    for a, b in zip(weights_of(theirs), ours.head.parameters(), strict=True):
        a.data.copy_(b.reshape(a.shape))
    return theirs, ours


def weights_of(reference):
    modules = (reference.classifier, reference.hidden, reference.output)
    return [weight for module in modules for weight in module.parameters()]


def step(ours, draws, features, labels, monkeypatch):
    """Our step with the numbers of `draws`."""
    monkeypatch.setattr(torch, "randint", lambda n, size: torch.arange(*size))
    batch = ours.batch(features, labels)
    batch.features = batch.features.double()
    for image in batch.images:
        image.real = {c: real.double() for c, real in image.real.items()}
    monkeypatch.setattr(ours.head.generator, "sample_noise", draws.sample_noise)
    ours.head.generator.model[2] = draws
    losses = ours.step(batch)
    assert not draws.order
    return {name: [float(value) for value in values] for name, values in losses.items()}


@pytest.mark.parametrize("loss_at", ["image", "feature"])
@pytest.mark.parametrize("method", ["zs3net", "ours", "equal_weight"])
def test_the_step_is_that_of_the_reference(method, loss_at, monkeypatch):
    """Three batches in float64, losses and all weights to 1e-6."""
    theirs, ours = aligned(method, loss_at=loss_at)
    labels = pictures()
    recursed = 0 if method == "zs3net" else 3
    teachers = []
    for n in range(3):
        features = features_of(labels, n, 256).abs()  # float32, as both sides hold them
        theirs.draws = Draws(n, labels, fitted=5, recursed=recursed)
        found = step(ours, theirs.draws, features, labels, monkeypatch)
        expected = theirs.step(features.double().permute(0, 3, 1, 2), labels)
        q = found.get("q", [])
        teachers += q
        assert len(found["generator"]) == 5 and len(q) == recursed
        taken = [loss for loss, count in zip(found.get("recursion", []), q) if count >= 2]
        found |= {"recursion": taken, "q": q}
        for name, values in expected.items():
            torch.testing.assert_close(found[name], [float(v) for v in values], rtol=1e-6, atol=0)
        for a, b in zip(weights_of(theirs), ours.head.parameters(), strict=True):
            torch.testing.assert_close(a.reshape(b.shape), b, rtol=1e-6, atol=1e-9)
    if method == "ours":  # none, some and all of the generated features were trusted
        assert min(teachers) < 2 and max(teachers) == SAMPLES
        assert any(2 <= q < SAMPLES for q in teachers)
