"""Stage 2's innermost loops, compiled by numba: what torch does in a dozen passes over a matrix is one pass here.

On a CPU alone, in float32 (random numbers and hidden layers also in bfloat16, features also in float16);
`compiled.loops_for` says where. Elsewhere torch's own operations do the same, and say it more plainly: `generator`,
`pixel_loss._block`. What is not a number stays so: losses are checked for it.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel

f32 = np.float32
STRIP = 1024  # pixels at a time, all classes of which stay in a core's cache


@kernel
def choose(seed, table, bits, out):
    """Fill out, (n,), with entries of table, (2^bits,), that random words choose: see `draws._choose`."""
    word, mask, shift, per = np.uint64(seed), np.uint64(len(table) - 1), np.uint64(bits), 64 // bits
    for start in range(0, len(out), per):
        word += np.uint64(0x9E3779B97F4A7C15)
        x = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
        for i in range(start, start + per):
            out[i] = table[x & mask]
            x >>= shift


@kernel
def _exp2(t):
    """2^t for t <= 0 within float32's rounding, 2^-126 below -126: the power's bits, times a polynomial within a half."""
    t = max(t, f32(-126.0))
    whole = np.int32(t - f32(0.5))
    f = t - f32(whole)
    p = f32(0.00961812910) + f * (f32(0.00133335581) + f * f32(0.000154035304))
    p = f32(1.0) + f * (f32(0.693147181) + f * (f32(0.240226507) + f * (f32(0.0555041087) + f * p)))
    return p * np.int32((whole + 127) << 23).view(f32)


@kernel(inline="always")
def _read(x, bits):
    """x, or the float32 that bfloat16's bits x stand for."""
    return np.int32(np.int32(x) << 16).view(f32) if bits else f32(x)


@kernel(inline="always")
def _rounded(x):
    """bfloat16's bits of x, a number."""
    bits = np.uint32(f32(x).view(np.uint32))
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@kernel
def narrow(x, out):
    """Write float16's bits x, (n,), as bfloat16's: exponents differ by 112, but for infinity's and NaN's."""
    for i in range(len(x)):
        half = np.uint32(x[i])
        size = np.uint32((half & np.uint32(0x7FFF)) << np.uint32(13)).view(f32) * f32(2.0**112)
        special = np.uint16(0x7FC0) if half & np.uint32(0x3FF) else np.uint16(0x7F80)
        bits = special if half & np.uint32(0x7C00) == np.uint32(0x7C00) else _rounded(size)
        out[i] = bits | np.uint16(half & np.uint32(0x8000))


@kernel
def activate(before, kept, words, index, slope):
    """LeakyReLU(before + words[index]) and dropout in place: see `generator.Generator.hidden`.

    Arguments: before, kept (n, width) float32, or uint16 for bfloat16's bits; words (C, width) float32; index (n,).
    """
    for i in range(len(before)):
        row, own, word = before[i], kept[i], words[index[i]]
        for j in range(len(row)):
            x = _read(row[j], before.itemsize == 2) + word[j]
            x *= _read(own[j], kept.itemsize == 2) * (f32(1) if x > 0 else slope)
            if before.itemsize == 2:
                row[j] = _rounded(x)
            else:
                row[j] = x


@kernel
def _log(x):
    """log x of a normal float32 > 0 within its rounding: the exponent's bits, and 2 artanh of what the mantissa leaves."""
    bits = np.int32(f32(x).view(np.int32) - 0x3F3504F3)  # sqrt(1/2): the mantissa is within a factor sqrt(2) of 1
    mantissa = np.int32((bits & 0x7FFFFF) + 0x3F3504F3).view(f32)
    s = (mantissa - f32(1)) / (mantissa + f32(1))
    s2 = s * s
    series = f32(2) + s2 * (f32(0.666666667) + s2 * (f32(0.4) + s2 * (f32(0.285714286) + s2 * f32(0.222222222))))
    return f32(bits >> 23) * f32(0.693147181) + s * series


@kernel
def softmax(z, labels, weights):
    """Weighted cross-entropy and, in the place of the logits z, its gradient: see `pixel_loss._block`.

    Arguments: logits z (R, C, N); labels (R, N) uint8; weights (256,), 0 for what is no class. Returns the sum of the
    losses and that of the weights.
    """
    classes, width = z.shape[1:]
    top, total, own, w = np.empty((4, STRIP), f32)
    label = np.empty(STRIP, np.int64)
    loss, weight = 0.0, 0.0
    for r in range(len(z)):
        for start in range(0, width, STRIP):
            given = labels[r, start : start + STRIP]
            columns, end = len(given), start + STRIP
            for n in range(columns):
                top[n] = z[r, 0, start + n]
            for c in range(1, classes):
                row = z[r, c, start:end]
                for n in range(len(row)):
                    top[n] = max(top[n], row[n])
            for n in range(columns):
                label[n], w[n] = min(given[n], classes - 1), weights[given[n]]
                own[n], total[n] = z[r, label[n], start + n] - top[n], f32(0)
            for c in range(classes):
                row = z[r, c, start:end]
                for n in range(len(row)):
                    lower = row[n] - top[n]
                    row[n] = _exp2(lower * f32(1.44269504088896)) + f32(0) * lower
                    total[n] += row[n]
            losses, ws = f32(0), f32(0)
            for n in range(columns):
                losses += w[n] * (_log(total[n]) - own[n]) + f32(0) * total[n]  # _log knows no NaN
                ws += w[n]
                total[n] = w[n] / total[n]
            loss += losses
            weight += ws
            for c in range(classes):
                row = z[r, c, start:end]
                for n in range(len(row)):
                    row[n] *= total[n]
            for n in range(columns):
                z[r, label[n], start + n] -= w[n]
    return loss, weight
