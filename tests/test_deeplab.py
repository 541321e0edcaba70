"""DeepLabv3+: shapes, pretrained layers' names, what is random and what is frozen."""

from __future__ import annotations

import pytest
import torch
from crafted import tiny
from torch import nn
from torchvision import models

from zs3lib.method.deeplab import BACKBONES, DeepLabV3Plus, autocast, build, freeze
from zs3lib.runs.zs3net import load_imagenet

PRETRAINED = {"resnet18": models.resnet18, "mobilenet_v2": models.mobilenet_v2}


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "resnet101"])
@pytest.mark.parametrize("size, cells", [((64, 96), (16, 24)), ((33, 50), (9, 13))])
def test_features_at_a_quarter_of_the_input_and_logits_at_its_size(backbone, size, cells):
    network = freeze(DeepLabV3Plus(backbone=backbone, classes=5, feature_dim=24))
    images = torch.randn(2, 3, *size)
    high = network.backbone(images)["high"]
    assert high.shape[2:] == (-(-size[0] // 16), -(-size[1] // 16))
    assert network.features(images).shape == (2, 24, *cells)
    assert network(images).shape == (2, 5, *size) and network(images).dtype == torch.float32


@pytest.mark.parametrize("backbone", PRETRAINED)
def test_torchvisions_weights_load_without_their_last_layers(backbone):
    theirs = PRETRAINED[backbone](weights=None)
    network = DeepLabV3Plus(backbone=backbone, classes=5, feature_dim=16)
    load_imagenet(network.backbone, theirs.state_dict())
    ours = {value.double().sum().item() for value in network.backbone.state_dict().values()}
    first = theirs.conv1 if backbone == "resnet18" else theirs.features[0][0]
    assert first.weight.double().sum().item() in ours
    with pytest.raises(RuntimeError):
        state = theirs.state_dict()
        state.pop("bn1.weight" if backbone == "resnet18" else "features.3.conv.0.0.weight")
        load_imagenet(network.backbone, state)


def test_the_toys_whole_network_fits_in_two_megabytes_of_float16():
    network = DeepLabV3Plus(backbone="small", classes=21, feature_dim=64)
    assert 2 * sum(value.numel() for value in network.state_dict().values()) < 2 * 2**20


def test_dropout_may_be_left_out():
    for wanted, rates in ((True, [0.5, 0.5, 0.1]), (False, [0, 0, 0])):
        network = DeepLabV3Plus(backbone="small", classes=3, dropout=wanted, feature_dim=16)
        assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == rates


def test_aligned_corners_change_the_decoder_and_the_logits():
    aligned, other = (freeze(build(tiny(align_corners=value), 21)) for value in (True, False))
    image = torch.randn(1, 3, 48, 48)
    assert not torch.equal(aligned.features(image), other.features(image))
    corners = aligned(image)[0, :, ::47, ::47]
    cells = aligned.classifier(aligned.features(image))[0, :, ::11, ::11]
    torch.testing.assert_close(corners, cells)


def test_weights_are_drawn_from_the_backbone_seed_alone(same):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = build(tiny(backbone_seed=1, seed=5), 21).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same(first, build(tiny(backbone_seed=1), 21).state_dict())
    assert not same(first, build(tiny(backbone_seed=2), 21).state_dict())


def test_a_frozen_network_learns_nothing():
    network = freeze(build(tiny(), 21))
    assert not network.training and not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_only_where_it_is_wanted_and_native(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    product = {}
    for wanted in (True, False):
        with autocast(torch.device("cpu"), wanted):
            product[wanted] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    expected = torch.bfloat16 if native else torch.float32
    assert product == {True: expected, False: torch.float32}
