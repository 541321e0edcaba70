"""Where the compiled loops (`loops`) can be used: numba is imported at first use, and not needed."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor


@lru_cache
def _loops() -> ModuleType | None:
    try:
        from . import loops
    except (ImportError, RuntimeError):  # no numba, or nowhere to keep what it compiles
        return None
    return loops


@lru_cache
def _step_loops() -> ModuleType | None:
    try:
        from . import generator_loops
    except (ImportError, RuntimeError):  # or a torch that does not name its BLAS
        return None
    return generator_loops


def loops_for(x: Tensor, *types: torch.dtype) -> ModuleType | None:
    """The compiled loops where numba is installed and x is on a CPU and of one of the types, by default float32, or None."""
    return _loops() if x.device.type == "cpu" and x.dtype in (types or (torch.float32,)) else None


def step_loops_for(x: Tensor) -> ModuleType | None:
    """As `loops_for`: those of a generator step (`generator_loops`)."""
    return _step_loops() if loops_for(x) else None


def array(x: Tensor) -> np.ndarray:
    """x on the CPU as the loops take it: bfloat16, which numpy does not know, as its bits, uint16."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
