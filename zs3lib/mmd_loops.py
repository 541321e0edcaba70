"""MMD (Eq. 1) and ZS-MMD (Eq. 2) with ZS3Net's bandwidths, and how each vector pulls at each, compiled: see `losses`."""

from __future__ import annotations

import numpy as np

from .blas import product
from .jit import kernel
from .loops import _exp2

f32 = np.float32


@kernel(inline="always")
def _square(u):
    """u^2, at least 1e-30: sums with numbers next to float32's least would take ten times as long."""
    u = max(u, f32(1e-15))
    return u * u


@kernel
def _widest(products, squares, first, i, out):
    """u = exp(-|z_i - z_j|^2 / 160) of row i, the widest Gaussian, from which the others follow; at least 1e-30."""
    row, square = products[i], squares[first + i]
    for j in range(len(out)):
        d = max(square + squares[j] - f32(2) * row[j], f32(0))
        out[j] = max(_exp2(d * f32(-0.00901684400555602)), f32(1e-30))
    out[first + i] = f32(1)


@kernel(inline="always")
def _powers(u):
    """u, u^2, u^4, u^8, u^16 and u^40: ZS3Net's six Gaussians, see `losses._gaussians`."""
    u2 = _square(u)
    u4 = _square(u2)
    u8 = _square(u4)
    u16 = _square(u8)
    return u, u2, u4, u8, u16, _square(max(u16, f32(1e-12))) * max(u8, f32(1e-6))


@kernel
def target(x, w, centre, centred, squares, products):
    """`losses.target` of one set x, (n, width), with weights w: returns the set's own term.

    Arguments: centre (width,), centred (n, width), squares (n,), written; products (n, n), room to work in.
    """
    n, width = x.shape
    for j in range(width):
        centre[j] = f32(0)
    for i in range(n):
        for j in range(width):
            centre[j] += x[i, j] / f32(n)
    for i in range(n):
        squares[i] = f32(0)
        for j in range(width):
            centred[i, j] = x[i, j] - centre[j]
            squares[i] += centred[i, j] * centred[i, j]
    product(centred, centred, products, False, True)
    own, out = 0.0, np.empty(n, f32)
    for i in range(n):
        _widest(products, squares, 0, i, out)
        total = f32(0)
        for j in range(n):
            u, u2, u4, u8, u16, u40 = _powers(out[j])
            total += w[j] * (u + u2 + u4 + u8 + u16 + u40)
        own += w[i] * total + f32(0) * squares[i]
    return own


@kernel
def join(target, y, z, squares, w):
    """Write z = [x; y - centre], |z|^2 and the weights, -1/M for y: see `losses.with_slope`."""
    centre, x, x_squares, x_weights = target
    n, m, width = len(x), len(y), x.shape[1]
    for i in range(n):
        squares[i], w[i] = x_squares[i], x_weights[i]
        for j in range(width):
            z[i, j] = x[i, j]
    for i in range(m):
        total = f32(0)
        for j in range(width):
            z[n + i, j] = y[i, j] - centre[j]
            total += z[n + i, j] * z[n + i, j]
        squares[n + i], w[n + i] = total, f32(-1.0 / m)


@kernel
def pull(products, squares, w, own, floor, pulls):
    """`losses._pull` for ZS3Net's bandwidths: returns the loss and writes pulls, as large as products.

    Arguments: floor is that of the root, or below 0 for none.
    """
    rows, columns = products.shape
    first, value = columns - rows, np.float64(own)
    for i in range(rows):
        out = pulls[i]
        _widest(products, squares, first, i, out)
        inside, across, total, each = f32(0), f32(0), f32(0), w[first + i]
        for j in range(columns):
            u, u2, u4, u8, u16, u40 = _powers(out[j])
            k = w[j] * (u + u2 + u4 + u8 + u16 + u40)
            inside += k
            across += k if j < first else f32(0)
            p = w[j] * (u + f32(2) * u2 + f32(4) * u4 + f32(8) * u8 + f32(16) * u16 + f32(40) * u40)
            p = f32(0) if j == first + i else p  # none pulls at itself
            out[j] = each * p
            total += p
        out[first + i] = -each * total
        value += each * (inside + across) + f32(0) * squares[first + i]
    scale = f32(0.025)  # 2 / 80
    if floor >= 0:
        root = np.sqrt(max(value, floor))
        scale = f32(scale * 0.5 / root if value >= floor else 0 * value)
        value = root + 0 * value
    for i in range(rows):
        out = pulls[i]
        for j in range(columns):
            out[j] *= scale
    return value
