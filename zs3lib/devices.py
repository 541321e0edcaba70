"""Which device to run on, and bfloat16 where it has it."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from .errors import ZS3Error
from .settings import Settings


def device(settings: Settings) -> torch.device:
    """The device of `settings.device`; "auto" is a GPU when there is one."""
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ZS3Error(f"device '{name}' cannot be used ({str(error).splitlines()[0]}): try -p device cpu") from error
    return chosen


@contextmanager
def queued(chosen: torch.device) -> Iterator[None]:
    """Compute on this GPU alone: another run (make -j starts several) waits for it, and says so.

    A lock ends with its process, however it ends. On a CPU nothing waits: there `make` shares out the threads.
    """
    if chosen.type == "cpu":
        yield
        return
    with open(Path(tempfile.gettempdir(), f"zs3lib-{_identity(chosen)}.lock"), "a") as file:
        try:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another run computes on {chosen}: waiting for it", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        except ImportError:  # Windows
            pass
        yield


def _identity(chosen: torch.device) -> str:
    """A name of the GPU itself, whatever number CUDA_VISIBLE_DEVICES gives it, and of the user who may lock it."""
    user = os.getuid() if hasattr(os, "getuid") else ""
    if chosen.type != "cuda":
        return f"{user}-{chosen}".replace(":", "-")
    return f"{user}-{getattr(torch.cuda.get_device_properties(chosen), 'uuid', chosen.index or 0)}"


def describe(chosen: torch.device) -> str:
    """The device in words, for a run record."""
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return f"CPU, {torch.get_num_threads()} threads"


def _has_bf16(chosen: torch.device) -> bool:
    if chosen.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16"))


def half(chosen: torch.device, settings: Settings) -> torch.dtype | None:
    """bfloat16 when `settings.amp` and the device computes in it (elsewhere it would only be slower), or None."""
    return torch.bfloat16 if settings.amp and _has_bf16(chosen) else None


def autocast(chosen: torch.device, settings: Settings) -> torch.autocast:
    """Autocast to `half`, or to nothing."""
    return torch.autocast(chosen.type, torch.bfloat16, enabled=half(chosen, settings) is not None)


@contextmanager
def cast_once(module: nn.Module, chosen: torch.device, settings: Settings) -> Iterator[None]:
    """Hold the weights of convolutions that are not trained in `half` meanwhile.

    Autocast casts such weights anew in every call, which on small pictures takes longer than the picture. Same results.
    """
    dtype = half(chosen, settings)
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d) and not m.weight.requires_grad] if dtype else []
    weights = [layer.weight.data for layer in layers]
    try:
        for layer, weight in zip(layers, weights):
            layer.weight.data = weight.to(dtype)
        yield
    finally:
        for layer, weight in zip(layers, weights):
            layer.weight.data = weight


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of any size: by default each 256 KB matrix is mapped and zeroed anew by the kernel.

    Stage 2's many small steps run 1.4 times as fast with it. Elsewhere than on Linux with glibc it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(option, 1 << 30)
    except (OSError, AttributeError):  # another C library
        pass
