"""Which images and classes of a batch learn from real features, and which from generated ones.

An image that shows an unseen class gives no real features at all, not even of its seen classes: the
paper's Fig. 2 is read as ZS3Net's code has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..classes import VOID
from .features import cell_labels


@dataclass
class ImageLayout:
    """What the label map of one image decides.

    Attributes:
        index: the image's place in its batch.
        has_unseen: whether any pixel is of an unseen class.
        real: {class: row of `Batch.real`}, the classes that Eq. 1 fits to real features: all that
            are shown where no unseen one is; where one is, none (with `fit_mixed` the seen ones).
        recursed: the classes that Eq. 2 fits once the recursion has begun: where `has_unseen` the
            unseen ones shown in at least one feature cell (with `feed_back` "all" the seen too).
    """

    index: int
    has_unseen: bool
    real: dict[int, int]
    recursed: list[int]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; from pinned memory, so that the CPU does not wait for a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def classes_in(labels: Tensor) -> list[int]:
    """The classes of a (n,) uint8 tensor on the CPU, in order, faster than by `unique`."""
    return labels.bincount(minlength=VOID + 1).nonzero().flatten().tolist()


class Batch:
    """Images of one step. What they hold is worked out on the CPU, where labels are: no step asks a
    GPU for it.

    Arguments:
        features: real features, (B, h, w, F) float, on any device.
        labels: (B, S, S) uint8 on the CPU; 255 is void.
        unseen: the unseen classes.
        settings: a `zs3lib.Settings`; `cell_stride` > 1 takes every so many-th cell each way.
            Which cells and classes are taken is drawn from torch's random numbers.
        device: where to train.

    Attributes:
        features, labels: as given, float32 and on the device.
        cells: labels of the feature cells, (B, h, w) int64.
        images: an `ImageLayout` for each image.
        real: for each class of each image without unseen ones `samples` of its real features,
            drawn with replacement, (fits, samples, F).
        seen, mixed: the images without and with unseen pixels, (n,) int64 on the device.
    """

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        unseen: tuple[int, ...],
        settings,
        device: torch.device,
    ):
        corners = settings.align_corners
        cells = cell_labels(labels, features.shape[1:3], align_corners=corners)
        stride = settings.cell_stride
        if stride > 1:  # neighbours are alike: fewer cells cost little and save much
            i, j = torch.randint(stride, (2,)).tolist()
            features = features[:, i::stride, j::stride]
            cells = cells[:, i::stride, j::stride]
        self.images: list[ImageLayout] = []
        all_classes = settings.feed_back == "all"
        positions = []
        for index in range(len(cells)):
            flat = cells[index].flatten()
            present = [c for c in classes_in(flat) if c != VOID]
            # An unseen object smaller than a cell counts too: what is around it is left out.
            has_unseen = not set(unseen).isdisjoint(classes_in(labels[index].flatten()))
            recursed = [c for c in present if has_unseen and (all_classes or c in unseen)]
            real = {}
            for c in present:
                if c in unseen or (has_unseen and not settings.fit_mixed):
                    continue
                own = (flat == c).nonzero().flatten()
                drawn = own[torch.randint(len(own), (settings.samples,))]
                real[c] = len(positions)
                positions.append(index * len(flat) + drawn)
            self.images.append(ImageLayout(index, has_unseen, real, recursed))
        self.features = sent(features, device).float()
        self.labels = sent(labels, device)
        self.cells = sent(cells, device).long()
        seen = [image.index for image in self.images if not image.has_unseen]
        mixed = [image.index for image in self.images if image.has_unseen]
        numbers = sent(torch.cat([*positions, torch.tensor(seen + mixed)]), device)
        rows, self.seen, self.mixed = numbers.split(
            [len(positions) * settings.samples, len(seen), len(mixed)]
        )
        self.real = self.features.flatten(0, 2)[rows].unflatten(0, (-1, settings.samples))
