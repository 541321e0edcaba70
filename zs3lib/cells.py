"""The classifier step of stage 2 (Sec. III) over feature cells, real and generated, block by block.

Logits and gradient are two matrix products over each cell's feature. Where labels are at the cells' own resolution a block
is read, or generated, and used for both while it is in a core's cache; where they are at the image's, all blocks are kept
until the upsampled loss is known. Autograd is not asked. On a CPU blocks are shared out among threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .classes import VOID
from .generator import ROWS, rows_of
from .head import Head
from .pixel_loss import softmax_loss, upsampled_loss
from .threads import shared


class Cells:
    """The cells that a classifier step learns from: real features, then generated ones.

    Arguments:
        head: its classifier learns, its generator invents.
        real: features of the real cells, (n, 256) for each image, of any float type.
        invented: class of each cell whose feature is generated, (N,) uint8 on the CPU; void's is zeros.
        half: what products are computed in and noise is drawn in, as by autocast: bfloat16, or None for the weights' type.

    The generator's last layer and the classifier are linear: their product is applied to the hidden layer, and generated
    features themselves are never formed.
    """

    @torch.no_grad()
    def __init__(self, head: Head, real: list[Tensor], invented: Tensor, half: torch.dtype | None = None):
        self.head, self.weight, self.bias = head, head.classifier.weight, head.classifier.bias
        last, self.dtype = head.generator.output, half or self.weight.dtype
        self.joint = self.weight @ last.weight
        layers = [(self.weight, self.bias), (self.joint, torch.addmv(self.bias, self.weight, last.bias))]
        self.layers = [(w.to(self.dtype), b.unsqueeze(1)) for w, b in layers]  # of real features, of hidden layers
        cpu, void = self.weight.device.type == "cpu", invented == VOID
        rows = rows_of(len(invented)) if cpu else 1 << 30  # elsewhere than on a CPU one block
        self.threads = None if cpu else 1
        parts = [part for x in real for part in x.tensor_split(-(-len(x) // ROWS) if cpu else 1)]
        hidden = head.generator.hidden_blocks(head.words, invented.masked_fill(void, 0), self.dtype, rows)
        self.blocks: list[Callable[[], Tensor]] = [partial(self._read, part) for part in parts] + hidden
        voids = void.split(rows)[: len(hidden)]
        self.void = [None] * len(parts) + [part.to(self.weight.device) if part.any() else None for part in voids]
        self.sizes = [len(part) for part in [*parts, *voids]]
        self.real = len(parts)
        self.slopes: list[tuple[Tensor, ...]] = [()] * len(self.blocks)

    def _read(self, x: Tensor) -> Tensor:
        return (x.float() if x.dtype == torch.float16 else x).to(self.dtype)  # float16 to bfloat16 by float32: faster

    def logits(self, i: int) -> tuple[Tensor, Tensor]:
        """What block i's layer is given, (n, 256), and its logits by class, (C, n); n is rounded up."""
        x = self.blocks[i]()
        weight, bias = self.layers[i >= self.real]
        z = (weight @ x.T).to(self.weight.dtype).add_(bias)
        if self.void[i] is not None:
            z[:, : self.sizes[i]] = torch.where(self.void[i], self.bias.unsqueeze(1), z[:, : self.sizes[i]])
        return x, z

    def learn(self, i: int, x: Tensor, z: Tensor) -> None:
        """Add block i's share to the gradient: x as `logits` gave it, z the loss's slope in the logits, 0 where rounded up."""
        whole = z.sum(1)
        if self.void[i] is not None:
            z[:, : self.sizes[i]].masked_fill_(self.void[i], 0)
        self.slopes[i] = (z.to(self.dtype) @ x).to(whole.dtype), z.sum(1), whole

    def finish(self, scale: Tensor | float) -> None:
        """Set the classifier's gradient from what was learned, times `scale`."""
        last, bias = self.head.generator.output, torch.zeros_like(self.bias)
        (weight, _, whole), (joint, generated, more) = (
            [torch.stack(parts).sum(0) for parts in zip((torch.zeros_like(w), bias, bias), *slopes)]
            for w, slopes in ((self.weight, self.slopes[: self.real]), (self.joint, self.slopes[self.real :]))
        )
        weight = weight + joint @ last.weight.T + torch.outer(generated, last.bias)
        self.weight.grad, self.bias.grad = weight * scale, (whole + more) * scale

    def at_cells(self, labels: Tensor, weights: Tensor) -> Tensor:
        """Loss and weight of labels at the cells' own resolution, (N,) uint8."""
        wanted, sums = labels.split(self.sizes), [torch.zeros(2)] * len(self.blocks)

        def block(i: int) -> None:
            x, z = self.logits(i)
            label = F.pad(wanted[i], (0, z.shape[1] - self.sizes[i]), value=VOID)
            sums[i] = softmax_loss(z, label.to(z.device, non_blocking=True), weights)
            self.learn(i, x, z)

        shared(block, len(self.blocks), self.threads)
        return torch.stack(sums).sum(0) if sums else torch.zeros(2)

    def at_pixels(self, labels: Tensor, shape: torch.Size, weights: Tensor, align_corners: bool) -> Tensor:
        """Loss and weight of labels (B, H, W) uint8, to which the logits of cells (B, h, w) = `shape` are upsampled."""
        if not self.blocks:
            return torch.zeros(2)
        logits = self.weight.new_empty(len(self.bias), sum(self.sizes))
        parts, given = logits.split(self.sizes, 1), [self.bias] * len(self.blocks)

        def forward(i: int) -> None:
            given[i], z = self.logits(i)
            parts[i].copy_(z[:, : self.sizes[i]])

        def backward(i: int) -> None:
            slope = slopes[i].contiguous()
            self.learn(i, given[i], F.pad(slope, (0, len(given[i]) - self.sizes[i])))

        shared(forward, len(self.blocks), self.threads)
        sums, slope = upsampled_loss(logits.unflatten(1, shape).movedim(0, -1), labels, weights, align_corners)
        slopes = slope.movedim(-1, 0).flatten(1).split(self.sizes, 1)
        shared(backward, len(self.blocks), self.threads)
        return sums
