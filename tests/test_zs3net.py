"""ZS3Net's released files: every tensor used, the same features out, stage 1 skipped.

The network to compare with is written here once more, as ZS3Net's published code has it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bad_inputs import Code
from crafted import tiny
from torch import nn
from torchvision import models

import zs3lib
from zs3lib import Run, Settings, ZS3Error
from zs3lib.method.deeplab import build
from zs3lib.runs import zs3net
from zs3lib.storage import load_weights

FILE = "deeplab_pretrained_pascal_voc_02_unseen.pth.tar"
conv = partial(nn.Conv2d, bias=False)


class Theirs(nn.Module):
    """ZS3Net's DeepLabv3+ under its own names, at output stride 16, with random weights."""

    def __init__(self):
        super().__init__()
        self.backbone = models.resnet101(replace_stride_with_dilation=(False, False, True))
        del self.backbone.fc
        for unit, block in zip((1, 2, 4), self.backbone.layer4):  # the multi-grid unit
            block.conv2.dilation = block.conv2.padding = (2 * unit, 2 * unit)
        self.aspp = nn.Module()
        for n, rate in enumerate((1, 6, 12, 18), start=1):
            branch = nn.Module()
            size = {"kernel_size": 1} if n == 1 else {"kernel_size": 3, "padding": rate}
            branch.atrous_conv = conv(2048, 256, dilation=rate, **size)
            branch.bn = nn.BatchNorm2d(256)
            self.aspp.add_module(f"aspp{n}", branch)
        pool = (nn.AdaptiveAvgPool2d(1), conv(2048, 256, 1), nn.BatchNorm2d(256), nn.ReLU())
        self.aspp.global_avg_pool = nn.Sequential(*pool)
        self.aspp.conv1 = conv(1280, 256, 1)
        self.aspp.bn1 = nn.BatchNorm2d(256)
        self.decoder = nn.Module()
        self.decoder.conv1 = conv(256, 48, 1)
        self.decoder.bn1 = nn.BatchNorm2d(48)
        first = (conv(304, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(), nn.Dropout(0.5))
        second = (conv(256, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(), nn.Dropout(0.1))
        self.decoder.last_conv = nn.Sequential(*first, *second)
        self.decoder.pred_conv = nn.Conv2d(256, 21, 1)
        for number, (name, norm) in enumerate(self.named_modules()):
            if isinstance(norm, nn.BatchNorm2d):
                calm = 0.3 if name.endswith("bn3") else 1.0  # 33 blocks are added up
                nn.init.uniform_(norm.weight, 0.5 * calm, 1.5 * calm)
                nn.init.normal_(norm.bias, std=0.2)
                nn.init.normal_(norm.running_mean, std=0.2)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
                norm.num_batches_tracked.fill_(1000 + number)

    @staticmethod
    def up(x, like):
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)

    def features(self, image):
        """forward_before_class_prediction."""
        net = self.backbone
        low = net.layer1(net.maxpool(net.bn1(net.conv1(image)).relu()))
        x = net.layer4(net.layer3(net.layer2(low)))
        aspp = self.aspp
        branches = [getattr(aspp, f"aspp{n}") for n in (1, 2, 3, 4)]
        branches = [branch.bn(branch.atrous_conv(x)).relu() for branch in branches]
        branches.append(self.up(aspp.global_avg_pool(x), x))
        x = aspp.bn1(aspp.conv1(torch.cat(branches, 1))).relu()
        low = self.decoder.bn1(self.decoder.conv1(low)).relu()
        return self.decoder.last_conv(torch.cat([self.up(x, low), low], 1))


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    torch.manual_seed(0)
    return Theirs().eval()


@pytest.fixture(scope="module")
def state(theirs) -> dict[str, torch.Tensor]:
    """What a released checkpoint holds."""
    return theirs.state_dict()


@pytest.fixture(scope="module")
def loaded(state):
    """Our network with their weights in it."""
    network = build(Settings.make(profile="paper"), 21).eval()
    zs3net.load_network(network, state)
    return network


def test_the_same_features_and_logits_come_out(theirs, loaded):
    image = torch.randn(1, 3, 65, 81)
    with torch.no_grad():
        expected = theirs.features(image)
        near = {"rtol": 1e-5, "atol": 1e-5 * expected.abs().max().item()}
        assert expected.shape == (1, 256, 17, 21) and expected.std() > 0.1
        torch.testing.assert_close(loaded.features(image), expected, **near)
        logits = theirs.up(theirs.decoder.pred_conv(expected), image)
        torch.testing.assert_close(loaded(image), logits, **near)


def test_files_of_old_torch_load_and_a_tensor_too_few_or_too_many_is_named(state, loaded):
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    zs3net.load_network(loaded, old)
    lost = {k: v for k, v in state.items() if k != "aspp.bn1.weight"}
    more = state | {"decoder.extra.weight": torch.zeros(1)}
    for content, says in ((lost, "aspp.project.1.weight"), (more, "decoder.extra.weight")):
        with pytest.raises((RuntimeError, ValueError), match=says):
            zs3net.load_network(loaded, content)


# ---- as files -----------------------------------------------------------------------------------


def checkpoint(state) -> dict:
    """What ZS3Net's saver writes: an optimiser's state and a NumPy number beside the tensors."""
    optimiser = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.007}]}
    return {"epoch": 30, "state_dict": state, "optimizer": optimiser, "best_pred": np.float64(0.6)}


