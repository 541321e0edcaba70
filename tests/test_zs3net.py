"""ZS3Net's released files: every tensor used, the same features out, stage 1 skipped; nothing but numbers is unpickled.

The networks to compare with are written here once more, from ZS3Net's published code, with torch's functions alone.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zs3lib import Run, Settings, ZS3Error, zs3net
from zs3lib.checkpoints import load_pretrained, load_weights
from zs3lib.data.loading import validation_input
from zs3lib.evaluate import label_map
from zs3lib.stage1 import build_model

BLOCKS = {1: 3, 2: 4, 3: 23, 4: 3}  # ResNet-101


def layers():
    """(name, shape of the convolution, name of the batch norm) of every layer, in ZS3Net's names."""
    yield "backbone.conv1", (64, 3, 7, 7), "backbone.bn1"
    inputs = 64
    for stage, blocks in BLOCKS.items():
        width = 32 * 2**stage
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            for n, shape in enumerate(((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)), start=1):
                yield f"{name}.conv{n}", shape, f"{name}.bn{n}"
            if block == 0:
                yield f"{name}.downsample.0", (4 * width, inputs, 1, 1), f"{name}.downsample.1"
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
    """Random tensors in the layout of a released checkpoint; every tensor differs from every other."""
    draw, tensors = torch.Generator().manual_seed(0), OrderedDict()
    for number, (conv, shape, norm) in enumerate(layers()):
        fan_in = shape[1] * shape[2] * shape[3]
        tensors[f"{conv}.weight"] = torch.randn(shape, generator=draw) * (2 / fan_in) ** 0.5
        calm = 0.3 if norm.endswith("bn3") else 1.0  # 33 blocks are added up
        tensors[f"{norm}.weight"] = calm * (0.5 + torch.rand(shape[0], generator=draw))
        tensors[f"{norm}.bias"] = 0.2 * torch.randn(shape[0], generator=draw)
        tensors[f"{norm}.running_mean"] = 0.2 * torch.randn(shape[0], generator=draw)
        tensors[f"{norm}.running_var"] = 0.5 + torch.rand(shape[0], generator=draw)
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(1000 + number)
    tensors["decoder.pred_conv.weight"] = torch.randn(21, 256, 1, 1, generator=draw)
    tensors["decoder.pred_conv.bias"] = torch.randn(21, generator=draw)
    return tensors


def features(state, image):
    """ZS3Net's forward_before_class_prediction in evaluation mode, where dropout does nothing."""

    def norm(name, x):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    def layer(conv, bn, x, **options):
        return norm(bn, F.conv2d(x, state[f"{conv}.weight"], **options))

    def up(x, like):
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)

    x = F.max_pool2d(F.relu(layer("backbone.conv1", "backbone.bn1", image, stride=2, padding=3)), 3, 2, 1)
    for stage, blocks in BLOCKS.items():
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            stride = 2 if block == 0 and stage in (2, 3) else 1  # output stride 16
            wide = 2 * (1, 2, 4)[block] if stage == 4 else 1  # the multi-grid unit
            y = F.relu(layer(f"{name}.conv1", f"{name}.bn1", x))
            y = F.relu(layer(f"{name}.conv2", f"{name}.bn2", y, stride=stride, dilation=wide, padding=wide))
            y = layer(f"{name}.conv3", f"{name}.bn3", y)
            if block == 0:
                x = layer(f"{name}.downsample.0", f"{name}.downsample.1", x, stride=stride)
            x = F.relu(x + y)
        if stage == 1:
            low = x
    branches = [F.relu(layer("aspp.aspp1.atrous_conv", "aspp.aspp1.bn", x))]
    for n, rate in ((2, 6), (3, 12), (4, 18)):
        name = f"aspp.aspp{n}"
        branches.append(F.relu(layer(f"{name}.atrous_conv", f"{name}.bn", x, dilation=rate, padding=rate)))
    pooled = F.relu(layer("aspp.global_avg_pool.1", "aspp.global_avg_pool.2", x.mean((2, 3), keepdim=True)))
    x = F.relu(layer("aspp.conv1", "aspp.bn1", torch.cat([*branches, up(pooled, x)], 1)))
    low = F.relu(layer("decoder.conv1", "decoder.bn1", low))
    x = F.relu(layer("decoder.last_conv.0", "decoder.last_conv.1", torch.cat([up(x, low), low], 1), padding=1))
    return F.relu(layer("decoder.last_conv.4", "decoder.last_conv.5", x, padding=1))


