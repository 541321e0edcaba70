"""Weighted cross-entropy of every pixel against logits of a quarter of its resolution, in blocks that fit the caches.

`F.cross_entropy(F.interpolate(logits))` writes and reads the upsampled logits (66 MB for eight images of 312 pixels and
21 classes) a dozen times. Here each block is upsampled by two small matrix products, turned into its loss and its
gradient, and brought back down, before the next one is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .classes import VOID

BLOCK = 1 << 18  # upsampled logits at a time: 1 MB
WIDE = 64  # columns of a block
NEAR = 80.0  # exp(-80) is a normal float32


@lru_cache(maxsize=8)
def _upsampling(full: int, small: int, align_corners: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The matrix (full, small) of 1-D bilinear upsampling, as F.interpolate has it."""
    eye = torch.eye(small, dtype=torch.float64)
    matrix = F.interpolate(eye[None], size=full, mode="linear", align_corners=align_corners)[0].T
    return matrix.to(device, dtype).contiguous()


def _spans(full: int, small: int, step: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of `step` output positions, each with at least the input positions that upsampling reads for it."""
    for start in range(0, full, step):
        end = min(start + step, full)
        first, last = (start * small // full - 1, end * small // full + 2)  # both conventions of corners lie within
        yield slice(start, end), slice(max(first, 0), min(last, small))


class _SummedLoss(torch.autograd.Function):
    """sum over pixels p of w[y_p] (log sum_c exp z_pc - z_py), with its gradient worked out beside the value."""

    @staticmethod
    def forward(
        ctx, logits: Tensor, labels: Tensor, weights: Tensor, mean: bool, align_corners: bool, block: int
    ) -> Tensor:
        (count, height, width, classes), (rows, columns) = logits.shape, labels.shape[1:]
        x = logits.permute(1, 3, 0, 2).contiguous()  # (h, C, B, w): rows are upsampled first, then columns
        # Any constant may be taken off a cell's logits. Its largest is: then no exponential overflows, and where no
        # cell's logits are further apart than NEAR none underflows for all classes of a pixel either.
        near = x.device.type == "cpu" and bool((x.amax(1) - x.amin(1)).max() < NEAR)
        x = x - x.amax(1, keepdim=True) if near else x
        gradient = torch.zeros_like(x)
        vertical, horizontal = (
            _upsampling(full, small, align_corners, x.device, x.dtype)
            for full, small in ((rows, height), (columns, width))
        )
        labels = labels.transpose(0, 1)
        wide = min(columns, WIDE)
        high = max(1, block // (count * classes * wide))
        sums = torch.zeros(2, dtype=torch.float64 if x.device.type == "cpu" else x.dtype, device=x.device)
        for r, i in _spans(rows, height, high):
            down = vertical[r, i]
            part = (down @ x[i].flatten(1)).view(-1, width)
            back = torch.zeros_like(part)
            for c, j in _spans(columns, width, wide):
                across = horizontal[c, j]
                z = part[:, j] @ across.T
                sums += _block(z.view(len(down), classes, -1), labels[r, :, c].flatten(1), weights, near)
                back[:, j].addmm_(z, across)
            gradient[i] += (down.T @ back.view(len(down), -1)).view_as(gradient[i])
        total, weight = sums.to(x.dtype)
        if mean:
            weight = weight.clamp_min(1)  # a batch of void alone: zero, not 0 / 0
            total, gradient = total / weight, gradient.div_(weight)
        ctx.save_for_backward(gradient.permute(2, 0, 3, 1))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return grad * ctx.saved_tensors[0], None, None, None, None, None


def _block(z: Tensor, labels: Tensor, weights: Tensor, near: bool) -> Tensor:
    """Loss and weight of a block: logits z (R, C, N), labels (R, N); z becomes the loss's gradient in place.

    `near`: exponentials of z as it is neither overflow nor vanish.
    """
    target = labels.long().unsqueeze(1)
    w = weights.index_select(0, target.flatten()).view_as(target)
    target.clamp_max_(z.shape[1] - 1)  # void has weight 0: any class will do
    own = z.gather(1, target)
    if not near:
        top = z.amax(1, keepdim=True)
        own -= top
        z.sub_(top)
    total = z.exp_().sum(1, keepdim=True)
    loss = total.log().sub_(own).mul_(w).sum()
    z.mul_(w / total).scatter_add_(1, target, -w)
    return torch.stack([loss, w.sum()])


def pixel_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    reduction: str = "mean",
    align_corners: bool = False,
    block: int | None = None,
) -> Tensor:
    """Cross-entropy of bilinearly upsampled logits, the same as torch's of F.interpolate's within float32's rounding.

    Arguments:
        logits: (B, h, w, C) float; or (N, C), of cells in any order, with labels of (N,).
        labels: (B, H, W) uint8, 255 is void; at the logits' own resolution nothing is upsampled.
        weights: weight of each label, (256,) float; 0 for void.
        reduction: "sum", or "mean" over the pixels' weights; a batch of void alone is 0.
        align_corners: as for F.interpolate.
        block: upsampled logits held at a time; by default what suits the device's caches. It changes rounding alone.

    Returns: a scalar.
    """
    if labels.shape != logits.shape[:-1]:
        block = block or (BLOCK if logits.device.type == "cpu" else 128 * BLOCK)
        return _SummedLoss.apply(logits, labels, weights, reduction == "mean", align_corners, block)
    target, classes = labels.flatten().long(), logits.shape[-1]
    loss = F.cross_entropy(
        logits.flatten(0, -2), target, weights[:classes].to(logits.dtype), ignore_index=VOID, reduction="sum"
    )
    return loss if reduction == "sum" else loss / weights.index_select(0, target).sum().clamp_min(1)
