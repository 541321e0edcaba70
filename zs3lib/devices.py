"""Which device to run on, and one run at a time on a GPU."""

from __future__ import annotations

import getpass
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from filelock import FileLock

from .errors import ZS3Error
from .storage import acquired


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU when there is one. Raises ZS3Error for none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ZS3Error(f"device '{name}' cannot be used ({reason}): try -p device cpu") from error


def describe(chosen: torch.device) -> str:
    """The device in words, for a run record."""
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return f"CPU, {torch.get_num_threads()} threads"


def alone_on(chosen: torch.device) -> AbstractContextManager:
    """Compute on this GPU alone: another run (make -j starts several) waits for it, and says so.

    On a CPU nothing waits: there `make` shares out the threads.
    """
    if chosen.type == "cpu":
        return nullcontext()
    name = str(chosen).replace(":", "-")
    if chosen.type == "cuda":  # the GPU itself, whatever number CUDA_VISIBLE_DEVICES gives it
        name = str(getattr(torch.cuda.get_device_properties(chosen), "uuid", chosen.index))
    lock = FileLock(Path(tempfile.gettempdir(), f"zs3lib-{getpass.getuser()}-{name}.lock"))
    return acquired(lock, f"another run computes on {chosen}")
