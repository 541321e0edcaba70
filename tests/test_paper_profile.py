"""The paper profile beside Sec. IV-A and ZS3Net, and a small run of it on the official files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from crafted import SPLIT, WORDS
from PIL import Image
from sbd_files import write_sbd
from torchvision import models

from zs3lib import Run, Settings
from zs3lib.data.augment import augmentation, validation_input
from zs3lib.method import stage1
from zs3lib.method.deeplab import build
from zs3lib.method.methods import METHODS
from zs3lib.method.stage2 import Trainer
from zs3lib.runs.record import record_of

PAPER = Settings.make(profile="paper", device="cpu")

SECTION_IV_A = {"backbone": "resnet101", "noise": "gaussian", "samples": 128, "batch_size": 8}
SECTION_IV_A |= {"base_size": 312, "crop_size": 312, "val_size": 513}
SECTION_IV_A |= {"generator_lr": 2e-4, "momentum": 0.9, "weight_decay": 5e-4}
ZS3NET = {"feature_dim": 256, "multi_grid": [1, 2, 4], "aspp_rates": [6, 12, 18]}
ZS3NET |= {"dropout": True, "align_corners": True, "scale_min": 0.5, "scale_max": 2.0}
ZS3NET |= {"stage1_optimiser": "sgd", "stage1_lr": 0.007, "stage1_loss": "zs3net"}
ZS3NET |= {"fresh_lr_factor": 10, "frozen_blocks": 0, "frozen_bn": False, "frozen_training": True}
ZS3NET |= {"classifier_init": "uniform", "classifier_lr": 0.07, "classifier_loss": "zs3net"}
ZS3NET |= {"unseen_weight": 100, "loss_at": "image", "cell_stride": 1, "mmd_root": True}


def of(dataset="voc", profile="paper", **changes) -> dict:
    return Settings.make(profile=profile, dataset=dataset, **changes).as_dict()


def test_the_paper_profile_is_section_iv_a_by_zs3nets_procedure():
    for dataset, batch, norm in (("voc", 16, "largest"), ("context", 10, "none")):
        s = of(dataset)
        expected = SECTION_IV_A | ZS3NET | {"stage1_batch_size": batch, "word_norm": norm}
        assert {name: s[name] for name in expected} == expected and s["recipe"] == "zs3net"


def test_a_recipe_that_is_named_wins_over_the_profile_and_what_is_given_over_both():
    published = of(profile="lite", recipe="zs3net", unseen_weight=10)
    assert published["noise"] == "uniform" and published["stage1_epochs"] == 200
    assert published["unseen_weight"] == 10 and published["backbone"] == "mobilenet_v2"
    literal = of(recipe="literal")
    changed = {"recipe": "literal", "classifier_loss": "sum", "classifier_lr": 1e-7}
    assert {name: literal[name] for name in changed} == changed
    own = of(profile="lite")
    assert own["recipe"] == "own" and own["classifier_lr"] == 0.2


def test_stage_1_is_sgd_with_the_poly_schedule():
    network = build(PAPER, 21)
    optimiser, schedule = stage1.optimisation(network, PAPER, steps=100)
    groups = optimiser.param_groups
    assert isinstance(optimiser, torch.optim.SGD) and [g["lr"] for g in groups] == [0.007, 0.07]
    assert all(g["momentum"] == 0.9 and g["weight_decay"] == 5e-4 for g in groups)
    assert sum(len(g["params"]) for g in groups) == len(list(network.parameters()))
    for _ in range(40):
        optimiser.step()
        schedule.step()
    assert groups[0]["lr"] == pytest.approx(0.007 * (1 - 40 / 100) ** 0.9)


def test_stage_2_is_sgd_with_the_poly_schedule_and_adam():
    trainer = Trainer(METHODS["ours"], WORDS, SPLIT, PAPER, steps=60)
    (classifier,) = trainer.classifier_optimiser.param_groups
    (generator,) = trainer.generator_optimiser.param_groups
    assert isinstance(trainer.classifier_optimiser, torch.optim.SGD)
    assert isinstance(trainer.generator_optimiser, torch.optim.Adam)
    assert [classifier[k] for k in ("lr", "momentum", "weight_decay")] == [0.07, 0.9, 5e-4]
    assert generator["lr"] == 2e-4
    for _ in range(2):
        trainer.classifier_optimiser.step()
        trainer.schedule.step()
    assert classifier["lr"] == pytest.approx(0.07 * (1 - 2 / 60) ** 0.9)
    assert trainer.class_weights.unique().tolist() == [1, 100]


def test_the_short_side_is_drawn_between_half_and_twice_312():
    resize = augmentation(PAPER).transforms[0]
    drawn = [resize.make_params([])["size"][0] for _ in range(2000)]
    assert min(drawn) in range(156, 162) and max(drawn) in range(618, 625)


@pytest.mark.parametrize("size, expected", [((400, 500), (513, 641)), ((500, 375), (684, 513))])
def test_validation_at_a_short_side_of_513(size, expected):
    picture = Image.new("RGB", size[::-1])
    assert validation_input(picture, PAPER).shape == (1, 3, *expected)


def test_a_small_run_from_the_official_files_to_a_record(world, settings, tmp_path):
    """SBD's .mat files beside VOC's, torchvision's ResNet-18 for its 101."""
    root = shutil.copytree(world, tmp_path / "data")
    mask = np.zeros((64, 64), np.uint8)
    mask[:30, 20:50] = 12  # a dog, seen at every K
    write_sbd(root / "sbd", {f"2008_{i:06}": mask for i in range(8)})
    imagenet = models.resnet18(weights=None).state_dict()
    torch.save(imagenet, root / "resnet18.pth")
    places = {"data_root": root, "weights": root / "resnet18.pth", "backbone": "resnet18"}
    s = settings(profile="paper", methods="ours", workers=0, **places)
    run = Run(s, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache")
    assert run.pretrained == "imagenet" and len(run.train) == 24 + 8
    weight = run.model.backbone.layer4[1].conv2.weight
    assert torch.equal(weight, imagenet["layer4.1.conv2.weight"])
    assert np.isfinite(run.train_backbone()).all()
    assert not torch.equal(weight.cpu(), imagenet["layer4.1.conv2.weight"])  # fine-tuned
    history = run.train_heads()["ours"]
    assert len(history["classifier"]) == 2 and np.isfinite(history["classifier"]).all()
    run.evaluate()
    record = record_of(run)
    assert record["profile"] == "paper" and record["settings"]["multi_grid"] == [1, 2, 4]
    assert 0 <= record["methods"]["ours"]["metrics"]["hiou"] <= 100
    assert record["train_images"] == 32
