"""MMD (Eq. 1) and ZS-MMD (Eq. 2): how far generated features are from real, or from trusted, ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BANDWIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)  # s of exp(-|x - y|^2 / (2 s)), ZS3Net's
# sqrt's slope is infinite at 0, where float32's rounding of MMD^2 is about 1e-6: below, the loss is flat.
FLOOR = 1e-6


def _powers(u: Tensor, exponents: list[int]) -> dict[int, Tensor]:
    """u to several whole powers, by squaring: 1, 2, 4, 8, 16 and 40 = 32 + 8 cost seven products."""
    known = {1: u}

    def power(n: int) -> Tensor:
        if n not in known:
            half = n // 2 if n & (n - 1) == 0 else 1 << (n.bit_length() - 1)
            known[n] = power(half) * power(n - half)
        return known[n]

    return {n: power(n) for n in exponents}


def _gaussians(d: Tensor, bandwidths: tuple[float, ...], *, slope: bool) -> tuple[Tensor, Tensor | None]:
    """k(d) = sum_s exp(-d / (2 s)), and k'(d) where asked for, of squared distances d of any shape.

    One exponential where the bandwidths are whole fractions of the widest: u = exp(-d / 160), and s is u^(80 / s).
    """
    widest = max(bandwidths)
    exponents = [round(widest / s) for s in bandwidths]
    if all(abs(widest / s - n) < 1e-9 for s, n in zip(bandwidths, exponents)):
        terms = _powers(torch.exp(d * (-0.5 / widest)), exponents)
        terms = [terms[n] for n in exponents]
    else:
        terms = [torch.exp(d * (-0.5 / s)) for s in bandwidths]
    k = terms[0].clone()
    for term in terms[1:]:
        k += term
    if not slope:
        return k, None
    derivative = terms[0] * (-0.5 / bandwidths[0])
    for term, s in zip(terms[1:], bandwidths[1:]):
        derivative.add_(term, alpha=-0.5 / s)
    return k, derivative


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, (..., N, D) and (..., M, D) -> (..., N, M), by one matrix product; never below 0."""
    centre = x.mean(-2, keepdim=True)  # distances do not change, float32's rounding of large features does
    same, x = y is x, x - centre
    y = x if same else y - centre
    x2 = torch.linalg.vecdot(x, x)
    norms = x2.unsqueeze(-1) + (x2 if same else torch.linalg.vecdot(y, y)).unsqueeze(-2)
    product = torch.addmm if x.dim() == 2 else torch.baddbmm
    d = product(norms, x, y.mT, alpha=-2).clamp_min_(0)
    if same:
        d.diagonal(dim1=-2, dim2=-1).zero_()
    return d


def kernel(x: Tensor, y: Tensor, bandwidths: tuple[float, ...] = BANDWIDTHS) -> Tensor:
    """Sum of Gaussian kernels exp(-|x - y|^2 / (2 s)), (N, D) and (M, D) -> (N, M); values only, no gradient."""
    same, x = y is x, x.detach()
    return _gaussians(_squared_distances(x, x if same else y.detach()), bandwidths, slope=False)[0]


def among(x: Tensor, w: Tensor, *, bandwidths: tuple[float, ...] = BANDWIDTHS) -> Tensor:
    """w' K(x, x) w: of Eqs. 1 and 2 the term without generated features, of several sets at once.

    Arguments:
        x: real or trusted features, (..., N, D) float.
        w: their weights, 1/N or c/Q, (..., N).
    """
    k = _gaussians(_squared_distances(x, x), bandwidths, slope=False)[0]
    return torch.linalg.vecdot((k @ w.unsqueeze(-1)).squeeze(-1), w)


