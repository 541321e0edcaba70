"""Stage 1: DeepLabv3+ "fine-tuned on the seen classes" (Sec. IV-A).

With cross-entropy, on the images without any pixel of an unseen class, as ZS3Net's.

Both stages read batches from a *source*: `source.batches` is how many an epoch has,
`source.epoch(e)` yields them, `source.ids(e, n)` names the images of the n-th
(`data/augment.py: Pictures` for stage 1, `runs/sources.py` for stage 2).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm.auto import tqdm

from .. import parallel
from ..classes import Split
from ..errors import ZS3Error
from ..seeds import stream
from .deeplab import DeepLabV3Plus, autocast, poly
from .losses import pixel_loss

SHOWN = 8  # image ids of a large batch that fit on one line


def images_without(presence: np.ndarray, split: Split) -> list[int]:
    """Indices of the images that hold no pixel of an unseen class.

    Arguments:
        presence: which classes each image holds, (N, C) bool.
    """
    allowed = np.flatnonzero(~presence[:, list(split.unseen)].any(1)).tolist()
    if not allowed:
        raise ZS3Error(
            f"every training image holds an unseen class at K = {split.k}: add images or lower k"
        )
    return allowed


def train(
    network: DeepLabV3Plus,
    source,
    settings,
    *,
    device: torch.device,
    checkpoint,
    stage: str = "stage 1: backbone on seen classes",
) -> list[float]:
    """Fine-tune `network` in place.

    Arguments:
        network: its classifier has an output for every class; unseen ones are never a target.
        source: batches of (images (B, 3, S, S) float32, labels (B, S, S) uint8).
        checkpoint: `storage.Checkpoint` that keeps the state after every epoch.

    Of several processes (`parallel`) each has its share of a batch, and the first saves.

    Returns: the mean loss of each epoch. Raises ZS3Error when a loss is not finite.
    """
    network.to(device, memory_format=torch.channels_last)
    epochs = settings.stage1_epochs
    if settings.stage1_steps:
        epochs = max(1, round(settings.stage1_steps / source.batches))
    optimiser, schedule = optimisation(network, settings, epochs * source.batches)
    parts = {"model": network, "optimiser": optimiser, "schedule": schedule}
    losses: list[float] = []
    if state := checkpoint.load():
        for name, part in parts.items():
            part.load_state_dict(state[name])
        losses = state["losses"]
    trained = parallel.spread(network, device)
    first = parallel.ranks()[0] == 0
    place = {"total": epochs * source.batches, "initial": len(losses) * source.batches}
    with tqdm(**place, desc=stage, unit="batch", disable=not first) as bar:
        for epoch in range(len(losses), epochs):
            steps = train_epoch(trained, source, settings, optimiser, schedule, epoch, bar)
            found = [{"backbone": loss} for loss in steps]
            check_finite(found, stage, epoch, source, checkpoint, cure="lower stage1_lr")
            losses.append(steps.mean().item())
            if first:
                states = {name: part.state_dict() for name, part in parts.items()}
                checkpoint.save(states | {"losses": losses})
    return losses


def train_epoch(
    network: nn.Module, source, settings, optimiser, schedule, epoch: int, bar: tqdm
) -> Tensor:
    """One pass over the images. Returns the loss of each step, (steps,) float64 on the CPU."""
    # Dropout's draws belong to the epoch, so that a resumed run repeats them.
    torch.manual_seed(stream(settings.backbone_seed, 11, epoch) + parallel.ranks()[0])
    network.train()
    if settings.frozen_bn:  # small batches of few images know less than the pretraining did
        getattr(network, "module", network).backbone.eval()
    device = next(network.parameters()).device
    losses = []
    for images, labels in source.epoch(epoch):
        images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        with autocast(device, settings.amp):
            logits = network(images)
        loss = pixel_loss(logits, labels, reduction=settings.stage1_loss)
        loss = loss * parallel.share(labels, by_images=settings.stage1_loss == "zs3net")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
        bar.update()
    # the only time that a GPU is waited for
    return parallel.mean(torch.stack(losses)).double().cpu()


def optimisation(
    network: DeepLabV3Plus, settings, steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """SGD with the poly schedule; what ImageNet did not train learns faster, as ZS3Net has it.

    "adamw", in one cycle, gets further in the few hundred steps of a toy or lite run.
    """
    blocks = [block for block in network.backbone.children() if [*block.parameters()]]
    for block in blocks[: settings.frozen_blocks]:
        block.requires_grad_(False)
    pretrained = [p for p in network.backbone.parameters() if p.requires_grad]
    fresh = nn.ModuleList([network.aspp, network.decoder, network.classifier])
    rate = settings.stage1_lr
    groups = [{"params": pretrained, "lr": rate}] if pretrained else []
    groups.append({"params": [*fresh.parameters()], "lr": settings.fresh_lr_factor * rate})
    if settings.stage1_optimiser == "adamw":
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        total = max(steps, 3)  # rise and fall need a step each, however short the training
        rates = [group["lr"] for group in groups]
        rise = max(0.2, 2 / total)
        return optimiser, OneCycleLR(optimiser, rates, total_steps=total, pct_start=rise)
    optimiser = torch.optim.SGD(
        groups, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    return optimiser, poly(optimiser, steps)


def check_finite(
    steps: list[dict[str, Tensor]], stage: str, epoch: int, source, checkpoint, *, cure: str
) -> None:
    """Raise ZS3Error when a loss of an epoch is not finite: NaN trains on without a word.

    steps: the losses of each step by name, on the CPU; cure: what to try.
    """
    wrong = [
        (n, name, value)
        for n, step in enumerate(steps)
        for name, losses in step.items()
        for value in losses[~losses.isfinite()].tolist()
    ]
    if not wrong:
        return
    step, name, value = wrong[0]
    images = source.ids(epoch, step)
    more = f" and {len(images) - SHOWN} more" if len(images) > SHOWN else ""
    kept = f"the last good state, after epoch {epoch}, is {checkpoint.path}"
    raise ZS3Error(
        f"{stage.partition(':')[0]}: the {name} loss is {value} at step {step + 1} of epoch "
        f"{epoch + 1}, on the images {', '.join(images[:SHOWN])}{more}: look at them, or {cure}; "
        f"{kept if epoch else 'no epoch is saved yet'}"
    )