@pytest.fixture(scope="module")
def loaded(state):
    """Our network with their weights in it."""
    model = build_model(Settings.make(profile="paper"), 21).eval()
    zs3net.load_network(model, state)
    return model


def digests(tensors):
    return sorted(hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest() for t in tensors)


def test_every_tensor_is_used_once_and_all_of_ours_are_theirs(state, loaded):
    theirs = digests(state.values())
    assert len(set(theirs)) == len(theirs) and digests(loaded.state_dict().values()) == theirs


def test_the_same_features_and_logits_come_out(state, loaded):
    image = torch.randn(1, 3, 65, 81, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, ours = features(state, image), loaded.features(image)
        assert ours.shape == expected.shape == (1, 256, 17, 21) and expected.std() > 0.1
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
        logits = F.conv2d(expected, state["decoder.pred_conv.weight"], state["decoder.pred_conv.bias"])
        expected = F.interpolate(logits, size=(65, 81), mode="bilinear", align_corners=True)
        torch.testing.assert_close(loaded(image), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
        predicted = label_map(logits[0].permute(1, 2, 0), (65, 81), align_corners=True)
        assert torch.equal(predicted, expected[0].argmax(0).to(torch.uint8))


def test_align_corners_and_the_multi_grid_matter(state, loaded):
    """The comparison above can fail: another upsampling or other dilations give other features."""
    image = torch.randn(1, 3, 65, 65, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = loaded.features(image)
        for changes in ({"align_corners": False}, {"multi_grid": (1,)}):
            other = build_model(Settings.make(profile="paper", **changes), 21).eval()
            zs3net.load_network(other, state)
            assert (other.features(image) - expected).abs().max() > 1e-2 * expected.abs().max()


def test_files_of_old_torch_without_batch_counters_load(state, loaded):
    model = build_model(Settings.make(profile="paper"), 21).eval()
    zs3net.load_network(model, {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")})
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if not k.endswith("num_batches_tracked"))


@pytest.mark.parametrize("change, says", [("aspp.bn1.weight", "aspp.project.1.weight"), (None, "decoder.extra.weight")])
def test_a_tensor_too_few_or_too_many_is_named(state, loaded, change, says):
    other = {k: v for k, v in state.items() if k != change}
    if change is None:
        other["decoder.extra.weight"] = torch.zeros(1)
    with pytest.raises((RuntimeError, ValueError), match=says):
        zs3net.load_network(loaded, other)


# ---- as files -------------------------------------------------------------------------------------------------------


def checkpoint(state) -> dict:
    """What ZS3Net's saver writes: an optimiser's state and the best mIoU, a NumPy number, beside the tensors."""
    optimiser = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.007, "params": [0]}]}
    return {"epoch": 30, "state_dict": state, "optimizer": optimiser, "best_pred": np.float64(0.61)}


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("zs3net") / "deeplab_pretrained_pascal_voc_02_unseen.pth.tar"
    torch.save(checkpoint(state), path)
    return path


@pytest.fixture
def paper(settings, file):
    """Tiny runs of the paper's network from that file."""

    def make(**changes):
        network = {name: value for name, value in zs3net.NETWORK.items()}
        tiny = dict(k=2, weights=str(file), methods="zs3net", val_size=32, amp=False) | network
        return settings(**(tiny | changes))

    return make


def test_a_run_takes_the_file_and_skips_stage_1(state, paper, tmp_path, capsys):
    run = Run(paper(), runs_root=tmp_path, cache_root=tmp_path)
    assert run.train_backbone() == [] and "Stage 1 is skipped" in capsys.readouterr().out
    image = validation_input(run.val.load_image(0), run.settings)
    with torch.no_grad():
        expected = features(state, image)
        torch.testing.assert_close(
            run.model.features(image), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()
        )
    run.train_heads()
    run.results = {"zs3net": {}}
    record = run.record()
    assert record["pretrained"] == "zs3net" and record["history"]["stage1"] == {"loss": []}
    assert record["settings"]["align_corners"] is True


def test_a_run_for_other_unseen_classes_refuses_the_file(paper, tmp_path):
    with pytest.raises(ZS3Error, match="k = 4") as error:
        Run(paper(k=4), runs_root=tmp_path)
    assert "deeplab_pretrained_pascal_voc_02_unseen.pth.tar" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, value",
    [
        ("align_corners", False),
        ("backbone", "resnet18"),
        ("multi_grid", "1"),
        ("aspp_rates", "2,4,6"),
        ("dataset", "context"),
    ],
)
def test_settings_that_would_make_another_network_of_it_are_refused(name, value):
    weights = "checkpoint/deeplab_pretrained_pascal_voc_02_unseen.pth.tar"
    zs3net.check_settings(Settings.make(profile="paper", k=2, weights=weights))
    with pytest.raises(ZS3Error, match=str(value) if name == "dataset" else name):
        zs3net.check_settings(Settings.make(**{"profile": "paper", "k": 2, "weights": weights, name: value}))


