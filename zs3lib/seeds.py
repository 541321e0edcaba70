"""Seeds of random streams that do not depend on one another, and the order of an epoch."""

import numpy as np
import torch


def stream(*parts: int) -> int:
    """A seed for one random stream: independent of that of every other tuple of numbers.

    `parts` are a seed of the settings, the stream's number and what else tells it from others.
    Numbers, of `backbone_seed`: 10 the network, 11 dropout, 12 augmentation and 13 order in stage
    1; 30 augmentation and 31 dropout of stage 2's features; 40 layouts of the strict protocol. Of
    `seed`: 20 the head; 21 and 23 what a batch, a step draws; 22 the order; 24 dropout. Of 0: 41
    pictures and 42 order of the toy backbone.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def shuffled(count: int, size: int, *parts: int) -> list[list[int]]:
    """The numbers below `count` in an order of `stream(*parts)`, in batches of `size`."""
    random = torch.Generator().manual_seed(stream(*parts))
    return [batch.tolist() for batch in torch.randperm(count, generator=random).split(size)]
