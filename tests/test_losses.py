"""MMD (Eq. 1) and ZS-MMD (Eq. 2) against sums written out pair by pair; the pixel loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zs3lib.method.losses import BANDWIDTHS, FLOOR, mmd, pixel_loss, zs_mmd

ODD = (1.7, 3.0, 11.0)


def k(x: np.ndarray, y: np.ndarray, bandwidths) -> float:
    distance = sum((float(p) - float(q)) ** 2 for p, q in zip(x, y))
    return sum(math.exp(-distance / (2 * s)) for s in bandwidths)


def eq2(a, b, c, bandwidths=BANDWIDTHS, count=None) -> float:
    """Eq. 2 in our reading, squared, by loops in float64; c = 1 is Eq. 1."""
    a = a.tolist()
    b = b.tolist()
    q = count or len(a)
    p = len(b)
    aa = sum(x * y * k(s, t, bandwidths) for x, s in zip(c, a) for y, t in zip(c, a))
    ab = sum(x * k(s, t, bandwidths) for x, s in zip(c, a) for t in b)
    bb = sum(k(s, t, bandwidths) for s in b for t in b)
    return aa / q**2 - 2 * ab / (q * p) + bb / p**2


def draw(q: int = 5, p: int = 7, dim: int = 3, seed: int = 0, scale: float = 2.0):
    """a (Q, D), b (P, D) and confidences c (Q,), float64."""
    rng = np.random.default_rng(seed)
    a = scale * rng.standard_normal((q, dim))
    b = scale * rng.standard_normal((p, dim)) + 0.5
    return torch.tensor(a), torch.tensor(b), torch.tensor(rng.uniform(0.3, 1, q))


@examples(deadline=None, max_examples=150)
@given(
    bandwidths=st.sampled_from([BANDWIDTHS, ODD, (4.0,)]),
    sizes=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 12)),
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-3, 50),
)
def test_the_losses_are_eqs_1_and_2(bandwidths, sizes, seed, scale):
    a, b, c = draw(*sizes, seed, scale)
    one = eq2(a, b, [1.0] * len(a), bandwidths)
    two = eq2(a, b, c.tolist(), bandwidths)
    rounding = 1e-12 + 1e-14 * scale**2  # float64's, of the squared distances
    roots = [math.sqrt(max(squared, FLOOR)) for squared in (one, two)]
    for root, expected in ((False, [one, two]), (True, roots)):
        of_eq = {"bandwidths": bandwidths, "root": root}
        found = [mmd(a, b, **of_eq).item(), zs_mmd(a, b, c, **of_eq).item()]
        assert found == pytest.approx(expected, rel=1e-10, abs=rounding)


def test_normalised_weights_sum_to_one():
    a, b, c = draw()
    expected = eq2(a, b, (c / c.sum()).tolist(), count=1)
    found = zs_mmd(a, b, c, normalise=True, root=False)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(zs_mmd(a, b, 3 * c, normalise=True, root=False), found)


def test_weights_of_zero_with_their_count_are_rows_left_out():
    a, b, c = draw(9, 6)
    kept = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    dropped = zs_mmd(a[kept], b, c[kept])
    for q in (kept.sum(), 5, 5.0):
        torch.testing.assert_close(zs_mmd(a, b, c * kept, q=q), dropped, rtol=1e-12, atol=0)
    assert zs_mmd(a, b, c * kept).item() != pytest.approx(dropped.item(), rel=1e-3)


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("options", [{}, {"normalise": True}, {"q": 3}, {"bandwidths": ODD}])
def test_gradients_are_those_of_the_value_in_generated_features_alone(root, options):
    a, b, c = draw(4, 5, 3)
    b.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: zs_mmd(a, y, c, root=root, **options), (b,))
    assert torch.autograd.gradcheck(lambda y: mmd(a, y, root=root), (b,))
    a.requires_grad_()
    c.requires_grad_()
    zs_mmd(a, b, c, root=root, **options).backward()
    assert a.grad is None and c.grad is None and b.grad.abs().max() > 0


def test_the_root_is_flat_below_its_floor_where_sets_are_the_same():
    a, b, _ = draw()
    assert mmd(a, a.clone(), root=False).item() == pytest.approx(0, abs=1e-14)
    near = (a + 1e-5).requires_grad_()
    loss = mmd(a, near)
    assert loss.item() == pytest.approx(math.sqrt(FLOOR)) == pytest.approx(1e-3)
    assert not torch.autograd.grad(loss, near)[0].any()


# ---- numerics -----------------------------------------------------------------------------------


def test_half_precision_is_computed_in_float32():
    a, b, c = (values.bfloat16() for values in draw(8, 8, 256))
    b.requires_grad_()
    full = mmd(a.float(), b.float()), zs_mmd(a.float(), b.float(), c.float())
    for half, expected in zip((mmd(a, b), zs_mmd(a, b, c)), full):
        assert half.dtype == torch.float32
        assert half.item() == pytest.approx(expected.item(), rel=1e-6)
        (grad,) = torch.autograd.grad(half, b)
        assert grad.dtype == torch.bfloat16 and grad.isfinite().all() and grad.abs().max() > 0


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("q", [2, 128])
def test_loss_and_gradient_stay_finite_in_float32(q, scale, root):
    a, b, c = (values.float() for values in draw(q, 128, 256, scale=scale))
    point = a[:1]
    for x, y in ((a, b), (b[:q], b), (point.expand(q, -1), point.repeat(128, 1))):
        y = y.clone().requires_grad_()
        for loss in (mmd(x, y, root=root), zs_mmd(x, y, c, root=root), zs_mmd(x, y, 0 * c, q=1)):
            (grad,) = torch.autograd.grad(loss, y)
            assert loss.isfinite() and loss > -1e-5 and grad.isfinite().all()


def test_float32_agrees_with_float64_far_from_the_origin():
    a, b, _ = draw(32, 32, 256, scale=0.3)
    near = mmd((a + 50).float(), (b + 50).float())
    assert near.item() == pytest.approx(mmd(a, b).item(), rel=1e-3)


# ---- the pixel loss -----------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "zs3net"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_pixel_loss_is_torchs_without_void(reduction, weighted):
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    labels = torch.randint(0, 5, (2, 6, 7), dtype=torch.uint8)
    labels[0, :3] = 255
    weights = torch.rand(5, dtype=torch.float64) if weighted else None
    known = labels.long() != 255
    rows = logits.permute(0, 2, 3, 1)[known]
    theirs = "mean" if reduction == "zs3net" else reduction
    expected = F.cross_entropy(rows, labels[known].long(), weights, reduction=theirs)
    expected = expected / 2 if reduction == "zs3net" else expected  # by the number of images
    torch.testing.assert_close(pixel_loss(logits, labels, weights, reduction=reduction), expected)


def test_void_alone_is_no_loss():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.full((1, 4, 4), 255)
    for weights in (None, torch.ones(3)):
        loss = pixel_loss(logits, labels, weights)
        assert loss.item() == 0 and not torch.autograd.grad(loss, logits)[0].any()
