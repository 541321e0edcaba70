"""Which device to run on, and one run at a time on each GPU."""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock

from ..errors import ZS3Error, one_line
from ..storage import first_free


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU when there is one. Raises ZS3Error for none.

    "cuda" is any of several GPUs: `alone_on` chooses, and until then no memory is taken on one.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and len(_candidates(torch.device(name))) > 1:
        return torch.device(name)
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        problem = f"device '{name}' cannot be used ({one_line(error)})"
        raise ZS3Error(f"{problem}: try -p device cpu") from error


@contextmanager
def alone_on(chosen: torch.device) -> Iterator[torch.device]:
    """Compute on this GPU alone, or on the first that is free of several; which one that is.

    Another run of this user (make -j starts several) takes another GPU or, where none is free,
    waits for one and says so. On a CPU nothing waits: there `make` shares out the threads.
    """
    if chosen.type == "cpu":
        yield chosen
        return
    own = Path(tempfile.gettempdir(), f"zs3lib-{getpass.getuser()}")  # this machine's, as GPUs are
    locks = {gpu: FileLock(f"{own}-{_identity(gpu)}.lock") for gpu in _candidates(chosen)}
    names = ", ".join(map(str, locks))
    device, lock = first_free(locks, f"another run computes on {names}: waiting for a free GPU")
    with lock:
        if device != chosen:
            device = device_of(str(device))  # which tells of one that cannot be used
            torch.cuda.set_device(device)
        yield device


def _candidates(chosen: torch.device) -> list[torch.device]:
    """The GPUs that are meant: a "cuda" without a number is any, but the own one in torchrun."""
    if chosen.type != "cuda" or chosen.index is not None or "LOCAL_RANK" in os.environ:
        return [chosen]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def _identity(device: torch.device) -> str:
    """A name of the GPU itself, whatever number CUDA_VISIBLE_DEVICES gives it."""
    if device.type != "cuda":
        return str(device).replace(":", "-")
    return str(getattr(torch.cuda.get_device_properties(device), "uuid", device.index))
