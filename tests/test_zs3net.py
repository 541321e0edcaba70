"""ZS3Net's released files: every tensor used, the same features out, stage 1 skipped.

The networks to compare with are written here once more, from ZS3Net's published code, with torch's
functions alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crafted import tiny
from torchvision.models import resnet18

import zs3lib
from zs3lib import Run, Settings, ZS3Error, zs3net
from zs3lib.method.deeplab import build
from zs3lib.storage import load_weights

BLOCKS = {1: 3, 2: 4, 3: 23, 4: 3}  # ResNet-101
FILE = "deeplab_pretrained_pascal_voc_02_unseen.pth.tar"


def layers():
    """(name, shape of the convolution, name of the batch norm) of every layer, as ZS3Net's."""
    yield "backbone.conv1", (64, 3, 7, 7), "backbone.bn1"
    inputs = 64
    for stage, blocks in BLOCKS.items():
        width = 32 * 2**stage
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            yield f"{name}.conv1", (width, inputs, 1, 1), f"{name}.bn1"
            yield f"{name}.conv2", (width, width, 3, 3), f"{name}.bn2"
            yield f"{name}.conv3", (4 * width, width, 1, 1), f"{name}.bn3"
            if block == 0:
                shape = (4 * width, inputs, 1, 1)
                yield f"{name}.downsample.0", shape, f"{name}.downsample.1"
            inputs = 4 * width
    for n, size in enumerate((1, 3, 3, 3), start=1):
        yield f"aspp.aspp{n}.atrous_conv", (256, 2048, size, size), f"aspp.aspp{n}.bn"
    yield "aspp.global_avg_pool.1", (256, 2048, 1, 1), "aspp.global_avg_pool.2"
    yield "aspp.conv1", (256, 1280, 1, 1), "aspp.bn1"
    yield "decoder.conv1", (48, 256, 1, 1), "decoder.bn1"
    yield "decoder.last_conv.0", (256, 304, 3, 3), "decoder.last_conv.1"
    yield "decoder.last_conv.4", (256, 256, 3, 3), "decoder.last_conv.5"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random tensors in the layout of a released checkpoint, each another."""
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for number, (conv, shape, norm) in enumerate(layers()):
        scale = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        tensors[f"{conv}.weight"] = torch.randn(shape, generator=random) * scale
        calm = 0.3 if norm.endswith("bn3") else 1.0  # 33 blocks are added up
        width = shape[0]
        tensors[f"{norm}.weight"] = calm * (0.5 + torch.rand(width, generator=random))
        tensors[f"{norm}.bias"] = 0.2 * torch.randn(width, generator=random)
        tensors[f"{norm}.running_mean"] = 0.2 * torch.randn(width, generator=random)
        tensors[f"{norm}.running_var"] = 0.5 + torch.rand(width, generator=random)
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(1000 + number)
    tensors["decoder.pred_conv.weight"] = torch.randn(21, 256, 1, 1, generator=random)
    tensors["decoder.pred_conv.bias"] = torch.randn(21, generator=random)
    return tensors


class Theirs:
    """ZS3Net's forward_before_class_prediction in evaluation mode, where dropout does nothing."""

    def __init__(self, state):
        self.state = state

    def layer(self, conv, bn, x, **options):
        x = F.conv2d(x, self.state[f"{conv}.weight"], **options)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{bn}.{name}"] for name in names), eps=1e-5)

    def relu(self, *arguments, **options):
        return F.relu(self.layer(*arguments, **options))

    @staticmethod
    def up(x, like):
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)

    def block(self, stage, block, x):
        name = f"backbone.layer{stage}.{block}"
        stride = 2 if block == 0 and stage in (2, 3) else 1  # output stride 16
        wide = 2 * (1, 2, 4)[block] if stage == 4 else 1  # the multi-grid unit
        y = self.relu(f"{name}.conv1", f"{name}.bn1", x)
        options = {"stride": stride, "dilation": wide, "padding": wide}
        y = self.relu(f"{name}.conv2", f"{name}.bn2", y, **options)
        y = self.layer(f"{name}.conv3", f"{name}.bn3", y)
        if block == 0:
            x = self.layer(f"{name}.downsample.0", f"{name}.downsample.1", x, stride=stride)
        return F.relu(x + y)

    def aspp(self, x):
        branches = []
        for n, rate in ((1, 0), (2, 6), (3, 12), (4, 18)):
            name = f"aspp.aspp{n}"
            options = {"dilation": max(rate, 1), "padding": rate}
            branches.append(self.relu(f"{name}.atrous_conv", f"{name}.bn", x, **options))
        mean = x.mean((2, 3), keepdim=True)
        mean = self.relu("aspp.global_avg_pool.1", "aspp.global_avg_pool.2", mean)
        return self.relu("aspp.conv1", "aspp.bn1", torch.cat([*branches, self.up(mean, x)], 1))

    def features(self, image):
        x = self.relu("backbone.conv1", "backbone.bn1", image, stride=2, padding=3)
        x = F.max_pool2d(x, 3, 2, 1)
        outputs = {}
        for stage, blocks in BLOCKS.items():
            for block in range(blocks):
                x = self.block(stage, block, x)
            outputs[stage] = x
        low = outputs[1]
        low = self.relu("decoder.conv1", "decoder.bn1", low)
        x = torch.cat([self.up(self.aspp(x), low), low], 1)
        x = self.relu("decoder.last_conv.0", "decoder.last_conv.1", x, padding=1)
        return self.relu("decoder.last_conv.4", "decoder.last_conv.5", x, padding=1)


