"""DeepLabv3+ (Sec. III-A): torchvision's backbones and ASPP, our decoder.

The decoder's output is the per-pixel *feature* that the generator imitates, at 1/4 of the image's
height and width; logits are upsampled to the image's own size ("H x W" in the paper). The 1x1
`classifier` is stage 1's and thrown away after it: stage 2 trains a fresh one (`generator.Head`),
as ZS3Net does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.segmentation.deeplabv3 import ASPP

from ..seeds import stream

FEATURE_DIM = 256
LOW_LEVEL_DIM = 48


def _dilate(block: nn.Module, dilation: int) -> None:
    """Stride 1 and dilated 3x3 kernels: the same weights, twice the cells each way."""
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = (dilation, dilation)
                conv.padding = (dilation, dilation)


def _small_resnet() -> ResNet:
    """A ResNet of one block a stage and few channels, for the toy world's pictures."""
    net = ResNet(BasicBlock, [1, 1, 1, 1])
    net.inplanes = 32
    net.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False)
    net.bn1 = nn.BatchNorm2d(32)
    net.layer1 = net._make_layer(BasicBlock, 32, 1)
    net.layer2 = net._make_layer(BasicBlock, 64, 1, stride=2)
    net.layer3 = net._make_layer(BasicBlock, 128, 1, stride=2)
    net.layer4 = net._make_layer(BasicBlock, 112, 1, stride=2)
    return net


