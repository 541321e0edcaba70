"""MMD (Eq. 1) and ZS-MMD (Eq. 2) against sums written out pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zs3lib.losses import BANDWIDTHS, FLOOR, kernel, mmd, zs_mmd

ODD = (1.7, 3.0, 11.0)  # the widest is no whole multiple of the others


def k(x: np.ndarray, y: np.ndarray, bandwidths) -> float:
    return sum(math.exp(-sum((float(p) - float(q)) ** 2 for p, q in zip(x, y)) / (2 * s)) for s in bandwidths)


def eq2(a, b, c, bandwidths=BANDWIDTHS, count=None) -> float:
    """Eq. 2 in our reading, squared, by loops in float64; c = 1 is Eq. 1."""
    q, p = count or len(a), len(b)
    total = 0.0
    for i in range(len(a)):
        for j in range(len(a)):
            total += c[i] * c[j] * k(a[i], a[j], bandwidths) / q**2
        for j in range(p):
            total -= 2 * c[i] * k(a[i], b[j], bandwidths) / (q * p)
    for i in range(p):
        for j in range(p):
            total += k(b[i], b[j], bandwidths) / p**2
    return total


def draw(q: int = 5, p: int = 7, dim: int = 3, seed: int = 0, scale: float = 2.0):
    rng = np.random.default_rng(seed)
    a, b = scale * rng.standard_normal((q, dim)), scale * rng.standard_normal((p, dim)) + 0.5
    return torch.tensor(a), torch.tensor(b), torch.tensor(rng.uniform(0.3, 1, q))


@pytest.mark.parametrize("bandwidths", [BANDWIDTHS, ODD, (4.0,)])
@pytest.mark.parametrize("q, p, dim", [(5, 7, 3), (1, 1, 1), (2, 9, 16), (6, 1, 4)])
def test_mmd_is_eq_1(bandwidths, q, p, dim):
    a, b, _ = draw(q, p, dim)
    expected = eq2(a.numpy(), b.numpy(), [1.0] * q, bandwidths)
    assert mmd(a, b, bandwidths=bandwidths, root=False).item() == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert mmd(a, b, bandwidths=bandwidths).item() == pytest.approx(math.sqrt(expected), rel=1e-9)


@pytest.mark.parametrize("bandwidths", [BANDWIDTHS, ODD])
@pytest.mark.parametrize("q, p", [(5, 7), (2, 8), (1, 3)])
def test_zs_mmd_is_eq_2(bandwidths, q, p):
    a, b, c = draw(q, p)
    expected = eq2(a.numpy(), b.numpy(), c.tolist(), bandwidths)
    assert zs_mmd(a, b, c, bandwidths=bandwidths, root=False).item() == pytest.approx(expected, rel=1e-9)
    assert zs_mmd(a, b, c, bandwidths=bandwidths).item() == pytest.approx(math.sqrt(expected), rel=1e-9)


def test_normalised_weights_sum_to_one():
    a, b, c = draw()
    expected = eq2(a.numpy(), b.numpy(), (c / c.sum()).tolist(), count=1)
    assert zs_mmd(a, b, c, normalise=True, root=False).item() == pytest.approx(expected, rel=1e-9)
    assert expected != pytest.approx(eq2(a.numpy(), b.numpy(), c.tolist()), rel=1e-3)
    assert zs_mmd(a, b, 3 * c, normalise=True).item() == pytest.approx(zs_mmd(a, b, c, normalise=True).item(), rel=1e-9)


def test_kernel_values():
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    far = sum(math.exp(-25 / (2 * s)) for s in (2, 5, 10, 20, 40, 80))
    torch.testing.assert_close(kernel(x, y), torch.tensor([[6.0], [far]]))


@pytest.mark.parametrize("bandwidths", [BANDWIDTHS, ODD])
@pytest.mark.parametrize("root", [True, False])
def test_gradients_are_those_of_the_value(root, bandwidths):
    a, b, c = draw(4, 5, 3)
    a.requires_grad_(), b.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: mmd(x, y, root=root, bandwidths=bandwidths), (a, b))
    assert torch.autograd.gradcheck(lambda x: mmd(x, b.detach(), root=root, bandwidths=bandwidths), (a,))
    fixed = a.detach()
    for options in ({}, {"normalise": True}, {"q": 3}):
        assert torch.autograd.gradcheck(
            lambda y: zs_mmd(fixed, y, c, root=root, bandwidths=bandwidths, **options), (b,)
        )


def test_confidence_one_gives_back_mmd():
    a, b, _ = draw()
    b.requires_grad_()
    one, both = torch.ones(len(a), dtype=a.dtype), {}
    for name, loss in (("zs", zs_mmd(a, b, one)), ("mmd", mmd(a, b))):
        both[name] = loss.detach(), torch.autograd.grad(loss, b)[0]
    assert torch.equal(both["zs"][0], both["mmd"][0]) and torch.equal(both["zs"][1], both["mmd"][1])
    assert torch.equal(zs_mmd(a, b, one, normalise=True), zs_mmd(a, b, one))


def test_no_gradient_reaches_the_pseudo_features_or_their_confidence():
    a, b, c = (t.requires_grad_() for t in draw())
    zs_mmd(a, b, c).backward()
    assert a.grad is None and c.grad is None and b.grad.abs().max() > 0
    x, y, _ = draw()
    y.requires_grad_()  # one tensor as both: a is still a constant
    zs_mmd(y, y * 1.5, c.detach()[:5].repeat(2)[: len(y)]).backward()
    grad, y.grad = y.grad, None
    zs_mmd(y.detach(), y * 1.5, c.detach()[:5].repeat(2)[: len(y)]).backward()
    assert torch.equal(grad, y.grad)


def test_zero_weights_with_their_count_are_as_good_as_dropped_rows():
    a, b, c = draw(9, 6)
    b.requires_grad_()
    kept = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    for q in (kept.sum(), 5, 5.0):
        masked, dropped = zs_mmd(a, b, c * kept, q=q), zs_mmd(a[kept], b, c[kept])
        torch.testing.assert_close(masked, dropped, rtol=1e-12, atol=0)
        torch.testing.assert_close(
            *(torch.autograd.grad(loss, b)[0] for loss in (masked, dropped)), rtol=1e-9, atol=1e-15
        )
    assert zs_mmd(a, b, c * kept).item() != pytest.approx(zs_mmd(a[kept], b, c[kept]).item(), rel=1e-3)


def test_the_root_is_the_root():
    a, b, c = draw()
    assert mmd(a, b).item() ** 2 == pytest.approx(mmd(a, b, root=False).item(), rel=1e-12)
    assert zs_mmd(a, b, c).item() ** 2 == pytest.approx(zs_mmd(a, b, c, root=False).item(), rel=1e-12)
    assert mmd(a, a).item() == pytest.approx(math.sqrt(FLOOR))


def test_half_precision_is_computed_in_float32():
    a, b, c = (t.bfloat16() for t in draw(8, 8, 256))
    b.requires_grad_()
    for half, full in (
        (mmd(a, b), mmd(a.float(), b.float())),
        (zs_mmd(a, b, c), zs_mmd(a.float(), b.float(), c.float())),
    ):
        assert half.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=1e-6)
        (grad,) = torch.autograd.grad(half, b)
        assert grad.dtype == torch.bfloat16 and grad.isfinite().all() and grad.abs().max() > 0


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("q", [2, 128])
def test_loss_and_gradient_stay_finite(q, scale, root):
    a, b, c = (t.float() for t in draw(q, 128, 256, scale=scale))
    cases = {"apart": (a, b), "one set": (b[:q], b), "one point": (a[:1].expand(q, -1), a[:1].repeat(128, 1))}
    for name, (x, y) in cases.items():
        y = y.clone().requires_grad_()
        for loss in (mmd(x, y, root=root), zs_mmd(x, y, c, root=root)):
            (grad,) = torch.autograd.grad(loss, y)
            assert loss.isfinite() and loss > -1e-6 and grad.isfinite().all(), name


def test_float32_agrees_with_float64_far_from_the_origin():
    a, b, _ = draw(32, 32, 256, scale=0.3)
    assert mmd((a + 50).float(), (b + 50).float()).item() == pytest.approx(mmd(a, b).item(), rel=1e-3)


sizes = st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 12), st.integers(0, 10_000), st.floats(1e-3, 50))


@examples(deadline=None, max_examples=50)
@given(sizes)
def test_mmd_is_a_distance_between_sets(drawn):
    q, p, dim, seed, scale = drawn
    x, y, c = draw(q, p, dim, seed, scale)
    value = mmd(x, y, root=False).item()
    assert value >= -1e-12
    assert value == pytest.approx(eq2(x.numpy(), y.numpy(), [1.0] * q), rel=1e-7, abs=1e-10)
    assert mmd(y, x, root=False).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    rounding = 1e-12 + 1e-14 * scale**2  # float64's, of the squared distances
    assert mmd(x, x.clone(), root=False).item() == pytest.approx(0, abs=rounding)
    order = np.random.default_rng(seed)
    i, j = order.permutation(q), order.permutation(p)
    assert mmd(x[i], y[j], root=False).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    weighted = zs_mmd(x, y, c, root=False).item()
    assert weighted >= -1e-12
    assert zs_mmd(x[i], y[j], c[i], root=False).item() == pytest.approx(weighted, rel=1e-9, abs=1e-12)
