"""Random numbers in bulk: on a CPU torch takes a logarithm and a sine for each Gaussian, and dropout's one at a time.

Here random bits choose rows of small tables, several numbers at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .compiled import loops_for

GROUP = 4  # numbers that 16 bits choose
WIDE = {8: torch.int64, 16: torch.complex128}  # a row of so many bytes as one number, which is copied faster


@lru_cache(maxsize=8)
def _points(normal: bool, dtype: torch.dtype) -> Tensor:
    """65,536 equally likely points of GROUP independent N(0, 1) or U(0, 1) numbers, (65536, GROUP).

    A Sobol net: each coordinate takes each of its 2^16 levels once, and any two of them fill the plane evenly. The levels
    are the middles of 2^16 equally likely intervals; N's are scaled to variance 1.
    """
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    if normal:
        middles = torch.special.ndtri(middles)
        middles /= middles.square().mean().sqrt()
    net = torch.quasirandom.SobolEngine(GROUP, scramble=True, seed=0).draw(2**16, dtype=torch.float64)
    return middles[(net * 2**16).long()].to(dtype)


@lru_cache(maxsize=8)
def _halves(dtype: torch.dtype) -> Tensor:
    """The ways to keep (2) or drop (0) some numbers, as many as 16 bytes hold: (16, 4) in float32, (256, 8) in bfloat16."""
    group = 16 // dtype.itemsize
    return torch.arange(2**group).unsqueeze(1).bitwise_right_shift(torch.arange(group)).bitwise_and(1).mul(2).to(dtype)


class Draws(NamedTuple):
    """The random numbers behind n generated features."""

    noise: Tensor  # (n, word_dim)
    kept: Tensor  # what dropout multiplies the hidden layer by, 0 or 2, (n, width)

    def split(self, n: int | list[int]) -> list[Draws]:
        return [Draws(*parts) for parts in zip(self.noise.split(n), self.kept.split(n))]


def _words(seed: int, count: int) -> np.ndarray:
    """`count` random 64-bit words, Steele et al.'s SplitMix64; `loops.choose` has it too."""
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def seed() -> int:
    """Of a stream of random words, from torch's global generator."""
    return int(torch.randint(2**62, ()))


def _choose(table: Tensor, count: int, start: int | None) -> Tensor:
    """`count` numbers: rows of the table, (2^bits, group), that the random words from `start` (`seed`) choose."""
    group, bits = table.shape[1], len(table).bit_length() - 1
    start = seed() if start is None else start
    rows = -(-count // group)
    per = 64 // bits  # rows that a word of 64 bits chooses
    words = -(-rows // per)
    wide = WIDE.get(group * table.element_size())
    if wide and (loops := loops_for(table, table.dtype)):
        chosen = table.new_empty(words * per, group)
        loops.choose(start, table.view(wide).flatten().numpy(), bits, chosen.view(wide).flatten().numpy())
    else:
        which = _words(start, words)[:, None] >> np.arange(0, 64, bits, dtype=np.uint64) & np.uint64(len(table) - 1)
        chosen = table.index_select(0, torch.from_numpy(which.astype(np.int32).ravel()))
    return chosen.flatten()[:count]


def normal_or_uniform(
    n: int,
    dim: int,
    *,
    normal: bool,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    start: int | None = None,
) -> Tensor:
    """Independent N(0, 1) or U(0, 1) numbers, (n, dim), that follow from torch's global seed.

    On a CPU each is one of 65,536 equally likely levels (N(0, 1)'s end at 4.3), and 16 random bits choose four numbers.
    There they follow from `start` where it is given, a `seed` drawn before.
    """
    if device.type != "cpu":
        drawn = torch.empty(n, dim, device=device, dtype=dtype)
        return drawn.normal_() if normal else drawn.uniform_()
    return _choose(_points(normal, dtype), n * dim, start).view(n, dim)


def kept_half(
    n: int, dim: int, *, device: torch.device, dtype: torch.dtype = torch.float32, start: int | None = None
) -> Tensor:
    """What dropout with p = 0.5 multiplies by, (n, dim): 2 or 0; on a CPU from one random bit for each number."""
    if device.type != "cpu":
        return torch.empty(n, dim, device=device, dtype=dtype).bernoulli_(0.5).mul_(2)
    return _choose(_halves(dtype), n * dim, start).view(n, dim)
