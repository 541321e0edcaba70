"""Evaluation on the validation split: one pass of the network serves every method."""

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn
from tqdm.auto import tqdm

from ..classes import Split
from .deeplab import DeepLabV3Plus
from .features import pixel_logits
from .operating import confusions


def evaluate(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    images,
    *,
    split: Split,
    settings,
    title: str = "evaluation",
) -> dict[str, Tensor]:
    """Confusion matrices over all pixels, at the masks' own size, for each of `OFFSETS`.

    Arguments:
        images: yields (image (1, 3, h, w) float32, labels (H, W) uint8).
        split: which classes are unseen, whose logits the offsets are added to.

    Returns: (len(OFFSETS), C, C) int64 by classifier; rows are the ground truth.
    """
    counts = defaultdict(int)
    for image, labels in tqdm(images, desc=title, unit="image"):
        truth = labels.to(next(network.parameters()).device)
        size = tuple(labels.shape)
        for name, logits in pixel_logits(network, classifiers, image, size, settings):
            counts[name] += confusions(logits, truth, split)
    return {name: count.cpu() for name, count in counts.items()}
