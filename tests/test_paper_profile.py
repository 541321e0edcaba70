"""The paper profile, element by element beside Sec. IV-A and ZS3Net, and one run of it on small data in the official formats."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sbd_files import write_sbd
from torch import nn
from torchvision import tv_tensors
from torchvision.models import resnet101
from torchvision.transforms import v2

from zs3lib import Run, Settings, split
from zs3lib.classes import VOID
from zs3lib.data.loading import augmentation, validation_input
from zs3lib.devices import autocast
from zs3lib.stage1 import _optimiser, build_model
from zs3lib.stage2 import Trainer

PAPER = Settings.make(profile="paper")


@pytest.mark.parametrize("dataset, epochs", [("voc", 30), ("context", 20)])
def test_the_numbers_of_section_iv_a_and_of_zs3net(dataset, epochs):
    s = Settings.make(profile="paper", dataset=dataset)
    assert (s.stage1_epochs, s.stage2_epochs, s.batch_size, s.samples) == (epochs, epochs, 8, 128)
    assert (s.base_size, s.crop_size, s.val_size, s.scale_min, s.scale_max, s.blur) == (312, 312, 513, 0.5, 2.0, 0.5)
    assert (s.classifier_lr, s.momentum, s.weight_decay, s.generator_lr) == (1e-7, 0.9, 5e-4, 2e-4)
    assert (s.classifier_loss, s.loss_at, s.unseen_weight, s.noise, s.word_norm) == (
        "sum",
        "image",
        100,
        "gaussian",
        "unit",
    )
    assert (s.stage1_optimiser, s.stage1_lr, s.fresh_lr_factor, s.frozen_blocks, s.frozen_bn) == (
        "sgd",
        0.007,
        10,
        0,
        False,
    )
    assert (s.backbone, s.multi_grid, s.aspp_rates, s.dropout, s.align_corners) == (
        "resnet101",
        (1, 2, 4),
        (6, 12, 18),
        True,
        True,
    )
    assert s.amp and s.protocol == "paper" and s.mmd_root and s.cell_stride == 1


@pytest.fixture(scope="module")
def network():
    return build_model(PAPER, 21)


def test_output_stride_16_with_multi_grid(network):
    with torch.no_grad():
        low, high = network.eval().backbone(torch.zeros(1, 3, 96, 128))
    assert low.shape == (1, 256, 24, 32) and high.shape == (1, 2048, 6, 8)
    dilations = [block.conv2.dilation[0] for block in network.backbone.layer4]
    assert dilations == [2, 4, 8] and {
        m.dilation[0] for m in network.backbone.layer3.modules() if hasattr(m, "dilation")
    } == {1}
    atrous = [conv[0] for conv in network.aspp.convs][:4]
    assert [(m.kernel_size[0], m.dilation[0]) for m in atrous] == [(1, 1), (3, 6), (3, 12), (3, 18)]
    drops = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    assert drops == [0.5, 0.5, 0.1]


def test_stage_1_is_sgd_with_the_poly_schedule(network):
    optimiser, schedule = _optimiser(network, PAPER, steps=100)
    groups = optimiser.param_groups
    assert [g["lr"] for g in groups] == [0.007, 0.07] and all(
        g["momentum"] == 0.9 and g["weight_decay"] == 5e-4 for g in groups
    )
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in network.parameters())
    for _ in range(40):
        optimiser.step()
        schedule.step()
    assert groups[0]["lr"] == pytest.approx(0.007 * (1 - 40 / 100) ** 0.9)


def test_stage_2_is_sgd_with_the_poly_schedule_and_adam(make_cache):
    cache, words = make_cache(np.zeros((16, 32, 32))), torch.randn(21, 300)
    trainer = Trainer("ours", cache, words, split("voc", 10), Settings.make(profile="paper", device="cpu", views=1))
    (classifier,), (generator,) = trainer.classifier_optimiser.param_groups, trainer.generator_optimiser.param_groups
    assert isinstance(trainer.classifier_optimiser, torch.optim.SGD) and isinstance(
        trainer.generator_optimiser, torch.optim.Adam
    )
    assert (classifier["lr"], classifier["momentum"], classifier["weight_decay"], generator["lr"]) == (
        1e-7,
        0.9,
        5e-4,
        2e-4,
    )
    for _ in range(2):
        trainer.classifier_optimiser.step()
        trainer.schedule.step()
    assert classifier["lr"] == pytest.approx(1e-7 * (1 - 2 / (30 * 2)) ** 0.9) and generator["lr"] == 2e-4


def test_bfloat16_where_the_device_has_it(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr("zs3lib.devices._has_bf16", lambda chosen: has)
        context = autocast(torch.device("cpu"), PAPER)
        assert context._enabled == has and context.fast_dtype == torch.bfloat16


# ---- augmentation ---------------------------------------------------------------------------------------------------


def striped(height, width):
    """A picture whose every pixel shows its label: wide vertical stripes of three labels."""
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 3 :], labels[:, 2 * width // 3 :] = 1, 2
    return Image.fromarray((labels[..., None] * np.array([100, 50, 20])).astype(np.uint8)), labels


def test_image_and_labels_are_augmented_alike():
    picture, labels = striped(400, 500)
    transform, sizes, flipped = augmentation(PAPER), [], 0
    levels = torch.tensor([0.0, 100, 200]) / 255
    for seed in range(40):
        torch.manual_seed(seed)
        image, mask = transform(tv_tensors.Image(v2.functional.pil_to_tensor(picture)), tv_tensors.Mask(labels))
        assert image.shape == (3, 312, 312) and mask.shape == (312, 312) and image.dtype == torch.float32
        red = image[0] * 0.229 + 0.485
        known = mask != VOID
        nearest = (red[..., None] - levels).abs().argmin(-1)
        assert (nearest == mask)[known].float().mean() > 0.95
        assert set(mask.unique().tolist()) <= {0, 1, 2, VOID}
        sizes.append(known.float().mean().item())
        flipped += int(mask[156][known[156]][0] > mask[156][known[156]][-1])
    assert min(sizes) < 0.6 and max(sizes) == 1.0, "both smaller pictures, padded with void, and larger ones, cropped"
    assert 5 < flipped < 35


def test_the_short_side_is_drawn_between_half_and_twice_312():
    resize = augmentation(PAPER).transforms[0]
    drawn = [resize.make_params([])["size"][0] for _ in range(2000)]
    assert min(drawn) in range(156, 162) and max(drawn) in range(618, 625)


def test_blur_comes_half_of_the_time():
    random = torch.randint(0, 255, (3, 400, 400), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    transform, still = augmentation(Settings.make(profile="paper", scale_min=1, scale_max=1)), []
    for seed in range(60):
        torch.manual_seed(seed)
        image, _ = transform(tv_tensors.Image(random), tv_tensors.Mask(np.zeros((400, 400), np.uint8)))
        still.append(image.diff(dim=-1).abs().mean().item())
    sharp = sum(value > 0.95 * max(still) for value in still)
    assert 15 < sharp < 45


@pytest.mark.parametrize("size, expected", [((400, 500), (513, 641)), ((500, 375), (684, 513))])
def test_validation_at_a_short_side_of_513(size, expected):
    assert validation_input(Image.new("RGB", size[::-1]), PAPER).shape == (1, 3, *expected)


# ---- all of it, small -----------------------------------------------------------------------------------------------


def test_a_small_run_from_the_official_files_to_a_record(world, tmp_path):
    """VOC 2012 + SBD's .mat files, torchvision's ResNet-101 file, binary word vectors gzipped: as `make data` leaves them."""
    root = tmp_path / "data"
    shutil.copytree(world, root)
    mask = np.zeros((64, 64), np.uint8)
    mask[:30, 20:50] = 12  # a dog, seen at every K
    write_sbd(root / "sbd", {f"2008_{i:06}": mask for i in range(8)})
    (root / "weights").mkdir(exist_ok=True)
    imagenet = resnet101(weights=None).state_dict()
    torch.save(imagenet, root / "weights" / "resnet101_imagenet.pth")
    lines = (world / "wordvectors.txt").read_text().splitlines()
    rows = [line.split(" ", 1) for line in lines[1:]]
    binary = b"".join(w.encode() + b" " + np.array(v.split(), np.float32).tobytes() for w, v in rows)
    (root / "words.gz").write_bytes(gzip.compress(lines[0].encode() + b"\n" + binary, 1))

    small = dict(
        base_size=64, crop_size=64, val_size=64, stage1_epochs=1, stage2_epochs=2, warmup_epochs=1, views=1, workers=0
    )
    settings = Settings.make(
        profile="paper", k=2, device="cpu", methods="ours", data_root=str(root), word_vectors=str(root / "words.gz"),
        weights=str(root / "weights" / "resnet101_imagenet.pth"), **small,
    )  # fmt: skip
    run = Run(settings, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache")
    assert run.pretrained == "imagenet" and len(run.train) == 24 + 8
    assert torch.equal(run.model.backbone.layer4[2].conv3.weight, imagenet["layer4.2.conv3.weight"])
    before = run.model.backbone.layer1[0].conv1.weight.clone()
    assert all(np.isfinite(run.train_backbone()))
    assert not torch.equal(run.model.backbone.layer1[0].conv1.weight.cpu(), before), "the whole network is fine-tuned"
    history = run.train_heads()["ours"]
    assert len(history["classifier"]) == 2 and np.isfinite(history["classifier"]).all()
    run.evaluate()
    record = run.record()
    assert record["profile"] == "paper" and record["settings"]["multi_grid"] == [1, 2, 4]
    assert 0 <= record["methods"]["ours"]["metrics"]["hiou"] <= 100 and record["train_images"] == 32
