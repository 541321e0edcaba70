"""The network's own layers against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from zs3lib.deeplab import DeepLabV3Plus, _DilatedDepthwise, _for_small_maps, _SmallMaps


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


@pytest.mark.parametrize("size, taps", [((4, 4), 1), ((5, 7), 3), ((7, 5), 3), ((9, 8), 9), ((1, 1), 1)])
def test_taps_that_never_meet_the_map_are_left_out(size, taps, monkeypatch):
    """ASPP's convolution with rate 5 equals torch's own, gradients included, with as few taps as the map allows."""
    torch.manual_seed(0)
    layer = _SmallMaps(1, 8, 3, padding=5, dilation=5, bias=False)
    x = torch.randn(2, 1, *size, requires_grad=True)  # fewer channels than cells
    wanted, used, conv2d = nn.Conv2d.forward(layer, x), [], F.conv2d
    monkeypatch.setattr(
        F, "conv2d", lambda x, weight, *a, **k: used.append(weight[0, 0].numel()) or conv2d(x, weight, *a, **k)
    )
    found = layer(x)
    torch.testing.assert_close(found, wanted)
    assert used == [taps]
    pull = torch.randn_like(wanted)
    for ours, theirs in zip(*(torch.autograd.grad(y, (x, layer.weight), pull) for y in (found, wanted))):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 4), (2, 1)])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_small_maps_are_convolved_by_one_product(size, dilation, monkeypatch):
    torch.manual_seed(0)
    layer = _SmallMaps(40, 8, 3, padding=dilation, dilation=dilation).double()
    x = torch.randn(2, 40, *size, dtype=torch.float64, requires_grad=True)
    wanted = nn.Conv2d.forward(layer, x)
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: pytest.fail("a map with few cells was convolved"))
    found = layer(x)
    torch.testing.assert_close(found, wanted)
    pull = torch.randn_like(wanted)
    inputs = (x, layer.weight, layer.bias)
    for ours, theirs in zip(*(torch.autograd.grad(y, inputs, pull) for y in (found, wanted))):
        torch.testing.assert_close(ours, theirs)


def test_convolutions_for_small_maps_keep_their_weights_and_leave_the_others_alone():
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1), nn.ReLU())
    state, first = net.state_dict(), net[0].weight
    assert [type(m) for m in _for_small_maps(net)] == [_SmallMaps, nn.Conv2d, nn.Conv2d, nn.ReLU]
    assert net[0].weight is first and list(net.state_dict()) == list(state)


def test_aspp_is_torchvisions():
    torch.manual_seed(0)
    ours = DeepLabV3Plus(backbone="resnet18", classes=3, aspp_rates=(2, 4, 6)).aspp
    assert sum(isinstance(layer, _SmallMaps) for layer in ours.modules()) == 3
    theirs = ASPP(512, [2, 4, 6], 256)
    theirs.load_state_dict(ours.state_dict())  # the same names and shapes
    x = torch.randn(2, 512, 5, 6)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_mobilenet_at_output_stride_16_keeps_the_pretrained_layers_names():
    backbone = DeepLabV3Plus(backbone="mobilenet_v2", classes=3).backbone
    low, high = backbone(torch.zeros(1, 3, 64, 96))
    assert low.shape == (1, 24, 16, 24) and high.shape == (1, 320, 4, 6)
    assert sum(isinstance(layer, _DilatedDepthwise) for layer in backbone.modules()) == 4
    from torchvision.models import mobilenet_v2

    backbone.load_imagenet(mobilenet_v2(weights=None).state_dict())  # raises where a name or a shape differs