class _ResNetBackbone(nn.Module):
    """A ResNet at output stride 16: `layer4` is dilated by 2 x multi-grid, as DeepLabv3+ does."""

    def __init__(self, net: ResNet, multi_grid: tuple[int, ...]):
        super().__init__()
        for i, block in enumerate(net.layer4):
            _dilate(block, 2 * multi_grid[i % len(multi_grid)])
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layer1 = net.layer1
        self.layer2 = net.layer2
        self.layer3 = net.layer3
        self.layer4 = net.layer4
        self.low_channels = _out_channels(net.layer1)
        self.channels = _out_channels(net.layer4)

    @property
    def blocks(self) -> list[nn.Module]:
        """Stem and the four stages, from the input on."""
        return [self.stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.layer1(self.stem(x))
        return low, self.layer4(self.layer3(self.layer2(low)))

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Load torchvision's state dict, without its last layer."""
        stem = {"conv1": "stem.0", "bn1": "stem.1"}
        parts = {key: key.partition(".") for key in state}
        names = {key: f"{stem.get(head, head)}.{tail}" for key, (head, _, tail) in parts.items()}
        self.load_state_dict({names[k]: v for k, v in state.items() if not k.startswith("fc.")})


def _out_channels(stage: nn.Module) -> int:
    norms = [layer for layer in stage.modules() if isinstance(layer, nn.BatchNorm2d)]
    return norms[-1].num_features


class _MobileNetV2Backbone(nn.Module):
    """MobileNetV2 at output stride 16, without the 1280-channel layer for classification."""

    low_channels = 24
    channels = 320

    def __init__(self):
        super().__init__()
        features = models.mobilenet_v2(weights=None).features[:18]
        for block in features[14:]:
            _dilate(block, 2)
        self.low = features[:4]
        self.high = features[4:]

    @property
    def blocks(self) -> list[nn.Module]:
        """The 18 blocks, from the input on: strides 2, 4, 8 and 16 begin at 0, 2, 4 and 7."""
        return [*self.low, *self.high]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(x)
        return low, self.high(low)

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Load torchvision's state dict, without its last layers."""
        renamed = {}
        for key, value in state.items():
            part, _, rest = key.partition(".")
            index = rest.partition(".")[0]
            if part == "features" and int(index) < 18:  # a slice of a Sequential keeps its numbers
                renamed[f"{'low' if int(index) < 4 else 'high'}.{rest}"] = value
        self.load_state_dict(renamed)


BACKBONES = {
    "small": lambda multi_grid: _ResNetBackbone(_small_resnet(), multi_grid),
    "resnet18": lambda multi_grid: _ResNetBackbone(models.resnet18(weights=None), multi_grid),
    "resnet101": lambda multi_grid: _ResNetBackbone(models.resnet101(weights=None), multi_grid),
    "mobilenet_v2": lambda multi_grid: _MobileNetV2Backbone(),
}


class Decoder(nn.Module):
    """DeepLabv3+'s decoder: 48 low-level channels beside ASPP's upsampled output, two 3x3 layers.

    Arguments:
        low_channels: channels of the backbone's features at stride 4.
        feature_dim: channels of ASPP's output and of the feature, DeepLabv3+'s 256.
        align_corners: how ASPP's output is upsampled.
    """

    def __init__(self, *, low_channels: int, feature_dim: int, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.reduce = nn.Sequential(
            nn.Conv2d(low_channels, LOW_LEVEL_DIM, 1, bias=False),
            nn.BatchNorm2d(LOW_LEVEL_DIM),
            nn.ReLU(),
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(feature_dim + LOW_LEVEL_DIM, feature_dim, 3, padding=1, bias=False),
            nn.BatchNorm2d(feature_dim),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(feature_dim, feature_dim, 3, padding=1, bias=False),
            nn.BatchNorm2d(feature_dim),
            nn.ReLU(),
            nn.Dropout(0.1),
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        size = low.shape[-2:]
        high = F.interpolate(high, size, mode="bilinear", align_corners=self.align_corners)
        return self.fuse(torch.cat([high, self.reduce(low)], dim=1))


class DeepLabV3Plus(nn.Module):
    """DeepLabv3+ with a 1x1 pixel classification layer (Sec. III-A).

    Arguments:
        backbone: a name in `BACKBONES`; at output stride 16, randomly initialised.
        classes: number of outputs of the pixel classification layer.
        aspp_rates: dilations of the three atrous convolutions.
        multi_grid: relative dilations inside ResNet's last stage (DeepLabv3+: 1, 2, 4).
        dropout: DeepLabv3+'s dropout in ASPP and decoder; a short training gets further without.
        align_corners: bilinear upsampling with the corner pixels' centres aligned, as ZS3Net's.
        feature_dim: length of a pixel's feature.
    """

    def __init__(
        self,
        *,
        backbone: str,
        classes: int,
        aspp_rates: tuple[int, ...] = (6, 12, 18),
        multi_grid: tuple[int, ...] = (1,),
        dropout: bool = True,
        align_corners: bool = False,
        feature_dim: int = FEATURE_DIM,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.backbone = BACKBONES[backbone](multi_grid)
        self.aspp = ASPP(self.backbone.channels, list(aspp_rates), feature_dim)
        self.decoder = Decoder(
            low_channels=self.backbone.low_channels,
            feature_dim=feature_dim,
            align_corners=align_corners,
        )
        self.classifier = nn.Conv2d(feature_dim, classes, 1)
        if not dropout:
            for layer in self.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0

    def features(self, images: Tensor) -> Tensor:
        """Per-pixel features, (B, 3, H, W) float -> (B, feature_dim, ceil(H/4), ceil(W/4))."""
        low, high = self.backbone(images)
        return self.decoder(low, self.aspp(high))

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the input's resolution, (B, 3, H, W) float -> (B, classes, H, W) float32."""
        logits = self.classifier(self.features(images)).float()
        size = images.shape[-2:]
        return F.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)


def build(settings, classes: int) -> DeepLabV3Plus:
    """The network of `zs3lib.Settings`, its weights drawn from `backbone_seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(settings.backbone_seed, 10))
        return DeepLabV3Plus(
            backbone=settings.backbone,
            classes=classes,
            aspp_rates=settings.aspp_rates,
            multi_grid=settings.multi_grid,
            dropout=settings.dropout,
            align_corners=settings.align_corners,
            feature_dim=settings.feature_dim,
        )


def freeze(network: nn.Module) -> nn.Module:
    """Stage 2 only reads the network: no gradients, batch statistics fixed (Sec. IV-A)."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0  # `frozen_training` uses a batch's statistics, but keeps none
    return network.eval().requires_grad_(False)


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """bfloat16 where it is wanted and the device computes in it; elsewhere it would be slower."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and native)
