"""`Trainer.step` does what the reference loop of the benchmark does: same draws, same losses, same parameters."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
import pytest
import torch
from tqdm.auto import tqdm

from zs3lib import compiled, split
from zs3lib.draws import Draws
from zs3lib.layout import Layout
from zs3lib.stage2 import Trainer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import bench  # noqa: E402
import worlds  # noqa: E402
from reference import Reference  # noqa: E402

SPLIT = split("voc", 10)
BIRD, BOAT, DOG, COW, SOFA, VOID = 3, 4, 12, 10, 18, 255
SAMPLES = 24


class Fields:
    """Noise, dropout and positions for every (what for, image, class): the random numbers both sides are given."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.noises, self.masks, self.chosen = {}, {}, {}

    def noise(self, key, n):
        if key not in self.noises:
            self.noises[key] = torch.randn(n, 300, generator=self.generator, dtype=torch.float64)
        return self.noises[key]

    def mask(self, key, n):
        if key not in self.masks:
            self.masks[key] = 2.0 * (torch.rand(n, 256, generator=self.generator, dtype=torch.float64) < 0.5)
        return self.masks[key]

    def dropout(self, key, hidden):
        return hidden * self.mask(key, len(hidden))

    def positions(self, key, n, samples):
        if key not in self.chosen:
            self.chosen[key] = torch.randint(n, (samples,), generator=self.generator)
        return self.chosen[key]


def pictures():
    """Five label maps of 32 x 32: two seen throughout, two with unseen classes, one of them with two, one of void alone."""
    labels = torch.zeros(5, 32, 32, dtype=torch.uint8)
    labels[0, :16], labels[0, 15:17] = BIRD, VOID
    labels[1, :, 5:29], labels[1, 20:] = DOG, BOAT
    labels[2, 8:24, 8:30], labels[2, 24:] = COW, VOID
    labels[3, :12], labels[3, 12:22], labels[3, 28:, 28:] = SOFA, BIRD, COW
    labels[4] = VOID
    return labels


def aligned(method, loss_at, settings, **changes):
    """A reference and a trainer, in float64, with the same weights."""
    generator = torch.Generator().manual_seed(3)
    words = torch.randn(21, 300, generator=generator)
    s = settings(
        k=10, samples=SAMPLES, warmup_epochs=0, loss_at=loss_at, unseen_weight=10, generator_lr=2e-4, amp=False,
        classifier_lr=0.07, word_norm="none", noise="gaussian", **changes,
    )  # fmt: skip
    trainer = Trainer(method, bench.Rows(), words, SPLIT, s)
    trainer.head.double()
    trainer.weights = trainer.weights.double()
    reference = Reference(
        method, words.double(), set(SPLIT.unseen), loss_at=loss_at, samples=SAMPLES, tau=s.tau, gamma=s.gamma,
        unseen_weight=s.unseen_weight, generator_lr=s.generator_lr, classifier_lr=s.classifier_lr,
        momentum=s.momentum, weight_decay=s.weight_decay,
    )  # fmt: skip
    for module in (reference.hidden, reference.output, reference.classifier, reference.criterion):
        module.double()
    for theirs, ours in zip(_parameters(reference), _ours(trainer), strict=True):
        theirs.data.copy_(ours.reshape(theirs.shape))
    return reference, trainer


def _parameters(reference):
    r = reference
    return [r.hidden.weight, r.hidden.bias, r.output.weight, r.output.bias, r.classifier.weight, r.classifier.bias]


def _ours(trainer):
    g, c = trainer.head.generator, trainer.head.classifier
    return [torch.cat([g.word_weight, g.noise_weight], 1), g.bias, g.output.weight, g.output.bias, c.weight, c.bias]


def give(trainer, fields, layout, monkeypatch):
    """Put `fields` in place of the trainer's own draws: the cells it samples are given their noise and dropout."""

    def of(key, n):
        chosen = fields.positions(key, n, SAMPLES)
        return Draws(fields.noise(key, n)[chosen], fields.mask(key, n)[chosen])

    counts = {(i, c): int((layout.cells[i] == c).sum()) for i in range(5) for c in range(21)}
    recursing = layout.recursions if trainer.method != "zs3net" else []
    steps = []
    for at in sorted([*layout.fits, *recursing]):
        what = ("fit",) if at in layout.fits else ("pseudo", "generated")
        steps += [of((name, *at), counts[at]) for name in what]

    def drawn(n, dtype=None, seeds=None):
        if dtype is None:  # of all generator steps at once
            assert n == len(steps) * SAMPLES
            return Draws(*map(torch.cat, zip(*steps)))
        given = invented()
        more = n - len(given.noise)  # rounded up
        assert 0 <= more < 512 and dtype == torch.float64
        return Draws(*(torch.cat([part, part[:1].expand(more, -1)]) for part in given))

    def invented():
        """What the reference draws for each cell of the unseen images, by image and class, in the order of the cells."""
        at = [(i, int(c)) for i in layout.unseen for c in layout.cells[i].flatten()]
        at = at if trainer.settings.loss_at == "image" else [(i, c) for i, c in at if c != VOID]
        met, noise, masks = Counter(), [], []
        for i, c in at:
            key, n, nth = ("classify", i, c), counts.get((i, c), 1), met[i, c]
            noise.append(fields.noise(key, n)[nth] if c != VOID else torch.zeros(300))
            masks.append(fields.mask(key, n)[nth] if c != VOID else torch.zeros(256))
            met[i, c] += 1
        return Draws(torch.stack(noise), torch.stack(masks))

    def draw(members, counted, samples):
        chosen = [fields.positions(("fit", i, c), counts[i, c], samples).numpy() for i, c in layout.fits]
        return torch.stack([torch.from_numpy(own[at]) for own, at in zip(members, chosen, strict=True)])

    monkeypatch.setattr(Layout, "_draw", staticmethod(draw))
    monkeypatch.setattr(trainer.head.generator, "draw", drawn)


