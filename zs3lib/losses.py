"""MMD (Eq. 1) and ZS-MMD (Eq. 2): how far generated features are from real, or from trusted, ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BANDWIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)  # s of exp(-|x - y|^2 / (2 s)), ZS3Net's
# sqrt's slope is infinite at 0, where float32's rounding of MMD^2 is about 1e-6: below, the loss is flat.
FLOOR = 1e-6


def _gaussians(d: Tensor, bandwidths: tuple[float, ...]) -> list[tuple[float, Tensor]]:
    """exp(-d / (2 s)) for each bandwidth s, of squared distances d of any shape, each with n = max(bandwidths) / s.

    One exponential for ZS3Net's six bandwidths: with u = exp(-d / 160), s is u^(80 / s).
    """
    widest = max(bandwidths)
    if tuple(bandwidths) != BANDWIDTHS:
        return [(widest / s, torch.exp(d * (-0.5 / s))) for s in bandwidths]
    u = torch.exp(d * (-0.5 / widest))
    u2 = u * u
    u4 = u2 * u2
    u8 = u4 * u4
    u16 = u8 * u8
    return [(1, u), (2, u2), (4, u4), (8, u8), (16, u16), (40, u16 * u16 * u8)]


def _sum(terms: Iterable[Tensor]) -> Tensor:
    first, *others = terms
    total = first.clone()
    for term in others:
        total += term
    return total


def _distances(x: Tensor, y: Tensor, x2: Tensor, y2: Tensor) -> Tensor:
    """|x_i - y_j|^2 of (..., N, D) and (..., M, D) with squares x2 and y2 -> (..., N, M), by one matrix product."""
    product = torch.addmm if x.dim() == 2 else torch.baddbmm
    d = product(x2.unsqueeze(-1) + y2.unsqueeze(-2), x, y.mT, alpha=-2).clamp_min_(0)
    if x is y:  # exact, where rounding would grow with the square of the features' size
        d.diagonal(dim1=-2, dim2=-1).zero_()
    return d


def kernel(x: Tensor, y: Tensor, bandwidths: tuple[float, ...] = BANDWIDTHS) -> Tensor:
    """Sum of Gaussian kernels exp(-|x - y|^2 / (2 s)), (N, D) and (M, D) -> (N, M); values only, no gradient."""
    same, centre = y is x, x.detach().mean(0)  # distances do not change, float32's rounding of large features does
    x = x.detach() - centre
    y = x if same else y.detach() - centre
    d = _distances(x, y, torch.linalg.vecdot(x, x), torch.linalg.vecdot(y, y))
    return _sum(u for _, u in _gaussians(d, bandwidths))


class Target(NamedTuple):
    """The real side of Eq. 1, or the trusted one of Eq. 2: x_i with weights w_i, and what follows from them alone."""

    centre: Tensor  # mean of x, (..., D); distances do not change when it is taken off, float32's rounding of them does
    x: Tensor  # x less their centre, (..., N, D)
    squares: Tensor  # |x|^2 of these, (..., N)
    weights: Tensor  # 1/N or c/Q, (..., N)
    own: Tensor  # w' K(x, x) w, (...)


def target(x: Tensor, w: Tensor, *, bandwidths: tuple[float, ...] = BANDWIDTHS) -> Target:
    """What a generator is to match, of several sets at once.

    Arguments:
        x: real or trusted features, (..., N, D) float.
        w: their weights, 1/N or c/Q, (..., N).
    """
    centre = x.mean(-2)
    x = x - centre.unsqueeze(-2)
    squares = torch.linalg.vecdot(x, x)
    k = _sum(u for _, u in _gaussians(_distances(x, x, squares, squares), bandwidths))
    return Target(centre, x, squares, w, torch.linalg.vecdot((k @ w.unsqueeze(-1)).squeeze(-1), w))


def _pull(
    z: Tensor, squares: Tensor, w: Tensor, first: int, own: Tensor | float, bandwidths: tuple[float, ...], root: bool
) -> tuple[Tensor, Tensor]:
    """The loss of z = [x; y], y being the rows from `first` on, and how each z pulls at each y.

    Arguments: z (N + M, D); |z|^2 and their weights w, (N + M,); own: what x adds by itself.

    Returns: the loss; P, (M, N + M), with d loss / dy = P z. For MMD^2 = w' K w that is 4 w_i sum_j w_j k'_ij (z_i - z_j).
    """
    rows = z[first:]
    d = torch.addmm(squares[first:, None] + squares, rows, z.T, alpha=-2).clamp_min_(0)
    d[:, first:].fill_diagonal_(0)  # exact, where rounding would grow with the square of the features' size
    terms = _gaussians(d, bandwidths)
    sums = _sum(u for _, u in terms) @ torch.cat([2 * w[:first], w[first:]])  # y meets x once here, in the form twice
    value = own + torch.dot(w[first:], sums)
    pulls = _sum(n * u for n, u in terms).mul_(w).mul_(2 / max(bandwidths) * w[first:, None])  # k' = -n u / (2 max s)
    pulls[:, first:].fill_diagonal_(0)  # none pulls at itself
    pulls[:, first:].diagonal().sub_(pulls.sum(1))
    if not root:
        return value, pulls
    loss = value.clamp_min(FLOOR).sqrt()
    return loss, pulls.mul_((value >= FLOOR) * 0.5 / loss)


class _SquaredDiscrepancy(torch.autograd.Function):
    """w' K(z, z) w over z = [x; y], the form that Eqs. 1 and 2 share: w is 1/N or c/Q on x, and -1/M on y.

    The gradient is worked out beside the value, and for the rows that need one: usually y alone.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, wx: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
        ctx.split = len(x) if ctx.needs_input_grad[0] else 0
        if not ctx.split:
            value, slope = with_slope(target(x, wx, bandwidths=bandwidths), y, bandwidths=bandwidths, root=False)
        else:
            z, w = torch.cat([x, y]) - x.mean(0), torch.cat([wx, wx.new_full((len(y),), -1.0 / len(y))])
            value, pulls = _pull(z, torch.linalg.vecdot(z, z), w, 0, 0.0, bandwidths, root=False)
            slope = pulls @ z
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (slope,) = ctx.saved_tensors
        return (grad * slope[: ctx.split] if ctx.split else None), grad * slope[ctx.split :], None, None


def with_slope(
    of: Target, y: Tensor, *, bandwidths: tuple[float, ...] = BANDWIDTHS, root: bool = True
) -> tuple[Tensor, Tensor]:
    """MMD or ZS-MMD and its slope in y, without autograd: what a generator step needs (`Generator.backward`).

    Arguments:
        of: what y is to match, one set (`target`).
        y: generated features, (M, D) float.
        bandwidths, root: as in `mmd`, and in `target`.

    Returns: the loss, a scalar, and d loss / dy, (M, D).
    """
    y = y - of.centre
    z, squares = torch.cat([of.x, y]), torch.cat([of.squares, torch.linalg.vecdot(y, y)])
    w = torch.cat([of.weights, of.weights.new_full((len(y),), -1.0 / len(y))])
    loss, pulls = _pull(z, squares, w, len(of.x), of.own, bandwidths, root)
    return loss, pulls @ z


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
