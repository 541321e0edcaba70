"""Random numbers in bulk: on a CPU torch draws them in one thread, and dropout's one at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 2048  # drawn from one stream; what is drawn does not depend on the number of threads


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="draws")


def normal_or_uniform(n: int, dim: int, *, normal: bool, device: torch.device) -> Tensor:
    """Independent N(0, 1) or U(0, 1) numbers, (n, dim) float32, that follow from torch's global seed.

    Few come from torch's global generator; many, on a CPU, from streams of their own, one for every 2,048 rows, which
    all threads draw at the same time.
    """
    drawn = torch.empty(n, dim, device=device)
    if device.type != "cpu" or n <= ROWS:
        return drawn.normal_() if normal else drawn.uniform_()

    def fill(block: Tensor, seed: int) -> None:
        own = torch.Generator().manual_seed(seed)
        block.normal_(generator=own) if normal else block.uniform_(generator=own)

    blocks = drawn.split(ROWS)
    seeds = torch.randint(2**62, (len(blocks),)).tolist()
    threads = torch.get_num_threads()
    list((map if threads == 1 else _pool(threads).map)(fill, blocks, seeds))
    return drawn


def dropout_half(x: Tensor) -> Tensor:
    """Dropout with p = 0.5; on a CPU from one random bit for each number, where torch's own draws a Bernoulli number."""
    if x.device.type != "cpu":
        return F.dropout(x, 0.5)
    bits = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 64),))
    kept = np.unpackbits(bits.view(torch.uint8).numpy(), count=x.numel())
    kept <<= 1
    scale = torch.from_numpy(kept).view(x.shape).to(x.dtype)
    return x * scale if x.requires_grad else x.mul_(scale)
