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

from .compiled import loops_for
from .threads import shared

BLOCK = 1 << 20  # upsampled logits at a time: 4 MB
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


def _upsampled(
    logits: Tensor, labels: Tensor, weights: Tensor, align_corners: bool, block: int
) -> tuple[Tensor, Tensor]:
    """[Loss, weight] and the gradient of logits (B, h, w, C) whose labels are at a higher resolution."""
    (count, height, width, classes), (rows, columns) = logits.shape, labels.shape[1:]
    x = logits.permute(1, 3, 0, 2).contiguous()  # (h, C, B, w): rows are upsampled first, then columns
    # Any constant may be taken off a cell's logits. Its largest is: then no exponential overflows, and where no
    # cell's logits are further apart than NEAR none underflows for all classes of a pixel either.
    near = x.device.type == "cpu" and not loops_for(x) and bool((x.amax(1) - x.amin(1)).max() < NEAR)
    x = x - x.amax(1, keepdim=True) if near else x
    gradient = torch.zeros_like(x)
    vertical, horizontal = (
        _upsampling(full, small, align_corners, x.device, x.dtype) for full, small in ((rows, height), (columns, width))
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
    return sums, gradient.permute(2, 0, 3, 1)


def upsampled_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, align_corners: bool, block: int | None = None
) -> tuple[Tensor, Tensor]:
    """[Sum of losses, of weights], (2,), and the slope in the logits: see `pixel_loss`. On a CPU threads share the images."""
    block = block or (BLOCK if logits.device.type == "cpu" else 32 * BLOCK)
    threads = min(torch.get_num_threads(), len(logits)) if logits.device.type == "cpu" else 1
    gradient = torch.empty_like(logits.movedim(-1, 0), memory_format=torch.contiguous_format).movedim(0, -1)
    parts = list(zip(*(x.tensor_split(threads) for x in (logits, labels, gradient))))
    sums: list[Tensor] = [torch.empty(0)] * threads

    def some(i: int) -> None:
        given, wanted, slope = parts[i]
        sums[i], found = _upsampled(given, wanted, weights, align_corners, block)
        slope.copy_(found)

    shared(some, threads)
    return torch.stack(sums).sum(0), gradient


class _MeanLoss(torch.autograd.Function):
    """Mean over pixels p, by w[y_p], of log sum_c exp z_pc - z_py, with its gradient worked out beside the value."""

    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor, weights: Tensor, align_corners: bool, block: int | None) -> Tensor:
        sums, gradient = upsampled_loss(logits, labels, weights, align_corners, block)
        total, weight = sums.to(logits.dtype)
        weight = weight.clamp_min(1)  # a batch of void alone: zero, not 0 / 0
        ctx.save_for_backward(gradient.div_(weight))
        return total / weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return grad * ctx.saved_tensors[0], None, None, None, None


def _block(z: Tensor, labels: Tensor, weights: Tensor, near: bool) -> Tensor:
    """Loss and weight of a block: logits z (R, C, N), labels (R, N); z becomes the loss's gradient in place.

    `near`: exponentials of z as it is neither overflow nor vanish.
    """
    if loops := loops_for(z):
        return torch.tensor(loops.softmax(z.numpy(), labels.contiguous().numpy(), weights.numpy()), dtype=torch.float64)
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


def softmax_loss(z: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """[Sum of losses, of weights], (2,), of logits z by class, (C, N), and labels (N,) uint8; z becomes the slope in place."""
    return _block(z[None], labels[None], weights, near=False)


def pixel_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    align_corners: bool = False,
    block: int | None = None,
) -> Tensor:
    """Mean cross-entropy of bilinearly upsampled logits, the same as torch's of F.interpolate's within float32's rounding.

    Arguments:
        logits: (B, h, w, C) float.
        labels: (B, H, W) uint8, 255 is void.
        weights: weight of each label, (256,) float; 0 for void.
        align_corners: as for F.interpolate.
        block: upsampled logits held at a time; by default what suits the device's caches. It changes rounding alone.

    Returns: a scalar, the sum over the pixels divided by that of their weights; 0 for a batch of void alone.
    """
    return _MeanLoss.apply(logits, labels, weights, align_corners, block)
