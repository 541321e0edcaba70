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


def loops_for(x: Tensor) -> ModuleType | None:
    """The compiled loops where they take x: on a CPU with numba installed, and not in double precision. Else None."""
    return _loops() if x.device.type == "cpu" and x.dtype != torch.float64 else None
