"""The classifier step of stage 2 (Sec. III) over feature cells, real and generated, block by block.

Logits and gradient are two matrix products over each cell's feature. Where labels are at the cells' own resolution a block
is read, or generated, and used for both while it is in a core's cache; where they are at the image's, all blocks are kept
until the upsampled loss is known. Autograd is not asked. On a CPU blocks are shared out among threads, those of real cells
while the generator is still being trained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .classes import VOID
from .compiled import loops_for
from .draws import Draws, seed
from .head import Head
from .pixel_loss import softmax_loss, upsampled_loss
from .threads import beside, shared

ROWS = 12288  # cells at a time at most


def rows_of(n: int) -> int:
    """How many of n cells to generate at a time: two halves or more where there are many, in multiples of 512."""
    parts = 2 * -(-n // (2 * ROWS)) if n > ROWS // 4 else 1
    return max(512, -(-n // parts // 512) * 512)


class Cells:
    """The cells that a classifier step learns from: real features, then generated ones.

    Arguments:
        head: its classifier learns, its generator invents.
        real: features of the real cells, (n, 256) for each image, of any float type.
        invented: class of each cell whose feature is generated, (N,) uint8 on the CPU; void's is zeros.
        half: what products are computed in and noise is drawn in, as by autocast: bfloat16, or None for the weights' type.
        first: what generated cells wait for, the generator's own steps: on a CPU it takes one thread, real cells the others.

    The generator's last layer and the classifier are linear: their product is applied to the hidden layer, and generated
    features themselves are never formed.
    """

    @torch.no_grad()
    def __init__(
        self, head: Head, real: list[Tensor], invented: Tensor, half: torch.dtype | None = None,
        first: Callable[[], object] = lambda: None,
    ):  # fmt: skip
        self.head, self.first = head, first
        self.weight, self.bias = head.classifier.weight, head.classifier.bias
        self.dtype = half or self.weight.dtype
        cpu, void = self.weight.device.type == "cpu", invented == VOID
        rows = rows_of(len(invented)) if cpu else 1 << 30  # elsewhere than on a CPU one block
        self.threads = None if cpu else 1
        self.features = [part for x in real for part in x.tensor_split(-(-len(x) // ROWS) if cpu else 1)]
        self.real = len(self.features)
        # The last block is rounded up, so that few shapes occur: for each that it meets the CPU's library of matrix
        # products compiles a program, and keeps it.
        index = F.pad(invented.masked_fill(void, 0).long(), (0, -len(invented) % 256))
        self.index = index.to(self.weight.device, non_blocking=True).split(rows) if len(index) else ()
        # Seeds are drawn here, in order, whichever thread makes which block first.
        self.seeds = [(seed(), seed()) for _ in self.index]
        self.drawn: list[Draws | None] = [None] * len(self.index)
        voids = void.split(rows)[: len(self.index)]
        self.void = [None] * self.real + [part.to(self.weight.device) if part.any() else None for part in voids]
        self.sizes = [len(part) for part in [*self.features, *voids]]
        self.slopes: list[tuple[Tensor, ...]] = [()] * len(self.sizes)
        self.layers = [(self.weight.to(self.dtype), self.bias.unsqueeze(1))]  # of real features; of hidden layers

    def _each(self, block: Callable[[int], None]) -> None:
        """block(i) for every block: real cells and random numbers beside `first`, then generated cells."""
        jobs = [self.first, *(partial(block, i) for i in range(self.real))]
        if self.threads is None and beside():  # another thread has time for what the generator is not needed for
            jobs += [partial(self._draw, i) for i in range(len(self.index))]
        shared(lambda i: jobs[i](), len(jobs), self.threads)
        generator, last = self.head.generator, self.head.generator.output
        self.parts, self.noise_weight = generator.word_parts(self.head.words), generator.noise_weight.to(self.dtype)
        self.joint = self.weight @ last.weight
        bias = torch.addmv(self.bias, self.weight, last.bias).unsqueeze(1)
        self.layers = [self.layers[0], (self.joint.to(self.dtype), bias)]
        shared(lambda i: block(self.real + i), len(self.index), self.threads)

    def _draw(self, i: int) -> None:
        self.drawn[i] = self.head.generator.draw(len(self.index[i]), self.dtype, self.seeds[i])

    def _hidden(self, i: int) -> Tensor:
        """Hidden layers of generated block i."""
        if self.drawn[i] is None:
            self._draw(i)
        drawn, self.drawn[i] = self.drawn[i], None
        return self.head.generator.hidden(drawn, self.noise_weight, self.parts, self.index[i])

    def _real(self, i: int) -> Tensor:
        """Features of real block i."""
        x = self.features[i]
        if (loops := loops_for(x, torch.float16)) and self.dtype == torch.bfloat16 and x.is_contiguous():
            out = torch.empty_like(x, dtype=self.dtype)
            loops.narrow(*(part.view(torch.uint16).flatten().numpy() for part in (x, out)))
            return out
        return (x.float() if x.dtype == torch.float16 else x).to(self.dtype)  # by float32, which is faster

    def logits(self, i: int) -> tuple[Tensor, Tensor]:
        """What block i's layer is given, (n, 256), and its logits by class, (C, n); n is rounded up."""
        x = self._real(i) if i < self.real else self._hidden(i - self.real)
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
        wanted, sums = labels.split(self.sizes), [torch.zeros(2)] * len(self.sizes)

        def block(i: int) -> None:
            x, z = self.logits(i)
            label = F.pad(wanted[i], (0, z.shape[1] - self.sizes[i]), value=VOID)
            sums[i] = softmax_loss(z, label.to(z.device, non_blocking=True), weights)
            self.learn(i, x, z)

        self._each(block)
        return torch.stack(sums).sum(0) if sums else torch.zeros(2)

    def at_pixels(self, labels: Tensor, shape: torch.Size, weights: Tensor, align_corners: bool) -> Tensor:
        """Loss and weight of labels (B, H, W) uint8, to which the logits of cells (B, h, w) = `shape` are upsampled."""
        logits = self.weight.new_empty(len(self.bias), sum(self.sizes))
        parts, given = logits.split(self.sizes, 1), [self.bias] * len(self.sizes)

        def forward(i: int) -> None:
            given[i], z = self.logits(i)
            parts[i].copy_(z[:, : self.sizes[i]])

        def backward(i: int) -> None:
            slope = slopes[i].contiguous()
            self.learn(i, given[i], F.pad(slope, (0, len(given[i]) - self.sizes[i])))

        self._each(forward)
        if not self.sizes:
            return torch.zeros(2)
        sums, slope = upsampled_loss(logits.unflatten(1, shape).movedim(0, -1), labels, weights, align_corners)
        slopes = slope.movedim(-1, 0).flatten(1).split(self.sizes, 1)
        shared(backward, len(self.sizes), self.threads)
        return sums
