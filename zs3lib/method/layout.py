"""Which images and classes of a batch learn from real features, and which from generated ones.

An image that shows an unseen class gives no real features at all, not even of its seen classes.
That is ZS3Net's code; the paper's words (Sec. IV-A, Fig. 2a) would also fit the generator to those
seen classes: `fit_mixed`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..classes import VOID


@dataclass
class ImageLayout:
    """What the label map of one image decides.

    Attributes:
        has_unseen: whether any pixel is of an unseen class.
        real: the classes that Eq. 1 fits, with `samples` real features of each, drawn with
            replacement, (samples, F): all that are shown in at least one feature cell where the
            image has nothing unseen; where it has, none (with `fit_mixed` the seen ones).
        recursed: the classes that Eq. 2 fits once the recursion has begun: where `has_unseen` the
            unseen ones shown in at least one cell (with `feed_back` "all" the seen too).
    """

    has_unseen: bool
    real: dict[int, Tensor]
    recursed: list[int]


def cell_labels(labels: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """The label of the pixel that a feature cell's logits are shown at, (B, S, S) -> (B, h, w).

    Upsampling places cell i of n at pixel (i + 1/2) S / n - 1/2, for n = S / 4 at 4i + 1.5; with
    aligned corners at i (S - 1) / (n - 1), which is 4i where S = 4 (n - 1) + 1 (513, say), and goes
    from 4i to 4i + 3 along a side of 312. ZS3Net takes pixel 4i throughout.
    """
    positions = []
    for n, full in zip(size, labels.shape[1:]):
        cells = torch.arange(n, device=labels.device)
        if align_corners:
            positions.append((cells * ((full - 1) / max(n - 1, 1))).round().long())
        else:
            positions.append(((cells + 0.5) * (full / n)).long())
    rows, columns = positions
    return labels[:, rows][:, :, columns]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; from pinned memory, so that the CPU does not wait for a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def classes_in(labels: Tensor) -> list[int]:
    """The classes of a uint8 tensor on the CPU, in order, void aside, faster than by `unique`."""
    return labels.flatten().bincount(minlength=VOID + 1)[:VOID].nonzero().flatten().tolist()


class Batch:
    """Images of one step. What they hold is worked out on the CPU, where labels are: no step asks a
    GPU for it.

    Arguments:
        features: real features, (B, h, w, F) float, on any device.
        labels: (B, S, S) uint8 on the CPU; 255 is void.
        settings: `cell_stride` > 1 takes every so many-th cell each way. Which cells are taken is
            drawn from torch's random numbers.

    Attributes:
        features, labels: as given, on the device; features are float32.
        cells: labels of the feature cells, (B, h, w) int64.
        images: an `ImageLayout` for each image.
        without_unseen, with_unseen: the images without and with unseen pixels, (n,) int64 on the
            device.
    """

    def __init__(self, features: Tensor, labels: Tensor, unseen: tuple[int, ...], settings, device):
        size = features.shape[1:3]
        cells = cell_labels(labels, size, align_corners=settings.align_corners)
        stride = settings.cell_stride
        if stride > 1:  # neighbours are alike: fewer cells cost little and save much
            i, j = torch.randint(stride, (2,)).tolist()
            features = features[:, i::stride, j::stride]
            cells = cells[:, i::stride, j::stride]
        self.images = []
        drawn = []  # cells of the whole batch, `samples` for each fitted class of each image
        for index, (pixels, own) in enumerate(zip(labels, cells)):
            present = classes_in(own)
            # An unseen object smaller than a cell counts too (unlike in ZS3Net, which looks at
            # cells): what is around it is left out.
            has_unseen = not set(unseen).isdisjoint(classes_in(pixels))
            fitted = [c for c in present if c not in unseen]
            if has_unseen and not settings.fit_mixed:
                fitted = []
            recursed = present if has_unseen else []
            if settings.feed_back != "all":
                recursed = [c for c in recursed if c in unseen]
            self.images.append(ImageLayout(has_unseen, dict.fromkeys(fitted), recursed))
            flat = own.flatten()
            for c in fitted:
                shown = (flat == c).nonzero().flatten()
                taken = shown[torch.randint(len(shown), (settings.samples,))]
                drawn.append(index * len(flat) + taken)
        self.features = sent(features, device).float()
        self.labels = sent(labels, device)
        self.cells = sent(cells, device).long()
        without = [index for index, image in enumerate(self.images) if not image.has_unseen]
        with_unseen = [index for index, image in enumerate(self.images) if image.has_unseen]
        # One transfer for all that is indexed with.
        numbers = sent(torch.cat([*drawn, torch.tensor(without + with_unseen)]), device)
        sizes = [len(drawn) * settings.samples, len(without), len(with_unseen)]
        rows, self.without_unseen, self.with_unseen = numbers.split(sizes)
        real = iter(self.features.flatten(0, 2)[rows].unflatten(0, (-1, settings.samples)))
        for image in self.images:
            image.real = dict(zip(image.real, real))
