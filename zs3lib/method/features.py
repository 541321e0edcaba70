"""Features of the frozen network, and what they say of a picture."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from .deeplab import DeepLabV3Plus, autocast, resized


def extract(network: DeepLabV3Plus, images: Tensor, settings, *, training: bool = False) -> Tensor:
    """Features of the frozen network, (B, 3, H, W) float32 -> (B, h, w, F) float16, on its device.

    Arguments:
        settings: `amp` allows bfloat16.
        training: whether the features are for stage 2: with `frozen_training` the network then has
            its dropout and the batch's own statistics, as in ZS3Net's code.
    """
    device = next(network.parameters()).device
    images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
    # Batch norm behind ASPP's pooling of the whole image needs two images.
    network.train(training and settings.frozen_training and len(images) > 1)
    with torch.inference_mode(), autocast(device, settings.amp):
        features = network.features(images).permute(0, 2, 3, 1).half()
    network.eval()
    return features


def pixel_logits(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    image: Tensor,
    size: tuple[int, int],
    settings,
) -> Iterator[tuple[str, Tensor]]:
    """The logits of each pixel by each classifier: (its name, (C, H, W) float32).

    Arguments:
        image: (1, 3, h, w) float32, resized and normalised as for validation.
        size: (H, W) of the label map.
    """
    features = extract(network, image, settings).float()
    for name, classifier in classifiers.items():
        with torch.inference_mode():
            logits = classifier(features).permute(0, 3, 1, 2).contiguous()  # quicker on a CPU
            logits = resized(logits, size, settings.align_corners)[0]
        yield name, logits


def pixel_classifier(network: DeepLabV3Plus) -> nn.Linear:
    """The network's 1x1 convolution as the linear layer of a feature that `evaluate` takes."""
    layer = network.classifier
    linear = nn.Linear(layer.in_channels, layer.out_channels, device=layer.weight.device)
    linear.load_state_dict({"weight": layer.weight[:, :, 0, 0], "bias": layer.bias})
    return linear


def predict(
    network: DeepLabV3Plus,
    classifiers: Mapping[str, nn.Linear],
    image: Tensor,
    size: tuple[int, int],
    settings,
) -> dict[str, Tensor]:
    """The most likely class of each pixel by each classifier, (H, W) uint8; see `pixel_logits`."""
    logits = pixel_logits(network, classifiers, image, size, settings)
    return {name: found.max(0).indices.byte() for name, found in logits}
