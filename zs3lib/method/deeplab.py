"""DeepLabv3+ (Sec. III-A): torchvision's backbones and ASPP, our decoder.

The decoder's output is the per-pixel *feature* that the generator imitates, at 1/4 of the image's
height and width; logits are upsampled to the image's own size ("H x W" in the paper). The 1x1
`classifier` is stage 1's and thrown away after it: stage 2 trains a fresh one (`generator.Head`),
as ZS3Net does; the paper does not say.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, PolynomialLR
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation

from ..seeds import stream

FEATURE_DIM = 256
LOW_LEVEL_DIM = 48


def resized(maps: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Features or logits at another size, bilinear: (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=align_corners)


def _dilate(block: nn.Module, dilation: int) -> None:
    """Stride 1 and dilated 3x3 kernels: the same weights, twice the cells each way."""
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (dilation, dilation)


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


def _resnet(net: ResNet, multi_grid: tuple[int, ...]) -> IntermediateLayerGetter:
    """Output stride 16: `layer4` is dilated by 2 x multi-grid, as DeepLabv3+ does."""
    for i, block in enumerate(net.layer4):
        _dilate(block, 2 * multi_grid[i % len(multi_grid)])
    return IntermediateLayerGetter(net, {"layer1": "low", "layer4": "high"})


def _mobilenet_v2(multi_grid: tuple[int, ...]) -> IntermediateLayerGetter:
    """Output stride 16, without the 1280-channel layer for classification; has no multi-grid."""
    blocks = models.mobilenet_v2(weights=None).features[:18]
    for block in blocks[14:]:
        _dilate(block, 2)
    return IntermediateLayerGetter(blocks, {"3": "low", "17": "high"})


# Name: (what makes it, its channels at stride 4, at stride 16). Layers keep torchvision's names.
BACKBONES = {
    "small": (lambda multi_grid: _resnet(_small_resnet(), multi_grid), 32, 112),
    "resnet18": (lambda multi_grid: _resnet(models.resnet18(), multi_grid), 64, 512),
    "resnet101": (lambda multi_grid: _resnet(models.resnet101(), multi_grid), 256, 2048),
    "mobilenet_v2": (_mobilenet_v2, 24, 320),
}


class Decoder(nn.Module):
    """DeepLabv3+'s: 48 low-level channels beside ASPP's upsampled output, then two 3x3 layers."""

    def __init__(self, low_channels: int, feature_dim: int):
        super().__init__()
        self.reduce = Conv2dNormActivation(low_channels, LOW_LEVEL_DIM, 1)
        self.fuse = nn.Sequential(
            *Conv2dNormActivation(feature_dim + LOW_LEVEL_DIM, feature_dim),
            nn.Dropout(0.5),
            *Conv2dNormActivation(feature_dim, feature_dim),
            nn.Dropout(0.1),
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
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
        make, low_channels, channels = BACKBONES[backbone]
        self.backbone = make(multi_grid)
        self.aspp = ASPP(channels, list(aspp_rates), feature_dim)
        self.decoder = Decoder(low_channels, feature_dim)
        self.classifier = nn.Conv2d(feature_dim, classes, 1)
        if not dropout:
            for layer in self.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0

    def features(self, images: Tensor) -> Tensor:
        """Per-pixel features, (B, 3, H, W) float -> (B, feature_dim, ceil(H/4), ceil(W/4))."""
        found = self.backbone(images)
        low = found["low"]
        high = resized(self.aspp(found["high"]), low.shape[-2:], self.align_corners)
        return self.decoder(low, high)

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the input's resolution, (B, 3, H, W) float -> (B, classes, H, W) float32."""
        logits = self.classifier(self.features(images)).float()
        return resized(logits, images.shape[-2:], self.align_corners)


def build(settings, classes: int) -> DeepLabV3Plus:
    """The network of `zs3lib.Settings`, its weights drawn from `backbone_seed`."""
    names = {"backbone", "aspp_rates", "multi_grid", "dropout", "align_corners", "feature_dim"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(settings.backbone_seed, 10))
        return DeepLabV3Plus(classes=classes, **settings.model_dump(include=names))


def freeze(network: nn.Module) -> nn.Module:
    """Stage 2 only reads the network: no gradients, batch statistics fixed (Sec. IV-A)."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm):
            layer.momentum = 0.0  # `frozen_training` uses a batch's statistics, but keeps none
    return network.eval().requires_grad_(False)


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """bfloat16 where it is wanted and the device computes in it; elsewhere it would be slower."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and native)


def poly(optimiser: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """DeepLab's schedule: lr (1 - step / steps)^0.9."""
    return PolynomialLR(optimiser, steps, power=0.9)
