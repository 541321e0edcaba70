"""The pseudo-feature generator: a generative moment matching network (Sec. III-A, ZS3Net's GMMN)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deeplab import FEATURE_DIM
from .draws import Draws, kept_half, normal_or_uniform
from .errors import ZS3Error

NOISES = ("gaussian", "uniform")
SLOPE = 0.2  # LeakyReLU's, below 0
ROWS = 2048  # generated at a time: so few that what is written is read again before it leaves the cache


def _rounded(n: int) -> int:
    """The next multiple of ROWS, or of an eighth of it where there are fewer."""
    step = ROWS if n > ROWS else ROWS // 8
    return -(-n // step) * step


class Generated(NamedTuple):
    """Features of one word and how they came about."""

    features: Tensor  # (n, 256)
    word: Tensor  # (word_dim,)
    noise: Tensor  # (n, word_dim)
    slope: Tensor  # d hidden / d what LeakyReLU was given, dropout included, (n, 256)
    hidden: Tensor  # (n, 256)


class Generator(nn.Module):
    """Word vector and noise -> pixel feature: Linear, LeakyReLU 0.2, Dropout 0.5, Linear; Xavier, bias 0.01.

    Arguments:
        word_dim: length of a word vector, and of the noise ("noise of matching dimensionality").
        hidden: width of the hidden layer.
        noise: "gaussian" (the paper's words) or "uniform" (ZS3Net's code).
        features: length of a feature; the backbone's by default, 2 where a notebook draws them in the plane.
    """

    def __init__(self, *, word_dim: int = 300, hidden: int = 256, noise: str = "gaussian", features: int = FEATURE_DIM):
        super().__init__()
        if noise not in NOISES:
            raise ZS3Error(f"unknown noise '{noise}': choose one of {', '.join(NOISES)}")
        self.word_dim, self.noise = word_dim, noise
        # The first layer's two halves are parameters of their own: the word half then costs one product per class,
        # not per feature, and the gradient needs no gluing. Initialised as the one Linear(600, 256) they are.
        joint = nn.Linear(2 * word_dim, hidden)
        self.output = nn.Linear(hidden, features)
        for layer in (joint, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
        words, noises = joint.weight.detach().split(word_dim, dim=1)
        self.word_weight, self.noise_weight = nn.Parameter(words.clone()), nn.Parameter(noises.clone())
        self.bias = nn.Parameter(joint.bias.detach().clone())

    def sample_noise(self, n: int) -> Tensor:
        """Noise for n features, (n, word_dim), that follows from torch's global seed."""
        return self._noise(n, self.bias.dtype)

    def _noise(self, n: int, dtype: torch.dtype) -> Tensor:
        normal = self.noise == "gaussian"
        return normal_or_uniform(n, self.word_dim, normal=normal, device=self.bias.device, dtype=dtype)

    def draw(self, n: int, dtype: torch.dtype | None = None) -> Draws:
        """Noise and dropout for n features, in the weights' type by default; follows from torch's global seed."""
        dtype = dtype or self.bias.dtype
        noise, all_kept = self._noise(n, dtype), self.bias.new_ones((), dtype=dtype)
        return Draws(noise, self._kept(n, dtype) if self.training else all_kept.expand(n, len(self.bias)))

    def _kept(self, n: int, dtype: torch.dtype) -> Tensor:
        return kept_half(n, len(self.bias), device=self.bias.device, dtype=dtype)

    def forward(self, words: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """Generate one feature per row of `noise`.

        Arguments:
            words: word vectors of some classes, (C, word_dim).
            index: which word each feature is of, (N,) int64 in [0, C); not looked at where C is 1.
            noise: (N, word_dim).

        Returns: features (N, 256), or as long as `features` says.
        """
        word_part = F.linear(words, self.word_weight, self.bias)  # once for each class, not once for each feature
        if len(words) == 1:
            hidden = F.linear(noise, self.noise_weight, word_part[0])
        else:
            hidden = F.linear(noise, self.noise_weight) + word_part[index]
        hidden = F.leaky_relu(hidden, SLOPE, inplace=True)
        return self.output(hidden * self._kept(len(hidden), hidden.dtype) if self.training else hidden)

    @torch.no_grad()
    def hidden_of(self, words: Tensor, classes: list[tuple[int, int]], dtype: torch.dtype) -> Tensor:
        """Hidden layers of n features of words[c] for each (c, n), in `dtype`; without gradient.

        Returns: (N, 256); N is the sum of n or a little more, rounded up so that few shapes occur: for each shape that it
        meets the CPU's library of matrix products compiles a program of its own, and keeps it.
        """
        parts, noise_weight = F.linear(words, self.word_weight, self.bias).to(dtype), self.noise_weight.to(dtype)
        ends = np.cumsum([n for _, n in classes]).tolist()
        hidden = parts.new_empty(_rounded(ends[-1] if ends else 0), len(self.bias))
        for start in range(0, len(hidden), ROWS):
            block = hidden[start : start + ROWS]
            noise, kept = self.draw(len(block), dtype)
            before = F.linear(noise, noise_weight)
            for (c, n), end in zip(classes, ends):
                before[max(end - n - start, 0) : max(end - start, 0)] += parts[c]
            torch.mul(F.leaky_relu(before, SLOPE, inplace=True), kept, out=block)
        return hidden

    @torch.no_grad()
    def generate(self, word: Tensor, drawn: Draws) -> Generated:
        """Features of one word, (word_dim,), with what `backward` needs: a training step without autograd, whose
        bookkeeping takes as long here as the small products it keeps the books of."""
        before = torch.addmm(torch.addmv(self.bias, self.word_weight, word), drawn.noise, self.noise_weight.T)
        slope = (before > 0).to(before.dtype).mul_(1 - SLOPE).add_(SLOPE).mul_(drawn.kept)  # LeakyReLU's and dropout's
        hidden = before.mul_(slope)
        return Generated(F.linear(hidden, self.output.weight, self.output.bias), word, drawn.noise, slope, hidden)

    @torch.no_grad()
    def backward(self, made: Generated, slope: Tensor) -> None:
        """Set every parameter's gradient from d loss / d features, (n, features): the chain rule through `generate`."""
        self.output.weight.grad, self.output.bias.grad = slope.T @ made.hidden, slope.sum(0)
        before = (slope @ self.output.weight).mul_(made.slope)
        self.noise_weight.grad, self.bias.grad = before.T @ made.noise, before.sum(0)
        self.word_weight.grad = torch.outer(self.bias.grad, made.word)
