"""DeepLabv3+: shapes, pretrained layers' names, what is random and what is frozen."""

from __future__ import annotations

import pytest
import torch
from crafted import tiny
from torch import nn

from zs3lib.method.deeplab import BACKBONES, DeepLabV3Plus, autocast, build, freeze


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "resnet101"])
@pytest.mark.parametrize("size, cells", [((64, 96), (16, 24)), ((33, 50), (9, 13))])
def test_features_at_a_quarter_of_the_input_and_logits_at_its_size(backbone, size, cells):
    network = freeze(DeepLabV3Plus(backbone=backbone, classes=5, feature_dim=24))
    images = torch.randn(2, 3, *size)
    high = network.backbone(images)["high"]
    assert high.shape[2:] == (-(-size[0] // 16), -(-size[1] // 16))
    assert network.features(images).shape == (2, 24, *cells)
    assert network(images).shape == (2, 5, *size) and network(images).dtype == torch.float32


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


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_only_where_it_is_wanted_and_native(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    product = {}
    for wanted in (True, False):
        with autocast(torch.device("cpu"), wanted):
            product[wanted] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    expected = torch.bfloat16 if native else torch.float32
    assert product == {True: expected, False: torch.float32}
