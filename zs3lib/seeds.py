"""Seeds of random streams that do not depend on one another, and the order of an epoch."""

import numpy as np
import torch


def stream(*parts: int) -> int:
    """A seed for one random stream: independent of that of every other tuple of numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def shuffled(count: int, size: int, *parts: int) -> list[list[int]]:
    """The numbers below `count` in an order of `stream(*parts)`, in batches of `size`."""
    random = torch.Generator().manual_seed(stream(*parts))
    return [batch.tolist() for batch in torch.randperm(count, generator=random).split(size)]
