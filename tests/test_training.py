"""Whole runs from data to record: what each stage reads, repeats, resumes, keeps and says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from zs3lib import Settings, ZS3Error, open_run, storage
from zs3lib.data.segmentation import SegmentationData
from zs3lib.method import features, stage1
from zs3lib.method.metrics import scores
from zs3lib.runs.record import record_of


def weights_of(run):
    run.train_backbone()
    run.train_heads()
    parts = {"model": run.model, **run.heads, **run.self_trained}
    return {(n, k): v for n, part in parts.items() for k, v in part.state_dict().items()}


@pytest.fixture
def finished(trained):
    return open_run(trained / "runs" / "toy" / "voc-k10-s0")


@pytest.fixture
def record(finished):
    return json.loads((finished.folder / "metrics.json").read_text(), parse_constant=pytest.fail)


# ---- what a stage may see and change ------------------------------------------------------------


def test_stage_1_never_reads_an_image_with_an_unseen_class(opened, monkeypatch):
    run = opened()
    read = []
    load = SegmentationData.load
    monkeypatch.setattr(SegmentationData, "load", lambda self, i: read.append(i) or load(self, i))
    run.train_backbone()
    shows = run.train.presence[:, list(run.split.unseen)].any(1)
    assert read and not shows[read].any() and shows.any()


def test_stage_2_leaves_the_backbone_as_it_was(opened, same):
    run = opened()
    run.train_backbone()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.train_heads()
    assert same(before, run.model.state_dict())
    assert not any(p.requires_grad for p in run.model.parameters())


def test_features_of_another_backbone_are_never_read(opened, monkeypatch):
    """Other weights, another cache; another seed of stage 2, the same cache."""
    run = opened()
    run.train_backbone()
    first = run.features()
    other_seed = opened(seed=1)
    monkeypatch.setattr(stage1, "train", lambda *a, **k: pytest.fail("stage 1 trained again"))
    other_seed.train_backbone()
    with monkeypatch.context() as patch:
        patch.setattr(features, "extract", lambda *a: pytest.fail("features computed again"))
        shared = other_seed.features()
    assert shared.path == first.path
    run.model.decoder.fuse[0].weight.data *= 2
    second = run.features()
    assert second.path != first.path
    assert not torch.equal(second.read([0])[0], first.read([0])[0])


# ---- the same digits ----------------------------------------------------------------------------


def test_the_same_seed_repeats_every_digit_and_another_does_not(opened, finished, record, same):
    run = opened()
    weights_of(run)
    results = run.evaluate()
    assert {n: r["confusion"] for n, r in results.items()} == {
        n: r["confusion"] for n, r in record["methods"].items()
    }
    assert run.history == record["history"]
    for name, head in finished.heads.items():
        assert same(head.state_dict(), run.heads[name].state_dict())
    other = opened("b", seed=1)
    weights_of(other)
    assert not same(other.heads["zs3net"].state_dict(), run.heads["zs3net"].state_dict())


STATES = {
    "stage 1": "backbones/*/training.pt",
    "stage 2": "voc-k10-s0/training.pt",
    "self-training": "voc-k10-s0/self_training.pt",
}


@pytest.mark.parametrize("stage", STATES)
def test_an_interrupted_run_says_what_is_saved_and_goes_on(
    opened, same, stage, monkeypatch, capsys
):
    changes = {"stage1_epochs": 3, "stage2_epochs": 3, "methods": "zs3net,ours"}
    changes |= {"self_training": stage == "self-training"}
    expected = weights_of(opened("straight", **changes))
    saved = []
    save = storage.save

    def fail_at_the_third(path, state):
        saved.append(path.match(STATES[stage]))
        if sum(saved) == 3:
            raise KeyboardInterrupt
        save(path, state)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(storage, "save", fail_at_the_third)
        weights_of(opened("broken", **changes))
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("interrupted; ")]
    assert f"{stage} up to its last whole epoch" in line
    assert line.endswith("the same command goes on from there")
    again = opened("broken", **changes)
    assert same(weights_of(again), expected) and again.interrupted


# ---- what is left behind ------------------------------------------------------------------------


def test_a_record_says_all_that_a_row_needs(finished, record):
    assert list(record["methods"]) == ["no_generator", "zs3net", "ours", "equal_weight"]
    val = finished.open_data("val")
    pixels = sum(int((val.load_mask(i) != 255).sum()) for i in range(len(val)))
    for name, method in record["methods"].items():
        confusion = np.array(method["confusion"])
        assert confusion.shape == (21, 21) and confusion.sum() == pixels
        assert scores(confusion, finished.split) == method["metrics"]
        iou = list(method["per_class_iou"].values())
        assert np.mean(iou) == pytest.approx(method["metrics"]["overall_miou"])
        assert len(record["history"][name]["classifier"]) == 2
    named = [record[key] for key in ("profile", "dataset", "k", "seed")]
    assert named == ["toy", "voc", 10, 0]
    assert Settings(**record["settings"]) == finished.settings
    assert len(record["seen"]) == 11 and record["unseen"][0] == "cow"
    assert (record["train_images"], record["val_images"]) == (24, 8)
    assert 0 < record["stage1_images"] < 24 and not record["interrupted"]
    assert len(record["history"]["stage1"]["loss"]) == 1
    assert record["schema"] == storage.SCHEMA and record == storage.sealed(record)
    assert {"python", "zs3lib", "torch", "torchvision", "numpy"} == set(record["versions"])
    assert set(record["git"]) == {"commit", "dirty"} and record["device"].startswith("CPU")
    assert record["wall_s"] >= sum(record["seconds"].values()) > 0
    assert record["pretrained"] == "network" and record["word_substitutions"] == {}


def test_saving_drops_what_only_training_needs(opened):
    run = opened(methods="zs3net")
    with pytest.raises(ZS3Error, match="no results for zs3net yet: run the cells above first"):
        record_of(run)
    with pytest.raises(ZS3Error, match="train_backbone.. first"):
        run.train_heads()
    weights_of(run)
    run.evaluate()
    path = run.save()
    assert path == run.folder / "metrics.json"
    assert sorted(p.name for p in run.folder.iterdir()) == ["heads.pt", "metrics.json"]
    assert [p.name for p in run.backbone_folder.iterdir()] == ["backbone.pt"]
    assert not run.source.path.parent.exists()


def test_a_finished_run_predicts_as_it_was_scored(finished, record):
    val = finished.open_data("val")
    counted = np.zeros((21, 21), int)
    for i in range(len(val)):
        image, labels = val.load(i)
        found = finished.predict(image, ["ours"])
        assert list(found) == ["ours"] and found["ours"].dtype == np.uint8
        known = labels != 255
        np.add.at(counted, (labels[known], found["ours"][known]), 1)
    assert counted.tolist() == record["methods"]["ours"]["confusion"]
