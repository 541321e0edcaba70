"""A generator step of stage 2 (Eqs. 1 and 2, the chain rule, Adam), compiled by numba: see `generator_step`.

Matrix products are BLAS's. Those of the generator's layers take bfloat16's bits where the draws are of that type; MMD, all
sums, gradients and Adam are in float32, and more is rounded nowhere. `generator`, `losses` and torch's Adam do the same, and
say it more plainly; in bfloat16 torch's products round their results too.
"""

from __future__ import annotations

import numpy as np

from .blas import HAS_BFLOAT16, product  # noqa: F401
from .jit import kernel
from .loops import _read, _rounded, activate
from .mmd_loops import join, pull, target  # noqa: F401

f32 = np.float32


@kernel
def round_to(x, low):
    """Write x to low as bfloat16's bits; low of float32 is x itself."""
    if low.itemsize == 2:
        for i in range(len(x)):
            row, out = x[i], low[i]
            for j in range(len(row)):
                out[j] = _rounded(row[j])


@kernel
def generate(drawn, word, weights, low, slope, before, hidden, features):
    """`generator.Generator.generate`: writes hidden, (n, width), in the draws' type, and features, (n, 256) float32.

    Arguments:
        drawn: noise (n, D) and kept (n, width).
        weights: the generator's parameters, in their order.
        low: both layers' weights in the draws' type, written.
        before: (n, width) float32, written; hidden itself where that is float32.
    """
    word_weight, noise_weight, bias, output_weight, output_bias = weights
    noise, kept = drawn
    parts = np.empty((1, len(bias)), f32)
    for i in range(len(bias)):
        total, row = bias[i], word_weight[i]
        for j in range(len(word)):
            total += row[j] * word[j]
        parts[0, i] = total
    round_to(noise_weight, low[0])
    round_to(output_weight, low[1])
    product(noise, low[0], before, False, True)
    activate(before, kept, parts, np.zeros(len(before), np.int64), slope)
    round_to(before, hidden)
    product(hidden, low[1], features, False, True)
    for i in range(len(features)):
        row = features[i]
        for j in range(len(row)):
            row[j] += output_bias[j]


@kernel
def _sums(x, out):
    """Sums of the columns of x."""
    for j in range(len(out)):
        out[j] = f32(0)
    for i in range(len(x)):
        row = x[i]
        for j in range(len(out)):
            out[j] += row[j]


@kernel
def _adam(p, gradient, average, square, adam):
    """Torch's Adam of flat arrays; adam: step size, 1 / sqrt(1 - beta2^t), eps, 1 - beta1, beta2, 1 - beta2."""
    size, root, eps, new, keep_square, new_square = adam
    for i in range(len(p)):
        g = gradient[i]
        average[i] += new * (g - average[i])
        square[i] = keep_square * square[i] + new_square * g * g
        p[i] -= size * average[i] / (np.sqrt(square[i]) * root + eps)


@kernel
def _layer(weight, slope, given, average, square, some, adam):
    """Adam's step of a layer whose gradient is slope' given, some rows after the others: it stays in a core's cache."""
    height, width = weight.shape
    p, average, square = weight.ravel(), average.ravel(), square.ravel()  # the same memory: parameters have no gaps
    for start in range(0, height, len(some)):
        end = min(start + len(some), height)
        gradient = some[: end - start]
        product(slope[:, start:end], given, gradient, True, False)
        own = slice(start * width, end * width)
        _adam(p[own], gradient.ravel(), average[own], square[own], adam)


@kernel
def learn(made, real, own, weights, averages, squares, low, spaces, constants, adam, t):
    """`losses.with_slope`, `generator.Generator.backward` and a step of Adam; returns the loss.

    Arguments:
        made: noise, kept, word, hidden and features, as `generate` took and wrote them.
        real, own: `losses.Target`, its last part apart.
        weights, averages, squares: the generator's, and Adam's two moments of each.
        low, spaces: memory to write to (`GeneratorStep`).
        constants: LeakyReLU's slope, the root's floor (below 0 for none), and what the loss is multiplied by.
        adam, t: learning rate, beta1, beta2 and eps; the step's number, from 1.
    """
    noise, kept, word, hidden, features = made
    word_weight, noise_weight, bias, output_weight, output_bias = weights
    z, z2, w, products, pulls, slope, before, slope_low, before_low, noises, sums, output, outputs = spaces
    negative, floor, factor = constants
    lr, beta1, beta2, eps = adam
    numbers = (
        f32(lr / (1 - beta1**t)),
        f32((1 - beta2**t) ** -0.5),
        f32(eps),
        f32(1 - beta1),
        f32(beta2),
        f32(1 - beta2),
    )
    n = len(real[1])
    join(real, features, z, z2, w)
    product(z[n:], z, products, False, True)
    loss = pull(products, z2, w, own, floor, pulls)
    product(pulls, z, slope, False, False)
    if factor != 1:
        for i in range(len(slope)):
            row = slope[i]
            for j in range(len(row)):
                row[j] *= factor
    round_to(slope, slope_low)
    round_to(output_weight, low[1])
    _sums(slope, outputs)
    product(slope_low, low[1], before, False, False)
    for i in range(len(before)):
        row, own_kept, result = before[i], kept[i], hidden[i]
        for j in range(len(row)):
            scale = f32(1) if _read(result[j], hidden.itemsize == 2) > 0 else negative
            row[j] *= _read(own_kept[j], kept.itemsize == 2) * scale
    _sums(before, sums)
    round_to(before, before_low)
    gradient = np.empty(len(word), f32)
    for i in range(len(word_weight)):  # the gradient is the sums' product with the word vector, never stored whole
        for j in range(len(word)):
            gradient[j] = sums[i] * word[j]
        _adam(word_weight[i], gradient, averages[0][i], squares[0][i], numbers)
    _layer(noise_weight, before_low, noise, averages[1], squares[1], noises, numbers)
    _adam(bias, sums, averages[2], squares[2], numbers)
    _layer(output_weight, slope_low, hidden, averages[3], squares[3], output, numbers)
    _adam(output_bias, outputs, averages[4], squares[4], numbers)
    return loss


@kernel
def fit(drawn, words, reals, own, made, weights, averages, squares, low, spaces, constants, adam, t, losses):
    """`generate` and `learn` for one target after the other; made: before, hidden and features, written."""
    (noise, kept), (centre, x, x2, xw), (before, hidden, features) = drawn, reals, made
    n = len(features)
    for i in range(len(words)):
        now = noise[i * n : (i + 1) * n], kept[i * n : (i + 1) * n]
        generate(now, words[i], weights, low, constants[0], before, hidden, features)
        losses[i] = learn(
            (now[0], now[1], words[i], hidden, features), (centre[i], x[i], x2[i], xw[i]), own[i],
            weights, averages, squares, low, spaces, constants, adam, t + i,
        )  # fmt: skip
