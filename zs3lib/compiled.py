"""Where the compiled loops (`loops`) can be used: numba is imported at first use, and not needed."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor


@lru_cache
def _loops() -> ModuleType | None:
    try:
        from . import loops
    except (ImportError, RuntimeError):  # no numba, or nowhere to keep what it compiles
        return None
    return loops


def loops_for(x: Tensor, *types: torch.dtype) -> ModuleType | None:
    """The compiled loops where numba is installed and x is on a CPU and of one of the types, by default float32, or None."""
    return _loops() if x.device.type == "cpu" and x.dtype in (types or (torch.float32,)) else None