@pytest.mark.parametrize("k, fits", [(2, True), (4, False)])
def test_contexts_unseen_classes_are_the_same_at_two_alone(k, fits):
    name = f"deeplab_pretrained_pascal_context_{k:02}_unseen.pth.tar"
    settings = Settings.make(profile="paper", dataset="context", k=k, weights=name)
    if fits:
        zs3net.check_settings(settings)
    else:
        with pytest.raises(ZS3Error, match="k = 2 alone"):
            zs3net.check_settings(settings)


def generator_state(words=300, hidden=256):
    draw = torch.Generator().manual_seed(2)
    shapes = {"0.weight": (hidden, 2 * words), "0.bias": (hidden,), "3.weight": (256, hidden), "3.bias": (256,)}
    return {f"model.{name}": 0.1 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def renamed_numpy(path):
    """The file as an older NumPy would have pickled it."""
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))
    assert b"numpy.core.multiarray\n" in path.read_bytes()


@pytest.mark.parametrize("form", ["zip", "before torch 1.6", "before NumPy 2", "bare state dict"])
def test_a_generator_gives_the_same_features(tmp_path, form):
    state, path = generator_state(), tmp_path / "20_generator.pth.tar"
    content = state if form == "bare state dict" else checkpoint(state)
    torch.save(content, path, _use_new_zipfile_serialization=form in ("zip", "bare state dict"))
    if form == "before NumPy 2":
        renamed_numpy(path)
    words, noise = torch.randn(3, 300), torch.rand(12, 300)
    index = torch.arange(12) % 3
    hidden = F.linear(torch.cat((words[index], noise), 1), state["model.0.weight"], state["model.0.bias"])
    expected = F.linear(F.leaky_relu(hidden, 0.2), state["model.3.weight"], state["model.3.bias"])
    ours = zs3net.load_generator(path)
    assert ours.noise == "uniform" and not ours.training
    torch.testing.assert_close(ours(words, index, noise), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "content, says",
    [({"state_dict": {}}, "state dict"), ({"model.0.weight": torch.zeros(4, 6)}, "model.0.bias"),
     (generator_state(5, 4) | {"model.6.bias": torch.zeros(1)}, "model.6.bias"), (torch.zeros(3), "state dict")],
)  # fmt: skip
def test_another_file_is_no_generator(tmp_path, content, says):
    torch.save(content, tmp_path / "g.pth.tar")
    with pytest.raises(ZS3Error, match=says):
        zs3net.load_generator(tmp_path / "g.pth.tar")


class Code:
    def __reduce__(self):
        return exec, ("import zs3lib; zs3lib.code_ran = True",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_not_run(tmp_path, legacy):
    import zs3lib

    torch.save(
        checkpoint(generator_state()) | {"best_pred": Code()},
        tmp_path / "x.pth.tar",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(ZS3Error, match="x.pth.tar"):
        load_weights(tmp_path / "x.pth.tar")
    assert not hasattr(zs3lib, "code_ran")


def test_imagenet_weights_without_pascals_classes_load_too(tmp_path):
    """ZS3Net's own ImageNet file: a ResNet's tensors under "state_dict", each named "module.<name>"."""
    from torchvision.models import resnet18

    net = resnet18(weights=None)
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "resnet.pth.tar")
    model = build_model(Settings.make(profile="toy"), 21)
    assert load_pretrained(model, Settings.make(profile="toy", weights=str(tmp_path / "resnet.pth.tar"))) == "imagenet"
    assert torch.equal(model.backbone.stem[0].weight, net.conv1.weight)
