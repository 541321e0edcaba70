"""The parts that make stage 2 and evaluation fast do what the plain way does."""

from __future__ import annotations

import copy
import importlib
import os
import re
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from zs3lib import Run, compiled, devices, draws, evaluate, stage1, threads
from zs3lib.adam import Adam, adamw
from zs3lib.cells import ROWS, Cells, rows_of
from zs3lib.data import loading
from zs3lib.features import FeatureCache, extract
from zs3lib.generator import Generator
from zs3lib.generator_step import GeneratorStep
from zs3lib.head import Head
from zs3lib.layout import Layout
from zs3lib.losses import kernel, target, with_slope, zs_mmd
from zs3lib.pixel_loss import pixel_loss
from zs3lib.threads import ahead, shared

pixel_loss_module = importlib.import_module("zs3lib.pixel_loss")


def blobs(count, size, classes, seed=0, void=True):
    """Label maps of random rectangles, with some void."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, size, size), np.uint8)
    for image in labels:
        for c in [*rng.choice(classes, 4), *([255] if void else [])]:
            top, left = rng.integers(0, size // 2, 2)
            image[top : top + size // 2, left : left + size // 3] = c
    return torch.from_numpy(labels)


# ---- the loss at image resolution ------------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("height, width, size, classes", [(10, 10, 40, 21), (7, 9, 33, 5), (1, 4, 8, 3), (6, 6, 6, 4)])
@pytest.mark.parametrize("scale", [5, 60])  # 60: cells far apart
def test_pixel_loss_is_torchs(height, width, size, classes, scale, align_corners):
    generator = torch.Generator().manual_seed(1)
    logits = (scale * torch.randn(3, height, width, classes, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = blobs(3, size, classes)
    labels = labels[:, :height, :width] if size == height else labels
    weights = torch.rand(256, generator=generator, dtype=torch.float64) + 0.1
    weights[255] = 0
    upsampled = F.interpolate(
        logits.permute(0, 3, 1, 2), labels.shape[1:], mode="bilinear", align_corners=align_corners
    )
    plain = F.cross_entropy(upsampled, labels.long(), weights[:classes], ignore_index=255, reduction="sum")
    plain = plain / weights[labels.long()].sum().clamp_min(1)
    (slope,) = torch.autograd.grad(plain, logits)
    for block in (1, 999, None):
        loss = pixel_loss(logits, labels, weights, align_corners=align_corners, block=block)
        torch.testing.assert_close(loss, plain, rtol=1e-10, atol=0)
        torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], slope, rtol=1e-9, atol=1e-12)


def test_pixel_loss_stays_finite_and_forgets_void():
    logits = torch.full((1, 4, 4, 3), -1e4)
    logits[..., 1] = 1e4
    logits.requires_grad_()
    weights = torch.ones(256)
    weights[255] = 0
    wrong, void = torch.zeros(1, 16, 16, dtype=torch.uint8), torch.full((1, 16, 16), 255, dtype=torch.uint8)
    assert pixel_loss(logits, wrong, weights).item() == pytest.approx(2e4)
    loss = pixel_loss(logits, void, weights)
    assert loss == 0 and torch.autograd.grad(loss, logits)[0].abs().max() == 0


# ---- what a batch holds ----------------------------------------------------------------------------------------------


def test_layout_says_what_the_label_maps_hold():
    labels = blobs(6, 64, 9)
    unseen = (3, 7)
    cells = labels[:, 2::4, 2::4]
    layout = Layout(labels, cells, unseen, 50)
    assert torch.equal(layout.cells, cells)
    has = [any((labels[i] == c).any() for c in unseen) for i in range(6)]
    assert layout.unseen == [i for i in range(6) if has[i]] and layout.seen == [i for i in range(6) if not has[i]]
    assert layout.seen and layout.unseen
    of = {i: [c for c in cells[i].unique().tolist() if c != 255] for i in range(6)}
    assert layout.fits == [(i, c) for i in layout.seen for c in of[i]]
    assert layout.recursions == [(i, c) for i in layout.unseen for c in of[i] if c in unseen]
    for (image, c), positions in zip(layout.fits, layout.positions, strict=True):
        chosen = torch.zeros(6 * 256, dtype=torch.bool)
        chosen[positions] = True
        own = torch.zeros(6, 256, dtype=torch.bool)
        own[image] = cells[image].flatten() == c
        assert not (chosen & ~own.flatten()).any() and len(positions) == 50
        assert len(positions.unique()) > min(50, int(own.sum())) / 3  # drawn all over the class


def test_positions_are_drawn_evenly():
    torch.manual_seed(0)
    cells = torch.zeros(1, 8, 8, dtype=torch.uint8)
    layout = Layout(cells, cells, (3,), 64_000)
    counts = torch.bincount(layout.positions[0], minlength=64)
    assert len(counts) == 64 and (counts - 1000).abs().max() < 6 * 1000**0.5


# ---- generated features ----------------------------------------------------------------------------------------------


def drawn_for(generator, n, dtype):
    """What `Cells` draws for n features."""
    rows = rows_of(n)
    sizes = [min(rows, n + -n % 256 - start) for start in range(0, n, rows)]
    seeds = [(draws.seed(), draws.seed()) for _ in sizes]
    blocks = [generator.draw(size, dtype, s) for size, s in zip(sizes, seeds, strict=True)]
    return draws.Draws(*(torch.cat(parts)[:n] for parts in zip(*blocks)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_loops", [True, False])
def test_the_hidden_layer_without_autograd_is_the_generators(training, dtype, with_loops, monkeypatch):
    if not with_loops:
        monkeypatch.setattr(compiled, "_loops", lambda: None)
    torch.manual_seed(0)
    generator = Generator().train(training)
    generator = generator.double() if dtype == torch.float64 else generator
    words, index = torch.randn(5, 300, dtype=generator.bias.dtype), torch.randint(5, (700,))
    drawn = generator.draw(700, dtype)
    made = generator.hidden(
        drawn, generator.noise_weight.detach().to(dtype), generator.word_parts(words).detach(), index
    )
    noise, kept = (part.to(generator.bias.dtype) for part in drawn)
    parts = F.linear(words, generator.word_weight, generator.bias)[index]
    expected = F.leaky_relu(F.linear(noise, generator.noise_weight) + parts, 0.2) * kept
    error = (made.to(expected) - expected).norm() / expected.norm()
    assert made.dtype == dtype and error < {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.005}[dtype]


@pytest.mark.parametrize("count, blocks", [(0, 0), (300, 1), (ROWS + 9, 2)])
def test_generated_cells_are_made_in_blocks_of_few_sizes(count, blocks):
    head = Head(words=torch.randn(5, 300)).train()
    step = Cells(head, [], torch.randint(5, (count,)).to(torch.uint8))
    shapes = []
    step._each(lambda i: shapes.append((i, step.logits(i)[0].shape)))
    rows = [shape[0] for _, shape in sorted(shapes)]
    assert len(rows) == blocks and all(n % 256 == 0 for n in rows) and count <= sum(rows) < count + 256


def test_generated_cells_wait_for_the_generators_steps(monkeypatch):
    """The order of work on one thread and on two: `first` comes before anything is generated, with what it changed."""
    for count in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        monkeypatch.setattr(threads, "_parallel", threads._parallel if count > 1 else lambda: None)
        head, order = Head(words=torch.randn(5, 300)).train(), []

        def teach(head=head, order=order):
            order.append("taught")
            head.generator.output.bias.data.fill_(7)

        step = Cells(head, [torch.randn(64, 256)], torch.zeros(256, dtype=torch.uint8), None, teach)
        logits = step.logits

        def noted(i, logits=logits, order=order):
            order.append(i)
            return logits(i)

        monkeypatch.setattr(step, "logits", noted)
        step.at_cells(torch.zeros(320, dtype=torch.uint8), torch.ones(256))
        assert sorted(order, key=str) == [0, 1, "taught"] and order[-1] == 1
        _, (generated, bias) = step.layers
        expected = head.classifier.bias + head.classifier.weight @ head.generator.output.bias
        torch.testing.assert_close(bias.squeeze(1), expected.detach())


@pytest.mark.parametrize("half, width", [(None, 256), (torch.bfloat16, 256), (None, 2)])
@pytest.mark.parametrize("mode", ["cells", "pixels"])
def test_the_classifiers_step_is_autograds(mode, half, width):
    """Loss and gradient over real and generated cells, void among them, against features that are formed."""
    torch.manual_seed(0)
    head = Head(words=torch.randn(5, 300), features=width).train()
    weights = torch.rand(256) + 0.1
    weights[255] = 0
    real = [torch.randn(64, width).half() for _ in range(2)]
    labels = blobs(4, 32, 5, void=True)
    cells = labels[:, 2::4, 2::4]
    invented, known = cells[2:].flatten(), cells[:2].flatten()
    invented = invented[invented != 255] if mode == "cells" else invented
    assert mode == "cells" or (invented == 255).any()
    torch.manual_seed(1)
    step = Cells(head, real, invented, half)
    sums = (
        step.at_cells(torch.cat([known, invented]), weights)
        if mode == "cells"
        else step.at_pixels(labels, torch.Size((4, 8, 8)), weights, False)
    )
    step.finish(0.5)
    found = [p.grad for p in head.classifier.parameters()]
    torch.manual_seed(1)
    drawn = drawn_for(head.generator, len(invented), torch.float32 if half is None else half)
    features = torch.zeros(len(invented), width)
    for c in range(5):
        own = invented == c
        given = draws.Draws(*(part[own].float() for part in drawn))
        features[own] = head.generator.generate(head.words[c], given).features
    logits = head.classifier(torch.cat([*real, features]).float())
    if mode == "cells":
        target = torch.cat([known, invented]).long()
    else:
        logits = logits.view(4, 8, 8, 5).permute(0, 3, 1, 2)
        logits, target = F.interpolate(logits, (32, 32), mode="bilinear"), labels.long()
    loss = F.cross_entropy(logits, target, weights[:5], ignore_index=255, reduction="sum")
    expected = torch.autograd.grad(0.5 * loss, list(head.classifier.parameters()))
    rtol = 1e-4 if half is None else 0.02
    assert sums[0].item() == pytest.approx(loss.item(), rel=rtol)
    assert sums[1].item() == pytest.approx(weights[target].sum().item(), rel=1e-5)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() < rtol * b.norm()
    assert all(p.grad is None for p in head.generator.parameters())


def test_a_classifiers_step_without_cells_has_no_gradient():
    head = Head(words=torch.randn(5, 300))
    step = Cells(head, [], torch.empty(0, dtype=torch.uint8))
    assert step.at_cells(torch.empty(0, dtype=torch.uint8), torch.ones(256)).tolist() == [0, 0]
    step.finish(1.0)
    assert head.classifier.weight.grad.abs().max() == 0 == head.classifier.bias.grad.abs().max()


# ---- compiled loops --------------------------------------------------------------------------------------------------


def without_loops(monkeypatch, *modules):
    for module in modules:
        monkeypatch.setattr(module, "loops_for", lambda *_: None)


def two_steps(root=True, **changes):
    """A generator with its Adam that uses the compiled loops, and the same that does not."""
    pytest.importorskip("numba")
    if compiled._step_loops() is None:
        pytest.skip("this torch does not name its BLAS, or not everywhere")
    torch.manual_seed(0)
    fast = Generator(**changes).train()
    slow = copy.deepcopy(fast)
    steps = [GeneratorStep(generator, lr=2e-4, root=root) for generator in (fast, slow)]
    steps[1]._loops = lambda drawn: None
    steps[1].target = target
    return steps


def moments(step) -> list[torch.Tensor]:
    return [state[name] for state in step.optimiser.state.values() for name in ("exp_avg", "exp_avg_sq", "step")]


@pytest.mark.parametrize("dtype, rtol", [(torch.float32, 5e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("features, hidden", [(256, 256), (2, 200)])
def test_the_compiled_step_is_torchs(dtype, rtol, root, scale, features, hidden):
    """Losses, weights and moments after five steps, one of them scaled, and the learning rate changed on the way."""
    fast, slow = steps = two_steps(root, features=features, hidden=hidden)
    losses_, start = ([], []), [p.detach().clone() for p in fast.generator.parameters()]
    for i in range(5):
        x, word, w = scale * torch.rand(40, features), torch.randn(300), torch.rand(40) / 20
        drawn = fast.generator.draw(24, dtype)
        for step, losses in zip(steps, losses_, strict=True):
            step.optimiser.param_groups[0]["lr"] = 2e-4 / (i + 1)
            made = step.generate(word, drawn)
            assert made.features.dtype == torch.float32 and made.hidden.dtype == dtype
            losses.append(step.learn(made, step.target(x, w), factor=0.5 if i == 2 else 1))
    # torch rounds features to bfloat16 on their way, the compiled step does not
    torch.testing.assert_close(*losses_, rtol=2**-8 if dtype == torch.bfloat16 else 2e-6, atol=1e-6)
    for before, a, b in zip(start, fast.generator.parameters(), slow.generator.parameters(), strict=True):
        assert (a - b).norm() <= 5 * rtol * (b - before).norm() > 0
    for a, b in zip(moments(fast), moments(slow), strict=True):
        assert (a - b).norm() <= 2 * rtol * b.norm()
    again = two_steps(root, features=features, hidden=hidden)[0]  # goes on from the slow one's state
    again.learn(again.generate(word, drawn), again.target(x, w))
    again.generator.load_state_dict(slow.generator.state_dict())
    again.optimiser.load_state_dict(copy.deepcopy(slow.optimiser.state_dict()))
    for step in (again, slow):
        step.learn(step.generate(word, drawn), step.target(x, w))
    assert [state["step"].item() for state in again.optimiser.state.values()] == [6.0] * 5
    for a, b in zip(moments(again), moments(slow), strict=True):
        assert (a - b).norm() <= 2 * rtol * b.norm()


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_compiled_target_is_torchs(scale):
    fast, _ = two_steps()
    x, w = scale * (torch.rand(3, 40, 256) + 2), torch.rand(3, 40) / 20
    for given in ((x, w), (x[1], w[1])):
        for a, b in zip(fast.target(*given), target(*given), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fitting_several_sets_is_fitting_one_after_the_other(dtype):
    fast, _ = two_steps()
    slow = GeneratorStep(copy.deepcopy(fast.generator), lr=2e-4, root=True)
    x, words, drawn = torch.rand(3, 40, 256), torch.randn(3, 300), fast.generator.draw(3 * 24, dtype)
    w = torch.full((3, 40), 1 / 40)
    together = fast.fit(list(words), drawn, fast.target(x, w))
    each = [
        slow.learn(slow.generate(word, own), slow.target(*of))
        for word, own, of in zip(words, drawn.split(24), zip(x, w), strict=True)
    ]
    assert torch.equal(torch.stack(together), torch.stack(each)) and len(set(map(float, each))) == 3
    for a, b in zip(fast.generator.parameters(), slow.generator.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("root", [True, False])
def test_the_compiled_pull_is_as_near_to_the_truth_as_torchs(root, scale):
    fast, _ = two_steps(root)
    x, w = scale * torch.randn(40, 256), torch.rand(40) / 40
    with torch.no_grad():
        fast.generator.output.weight.mul_(scale)
    made = fast.generate(torch.randn(300), fast.generator.draw(25))
    given = made.features.clone()
    loss, slope = fast.learn(made, fast.target(x, w)), torch.from_numpy(fast.memory[1][5])
    other, plain = with_slope(target(x, w), given, root=root)
    true, exact = with_slope(target(x.double(), w.double()), given.double(), root=root)
    assert slope.shape == exact.shape
    # Both end in u^40, which has forty times the rounding of u.
    assert (loss - true).abs() <= 2 * (other - true).abs() + 2e-5 * true
    assert (slope - exact).norm() <= 2 * (plain - exact).norm() + 2e-6 * exact.norm() + 1e-27


def test_float16_becomes_bfloat16_as_torch_has_it():
    loops = pytest.importorskip("zs3lib.loops")
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    out = torch.empty_like(x, dtype=torch.bfloat16)
    loops.narrow(x.view(torch.uint16).numpy(), out.view(torch.uint16).numpy())
    torch.testing.assert_close(out, x.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


def test_compiled_code_is_kept_for_the_very_files_it_was_made_of():
    jit = pytest.importorskip("zs3lib.jit")
    folder = Path(jit.__file__).parent
    having = {path.name for path in folder.glob("*.py") if "@kernel" in path.read_text()}
    assert having | {"jit.py"} == set(jit.FILES)
    if step_loops := compiled._step_loops():
        for function in (step_loops.fit, step_loops.learn, step_loops.product):
            assert f"loops-{jit.DIGEST}" in function.stats.cache_path


@pytest.mark.parametrize("spread", [3, 300])
def test_the_compiled_softmax_is_torchs(spread, monkeypatch):
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(2)
    z = spread * torch.randn(3, 21, 1500, generator=generator)
    labels = torch.randint(21, (3, 1500), generator=generator).to(torch.uint8)
    labels[0, :100] = 255
    weights = torch.rand(256, generator=generator)
    weights[255] = 0
    one, other = z.clone(), z.clone()
    sums = pixel_loss_module._block(one, labels, weights, near=False)
    without_loops(monkeypatch, pixel_loss_module)
    torch.testing.assert_close(
        sums.float(), pixel_loss_module._block(other, labels, weights, near=False), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert one.abs().max() > 0.5 and one[0, :, :100].abs().max() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_lost_in_the_loops(bad):
    x, w = torch.randn(20, 8), torch.full((20,), 1 / 20)
    y = x.clone()
    y[3, 2] = bad
    assert not with_slope(target(x, w), y)[0].isfinite()
    for spoil in ("x", "weights"):
        step, _ = two_steps()
        with torch.no_grad():
            step.generator.output.bias[1] = bad if spoil == "weights" else 0
        real = torch.rand(20, 256)
        real[3, 2] = bad if spoil == "x" else 0
        made = step.generate(torch.randn(300), step.generator.draw(8))
        assert not step.learn(made, step.target(real, w)).isfinite(), spoil
    z = torch.randn(4, 30)
    z[1, 7] = bad
    assert not pixel_loss_module.softmax_loss(z, torch.zeros(30, dtype=torch.uint8), torch.ones(256))[0].isfinite()


def test_work_is_shared_by_torchs_threads_and_errors_come_back():
    done, before = [], torch.get_num_threads()
    shared(lambda i: done.append((i, torch.is_grad_enabled(), torch.ones(70_000).sum().item())), 7)
    assert sorted(done) == [(i, False, 70_000.0) for i in range(7)] and torch.is_grad_enabled()

    def fail(i):
        if i == 3:
            raise KeyboardInterrupt("three")

    with pytest.raises(KeyboardInterrupt, match="three"):
        shared(fail, 5)
    shared(fail, 0)
    assert torch.get_num_threads() == before


@pytest.fixture
def answered_ctrl_c():
    """Python's own answer to Ctrl-C, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_shared_work_waits_for_its_end_and_is_not_lost(answered_ctrl_c):
    for where in range(4):
        done = []

        def interrupted(i, done=done, where=where):
            if i == where:
                os.kill(os.getpid(), signal.SIGINT)
            torch.ones(200, 200) @ torch.ones(200, 200)
            done.append(i)

        with pytest.raises(KeyboardInterrupt):
            shared(interrupted, 4)
        if torch.get_num_threads() > 1 and threads._parallel():
            assert sorted(done) == [0, 1, 2, 3]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("mode", ["cells", "pixels"])
