"""DeepLabv3+ (Sec. III-A): torchvision's backbones and ASPP, our decoder.

The decoder's output is the per-pixel *feature* that the generator imitates; the 1x1 `classifier` is the only layer
that stage 2 trains again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.segmentation.deeplabv3 import ASPP

from .errors import ZS3Error

FEATURE_DIM = 256
LOW_LEVEL_DIM = 48
FEATURE_STRIDE = 4  # features have 1/4 of the input's height and width
BACKBONES = ("resnet18", "mobilenet_v2", "resnet101")


def _dilate(block: nn.Module, dilation: int) -> None:
    """Trade a block's stride for dilation: same weights, same receptive field, twice the resolution."""
    for conv in block.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (dilation, dilation)


class _SmallMaps(nn.Conv2d):
    """A 3x3 convolution of stride 1 that does on small maps what is quick there.

    Taps that fall outside the map wherever they are, most of them at ASPP's dilations, are left out. Where a CPU has fewer
    cells than channels before it, what is left is one matrix product over the gathered neighbours: its library then spends
    more on rearranging the weights than on the convolution (backward five times as much).
    """

    def forward(self, x: Tensor) -> Tensor:
        (rows, columns), d = x.shape[-2:], self.dilation[0]
        up, left = (d if d < size else 0 for size in (rows, columns))  # 0: only the middle tap meets the map
        weight = self.weight if up else self.weight[:, :, 1:2]
        weight = weight if left else weight[..., 1:2]
        if x.device.type != "cpu" or len(x) * rows * columns > x.shape[1]:
            return F.conv2d(x, weight, self.bias, padding=(up, left), dilation=d)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, up, up))
        taps = [(i * up, j * left) for i in range(weight.shape[2]) for j in range(weight.shape[3])]
        near = torch.cat([padded[:, i : i + rows, j : j + columns] for i, j in taps], 3)
        return F.linear(near, weight.permute(0, 2, 3, 1).flatten(1), self.bias).permute(0, 3, 1, 2)


def _for_small_maps(module: nn.Module) -> nn.Module:
    """The module with its 3x3 convolutions of stride 1, weights and all, as `_SmallMaps`."""
    for parent in list(module.modules()):
        for name, old in parent.named_children():
            if type(old) is nn.Conv2d and old.kernel_size == (3, 3) and old.stride == (1, 1) and old.groups == 1:
                new = nn.utils.skip_init(
                    _SmallMaps, old.in_channels, old.out_channels, 3, padding=old.padding, dilation=old.dilation,
                    bias=old.bias is not None,
                )  # fmt: skip
                new.weight, new.bias = old.weight, old.bias
                setattr(parent, name, new)
    return module


