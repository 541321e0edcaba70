"""numba's compiler for the loops, with a cache that knows all they are compiled from.

numba keeps compiled code until the file of the function itself changes. Here functions of several files are compiled into one:
the cache's folder bears the digest of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numba

HERE = Path(__file__).parent
FILES = ("jit.py", "blas.py", "loops.py", "mmd_loops.py", "generator_loops.py")
DIGEST = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:12]


def kernel(function: Callable | None = None, *, inline: str = "never") -> Callable:
    """Decorator: compiled at the first call, without Python's lock; sums in any order and products fused.

    Not with the flags that would let NaN and infinity be forgotten: losses are checked for them.
    """
    if function is None:
        return lambda function: kernel(function, inline=inline)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(Path(before or HERE / "__pycache__") / f"loops-{DIGEST}")
    try:
        options = dict(nogil=True, cache=True, error_model="numpy", inline=inline)
        return numba.njit(fastmath={"reassoc", "contract", "arcp", "nsz"}, **options)(function)
    finally:
        numba.config.CACHE_DIR = before
