"""Evaluation on the validation split: one pass of the backbone serves every method."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from .data.loading import validation_input, workers
from .data.segmentation import SegmentationData
from .deeplab import DeepLabV3Plus
from .features import extract
from .metrics import confusion_matrix
from .settings import Settings

BLOCK = 1 << 17  # upsampled logits at a time: what a core's cache holds


def label_map(
    logits: Tensor, size: tuple[int, int], *, align_corners: bool = False, block: int | None = None
) -> Tensor:
    """Most likely class of each pixel after bilinear upsampling, (h, w, C) float -> (H, W) uint8; C at most 255.

    `block` upsampled logits are held at a time. Each is rounded the same way in any block, so that labels do not depend
    on it; the first of equal classes wins.
    """
    block = block or (BLOCK if logits.device.type == "cpu" else 64 * BLOCK)
    x = logits.permute(2, 0, 1).float().contiguous()
    names = _possible(x)
    x = F.interpolate(x[names][None], (len(logits), size[1]), mode="bilinear", align_corners=align_corners)[0]
    x = x.transpose(0, 1).contiguous()  # columns are done: (h, classes, W)
    above, below, share = _taps(size[0], len(logits), align_corners, x.device)
    from_last = torch.arange(len(names), 0, -1, dtype=x.dtype, device=x.device)[:, None]
    names = names.flip(0).to(torch.uint8)
    found = torch.empty(size, dtype=torch.uint8, device=x.device)
    step = max(1, block // (len(names) * size[1]))
    for start in range(0, size[0], step):
        rows = slice(start, start + step)
        z = x.index_select(0, above[rows]).mul_(1 - share[rows])
        z.add_(x.index_select(0, below[rows]).mul_(share[rows]))
        winners = z.eq_(z.amax(1, keepdim=True)).mul_(from_last).amax(1)  # argmax, but in vectorised steps
        place = winners.sub_(1).clamp_min_(0).int().flatten()  # only NaN is no winner
        found[rows] = names.index_select(0, place).view_as(winners)
    return found


def _possible(x: Tensor) -> Tensor:
    """The classes that can be the most likely one anywhere between the cells of x, (C, h, w) -> indices.

    Between four cells a class stays below the largest of its four logits, and the winner above every class's smallest.
    """
    most = least = F.pad(x[None], (0, 1, 0, 1), mode="replicate")[0]
    for axis, n in ((1, x.shape[1]), (2, x.shape[2])):
        most = torch.maximum(most.narrow(axis, 0, n), most.narrow(axis, 1, n))
        least = torch.minimum(least.narrow(axis, 0, n), least.narrow(axis, 1, n))
    beaten = most < least.amax(0) - 1e-5 * x.abs().max()  # of which rounding is far less
    return (~beaten).flatten(1).any(1).nonzero().flatten()


def _taps(full: int, small: int, align_corners: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `full` rows the two of `small` it lies between, and how near it is to the second, (full, 1, 1)."""
    i = torch.arange(full, dtype=torch.float64)
    at = i * (small - 1) / max(full - 1, 1) if align_corners else ((i + 0.5) * small / full - 0.5).clamp_min(0)
    above = at.long().clamp_max(small - 1)
    share = (at - above).float().view(-1, 1, 1)
    return above.to(device), (above + 1).clamp_max(small - 1).to(device), share.to(device)


def _predict(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], x: Tensor, size: tuple[int, int], settings: Settings
) -> dict[str, Tensor]:
    features = extract(model, x, settings)[0].float()
    with torch.inference_mode():
        return {
            name: label_map(classifier(features), size, align_corners=settings.align_corners)
            for name, classifier in classifiers.items()
        }


def predict(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], image: Image.Image, settings: Settings
) -> dict[str, Tensor]:
    """Label maps of an RGB picture at its own size, (H, W) uint8, one for each classifier."""
    return _predict(model, classifiers, validation_input(image, settings), (image.height, image.width), settings)


def ahead(load: Callable[[int], tuple], count: int, threads: int) -> Iterator[tuple]:
    """load(0), load(1), ... in order, read by threads while what was read before is computed on.

    At most `threads` + 1 are held. Pillow reads and numpy copies without Python's lock; an error is raised in its turn.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="loading") as pool:
        waiting = deque(pool.submit(load, i) for i in range(min(threads, count)))
        try:
            for following in range(threads, threads + count):
                done = waiting.popleft().result()
                if following < count:
                    waiting.append(pool.submit(load, following))
                yield done
        finally:
            for future in waiting:
                future.cancel()


def evaluate(
    model: DeepLabV3Plus, classifiers: dict[str, nn.Linear], data: SegmentationData, settings: Settings
) -> dict[str, Tensor]:
    """Confusion matrices (C, C) int64 over all pixels of `data`, at the masks' own size, for each classifier."""
    classes = len(data.names)
    where = next(model.parameters()).device
    confusions = {name: torch.zeros(classes, classes, dtype=torch.long, device=where) for name in classifiers}

    def load(i: int) -> tuple[Tensor, np.ndarray]:
        image, labels = data.load(i)
        return validation_input(image, settings), labels

    loaded = ahead(load, len(data), max(1, workers(settings)))
    for x, labels in tqdm(loaded, total=len(data), desc="evaluation", unit="image"):
        truth = torch.from_numpy(labels).to(where)
        for name, prediction in _predict(model, classifiers, x, labels.shape, settings).items():
            confusions[name] += confusion_matrix(truth, prediction, classes)
    return {name: confusion.cpu() for name, confusion in confusions.items()}
