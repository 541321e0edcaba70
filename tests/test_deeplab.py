"""The network's own layers against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zs3lib.deeplab import DeepLabV3Plus, _DilatedDepthwise


@pytest.mark.parametrize("size", [(12, 12), (7, 9), (1, 3)])
def test_dilated_depthwise_convolution_equals_torchs_own(size):
    torch.manual_seed(0)
    layer = _DilatedDepthwise(6, 6, 3, groups=6, bias=False, dilation=2, padding=2)
    x = torch.randn(2, 6, *size, requires_grad=True)
    found, wanted = layer(x), nn.Conv2d.forward(layer, x)
    torch.testing.assert_close(found, wanted)
    pull = torch.randn_like(wanted)
    for ours, theirs in zip(*(torch.autograd.grad(y, (x, layer.weight), pull) for y in (found, wanted))):
        torch.testing.assert_close(ours, theirs)


def test_mobilenet_at_output_stride_16_keeps_the_pretrained_layers_names():
    backbone = DeepLabV3Plus(backbone="mobilenet_v2", classes=3).backbone
    low, high = backbone(torch.zeros(1, 3, 64, 96))
    assert low.shape == (1, 24, 16, 24) and high.shape == (1, 320, 4, 6)
    assert sum(isinstance(layer, _DilatedDepthwise) for layer in backbone.modules()) == 4
    from torchvision.models import mobilenet_v2

    backbone.load_imagenet(mobilenet_v2(weights=None).state_dict())  # raises where a name or a shape differs
