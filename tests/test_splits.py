"""Splits of later papers: VOC's 15-5, COCO-Stuff's 156-15, and background as void."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from test_tables import record, save, write

from zs3lib import Run, Settings, ZS3Error, open_run, split
from zs3lib.classes import COCOSTUFF_CLASSES, COCOSTUFF_LABELS
from zs3lib.data import strict
from zs3lib.data.segmentation import VOC, open_data
from zs3lib.results import beside, paper, records
from zs3lib.runs.finished import how_to_make
from zs3lib.runs.notebooks import plan
from zs3lib.toy import cocostuff
from zs3lib.toy import world as toy

FIVE = tuple("pottedplant sheep sofa train tvmonitor".split())
FIFTEEN = (
    "frisbee skateboard cardboard carrot scissors suitcase giraffe cow road wall-concrete tree "
    "grass river clouds playingfield".split()
)
EMPTY = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # COCO's things without a pixel, from 1 on


@pytest.fixture(scope="module")
def coco(world, tmp_path_factory):
    """A copy of the tiny world with its COCO-Stuff."""
    root = shutil.copytree(world, tmp_path_factory.mktemp("coco") / "world")
    assert cocostuff.ensure(root) == root / "cocostuff"
    return root


# ---- classes and settings -----------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
def test_vocs_split_has_15_seen_and_5_unseen_classes_and_may_count_background(background):
    parts = split("voc", 5, "15-5", background)
    assert parts.unseen_names == FIVE and len(parts.seen) == 15 + background
    assert (parts.names[0] == "background") == background and len(parts.names) == 20 + background


def test_coco_stuffs_split_has_156_seen_and_15_unseen_classes():
    parts = split("cocostuff", 15, "156-15")
    assert sorted(parts.unseen_names) == sorted(FIFTEEN) and len(parts.seen) == 156
    assert len(COCOSTUFF_LABELS) == len({*COCOSTUFF_LABELS}) == 182 and len(parts.names) == 171


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"k": 10, "unseen_list": "15-5"}, "k is 10: the split 15-5 of voc has K = 5, no other"),
        ({"k": 10, "dataset": "cocostuff"}, "split 156-15 of cocostuff has K = 15, no other"),
        ({"dataset": "context", "unseen_list": "15-5"}, "choose one of paper, zs3net"),
        ({"dataset": "cocostuff", "unseen_list": "paper"}, "choose one of 156-15"),
        ({"dataset": "cocostuff", "background": False}, "background is False, but no class of"),
        ({"background": "some"}, "background is 'some': it must be true or false"),
        ({"background": True, "options": {"background": False}}, "options hold 'background'"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(changes, says):
    with pytest.raises(ZS3Error) as error:
        Settings.make(**changes)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"unseen_list": "15-5"}, "voc-k5-s0-15-5"),
        ({"unseen_list": "15-5", "background": False}, "voc-k5-s0-15-5-void"),
        ({"background": "False", "protocol": "strict"}, "voc-k10-s0-void-strict"),
        ({"dataset": "cocostuff"}, "cocostuff-k15-s0-156-15"),
    ],
)
def test_a_runs_name_tells_its_split_and_its_folder_is_enough_to_train_it(changes, name, tmp_path):
    s = Settings.make(**changes)
    assert s.run_name == name
    assert (s.tau, s.gamma) == (0.85, 1 / 40)  # VOC's at K = 10
    given = plan(tmp_path / "toy" / name, None, {})[2]
    given.pop("runs_root")
    assert Settings.make(**given).as_dict() == s.as_dict()
    assert how_to_make(tmp_path / "toy" / name) == f"python -m zs3lib run runs/toy/{name}"


# ---- data ---------------------------------------------------------------------------------------


def test_the_182_labels_become_171_classes_and_those_without_pixels_void(coco):
    data = open_data("cocostuff", coco, "train")
    assert len(data) == 24 and data.images[0].parent == coco / "cocostuff" / "images" / "train2017"
    every = Image.fromarray(np.r_[np.arange(182, dtype=np.uint8), np.uint8(255)][None])
    every.save(coco / "every.png")
    found = data.read_mask(coco / "every.png")[0]
    for number, label in enumerate(COCOSTUFF_LABELS, start=1):
        name = None if found[number - 1] == 255 else COCOSTUFF_CLASSES[found[number - 1]]
        assert name == (None if number in EMPTY else label)
    assert found[182] == 255
    Image.fromarray(np.full((1, 1), 182, np.uint8)).save(coco / "every.png")
    with pytest.raises(ZS3Error, match="every.png cannot be read as COCO-Stuff's labels"):
        data.read_mask(coco / "every.png")


def test_toy_coco_stuff_shows_contexts_classes_under_coco_stuffs_names(coco):
    ours, theirs = (open_data(name, coco, "val") for name in ("cocostuff", "context"))
    names = np.array([*COCOSTUFF_CLASSES, *["void"] * 85])
    for i in range(len(ours)):
        mask, other = ours.load_mask(i), theirs.load_mask(i)
        expected = np.array(["void", *cocostuff.NAMES])[other]
        assert (names[mask] == expected).all() and mask.dtype == np.uint8


def test_the_checkouts_toy_world_has_what_a_dataset_needs(world, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(toy, "DATA", tmp_path)
    monkeypatch.setattr(toy, "ensure", made.append)  # a tiny world takes the place of its own
    root = shutil.copytree(world, tmp_path / "toy")
    toy.provide(tmp_path / "mine", "cocostuff")
    assert made == [] and not (tmp_path / "mine").exists(), "elsewhere data is the user's"
    toy.provide(str(root), "voc")
    assert made == [str(root)] and not (root / "cocostuff").exists()
    toy.provide(root, "cocostuff")
    assert len(open_data("cocostuff", root, "val")) == 8


def test_without_background_it_is_void_and_the_others_move_down_by_one(world, tmp_path):
    counted, void = (open_data("voc", world, "train", background=b) for b in (True, False))
    assert void.names == VOC.names[1:] and (void.presence == counted.presence[:, 1:]).all()
    for i in range(len(void)):
        before, after = counted.load_mask(i), void.load_mask(i)
        assert after.dtype == np.uint8 and (after[(before == 0) | (before == 255)] == 255).all()
        inside = (before > 0) & (before < 255)
        assert (after[inside] == before[inside] - 1).all()
    Image.fromarray(np.full((4, 4), 19, np.uint8)).save(tmp_path / "predicted.png")
    assert (void.with_masks({0: tmp_path / "predicted.png"}).load_mask(0) == 19).all()
    parts = split("voc", 5, "15-5", background=False)
    seen = np.flatnonzero(~void.presence[:, list(parts.unseen)].any(1)).tolist()
    relabel = strict.training(void, parts, seen, seed=0).relabel[len(seen) :]
    assert {*relabel[relabel != np.arange(256)]} <= {*parts.unseen}


# ---- runs and tables ----------------------------------------------------------------------------


def trained(settings, root, **changes) -> dict:
    """The record of a tiny run, which is opened again."""
    run = Run(settings(**changes), runs_root=root / "runs", cache_root=root / "cache")
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    found = json.loads(run.save().read_text())
    opened = open_run(run.folder)
    assert opened.split == run.split and opened.open_data("val").names == run.split.names
    return found


def pixels(run: dict) -> list[int]:
    """Scored pixels of each class."""
    return np.sum(run["methods"]["ours"]["confusion"], 1).tolist()


def test_a_run_counts_background_or_trains_and_scores_without_it(settings, tmp_path, world):
    voc = {"k": None, "unseen_list": "15-5"}
    counted, void = (trained(settings, tmp_path, **voc, background=b) for b in (True, False))
    assert counted["seen"][0] == "background" and counted["unseen"] == void["unseen"] == [*FIVE]
    masks = [VOC(world, "val").load_mask(i) for i in range(8)]
    expected = sum(np.bincount(mask.ravel(), minlength=256)[:21] for mask in masks).tolist()
    assert pixels(counted) == expected and pixels(void) == expected[1:]
    assert "background" not in void["methods"]["ours"]["per_class_iou"]


def test_a_run_on_coco_stuff_from_its_folder(settings, tmp_path, coco):
    places = {"data_root": str(coco), "word_vectors": str(coco / "cocostuff" / "wordvectors.txt")}
    run = trained(settings, tmp_path, dataset="cocostuff", k=None, **places)
    assert run["unseen"] == [*split("cocostuff", 15, "156-15").unseen_names]
    assert len(pixels(run)) == 171 and sum(pixels(run)) > 0 and len(run["seen"]) == 156


def test_later_splits_stand_in_table_iv_alone_beside_what_is_published_on_them(tmp_path):
    given = {"hiou": 33.3}
    voc = record(k=5, unseen_list="15-5", background=False, lr=7, metrics={"zs3net": given})
    coco = record("cocostuff", 15, unseen_list="156-15", metrics={"ours": {"hiou": 44.4}})
    void = record(k=10, background=False, metrics={"ours": {"hiou": 55.5}})
    files = write(tmp_path, record(), voc, coco, void)
    names = "toy/voc-k5-s0-15-5-void, toy/voc-k10-s0-void"
    assert f"Left out, for a split that is not the paper's: {names}" in files["table1.md"]
    assert "33.3" not in "".join(files.values()) and "COCO" not in "".join(files.values())
    assert "Left out" not in files["table2.md"] and "table-cocostuff.md" not in files
    found = records.read_records(tmp_path / "runs", "toy", unseen_list=None)
    assert len(found) == 4 and len(records.read_records(tmp_path / "runs", "toy")) == 1
    text = beside.write_extras(found, tmp_path, "toy")[0].read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if "| Pascal" in line or "| COCO" in line]
    assert len(rows) == 6 and "CaGNet's authors trained ZS3Net" in text
    (zs3net,) = [row for row in rows if "2012, split 15-5, void | 5 | ZS3Net" in row]
    assert "33.3 (28.7) | CaGNet's authors" in zs3net
    assert any("COCO-Stuff, split 156-15 | 15 | Ours" in row and "44.4 (-)" in row for row in rows)
    assert any("2012, void | 10 | Ours" in row and "55.5 (-)" in row for row in rows)
    assert paper.hiou_frame(records.read_records(tmp_path / "runs", "toy")).shape[0] > 0
    with pytest.raises(ZS3Error, match="paper's classes: toy/cocostuff-k15-s0-156-15 stand in"):
        write(tmp_path, datasets=["cocostuff"])
    save(tmp_path / "runs", record(k=5, seed=1, unseen_list="15-5", background=False))
    with pytest.raises(ZS3Error, match="lr is 7 in one and 0.01 in the other"):
        write(tmp_path)