class _ResNet(nn.Module):
    """ResNet at output stride 16; `layer4` dilated by 2 x multi-grid, as DeepLabv3+ does."""

    def __init__(self, name: str, multi_grid: tuple[int, ...]):
        super().__init__()
        net = getattr(models, name)(weights=None)
        for i, block in enumerate(net.layer4):
            _dilate(block, 2 * multi_grid[i % len(multi_grid)])
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = _for_small_maps(net.layer3), _for_small_maps(net.layer4)
        expansion = net.fc.in_features // 512
        self.low_channels, self.channels = 64 * expansion, 512 * expansion

    @property
    def blocks(self) -> list[nn.Module]:
        """Stem and the four stages, from the input on."""
        return [self.stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.layer1(self.stem(x))
        return low, self.layer4(self.layer3(self.layer2(low)))

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        stem = {"conv1": "stem.0", "bn1": "stem.1"}
        renamed = {}
        for key, value in state.items():
            head, _, tail = key.partition(".")
            if head != "fc":
                renamed[f"{stem.get(head, head)}.{tail}"] = value
        self.load_state_dict(renamed)


class _DilatedDepthwise(nn.Conv2d):
    """A dilated depthwise convolution, worked out undilated on the interleaved grids: CPUs lack a fast gradient of the other."""

    def forward(self, x: Tensor) -> Tensor:
        (h, w), d = x.shape[-2:], self.dilation[0]
        x = F.pad(x, (0, -w % d, 0, -h % d))
        (n, c), (rows, columns) = x.shape[:2], (x.shape[2] // d, x.shape[3] // d)
        grids = x.reshape(n, c, rows, d, columns, d).permute(3, 5, 0, 1, 2, 4).reshape(-1, c, rows, columns)
        y = F.conv2d(grids.contiguous(memory_format=torch.channels_last), self.weight, padding=1, groups=c)
        y = y.reshape(d, d, n, c, rows, columns).permute(2, 3, 4, 0, 5, 1).reshape(n, c, rows * d, columns * d)
        return y[..., :h, :w].contiguous(memory_format=torch.channels_last)


class _MobileNetV2(nn.Module):
    """MobileNetV2 at output stride 16, without the 1280-channel layer that only classification needs."""

    low_channels, channels = 24, 320

    def __init__(self):
        super().__init__()
        features = models.mobilenet_v2(weights=None).features[:18]
        for block in features[14:]:
            c = block.conv[1][0].in_channels
            block.conv[1][0] = _DilatedDepthwise(c, c, 3, groups=c, bias=False)
            _dilate(block, 2)
        self.low, self.high = features[:4], features[4:]

    @property
    def blocks(self) -> list[nn.Module]:
        """The 18 blocks, from the input on: strides 2, 4, 8 and 16 begin at 0, 2, 4 and 7."""
        return [*self.low, *self.high]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(x)
        return low, self.high(low)

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        renamed = {}
        for key, value in state.items():
            part, _, rest = key.partition(".")
            index, _, tail = rest.partition(".")
            if part == "features" and int(index) < 18:
                i = int(index)  # a slice of a Sequential keeps its numbering
                renamed[f"{'low' if i < 4 else 'high'}.{i}.{tail}"] = value
        self.load_state_dict(renamed)


class Decoder(nn.Module):
    """DeepLabv3+ decoder: 48 low-level channels beside the upsampled ASPP output, two 3x3 convolutions."""

    def __init__(self, *, low_channels: int, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.reduce = nn.Sequential(
            nn.Conv2d(low_channels, LOW_LEVEL_DIM, 1, bias=False), nn.BatchNorm2d(LOW_LEVEL_DIM), nn.ReLU()
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(FEATURE_DIM + LOW_LEVEL_DIM, FEATURE_DIM, 3, padding=1, bias=False),
            nn.BatchNorm2d(FEATURE_DIM), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(FEATURE_DIM, FEATURE_DIM, 3, padding=1, bias=False),
            nn.BatchNorm2d(FEATURE_DIM), nn.ReLU(), nn.Dropout(0.1),
        )  # fmt: skip

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        high = F.interpolate(high, size=low.shape[-2:], mode="bilinear", align_corners=self.align_corners)
        return self.fuse(torch.cat([high, self.reduce(low)], dim=1))


class DeepLabV3Plus(nn.Module):
    """DeepLabv3+ with a 1x1 pixel classification layer (Sec. III-A).

    Arguments:
        backbone: "resnet18", "mobilenet_v2" or "resnet101", at output stride 16, randomly initialised.
        classes: number of outputs of the pixel classification layer.
        aspp_rates: dilations of the three atrous convolutions.
        multi_grid: relative dilations inside ResNet's last stage (DeepLabv3+: 1, 2, 4 for ResNet-101).
        dropout: DeepLabv3+'s dropout in ASPP and decoder; without it a short training gets further.
        align_corners: bilinear upsampling with the corner pixels' centres aligned, as ZS3Net has it.
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
    ):
        super().__init__()
        self.align_corners = align_corners
        if backbone not in BACKBONES:
            raise ZS3Error(f"unknown backbone '{backbone}': choose one of {', '.join(BACKBONES)}")
        self.backbone = _MobileNetV2() if backbone == "mobilenet_v2" else _ResNet(backbone, multi_grid)
        self.aspp = _for_small_maps(ASPP(self.backbone.channels, list(aspp_rates), FEATURE_DIM))
        self.decoder = Decoder(low_channels=self.backbone.low_channels, align_corners=align_corners)
        self.classifier = nn.Conv2d(FEATURE_DIM, classes, 1)
        if not dropout:
            for layer in self.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0

    def features(self, images: Tensor) -> Tensor:
        """Per-pixel features, (B, 3, H, W) float -> (B, 256, ceil(H/4), ceil(W/4))."""
        low, high = self.backbone(images)
        return self.decoder(low, self.aspp(high))

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the input's resolution, (B, 3, H, W) -> (B, classes, H, W)."""
        logits = self.classifier(self.features(images)).float().contiguous()  # upsampled in this form fastest on a CPU
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=self.align_corners)