@pytest.mark.parametrize("loss_at", ["image", "feature"])
@pytest.mark.parametrize("method", ["zs3net", "ours", "equal_weight"])
def test_the_step_equals_the_reference_loop(method, loss_at, settings, monkeypatch):
    """Three batches: images seen throughout, images with one and two unseen classes, void; float64, to 1e-5."""
    reference, trainer = aligned(method, loss_at, settings, tau=0.5, gamma=0.5)
    trusted: list[int] = []
    labels, generator = pictures(), torch.Generator().manual_seed(8)
    for batch in range(3):
        features = torch.rand(5, 8, 8, 256, generator=generator, dtype=torch.float64)
        fields = reference.draws = Fields(batch)
        with monkeypatch.context() as patch:
            layout = Layout(labels, labels[:, 2::4, 2::4], SPLIT.unseen, SAMPLES)
            give(trainer, fields, layout, patch)
            trainer.step(features, labels, log := defaultdict(list))
        expected = reference.step(features.permute(0, 3, 1, 2), labels)
        assert len(expected["generator"]) == 5 == len(log["generator"]) and len(log["classifier"]) == 1
        for name, values in expected.items():
            torch.testing.assert_close([float(v) for v in log[name]], [float(v) for v in values], rtol=1e-5, atol=1e-9)
        for theirs, ours in zip(_parameters(reference), _ours(trainer), strict=True):
            torch.testing.assert_close(ours, theirs.reshape(ours.shape), rtol=1e-5, atol=1e-8)
        for optimiser in (
            reference.classifier_optimiser,
            trainer.classifier_optimiser,
        ):  # the schedule is stage 2's own
            optimiser.param_groups[0]["lr"] = 0.07
        trusted += [int(q) for q in log["q"]]
    assert len(log["recursion"]) == (0 if method == "zs3net" else 3)
    if method == "ours":  # none, some and all of the generated features were trusted
        assert min(trusted) == 0 and any(2 <= q < SAMPLES for q in trusted) and max(trusted) == SAMPLES


@pytest.mark.parametrize("loss_at", ["image", "feature"])
def test_a_step_without_compiled_loops_is_the_same(loss_at, settings, monkeypatch):
    """Same draws, same losses and parameters within float32's rounding, where numba is not installed."""
    pytest.importorskip("numba")
    features, found = torch.rand(5, 8, 8, 256, generator=torch.Generator().manual_seed(8)), []
    for loops in (compiled._loops, lambda: None):
        monkeypatch.setattr(compiled, "_loops", loops)
        _, trainer = aligned("ours", loss_at, settings, tau=0.0, seed=5)
        trainer.head.float()
        trainer.weights = trainer.weights.float()
        torch.manual_seed(6)
        trainer.step(features, pictures(), log := defaultdict(list))
        found.append(({name: torch.tensor([float(v) for v in values]) for name, values in log.items()}, _ours(trainer)))
    (losses, ours), (others, without) = found
    assert len(losses["recursion"]) >= 2
    torch.testing.assert_close(losses, others, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours, without, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


# ---- the benchmark itself --------------------------------------------------------------------------------------------


def test_every_comparison_runs_and_says_what_it_compares():
    rows = [*bench.stage2(32, 1, tqdm(disable=True)), *bench.evaluation(33, 2, tqdm(disable=True))]
    assert len(rows) == 8 and [r[-1] for r in rows if r[-1]] == [">= 8", ">= 20", ">= 8", ">= 20", ">= 5"]
    for _, slow, fast, ratio, spread, _ in rows:
        low, high = map(float, spread.split("-"))
        assert float(slow) > 0 and float(fast) > 0 and low <= float(ratio.strip("*")) <= high


def test_ratios_are_of_the_same_repeat():
    row = bench.compared("x", ">= 2", [[4.0, 1.0], [6.0, 3.0], [9.0, 3.0]])
    assert row == ["x", "6000.0", "3000.0", "**3.0**", "2.0-4.0", ">= 2"]


@pytest.mark.parametrize("task", [{}, {"classes": 300, "k": 4}])
def test_every_stage_runs_on_made_up_pictures(task):
    found = worlds.work({"stages": list(worlds.STAGES), "images": 8, "size": 32} | task)
    assert set(found) == {*worlds.STAGES, "disk_mb"} and found["disk_mb"] > 8 * 8 * 8 * 256 * 2 / 2**20
    assert all(found[stage]["seconds"] > 0 and found[stage]["peak_mb"] > 100 for stage in worlds.STAGES)


def test_laws_are_slopes():
    scaling = pytest.importorskip("scaling")
    values = [1, 2, 4, 8]
    part = pd.DataFrame({"value": values, "seconds": [3 * v**2 for v in values], "peak_mb": [5.0] * 4})
    assert scaling.exponent(part, "seconds") == pytest.approx(2) and scaling.exponent(part, "peak_mb") == pytest.approx(
        0
    )
    frame = part.assign(sweep="images", stage="cache")
    assert scaling.laws(frame)["verdict"].tolist() == ["FASTER THAN LINEAR"]
    assert scaling.laws(frame.assign(sweep="size"))["verdict"].tolist() == [""]
