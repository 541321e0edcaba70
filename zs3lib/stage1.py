"""Stage 1 (Sec. IV-A): DeepLabv3+ fine-tuned with cross-entropy on images without any pixel of an unseen class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from . import checkpoints
from .adam import adamw
from .classes import VOID, Split
from .data.loading import Augmented, batches, stream
from .data.segmentation import SegmentationData
from .deeplab import DeepLabV3Plus
from .devices import autocast, cast_once, device
from .errors import ZS3Error
from .finite import check_finite
from .pixel_loss import pixel_loss
from .settings import Settings


def build_model(settings: Settings, classes: int) -> DeepLabV3Plus:
    """A DeepLabv3+ for `settings`, weights drawn from the backbone's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(settings.backbone_seed, 10))
        return DeepLabV3Plus(
            backbone=settings.backbone, classes=classes, aspp_rates=settings.aspp_rates,
            multi_grid=settings.multi_grid, dropout=settings.dropout, align_corners=settings.align_corners,
        )  # fmt: skip


def images_without(data: SegmentationData, split: Split) -> list[int]:
    """Indices of the images that hold no pixel of an unseen class."""
    allowed = np.flatnonzero(~data.presence[:, list(split.unseen)].any(1)).tolist()
    if not allowed:
        raise ZS3Error(f"every training image holds an unseen class at K = {split.k}: add images or lower k")
    return allowed


def poly(optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """DeepLab's schedule: lr (1 - step/steps)^0.9."""
    return torch.optim.lr_scheduler.PolynomialLR(optimiser, total_iters=steps, power=0.9)


def _optimiser(
    model: DeepLabV3Plus, settings: Settings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """SGD with the poly schedule: what ImageNet did not train learns ten times as fast, as ZS3Net has it.

    "adamw", in one cycle, gets further in the few hundred steps of a toy or lite run.
    """
    for block in model.backbone.blocks[: settings.frozen_blocks]:
        block.requires_grad_(False)
    kept = [p for p in model.backbone.parameters() if p.requires_grad]
    fresh = [p for part in (model.aspp, model.decoder, model.classifier) for p in part.parameters()]
    groups = [
        {"params": kept, "lr": settings.stage1_lr},
        {"params": fresh, "lr": settings.fresh_lr_factor * settings.stage1_lr},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.stage1_optimiser == "adamw":
        optimiser = adamw(groups, weight_decay=0.01)
        total = max(steps, 3)  # rise and fall need a step each, however short the training
        return optimiser, torch.optim.lr_scheduler.OneCycleLR(
            optimiser, [group["lr"] for group in groups], total_steps=total, pct_start=max(0.2, 2 / total)
        )
    optimiser = torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True)
    return optimiser, poly(optimiser, steps)


def train_backbone(
    model: DeepLabV3Plus, data: SegmentationData, indices: list[int], settings: Settings, *, checkpoint: Path, key: str
) -> list[float]:
    """Fine-tune `model` in place on the images `indices` of `data`.

    Arguments:
        model: network whose classifier has an output for every class; unseen ones are never a target.
        indices: the images to train on, those without unseen classes (`images_without`).
        checkpoint, key: where the state is saved after every epoch, and what a saved state must match to be resumed.

    Returns: mean cross-entropy of each epoch. Raises ZS3Error when the loss is no longer finite.
    """
    where = device(settings)
    model.to(where, memory_format=torch.channels_last)
    per_epoch = max(1, len(indices) // settings.batch_size)
    epochs = max(1, round(settings.stage1_steps / per_epoch)) if settings.stage1_steps else settings.stage1_epochs
    optimiser, schedule = _optimiser(model, settings, epochs * per_epoch)
    losses: list[float] = []
    if state := checkpoints.resume(checkpoint, key):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        losses = state["losses"]
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    done = len(losses) * per_epoch
    with tqdm(total=epochs * per_epoch, initial=done, desc="stage 1: backbone on seen classes", unit="batch") as bar:
        for epoch in range(len(losses), epochs):
            with cast_once(model, where, settings):
                steps, order = _train_epoch(model, data, indices, settings, optimiser, schedule, epoch, bar)
            size = settings.batch_size
            check_finite(
                {"backbone": steps}, [{"backbone": n + 1} for n in range(len(steps))],
                stage="stage 1", epoch=epoch, checkpoint=checkpoint, cure="lower stage1_lr",
                ids=lambda n: [data.ids[indices[i]] for i in order[n * size : (n + 1) * size]],
            )  # fmt: skip
            losses.append(torch.stack(steps).double().mean().item())
            states = {name: part.state_dict() for name, part in parts.items()}
            checkpoints.save(checkpoint, states | {"losses": losses, "key": key})
    return losses


def _train_epoch(
    model, data, indices, settings, optimiser, schedule, epoch: int, bar: tqdm
) -> tuple[list[torch.Tensor], list[int]]:
    """The loss of each step, and the order in which the images came."""
    where, seed = device(settings), settings.backbone_seed
    torch.manual_seed(stream(seed, 11, epoch))  # dropout's draws belong to the epoch: a resumed run repeats them
    order = torch.randperm(len(indices)).tolist()
    pictures = Augmented(data, indices, settings, seed=stream(seed, 12), epoch=epoch)
    loader = batches(pictures, settings, order=order, drop_last=len(indices) >= settings.batch_size)
    model.train()
    if settings.frozen_bn:
        model.backbone.eval()  # small batches of few images tell less of its statistics than the pretraining did
    losses, weights = [], torch.ones(256, device=where)
    weights[VOID] = 0
    for images, labels in loader:
        images, labels = images.to(where, memory_format=torch.channels_last, non_blocking=True), labels.to(where)
        with autocast(where, settings):
            logits = model.classifier(model.features(images)).float().permute(0, 2, 3, 1)
        loss = pixel_loss(logits, labels, weights, align_corners=settings.align_corners)
        model.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
        bar.update()
    return losses, order


def freeze(model: nn.Module) -> nn.Module:
    """Stage 2 only reads the backbone: no gradients, batch statistics fixed."""
    return model.eval().requires_grad_(False)
