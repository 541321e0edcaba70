"""What the label maps of a batch decide, worked out before anything is trained, on the CPU, where labels come from.

A GPU then gets index tensors whose sizes the host knows, and never has to be asked what an image holds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .classes import VOID


class Layout:
    """Which image of a batch trains what.

    Arguments:
        labels: (B, S, S) uint8 on the CPU; 255 is void.
        cells: labels of the feature cells, (B, h, w) uint8 on the CPU.
        unseen: the unseen classes.
        samples: how many features of a class the generator is compared with.

    Attributes:
        cells: as given.
        seen, unseen: the images without any pixel of an unseen class, and the others.
        fits: (image, class) for every class of every seen image, in order.
        positions: for each of `fits` the cells that are compared, drawn with replacement from the class's own,
            (len(fits), samples) int64, indices into the batch's B h w cells.
        recursions: (image, class) for every unseen class of every unseen image, in order.
    """

    def __init__(self, labels: Tensor, cells: Tensor, unseen: tuple[int, ...], samples: int):
        self.cells = cells
        pixels, flat = labels.numpy(), cells.flatten(1).numpy()
        holds = np.isin(flat, unseen).any(1)
        for image in np.flatnonzero(~holds):  # what is smaller than a cell counts too
            holds[image] = any((pixels[image] == c).any() for c in unseen)
        self.seen, self.unseen = np.flatnonzero(~holds).tolist(), np.flatnonzero(holds).tolist()
        self.fits: list[tuple[int, int]] = []
        counts, members = [], []
        for image in self.seen:
            order = np.argsort(flat[image], kind="stable") + image * flat.shape[1]
            for c, n in _classes(flat[image]):
                self.fits.append((image, c))
                counts.append(n)
                members.append(order[:n])
                order = order[n:]
        self.positions = self._draw(members, counts, samples)
        self.recursions = [(image, c) for image in self.unseen for c, _ in _classes(flat[image]) if c in unseen]

    @staticmethod
    def _draw(members: list[np.ndarray], counts: list[int], samples: int) -> Tensor:
        """`samples` of each array, drawn with replacement."""
        draws = torch.rand(len(counts), samples, dtype=torch.float64) * torch.tensor(counts).view(-1, 1)
        chosen = [own[at] for own, at in zip(members, draws.long().numpy())]
        return torch.from_numpy(np.array(chosen, np.int64).reshape(-1, samples))


def _classes(cells: np.ndarray) -> list[tuple[int, int]]:
    """(class, number of cells), by class, void left out."""
    counts = np.bincount(cells, minlength=VOID + 1)[:VOID]
    return [(int(c), int(counts[c])) for c in np.flatnonzero(counts)]