@pytest.mark.parametrize("count", [0, 192, 256])
def test_the_classifiers_step_takes_any_number_of_cells_off_the_cpu(mode, count):
    """A device without memory stands for a GPU: there all generated cells are one block."""
    head = Head(words=torch.randn(5, 300)).to("meta")
    real, weights = [torch.empty(64, 256, device="meta")], torch.ones(256, device="meta")
    invented = torch.randint(5, (count,)).to(torch.uint8)
    step = Cells(head, real, invented)
    assert len(step.sizes) == len(step.void) == 1 + (count > 0)
    if mode == "cells":
        sums = step.at_cells(torch.zeros(64 + count, dtype=torch.uint8), weights)
    else:
        images = 1 + count // 64
        labels = torch.zeros(images, 32, 32, dtype=torch.uint8, device="meta")
        sums = step.at_pixels(labels, torch.Size((images, 8, 8)), weights, False)
    step.finish(sums[1])
    assert sums.shape == (2,) and head.classifier.weight.grad.shape == (5, 256)


@pytest.mark.parametrize("normal, mean, std", [(True, 0, 1), (False, 0.5, 12**-0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_noise_is_what_it_says(normal, mean, std, dtype):
    options = dict(normal=normal, device=torch.device("cpu"), dtype=dtype)
    torch.manual_seed(4)
    found = draws.normal_or_uniform(4000, 301, **options)
    assert found.dtype == dtype and not torch.equal(draws.normal_or_uniform(4000, 301, **options), found)
    torch.manual_seed(4)
    assert torch.equal(draws.normal_or_uniform(4000, 301, **options), found)
    x = found.double()
    assert x.mean().item() == pytest.approx(mean, abs=5 * std / x.numel() ** 0.5)
    assert x.std().item() == pytest.approx(std, rel=0.005)
    rows, columns = np.corrcoef(x[:50]) - np.eye(50), np.corrcoef(x[:, :50].T) - np.eye(50)
    assert np.abs(rows).max() < 0.35 and np.abs(columns).max() < 0.1
    law = stats.norm() if normal else stats.uniform()
    # bfloat16 holds 8 bits: its steps are up to 0.4 % of a number
    assert stats.kstest(x.flatten().numpy(), law.cdf).statistic < (0.002 if dtype != torch.bfloat16 else 0.003)


def test_normal_levels_have_variance_one_and_reach_four_sigma():
    points = draws._points(True, torch.float64)
    levels = points[:, 0].sort().values
    assert points.shape == (65536, 4) and len(levels.unique()) == 65536
    assert all(torch.equal(points[:, i].sort().values, levels) for i in range(4))  # each takes every level once
    assert levels.square().mean().item() == pytest.approx(1, abs=1e-12) and levels.mean().abs() < 1e-9
    assert 4.2 < levels.max() < 4.4
    for sigmas in (1, 2, 3):  # the tails weigh what they should
        share = (levels.abs() > sigmas).double().mean().item()
        assert share == pytest.approx(2 * stats.norm.sf(sigmas), rel=0.02)


def test_numbers_drawn_together_are_independent():
    """What 16 bits choose at once: no correlation, of squares neither, and their sums are as normal as they are."""
    points = draws._points(True, torch.float64).numpy()
    for x in (points, points**2):
        assert np.abs(np.corrcoef(x.T) - np.eye(4)).max() < 1e-3
    for mix in ((1, 1, 1, 1), (1, -1, 0, 0), (0.1, 2, -3, 0.5)):
        mixed = points @ np.array(mix) / np.linalg.norm(mix)
        assert stats.kstest(mixed, stats.norm.cdf).statistic < 0.002  # 65,536 independent draws: 0.005


def test_words_are_splitmix64s():
    """The first three of seed 1234567, as Vigna's reference code prints them."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert draws._words(1234567, 3).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_draws_are_those_without(dtype, monkeypatch):
    pytest.importorskip("numba")
    options, found = dict(device=torch.device("cpu"), dtype=dtype), []
    for loops in (draws.loops_for, lambda *_: None):
        monkeypatch.setattr(draws, "loops_for", loops)
        torch.manual_seed(3)
        found.append((draws.normal_or_uniform(77, 301, normal=True, **options), draws.kept_half(77, 257, **options)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_dropout_keeps_half_and_doubles_it():
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        kept = draws.kept_half(1000, 257, device=torch.device("cpu"), dtype=dtype)
        assert kept.dtype == dtype and set(kept.unique().tolist()) == {0, 2}
        assert kept.float().mean().item() == pytest.approx(1, abs=0.01)
        assert kept.float().mean(0).min() > 0.8 and kept.float().mean(1).min() > 0.6  # no column, no row is favoured
        assert not torch.equal(draws.kept_half(1000, 257, device=torch.device("cpu"), dtype=dtype), kept)


# ---- a generator step without autograd -------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("root", [True, False])
def test_gradients_written_out_are_autograds(training, root):
    """`Generator.backward` and `with_slope` against autograd through `forward` and `zs_mmd`, same draws, float64."""
    torch.manual_seed(0)
    generator = Generator(word_dim=30).double().train(training)
    word, trusted = torch.randn(30, dtype=torch.float64), torch.randn(40, 256, dtype=torch.float64)
    weights = torch.rand(40, dtype=torch.float64) / 40
    torch.manual_seed(1)
    made = generator.generate(word, generator.draw(24))
    loss, slope = with_slope(target(trusted, weights), made.features, root=root)
    generator.backward(made, slope)
    found = [p.grad for p in generator.parameters()]
    generator.zero_grad()
    torch.manual_seed(1)
    features = generator(word[None], torch.empty(0), generator.sample_noise(24))
    expected = zs_mmd(trusted, features, 40 * weights, root=root)
    expected.backward()
    torch.testing.assert_close(made.features, features.detach())
    torch.testing.assert_close(loss, expected.detach())
    assert all(g.abs().max() > 0 for g in found)
    torch.testing.assert_close(found, [p.grad for p in generator.parameters()], rtol=1e-9, atol=1e-12)


def test_one_set_as_its_own_target_is_flat():
    """MMD 0: the root's slope would be infinite, the floor makes it 0."""
    x, weights = torch.randn(20, 8), torch.full((20,), 1 / 20)
    loss, slope = with_slope(target(x, weights), x.clone())
    assert loss.item() == pytest.approx(1e-3, rel=0.5) and torch.equal(slope, torch.zeros_like(slope))


def test_sums_among_several_sets_are_those_of_each():
    x, w = torch.randn(3, 7, 5, dtype=torch.float64), torch.rand(3, 7, dtype=torch.float64)
    expected = [w[i] @ kernel(x[i], x[i]) @ w[i] for i in range(3)]
    torch.testing.assert_close(target(x, w).own, torch.stack(expected))


# ---- evaluation ------------------------------------------------------------------------------------------------------


def confident(size=17, classes=21, seed=0):
    """Logits as a trained network has them: smooth, most classes never near the top."""
    generator = torch.Generator().manual_seed(seed)
    truth = blobs(1, size, (0, 3, 7), seed, void=False)[0].long()
    x = 8 * F.one_hot(truth, classes).float() + torch.randn(size, size, classes, generator=generator)
    return F.avg_pool2d(x.permute(2, 0, 1)[None], 3, 1, 1)[0].permute(1, 2, 0)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(67, 67), (50, 91), (17, 17), (1, 3), (9, 70)])
@pytest.mark.parametrize("kind", ["noise", "confident"])
def test_label_maps_are_the_argmax_whatever_the_block(kind, size, align_corners):
    logits = confident() if kind == "confident" else torch.randn(17, 17, 21, generator=torch.Generator().manual_seed(2))
    plain = F.interpolate(logits.permute(2, 0, 1)[None].double(), size, mode="bilinear", align_corners=align_corners)[0]
    found = evaluate.label_map(logits, size, align_corners=align_corners)
    top = plain.topk(2, dim=0).values
    clear = top[0] - top[1] > 1e-5  # elsewhere rounding decides
    assert clear.float().mean() > 0.99 and torch.equal(found[clear].long(), plain.argmax(0)[clear])
    for block in (1, 5000, 100_000, 1 << 24):
        assert torch.equal(evaluate.label_map(logits, size, align_corners=align_corners, block=block), found)


def test_only_edges_are_upsampled():
    best = torch.zeros(5, 6, dtype=torch.uint8)
    best[2:, 3:] = 4
    edges = torch.zeros(5, 6, dtype=torch.bool)
    edges[1, 2:], edges[1:, 2] = True, True  # cells whose right, lower or lower right neighbour is another
    assert torch.equal(evaluate._edges(best), edges)
    tied = torch.zeros(4, 4, 3)
    assert (evaluate.label_map(tied, (9, 9)) == 0).all()  # the first of equals
    assert evaluate.label_map(tied * torch.nan, (9, 9)).shape == (9, 9)


def test_reading_ahead_keeps_the_order_holds_few_and_raises_in_turn():
    held, most = [], []

    def load(i):
        held.append(i)
        if i == 7:
            raise ValueError("image 7")
        return i

    got = []
    with pytest.raises(ValueError, match="image 7"):
        for i in ahead(load, 20, 3):
            got.append(i)
            most.append(max(held) - i)
    assert got == list(range(7)) and max(most) <= 4
    assert list(ahead(lambda i: i, 2, 5)) == [0, 1] and list(ahead(load, 0, 2)) == []


# ---- the cache -------------------------------------------------------------------------------------------------------


def test_features_of_another_backbone_are_never_read(settings, tmp_path):
    """Same folder, other weights, seed or augmentation: computed again. The same: read."""
    run = Run(settings(k=10), runs_root=tmp_path, cache_root=tmp_path)
    run.model.eval()
    folder = tmp_path / "features"

    def build(seed=1, **changes):
        s = settings(k=10, **changes)
        return np.array(FeatureCache.build(folder, run.model, run.train, s, seed=seed).features)

    first = build()
    when = (folder / "meta.json").stat().st_mtime_ns
    assert (build() == first).all() and (folder / "meta.json").stat().st_mtime_ns == when
    assert not (build(seed=2) == first).all() and not (build(blur=1.0) == first).all()
    with torch.no_grad():
        next(run.model.decoder.parameters()).mul_(1.5)
    changed = build()
    assert not np.allclose(changed, first, rtol=1e-2)
    with torch.no_grad():
        next(run.model.decoder.parameters()).div_(1.5)
    assert (build() == first).all()


def test_pages_of_the_cache_do_not_stay_in_memory(make_cache):
    """Reading every row leaves about as much in memory as before (Linux counts what a process has mapped in)."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not say how much of a file a process holds in memory")

    def mapped():
        return int(re.search(r"RssFile:\s+(\d+) kB", status.read_text())[1])

    cache = make_cache(np.zeros((600, 32, 32)))
    size = cache.features.nbytes // 1024
    before = mapped()
    for row in range(600):
        cache.read(np.array([row]))
    assert size > 15_000 and mapped() - before < size / 4


# ---- sharing the machine ---------------------------------------------------------------------------------------------


def test_runs_queue_for_a_gpu_and_not_for_a_cpu(monkeypatch, tmp_path, capsys):
    """A made-up device stands for a GPU: while one run has it, the next one waits, says so, and then gets it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gpu, entered, release = torch.device("meta"), threading.Event(), threading.Event()
    order = []

    def second():
        with devices.queued(gpu):
            order.append("second")

    def first():
        with devices.queued(gpu):
            entered.set()
            release.wait(10)
            order.append("first")

    one, two = threading.Thread(target=first), threading.Thread(target=second)
    one.start()
    assert entered.wait(10)
    two.start()
    with devices.queued(torch.device("cpu")), devices.queued(torch.device("cpu")):
        two.join(0.3)
    assert order == [] and two.is_alive()
    release.set()
    one.join(10), two.join(10)
    assert order == ["first", "second"] and "another run computes on meta: waiting" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 1


def test_loading_leaves_a_core_to_the_network(settings, monkeypatch):
    for cores, asked, given in ((2, 0, 0), (2, 8, 1), (8, 8, 7), (16, 8, 8), (1, 4, 1)):
        monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert loading.workers(settings(workers=asked)) == given


# ---- Adam ------------------------------------------------------------------------------------------------------------


def test_adam_is_torchs_to_the_last_bit_and_skips_where_told():
    torch.manual_seed(0)
    one, other = (nn.Linear(40, 30) for _ in range(2))
    other.load_state_dict(one.state_dict())
    ours, torchs = Adam(one.parameters(), lr=1e-2), torch.optim.Adam(other.parameters(), lr=1e-2, fused=True)
    for n in range(6):
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        skipped = torch.tensor(float(n in (0, 3)))
        ours.found_inf = torchs.found_inf = None if n == 5 else skipped
        before = one.weight.clone()
        ours.step(), torchs.step()
        assert torch.equal(one.weight, before) == (n in (0, 3))
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
        if n == 2:  # a resumed run goes on as it was
            saved = ours.state_dict()
            ours = Adam(one.parameters(), lr=1.0)
            ours.load_state_dict(saved)
    torch.testing.assert_close(ours.state_dict()["state"], torchs.state_dict()["state"], rtol=0, atol=0)


def test_adamw_updates_channels_last_weights_where_they_are():
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    one.to(memory_format=torch.channels_last)
    weight = one[0].weight
    ours = adamw([{"params": list(one.parameters()), "lr": 1e-2}], weight_decay=0.1)
    torchs = torch.optim.AdamW(other.parameters(), lr=1e-2, weight_decay=0.1, fused=True)
    for _ in range(3):
        x = torch.randn(2, 3, 6, 6)
        for net, optimiser in ((one, ours), (other, torchs)):
            net.zero_grad()
            (net(x) - 1).square().mean().backward()
            optimiser.step()
    assert one[0].weight is weight and weight.is_contiguous(memory_format=torch.channels_last)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


# ---- weights cast once -----------------------------------------------------------------------------------------------


def test_weights_cast_once_give_the_same_features_and_are_given_back(settings):
    model = stage1.build_model(settings(k=10), 21).eval()
    stage1.freeze(model.backbone)
    s, images = settings(k=10), torch.randn(2, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = extract(model, images, s)
    with devices.cast_once(model, torch.device("cpu"), s):
        held = {m.weight.dtype for m in model.backbone.modules() if isinstance(m, nn.Conv2d)}
        assert held == {devices.half(torch.device("cpu"), s) or torch.float32}
        assert model.classifier.weight.dtype == torch.float32  # it is trained
        assert torch.equal(extract(model, images, s), plain)
    with pytest.raises(KeyboardInterrupt), devices.cast_once(model, torch.device("cpu"), s):
        raise KeyboardInterrupt
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in model.state_dict().items())
