"""Random numbers in bulk: on a CPU torch takes a logarithm and a sine for each Gaussian, and dropout's one at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def _bits(count: int) -> np.ndarray:
    """`count` random 64-bit words: a stream of its own, seeded from torch's global generator."""
    return np.random.SFC64(int(torch.randint(2**62, ()))).random_raw(count)


@lru_cache(maxsize=8)
def _levels(normal: bool, dtype: torch.dtype) -> Tensor:
    """The middles of 2^16 equally likely intervals of N(0, 1) or U(0, 1), (65536,); N's are scaled to variance 1."""
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    if normal:
        middles = torch.special.ndtri(middles)
        middles /= middles.square().mean().sqrt()
    return middles.to(dtype)


class Draws(NamedTuple):
    """The random numbers behind n generated features."""

    noise: Tensor  # (n, word_dim)
    kept: Tensor  # what dropout multiplies the hidden layer by, 0 or 2, (n, width)

    def split(self, n: int) -> list[Draws]:
        return [Draws(*parts) for parts in zip(self.noise.split(n), self.kept.split(n))]


def normal_or_uniform(
    n: int, dim: int, *, normal: bool, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Independent N(0, 1) or U(0, 1) numbers, (n, dim), that follow from torch's global seed.

    On a CPU each is one of 65,536 equally likely levels (N(0, 1)'s end at 4.3), read from a table by 16 random bits.
    """
    if device.type != "cpu":
        drawn = torch.empty(n, dim, device=device, dtype=dtype)
        return drawn.normal_() if normal else drawn.uniform_()
    which = _bits(-(-n * dim // 4)).view(np.uint16)[: n * dim].astype(np.int32)
    return _levels(normal, dtype).index_select(0, torch.from_numpy(which)).view(n, dim)


def kept_half(n: int, dim: int, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """What dropout with p = 0.5 multiplies by, (n, dim): 2 or 0; on a CPU from one random bit for each number."""
    if device.type != "cpu":
        return torch.empty(n, dim, device=device, dtype=dtype).bernoulli_(0.5).mul_(2)
    kept = np.unpackbits(_bits(-(-n * dim // 64)).view(np.uint8), count=n * dim)
    return torch.from_numpy(kept).mul_(2).view(n, dim).to(dtype)
