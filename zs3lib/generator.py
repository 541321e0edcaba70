"""The pseudo-feature generator: a generative moment matching network (Sec. III-A, ZS3Net's GMMN)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .compiled import array, loops_for
from .deeplab import FEATURE_DIM
from .draws import Draws, kept_half, normal_or_uniform
from .errors import ZS3Error

NOISES = ("gaussian", "uniform")
SLOPE = 0.2  # LeakyReLU's, below 0


class Generated(NamedTuple):
    """Features of one word and how they came about."""

    features: Tensor  # (n, 256)
    word: Tensor  # (word_dim,)
    drawn: Draws
    hidden: Tensor  # after LeakyReLU and dropout, (n, 256)

    def split(self, n: int) -> list[Generated]:
        parts = zip(self.features.split(n), self.drawn.split(n), self.hidden.split(n))
        return [Generated(features, self.word, drawn, hidden) for features, drawn, hidden in parts]


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

    def _noise(self, n: int, dtype: torch.dtype, start: int | None = None) -> Tensor:
        normal, where = self.noise == "gaussian", self.bias.device
        return normal_or_uniform(n, self.word_dim, normal=normal, device=where, dtype=dtype, start=start)

    def draw(self, n: int, dtype: torch.dtype | None = None, seeds: tuple[int | None, ...] = (None, None)) -> Draws:
        """Noise and dropout for n features, in the weights' type by default; follows from torch's global seed, or `seeds`."""
        dtype = dtype or self.bias.dtype
        noise, all_kept = self._noise(n, dtype, seeds[0]), self.bias.new_ones((), dtype=dtype)
        return Draws(noise, self._kept(n, dtype, seeds[1]) if self.training else all_kept.expand(n, len(self.bias)))

    def _kept(self, n: int, dtype: torch.dtype, start: int | None = None) -> Tensor:
        return kept_half(n, len(self.bias), device=self.bias.device, dtype=dtype, start=start)

    def word_parts(self, words: Tensor) -> Tensor:
        """What word vectors, (C, word_dim), add to the hidden layer, (C, hidden): once for a class, not for each feature."""
        return F.linear(words, self.word_weight, self.bias)

    def forward(self, words: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """Generate one feature per row of `noise`.

        Arguments:
            words: word vectors of some classes, (C, word_dim).
            index: which word each feature is of, (N,) int64 in [0, C); not looked at where C is 1.
            noise: (N, word_dim).

        Returns: features (N, 256), or as long as `features` says.
        """
        parts = self.word_parts(words)
        hidden = F.linear(noise, self.noise_weight) + (parts if len(words) == 1 else parts[index])
        hidden = F.leaky_relu(hidden, SLOPE, inplace=True)
        return self.output(hidden * self._kept(len(hidden), hidden.dtype) if self.training else hidden)

    @torch.no_grad()
    def hidden(self, drawn: Draws, noise_weight: Tensor, parts: Tensor, index: Tensor | None = None) -> Tensor:
        """The hidden layer after LeakyReLU and dropout, (n, 256), in the draws' type; without autograd.

        Arguments:
            drawn: the random numbers of n features.
            noise_weight: the generator's, in the draws' type.
            parts: `word_parts`, (C, 256).
            index: which word each feature is of, (n,) int64; None where C is 1.
        """
        hidden = drawn.noise @ noise_weight.T
        if loops := loops_for(hidden, torch.float32, torch.bfloat16):
            index = torch.zeros(len(hidden), dtype=torch.int64) if index is None else index
            loops.activate(array(hidden), array(drawn.kept), parts.numpy(), index.numpy(), np.float32(SLOPE))
            return hidden
        parts = parts.to(hidden.dtype)
        return F.leaky_relu(hidden.add_(parts if index is None else parts[index]), SLOPE).mul_(drawn.kept)

    @torch.no_grad()
    def generate(self, word: Tensor, drawn: Draws) -> Generated:
        """Features of one word, (word_dim,), with what `backward` needs: a training step without autograd, whose
        bookkeeping takes as long here as the small products it keeps the books of.

        Products are computed in the draws' type, as by autocast where that is bfloat16; features are of the weights'.
        """
        dtype = drawn.noise.dtype
        hidden = self.hidden(drawn, self.noise_weight.to(dtype), self.word_parts(word[None]))
        features = F.linear(hidden, self.output.weight.to(dtype), self.output.bias.to(dtype))
        return Generated(features.to(self.bias.dtype), word, drawn, hidden)

    @torch.no_grad()
    def backward(self, made: Generated, slope: Tensor) -> None:
        """Set every parameter's gradient from d loss / d features, (n, features): the chain rule through `generate`."""
        dtype, own = made.hidden.dtype, self.bias.dtype
        rounded = slope.to(dtype)
        self.output.weight.grad, self.output.bias.grad = (rounded.T @ made.hidden).to(own), slope.sum(0)
        before = (rounded @ self.output.weight.to(dtype)).to(own)
        # What dropout left of the hidden layer has the sign of what LeakyReLU was given.
        before = torch.ops.aten.leaky_relu_backward(before.mul_(made.drawn.kept), made.hidden.to(own), SLOPE, True)
        sums = before.sum(0)
        self.noise_weight.grad, self.bias.grad = (before.to(dtype).T @ made.drawn.noise).to(own), sums
        self.word_weight.grad = torch.outer(sums, made.word)