@pytest.fixture(scope="module")
def loaded(state):
    """Our network with their weights in it."""
    network = build(Settings.make(profile="paper"), 21).eval()
    zs3net.load_network(network, state)
    return network


def test_every_tensor_is_used_once_and_all_of_ours_are_theirs(state, loaded):
    theirs = sorted(value.double().sum().item() for value in state.values())
    ours = sorted(value.double().sum().item() for value in loaded.state_dict().values())
    assert len(set(theirs)) == len(theirs) and ours == theirs


def test_the_same_features_and_logits_come_out(state, loaded):
    image = torch.randn(1, 3, 65, 81, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = Theirs(state).features(image)
        near = {"rtol": 1e-5, "atol": 1e-5 * expected.abs().max().item()}
        assert expected.shape == (1, 256, 17, 21) and expected.std() > 0.1
        torch.testing.assert_close(loaded.features(image), expected, **near)
        weights = [state[f"decoder.pred_conv.{name}"] for name in ("weight", "bias")]
        logits = Theirs.up(F.conv2d(expected, *weights), image)
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
    theirs = {}
    for key, value in build(s, 21).state_dict().items():
        old, new = next(pair for pair in zs3net.RENAMED.items() if key.startswith(f"{pair[1]}."))
        theirs[old + key.removeprefix(new)] = value + 1
    torch.save(checkpoint(theirs), s.weights)
    run = Run(s, runs_root=tmp_path, cache_root=tmp_path)
    assert run.pretrained == "zs3net" and run.train_backbone() == []
    assert "Stage 1 is skipped" in capsys.readouterr().out
    assert torch.equal(run.model.aspp.project[0].weight, theirs["aspp.conv1.weight"])
    with pytest.raises(ZS3Error, match="k = 4") as error:
        Run(s.model_copy(update={"k": 4}), runs_root=tmp_path)
    assert FILE in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"align_corners": False}, "align_corners"),
        ({"backbone": "resnet18"}, "backbone"),
        ({"multi_grid": "1"}, "multi_grid"),
        ({"aspp_rates": "2,4,6"}, "aspp_rates"),
        ({"feature_dim": 64}, "feature_dim"),
        ({"dataset": "context"}, "this run is context"),
        ({"dataset": "context", "k": 4, "weights": FILE.replace("voc_02", "context_04")}, "k = 2"),
        ({"dataset": "context", "k": 2, "weights": FILE.replace("voc", "context")}, None),
        ({}, None),
    ],
)
def test_settings_that_would_make_another_network_of_it_are_refused(changes, says):
    s = Settings.make(**({"profile": "paper", "k": 2, "weights": FILE} | changes))
    if says is None:
        return zs3net.check_settings(s)
    with pytest.raises(ZS3Error, match=says):
        zs3net.check_settings(s)


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
        (torch.zeros(3), "state dict"),
    ],
)
def test_another_file_is_no_generator(tmp_path, content, says):
    torch.save(content, tmp_path / "g.pth.tar")
    with pytest.raises(ZS3Error, match=f"g.pth.tar is no generator in ZS3Net's layout .*{says}"):
        zs3net.load_generator(tmp_path / "g.pth.tar")


class Code:
    def __reduce__(self):
        return exec, ("import zs3lib; zs3lib.code_ran = True",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(tmp_path, legacy):
    content = checkpoint(generator_state()) | {"best_pred": Code()}
    path = tmp_path / "x.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ZS3Error, match="x.pth.tar cannot be read safely"):
        load_weights(path)
    assert not hasattr(zs3lib, "code_ran")


# ---- other pretrained weights -------------------------------------------------------------------


def test_imagenet_weights_as_zs3net_wraps_them(tmp_path):
    net = resnet18(weights=None)
    path = tmp_path / "resnet.pth.tar"
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, path)
    s = tiny(backbone="resnet18", weights=str(path))
    network = build(s, 21)
    assert zs3net.load_pretrained(network, s) == "imagenet"
    assert torch.equal(network.backbone.stem[0].weight, net.conv1.weight)
    with pytest.raises(ZS3Error, match="resnet.pth.tar does not fit the small backbone"):
        zs3net.load_pretrained(build(tiny(), 21), tiny(weights=str(path)))
    net.conv1.weight.data[0] = float("nan")
    torch.save(net.state_dict(), path)
    with pytest.raises(ZS3Error, match="conv1.weight holds values that are not finite"):
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
