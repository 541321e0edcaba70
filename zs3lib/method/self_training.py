"""Extra: self-training after a method, as ZS3Net has it; transductive.

The training images that show unseen classes come back without their label maps. What a method's
classifier predicts on them as unseen, where it is surest, stands in for those, and the whole
network is trained again by stage 1's code, on all classes and without a generator. That an image
shows an unseen class is known, and its pixels are seen in training: "this breaks the setting of
zero-shot learning" (Sec. IV-A), so that no such number may stand beside those of other methods
without saying so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..classes import VOID
from .deeplab import DeepLabV3Plus, build


def pseudo_labels(
    logits: Tensor, unseen: Sequence[int], *, share: float, keep_seen: bool = False
) -> Tensor:
    """The label map that stands in for an image's own, (C, H, W) float -> (H, W) uint8.

    Arguments:
        unseen: the classes of which the most confident pixels are kept; the others become void.
        share: how many percent of the pixels predicted as a class, rounded to whole pixels.
        keep_seen: whether pixels predicted as a seen class keep that prediction.
    """
    confidence, predicted = logits.softmax(0).flatten(1).max(0)
    kept = torch.full_like(predicted, VOID)
    if keep_seen:
        kept = torch.where(torch.isin(predicted, predicted.new_tensor(unseen)), kept, predicted)
    for c in unseen:
        own = (predicted == c).nonzero().flatten()
        surest = confidence[own].topk(round(share / 100 * len(own))).indices
        kept[own[surest]] = c
    return kept.view(logits.shape[1:]).byte()


def whole_network(network: DeepLabV3Plus, classifier: nn.Linear, settings) -> DeepLabV3Plus:
    """A copy of the frozen network with a method's classifier, to be trained."""
    copied = build(settings, classifier.out_features)  # what `freeze` changed is new here
    copied.load_state_dict(network.state_dict())
    with torch.no_grad():
        copied.classifier.weight.copy_(classifier.weight[:, :, None, None])
        copied.classifier.bias.copy_(classifier.bias)
    return copied


def pixel_classifier(network: DeepLabV3Plus) -> nn.Linear:
    """The network's 1x1 convolution as the linear layer of a feature that `evaluate` takes."""
    layer = network.classifier
    linear = nn.Linear(layer.in_channels, layer.out_channels, device=layer.weight.device)
    linear.load_state_dict({"weight": layer.weight[:, :, 0, 0], "bias": layer.bias})
    return linear
