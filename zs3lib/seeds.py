"""Seeds of random streams that do not depend on one another."""

import numpy as np


def stream(*parts: int) -> int:
    """A seed for one random stream: independent of that of every other tuple of numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
