"""Stop at a loss that is not finite, and say where: a network full of NaN trains on without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from .errors import ZS3Error

SHOWN = 8  # ids of a large batch that fit on one line


def check_finite(
    losses: Tensor, *, stage: str, epoch: int, ids: Callable[[int], Iterable[str]], checkpoint: Path, cure: str
) -> None:
    """Raise ZS3Error when a loss of an epoch is not finite.

    Arguments:
        losses: (steps,), looked at once at the end of the epoch: no step waits for it.
        stage: what is trained, in words; epoch: the epoch, from 0.
        ids: the image ids of a step's batch.
        checkpoint: where the state after the epoch before is saved; cure: what to try.
    """
    bad = (~losses.isfinite()).nonzero()
    if not len(bad):
        return
    step = int(bad[0])
    images = [str(i) for i in ids(step)]
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    kept = f"the last good state, after epoch {epoch}, is {checkpoint}" if epoch else "no epoch is saved yet"
    raise ZS3Error(
        f"{stage}: the loss is {losses[step].item()} at step {step + 1} of epoch {epoch + 1}, on the images "
        f"{', '.join(images[:SHOWN])}{more}: look at them, or {cure}; {kept}"
    )
