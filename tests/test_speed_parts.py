"""The parts that make stage 2 and evaluation fast do what the plain way does."""

from __future__ import annotations

import re
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from zs3lib import Run, devices, draws, evaluate
from zs3lib.data import loading
from zs3lib.features import FeatureCache
from zs3lib.generator import ROWS, Generator
from zs3lib.head import Head
from zs3lib.layout import Layout
from zs3lib.losses import among, kernel, with_slope, zs_mmd
from zs3lib.pixel_loss import pixel_loss
from zs3lib.threads import ahead


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
@pytest.mark.parametrize("reduction, scale", [("mean", 5), ("sum", 5), ("mean", 60)])  # 60: cells far apart
def test_pixel_loss_is_torchs(height, width, size, classes, reduction, scale, align_corners):
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
    if reduction == "mean":
        plain = plain / weights[labels.long()].sum().clamp_min(1)
    (slope,) = torch.autograd.grad(plain, logits)
    for block in (1, 999, None):
        loss = pixel_loss(logits, labels, weights, reduction=reduction, align_corners=align_corners, block=block)
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
    invented = cells[layout.unseen].flatten()
    by_class = torch.cat([torch.full((n,), c) for c, n in layout.generated])
    by_class = torch.cat([by_class, torch.full(((invented == 255).sum(),), 255)])
    assert torch.equal(by_class[layout.rank], invented.long())


def test_positions_are_drawn_evenly():
    torch.manual_seed(0)
    cells = torch.zeros(1, 8, 8, dtype=torch.uint8)
    layout = Layout(cells, cells, (3,), 64_000)
    counts = torch.bincount(layout.positions[0], minlength=64)
    assert len(counts) == 64 and (counts - 1000).abs().max() < 6 * 1000**0.5


# ---- generated features ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_generated_logits_are_the_classifiers_of_generated_features(training):
    torch.manual_seed(0)
    head = Head(words=torch.randn(5, 300)).train(training)
    classes = [(1, 7), (4, ROWS + 9)]
    torch.manual_seed(1)
    logits = head.generated_logits(classes)
    torch.manual_seed(1)
    blocks = [head.generator.draw(n) for n in (ROWS, ROWS)]  # 2,064 rounded up
    drawn = draws.Draws(*(torch.cat(parts)[: 7 + ROWS + 9] for parts in zip(*blocks)))
    one, other = (draws.Draws(*parts) for parts in zip(*(part.split([7, ROWS + 9]) for part in drawn)))
    made = [head.generator.generate(head.words[c], d) for c, d in ((1, one), (4, other))]
    features = torch.cat([m.features for m in made])
    expected = head.classifier(features)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    target = torch.arange(len(logits)) % 5
    found, wanted = (
        torch.autograd.grad(F.cross_entropy(z, target), list(head.classifier.parameters())) for z in (logits, expected)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert head.generated_logits([]).shape == (0, 5)
    torch.manual_seed(1)
    half = head.generated_logits(classes, torch.bfloat16)
    assert half.dtype == torch.float32 and 0 < (half - logits).norm() / logits.norm() < 0.01  # bfloat16: 8 bits
    F.cross_entropy(head.generated_logits(classes), target).backward()
    assert all(p.grad is None for p in head.generator.parameters())


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
    levels = draws._levels(True, torch.float64)
    assert levels.square().mean().item() == pytest.approx(1, abs=1e-12) and levels.mean().abs() < 1e-9
    assert 4.2 < levels.max() < 4.4 and torch.equal(levels, levels.sort().values)
    for sigmas in (1, 2, 3):  # the tails weigh what they should
        share = (levels.abs() > sigmas).double().mean().item()
        assert share == pytest.approx(2 * stats.norm.sf(sigmas), rel=0.02)


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
    loss, slope = with_slope(trusted, made.features, weights, among(trusted, weights), root=root)
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
    loss, slope = with_slope(x, x.clone(), weights, among(x, weights))
    assert loss.item() == pytest.approx(1e-3, rel=0.5) and torch.equal(slope, torch.zeros_like(slope))


def test_sums_among_several_sets_are_those_of_each():
    x, w = torch.randn(3, 7, 5, dtype=torch.float64), torch.rand(3, 7, dtype=torch.float64)
    expected = [w[i] @ kernel(x[i], x[i]) @ w[i] for i in range(3)]
    torch.testing.assert_close(among(x, w), torch.stack(expected))


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
