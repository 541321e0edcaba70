"""Stage 1 shared out over GPUs, a process each; a process alone has rank 0 of 1."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .classes import VOID


@contextmanager
def processes() -> Iterator[None]:
    """Join torchrun's processes, each with its GPU; without torchrun, this process is alone."""
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group()
    try:
        yield
    finally:
        distributed.destroy_process_group()


def ranks() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def wait() -> None:
    """Until all processes are here."""
    if ranks()[1] > 1:
        distributed.barrier()


def spread(network: nn.Module, device: torch.device) -> nn.Module:
    """The network as it trains in several processes: what each learns is averaged.

    On GPUs batch norm takes the statistics of the whole batch; on CPUs, where torch has no such
    thing, of each process's share.
    """
    if ranks()[1] == 1:
        return network
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network)


def share(labels: Tensor, *, by_images: bool) -> Tensor | float:
    """What the mean loss of a process's images is multiplied by, so that the processes' average is
    the mean over the known pixels of all of them.

    `labels` are (B, H, W) integer, 255 void; `by_images`: whether the mean is divided by B.
    """
    count = ranks()[1]
    if count == 1:
        return 1.0
    known = (labels != VOID).sum()
    own = torch.stack([known, known.new_full((), len(labels))])
    every = own.clone()
    distributed.all_reduce(every)
    pixels, images = own / every.clamp_min(1)
    return count * pixels * (images if by_images else 1)


def mean(losses: Tensor) -> Tensor:
    """The average over the processes."""
    if ranks()[1] > 1:
        distributed.all_reduce(losses)
    return losses / ranks()[1]