def test_a_run_takes_such_a_file_and_skips_stage_1(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(zs3net, "NETWORK", {})  # a small network in their layout
    s = settings(weights=str(tmp_path / FILE), methods="zs3net")
    renamed = {}
    for key, value in build(s, 21).state_dict().items():
        old, new = next(pair for pair in zs3net.RENAMED.items() if key.startswith(f"{pair[1]}."))
        renamed[old + key.removeprefix(new)] = value + 1
    torch.save(checkpoint(renamed), s.weights)
    run = Run(s, runs_root=tmp_path, cache_root=tmp_path)
    assert run.pretrained == "zs3net" and run.train_backbone() == []
    assert "Stage 1 is skipped" in capsys.readouterr().out
    assert torch.equal(run.model.aspp.project[0].weight, renamed["aspp.conv1.weight"])
    with pytest.raises(ZS3Error, match="k = 4") as error:
        Run(s.model_copy(update={"k": 4}), runs_root=tmp_path)
    assert FILE in str(error.value) and "\n" not in str(error.value)


K2 = FILE.replace("voc", "context")
K4 = FILE.replace("voc_02", "context_04")
OTHER = [
    ({"align_corners": False}, "align_corners"),
    ({"backbone": "resnet18"}, "backbone"),
    ({"multi_grid": "1"}, "multi_grid"),
    ({"aspp_rates": "2,4,6"}, "aspp_rates"),
    ({"feature_dim": 64}, "feature_dim"),
    ({"dataset": "context"}, "this run is context"),
    ({"dataset": "context", "k": 4, "weights": K4}, "k = 2"),
]


@pytest.mark.parametrize("changes, says", OTHER, ids=lambda x: x if isinstance(x, str) else "")
def test_settings_that_would_make_another_network_of_it_are_refused(changes, says):
    given = {"profile": "paper", "k": 2, "weights": FILE}
    zs3net.check_settings(Settings.make(**given))
    zs3net.check_settings(Settings.make(**given | {"dataset": "context", "weights": K2}))
    with pytest.raises(ZS3Error, match=says):
        zs3net.check_settings(Settings.make(**given | changes))


def generator_state(words=300, hidden=256) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    shapes = {"0.weight": (hidden, 2 * words), "0.bias": (hidden,)}
    shapes |= {"3.weight": (256, hidden), "3.bias": (256,)}
    return {f"model.{k}": 0.1 * torch.randn(shape, generator=random) for k, shape in shapes.items()}


@pytest.mark.parametrize("form", ["zip", "before torch 1.6", "before NumPy 2", "bare state dict"])
def test_a_generator_loads_unrenamed_and_gives_the_same_features(tmp_path, form):
    state = generator_state()
    path = tmp_path / "20_generator.pth.tar"
    bare = form == "bare state dict"
    content = state if bare else checkpoint(state)
    torch.save(content, path, _use_new_zipfile_serialization=bare or form == "zip")
    if form == "before NumPy 2":
        new, old = b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"
        path.write_bytes(path.read_bytes().replace(new, old))
        assert old in path.read_bytes()
    words = torch.randn(3, 300)
    noise = torch.rand(12, 300)
    index = torch.arange(12) % 3
    joined = torch.cat((words[index], noise), 1)
    hidden = F.leaky_relu(F.linear(joined, state["model.0.weight"], state["model.0.bias"]), 0.2)
    expected = F.linear(hidden, state["model.3.weight"], state["model.3.bias"])
    ours = zs3net.load_generator(path)
    assert ours.noise == "uniform" and not ours.training
    torch.testing.assert_close(ours(words, noise, index), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "content, says",
    [
        ({"state_dict": {}}, "state dict"),
        ({"model.0.weight": torch.zeros(4, 6)}, "model.3.weight"),
        (generator_state(5, 4) | {"model.6.bias": torch.zeros(1)}, "model.6.bias"),
    ],
)
def test_another_file_is_no_generator(tmp_path, content, says):
    torch.save(content, tmp_path / "g.pth.tar")
    with pytest.raises(ZS3Error, match=f"g.pth.tar is no generator in ZS3Net's layout .*{says}"):
        zs3net.load_generator(tmp_path / "g.pth.tar")


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(tmp_path, legacy):
    content = checkpoint(generator_state()) | {"best_pred": Code()}
    path = tmp_path / "x.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ZS3Error, match="x.pth.tar cannot be read safely"):
        load_weights(path)
    assert not hasattr(zs3lib, "code_ran")


# ---- other pretrained weights -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_imagenet_weights_go_into_their_backbone(name, tmp_path):
    state = getattr(models, name)(weights=None).state_dict()
    path = tmp_path / f"{name}.pth.tar"  # as ZS3Net wraps them
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    s = tiny(backbone=name, weights=str(path))
    network = build(s, 21)
    assert zs3net.load_pretrained(network, s) == "imagenet"
    theirs = {value.double().sum().item() for value in state.values()}
    assert {v.double().sum().item() for v in network.backbone.state_dict().values()} <= theirs
    with pytest.raises(ZS3Error, match=f"{name}.pth.tar does not fit the small backbone"):
        zs3net.load_pretrained(build(tiny(), 21), tiny(weights=str(path)))
    first, value = state.popitem(last=False)
    spoiled = {f"{first} holds values that are not finite": state | {first: value * float("nan")}}
    for says, content in (spoiled | {"Missing key": state}).items():
        torch.save(content, path)
        with pytest.raises(ZS3Error, match=f"does not fit the {name} backbone: .*{says}"):
            zs3net.load_pretrained(network, s)


def test_a_network_of_ours_loads_without_its_classifier(tmp_path, same):
    other = build(tiny(backbone_seed=3), 5).state_dict()
    path = tmp_path / "backbone.pt"
    torch.save({"model": other, "losses": [1.0]}, path)  # as a finished run leaves it
    s = tiny(weights=str(path))
    network = build(s, 21)
    assert zs3net.load_pretrained(network, s) == "network"
    found = network.state_dict()
    kept = [name for name in other if not name.startswith("classifier.")]
    assert same({name: found[name] for name in kept}, {name: other[name] for name in kept})
    torch.save({"model": {k: v for k, v in other.items() if "fuse.4" not in k}}, path)
    with pytest.raises(ZS3Error, match="tensors do not match, the first is decoder.fuse.4.weight"):
        zs3net.load_pretrained(network, s)