def _form(z: Tensor, w: Tensor, first: int, bandwidths: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """What the rows of z from `first` on add to w' K(z, z) w, z of (N, D) and w of (N,), and its slope there.

    Slope: d/dz_i = 4 sum_j w_i w_j k'(|z_i - z_j|^2) (z_i - z_j), one matrix product for all i.
    """
    z = z - z[: first or len(z)].mean(0)
    rows, wr = z[first:], w[first:, None]
    z2 = torch.linalg.vecdot(z, z)
    d = torch.addmm(z2[first:, None] + z2, rows, z.T, alpha=-2).clamp_min_(0)
    d[:, first:].fill_diagonal_(0)  # exact, where rounding would grow with the square of the features' size
    k, slope = _gaussians(d, bandwidths, slope=True)
    sums = k[:, first:] @ w[first:]
    if first:  # the rows hold x against y once, the form twice
        sums.addmv_(k[:, :first], w[:first], alpha=2)
    pull = slope.mul_(w).mul_(4 * wr)
    return torch.dot(w[first:], sums), torch.addmm(pull.sum(1, keepdim=True) * rows, pull, z, alpha=-1)


class _SquaredDiscrepancy(torch.autograd.Function):
    """w' K(z, z) w over z = [x; y], the form that Eqs. 1 and 2 share: w is 1/N or c/Q on x, and -1/M on y.

    The gradient is worked out beside the value, and for the rows that need one: usually y alone.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, wx: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
        first = 0 if ctx.needs_input_grad[0] else len(x)
        value, slope = _form(torch.cat([x, y]), _weights(wx, y), first, bandwidths)
        ctx.save_for_backward(slope)
        ctx.split = len(x) - first
        return value + among(x, wx, bandwidths=bandwidths) if first else value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return (grad * slope[: ctx.split] if ctx.split else None), grad * slope[ctx.split :], None, None


def _weights(wx: Tensor, y: Tensor) -> Tensor:
    return torch.cat([wx, wx.new_full((len(y),), -1.0 / len(y))])


def with_slope(
    x: Tensor, y: Tensor, wx: Tensor, own: Tensor, *, bandwidths: tuple[float, ...] = BANDWIDTHS, root: bool = True
) -> tuple[Tensor, Tensor]:
    """MMD or ZS-MMD and its slope in y, without autograd: what a generator step needs (`Generator.backward`).

    Arguments:
        x: real or trusted features, (N, D) float.
        y: generated features, (M, D) float.
        wx: weights of x: 1/N each (Eq. 1) or c/Q (Eq. 2), (N,).
        own: `among(x, wx)`.
        bandwidths, root: as in `mmd`.

    Returns: the loss, a scalar, and d loss / dy, (M, D).
    """
    value, slope = _form(torch.cat([x, y]), _weights(wx, y), len(x), bandwidths)
    value = value + own
    if not root:
        return value, slope
    loss = value.clamp_min(FLOOR).sqrt()
    return loss, slope.mul_((value >= FLOOR) * 0.5 / loss)


def _discrepancy(x: Tensor, y: Tensor, wx: Tensor, bandwidths: tuple[float, ...], root: bool) -> Tensor:
    if x.dtype in (torch.float16, torch.bfloat16):
        x, y, wx = x.float(), y.float(), wx.float()
    squared = _SquaredDiscrepancy.apply(x, y, wx, tuple(bandwidths))
    return squared.clamp_min(FLOOR).sqrt() if root else squared


def mmd(x: Tensor, y: Tensor, *, bandwidths: tuple[float, ...] = BANDWIDTHS, root: bool = True) -> Tensor:
    """Maximum mean discrepancy between real features and generated ones (Eq. 1).

    Arguments:
        x: real features, (N, D) float.
        y: generated features, (M, D) float.
        bandwidths: s of the Gaussians exp(-|x - y|^2 / (2 s)) that are summed.
        root: the square root of Eq. 1, as ZS3Net trains with; False for Eq. 1 itself.

    Returns: a scalar; half-precision input is computed in float32. The root is flat below 1e-3 (MMD^2 < 1e-6).
    """
    wx = x.new_full((len(x),), 1.0 / len(x))
    return _discrepancy(x, y, wx, bandwidths, root)


def zs_mmd(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    q: Tensor | float | None = None,
    normalise: bool = False,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    root: bool = True,
) -> Tensor:
    """Zero-shot MMD (Eq. 2, our reading): trusted generated features teach the generator, weighted by confidence.

    (1/Q^2) sum_ii' c_i c_i' k(a_i, a_i') - (2/(QP)) sum_ij c_i k(a_i, b_j) + (1/P^2) sum_jj' k(b_j, b_j')

    Arguments:
        a: pseudo-features, (Q, D) float; no gradient passes through them.
        b: generated features, (P, D) float.
        c: confidences of a, (Q,) float in [0, 1]; no gradient passes through them.
        q: the count Q, when `a` also holds rejected vectors with c = 0 (shapes then do not depend on the data).
        normalise: divide by sum c instead of Q, so that the weighted a are a probability measure.
        bandwidths, root: as in `mmd`. With c = 1 this is `mmd(a, b)`.

    Returns: a scalar.
    """
    a, c = a.detach(), c.detach()
    count = c.sum() if normalise else (len(a) if q is None else q)
    return _discrepancy(a, b, c / count, bandwidths, root)
