"""Weights and training state on disk: written whole or not at all, read without running code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn
from torch.serialization import safe_globals

from . import zs3net
from .errors import ZS3Error
from .paths import atomic_write
from .settings import Settings

# Besides tensors and plain values a file may hold NumPy numbers, under both names NumPy has had for their constructor:
# ZS3Net's checkpoints carry their best mIoU as one.
_scalar = np.float64(0).__reduce__()[0]
_NUMBERS = [
    (_scalar, "numpy.core.multiarray.scalar"), (_scalar, "numpy._core.multiarray.scalar"), np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32")),
]  # fmt: skip


def save(path: Path, state: dict) -> None:
    """Write tensors and plain values atomically. Raises ZS3Error, naming the file, where it cannot be written."""
    with atomic_write(path) as file:
        writer = _Writer(file)
        try:
            torch.save(state, writer)
        except RuntimeError as error:
            raise writer.error or error from error


class _Writer:
    """A file for torch.save that remembers why it could not be written: torch's own error does not say."""

    def __init__(self, file: IO[bytes]):
        self.file, self.error = file, None
        self.flush = file.flush

    def write(self, content: bytes) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise


def load_weights(path: str | Path) -> dict:
    """Read a file of weights with `weights_only=True`, on the CPU.

    Raises ZS3Error when it is missing, damaged, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ZS3Error(f"weights file {path} not found: give one with -p weights <file>")
    try:
        with safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise many kinds on a damaged or unsafe file
        reason = str(error).split("\n")[0]
        raise ZS3Error(f"weights file {path} cannot be read safely ({reason[:200]}): replace the file") from error


def resume(path: Path, key: str) -> dict | None:
    """The training state saved under `path` by a run with the same key, or None; a damaged file counts as none."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # as above: whatever is wrong with it, training starts anew
        warnings.warn(f"{path} is damaged and is not used: that stage starts anew", stacklevel=2)
        return None
    return state if state.get("key") == key else None


def load_pretrained(model: nn.Module, settings: Settings) -> str:
    """Put the weights of `settings.weights` into a DeepLabv3+ and say what they were.

    Returns: "imagenet", torchvision's or ZS3Net's weights of the backbone; "network", a whole network of ours without its
    classifier; "zs3net", a whole network in ZS3Net's layout, trained on the seen classes.

    Raises ZS3Error naming the file and the first tensor that does not fit.
    """
    path = settings.weights
    content = load_weights(path)
    try:
        state = zs3net.unwrapped(content)
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"{key} holds values that are not finite")
        if zs3net.is_network(state):
            zs3net.check_settings(settings)
            zs3net.load_network(model, state)
            return "zs3net"
        if not any(key.startswith("decoder.") for key in state):
            model.backbone.load_imagenet(state)
            return "imagenet"
        own = {key: value for key, value in state.items() if not key.startswith("classifier.")}
        missing, unexpected = model.load_state_dict(own, strict=False)
        wrong = [key for key in missing if not key.startswith("classifier.")] + list(unexpected)
        if wrong:
            raise RuntimeError(f"{len(wrong)} tensors do not match, the first is {wrong[0]}")
        return "network"
    except (RuntimeError, AttributeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ZS3Error(
            f"weights file {path} does not fit the {type(model.backbone).__name__} backbone: {reason}"
        ) from error
