"""Stop at a loss that is not finite, and say where: a network full of NaN trains on without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .errors import ZS3Error

SHOWN = 8  # ids of a large batch that fit on one line


def together(values: Sequence[float | Tensor]) -> Tensor:
    """Losses, numbers or scalars on a device, as one float64 tensor."""
    return (
        torch.stack(list(values)).double()
        if isinstance(values[0], Tensor)
        else torch.tensor(values, dtype=torch.float64)
    )


def check_finite(
    log: Mapping[str, list[float | Tensor]], ends: Sequence[Mapping[str, int]], *, stage: str, epoch: int,
    ids: Callable[[int], Iterable[str]], checkpoint: Path, cure: str,
) -> None:  # fmt: skip
    """Raise ZS3Error when a loss of an epoch is not finite, naming the first step that has one.

    Arguments:
        log: the epoch's losses by name, scalars, as many a step as it took; looked at once, so that no step waits for it.
        ends: of each step, how many losses of each name had been logged when it ended.
        stage: what is trained, in words; epoch: the epoch, from 0.
        ids: the image ids of a step's batch.
        checkpoint: where the state after the epoch before is saved; cure: what to try.
    """
    first = None
    for name in ends[0]:
        bad = (~together(log[name]).isfinite()).nonzero() if log[name] else ()
        if len(bad):
            step = next(i for i, end in enumerate(ends) if int(bad[0]) < end[name])
            if first is None or step < first[0]:
                first = step, name, float(log[name][int(bad[0])])
    if first is None:
        return
    step, name, value = first
    images = [str(i) for i in ids(step)]
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    kept = f"the last good state, after epoch {epoch}, is {checkpoint}" if epoch else "no epoch is saved yet"
    raise ZS3Error(
        f"{stage}: the {name} loss is {value} at step {step + 1} of epoch {epoch + 1}, on the images "
        f"{', '.join(images[:SHOWN])}{more}: look at them, or {cure}; {kept}"
    )
