"""Matrix products inside compiled loops: torch's own BLAS, called without Python.

numba's own products would ask scipy's BLAS, whose threads know nothing of torch's. Importing this raises ImportError where
torch's library does not name its BLAS, and then torch's operations do the same.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import llvmlite.binding
import numpy as np
import torch
from numba import types

from .jit import kernel


def _function(name: str) -> types.ExternalFunction | None:
    """A Fortran BLAS's matrix product by its name, for compiled code, or None."""
    for path in (Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"):
        try:
            address = ctypes.cast(getattr(ctypes.CDLL(str(path)), name), ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
        llvmlite.binding.add_symbol(f"zs3lib_{name}", address)
        return types.ExternalFunction(f"zs3lib_{name}", types.void(*[types.voidptr] * 13))
    return None


_float32, _bfloat16 = _function("sgemm_"), _function("gemm_bf16bf16f32_")
if _float32 is None:
    raise ImportError("torch's library does not name its BLAS")
HAS_BFLOAT16 = _bfloat16 is not None
_bfloat16 = _bfloat16 or _float32  # never called


@kernel
def product(a, b, out, turn_a, turn_b):
    """out = a b, or of a's and b's transposes: all (rows, columns), columns side by side; out float32,
    a and b that, or bfloat16's bits."""
    letters, sizes, factors = np.empty(2, np.uint8), np.empty(6, np.int64), np.empty(2, np.float32)
    # Fortran stores columns: it is asked for out' = b' a'. A BLAS whose integers have 32 bits reads the lower half of these.
    letters[0], letters[1] = ord("T") if turn_b else ord("N"), ord("T") if turn_a else ord("N")
    sizes[0], sizes[1], sizes[2] = out.shape[1], out.shape[0], a.shape[0] if turn_a else a.shape[1]
    sizes[3], sizes[4], sizes[5] = b.strides[0] // b.itemsize, a.strides[0] // a.itemsize, out.strides[0] // 4
    factors[0], factors[1] = 1, 0
    of = (letters.ctypes, letters[1:].ctypes, sizes.ctypes, sizes[1:].ctypes, sizes[2:].ctypes, factors.ctypes)
    gaps = (sizes[3:].ctypes, sizes[4:].ctypes, sizes[5:].ctypes)
    if a.itemsize == 2:
        _bfloat16(*of, b.ctypes, gaps[0], a.ctypes, gaps[1], factors[1:].ctypes, out.ctypes, gaps[2])
    else:
        _float32(*of, b.ctypes, gaps[0], a.ctypes, gaps[1], factors[1:].ctypes, out.ctypes, gaps[2])
