"""`Trainer.step` does what an independent loop does: same draws, same losses, same weights.

The loop is `benchmarks/reference.py`, written from the papers without zs3lib.
"""

from __future__ import annotations

import pytest
import torch
from benchmarks.reference import Reference
from crafted import BIRD, BOAT, COW, DOG, SOFA, SPLIT, VOID, WORDS, features_of, trainer
from torch import nn

from zs3lib.method.features import cell_labels

SAMPLES = 24
RATE = 0.07


class Draws:
    """Noise, dropout and positions for every (what for, image, class), the same to all who ask."""

    def __init__(self, seed: int):
        self.random = torch.Generator().manual_seed(seed)
        self.given = {}

    def _once(self, key, draw, *arguments):
        if key not in self.given:
            self.given[key] = draw(*arguments, generator=self.random)
        return self.given[key]

    def noise(self, key, n):
        return self._once(("noise", key), torch.randn, n, 300).double()

    def mask(self, key, n):
        return 2.0 * (self._once(("mask", key), torch.rand, n, 256) < 0.5).double()

    def dropout(self, key, hidden):
        return hidden * self.mask(key, len(hidden))

    def positions(self, key, n, samples):
        return self._once(("positions", key), torch.randint, n, (samples,))


class Script(nn.Module):
    """Stands for `Generator.sample_noise` and for its dropout: what `Draws` gives, in our order."""

    def __init__(self, draws: Draws, cells: torch.Tensor):
        super().__init__()
        self.draws = draws
        self.cells = cells
        self.queue = []

    def count(self, image, c):
        return int((self.cells[image] == c).sum())

    def positions(self, image, c):
        return self.draws.positions(("fit", image, c), self.count(image, c), SAMPLES)

    def add_step(self, what, image, c):
        """The vectors of one generator step: sampled among those of all its cells."""
        key = (what, image, c)
        n = self.count(image, c)
        at = self.draws.positions(key, n, SAMPLES)
        self.queue.append((self.draws.noise(key, n)[at], self.draws.mask(key, n)[at]))

    def add_maps(self, images):
        """The vectors of all cells of some images."""
        cells = self.cells[images]
        noise = torch.zeros(*cells.shape, 300, dtype=torch.float64)
        mask = torch.zeros(*cells.shape, 256, dtype=torch.float64)
        for row, image in enumerate(images):
            for c in (c for c in cells[row].unique().tolist() if c != VOID):
                key = ("classify", image, c)
                noise[row][cells[row] == c] = self.draws.noise(key, self.count(image, c))
                mask[row][cells[row] == c] = self.draws.mask(key, self.count(image, c))
        self.queue.append((noise.flatten(0, 2), mask.flatten(0, 2)))

    def sample_noise(self, n):
        noise, self.mask = self.queue.pop(0)
        assert len(noise) == n
        return noise

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
    labels[3, 28:, 28:] = COW
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
    script = Script(draws, cell_labels(labels, features.shape[1:3]))
    with monkeypatch.context() as patch:
        cells = script.cells.flatten(1).tolist()
        seen = [i for i in range(5) if not set(cells[i]) & set(SPLIT.unseen)]
        classes = [(i, c) for i in seen for c in sorted({*cells[i]} - {VOID})]
        positions = iter([script.positions(i, c) for i, c in classes])
        patch.setattr(torch, "randint", lambda n, size: next(positions))
        batch = ours.batch(features, labels)
    batch.features = batch.features.double()
    for image in batch.images:
        image.real = {c: features.double() for c, features in image.real.items()}
        for c in image.real:
            script.add_step("fit", image.index, c)
        for c in image.recursed if ours.recursing else ():
            script.add_step("generated", image.index, c)
            script.add_step("pseudo", image.index, c)
    script.add_maps([image.index for image in batch.images if image.has_unseen])
    generator = ours.head.generator
    monkeypatch.setattr(generator, "sample_noise", script.sample_noise)
    generator.model[2] = script
    losses = ours.step(batch)
    assert not script.queue
    return {name: [float(value) for value in values] for name, values in losses.items()}


@pytest.mark.parametrize("loss_at", ["image", "feature"])
@pytest.mark.parametrize("method", ["zs3net", "ours", "equal_weight"])
def test_the_step_is_that_of_the_reference(method, loss_at, monkeypatch):
    """Three batches in float64, losses and all weights to 1e-6."""
    theirs, ours = aligned(method, loss_at=loss_at)
    labels = pictures()
    teachers = []
    for n in range(3):
        features = features_of(labels, n, 256).abs()  # float32, as both sides hold them
        theirs.draws = Draws(n)
        found = step(ours, theirs.draws, features, labels, monkeypatch)
        expected = theirs.step(features.double().permute(0, 3, 1, 2), labels)
        q = found.get("q", [])
        teachers += q
        assert len(found["generator"]) == 5 and len(q) == (0 if method == "zs3net" else 3)
        taken = [loss for loss, count in zip(found.get("recursion", []), q) if count >= 2]
        found |= {"recursion": taken, "q": q}
        for name, values in expected.items():
            torch.testing.assert_close(found[name], [float(v) for v in values], rtol=1e-6, atol=0)
        for a, b in zip(weights_of(theirs), ours.head.parameters(), strict=True):
            torch.testing.assert_close(a.reshape(b.shape), b, rtol=1e-6, atol=1e-9)
    if method == "ours":  # none, some and all of the generated features were trusted
        assert min(teachers) < 2 and max(teachers) == SAMPLES
        assert any(2 <= q < SAMPLES for q in teachers)
