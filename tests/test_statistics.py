"""What a dataset holds and which images Fig. 3 shows, counted by hand on a few pixels."""

from __future__ import annotations

import numpy as np
import pytest

from zs3lib import ZS3Error, open_run, split
from zs3lib.classes import COCOSTUFF_CLASSES, VOC_CLASSES
from zs3lib.data.segmentation import open_data
from zs3lib.explore import figure3, statistics

COW, PERSON, SOFA = (VOC_CLASSES.index(name) for name in ("cow", "person", "sofa"))


def image(background: int, void: int = 0, **pixels: int) -> list[int]:
    """How many pixels of each class and of void an image has."""
    return [background, *(pixels.get(name, 0) for name in VOC_CLASSES[1:]), void]


COUNTS = np.array([image(6, person=2), image(2, cow=4, person=2), image(0, void=6, sofa=2)])


def test_pixels_of_each_class_and_image_are_counted(world):
    data = open_data("voc", world, "val")
    counts = data.pixel_counts()
    mask = data.load_mask(3)
    assert counts.shape == (len(data), 22) and counts[3].sum() == mask.size
    assert counts[3, [0, -1]].tolist() == [(mask == 0).sum(), (mask == 255).sum()]


def test_how_often_each_class_occurs():
    frame = statistics.class_frequency(COUNTS, "voc")
    assert frame.loc["person"].tolist() == pytest.approx([2, 200 / 3, 100 * 4 / 18, 0])
    assert frame.loc["cow"].tolist() == pytest.approx([1, 100 / 3, 100 * 4 / 18, 2])
    assert frame["unseen from K"].value_counts().to_dict() == {0: 11, 2: 2, 4: 2, 6: 2, 8: 2, 10: 2}


def test_what_k_takes_away():
    left, per_class = statistics.left_for_stage1(COUNTS, "voc")
    assert left["images"].tolist() == [2, 1, 1, 1, 1]  # K = 2 takes the cow, K = 4 the sofa
    assert left.loc[2, "pixels (%)"] == pytest.approx(100 * 10 / 18)
    assert left["object pixels unseen (%)"].tolist()[:2] == pytest.approx([40, 60])
    assert left.loc[4, "object pixels left (%)"] == pytest.approx(20)
    assert per_class.loc["person"].tolist() == [1] * 5
    assert per_class.loc["sofa", 2] == 1 and per_class.loc[["sofa", "cow"], 4].isna().all()


def test_what_the_split_of_a_later_paper_takes_away_at_its_one_k():
    frame = statistics.class_frequency(COUNTS, "voc", "15-5")
    assert frame.loc[["sofa", "cow"], "unseen from K"].tolist() == [5, 0]
    left, per_class = statistics.left_for_stage1(COUNTS, "voc", "15-5")
    assert left["images"].to_dict() == {5: 2} and list(per_class) == [5]
    assert per_class.loc["person", 5] == 2 and np.isnan(per_class.loc["sofa", 5])
    assert statistics.unseen_from("context", "zs3net")["boat"] == 6


def test_without_a_background_every_class_is_an_object():
    counts = np.zeros((2, len(COCOSTUFF_CLASSES) + 1), int)
    counts[0, COCOSTUFF_CLASSES.index("person")] = 3  # label 0
    counts[1, [COCOSTUFF_CLASSES.index(name) for name in ("person", "cow")]] = 2, 5
    left, per_class = statistics.left_for_stage1(counts, "cocostuff", "156-15")
    row = left.loc[15]
    assert row[["object pixels left (%)", "object pixels unseen (%)"]].tolist() == [30, 50]
    assert per_class.loc["person"].tolist() == [1]


def test_images_are_chosen_by_their_labels_alone():
    counts = [
        image(70, dog=30),
        image(40, cow=30, train=30),
        image(70, cow=20, dog=10),
        image(68, cow=20, cat=2, dog=10),
        image(60, train=20, cat=10, person=10),
        image(80, sofa=20),
        image(88, sofa=10, person=2),
    ]
    counts = np.array(counts)
    parts = split("voc", 10)
    # Two new unseen classes and a seen one; then cow; then sofa, though alone; then a second round,
    # the first image first.
    assert figure3.choose(counts, parts, 6) == [4, 2, 5, 3, 1, 6]
    assert figure3.choose(counts, parts, 2) == [4, 2]
    none = np.array([image(80, person=20), image(100), image(59, cow=1, dog=30, bus=10)])
    assert figure3.choose(none, split("voc", 1), 2) == [2, 0]  # no unseen class: what there is


@pytest.mark.parametrize("truth, unseen", [([COW, PERSON, 0, 255], "cow"), ([PERSON, 0], "")])
def test_the_classes_of_each_image_are_told(truth, unseen):
    rows = [{"id": "a", "Ground truth": np.array([truth], np.uint8)}]
    told = figure3.present(rows, split("voc", 1)).loc["a"].tolist()
    assert told == [unseen, "background, person"]


def test_figure_3_shows_the_images_asked_for_and_needs_a_finished_run(trained):
    folder = trained / "runs" / "toy" / "voc-k10-s0"
    ids = open_data("voc", open_run(folder).settings.data_root, "val").ids
    rows, _ = figure3.examples(folder, images=f"{ids[2]}, {ids[0].replace('_', '')}")
    assert [row["id"] for row in rows] == [ids[2], ids[0]]
    assert rows[0]["Ours"].shape == rows[0]["Ground truth"].shape
    rows, _ = figure3.examples(folder, images=ids[0], models="equal_weight, ours")
    assert list(rows[0]) == ["id", "Input", "Ground truth", "Equal Weight", "Ours"]
    with pytest.raises(ZS3Error, match=f"no validation image 'x': ids look like {ids[0]}"):
        figure3.examples(folder, images="x")
    remedy = r"metrics.json not found: make runs/toy/voc-k10-s1/metrics.json .* K=10 SEED=1"
    with pytest.raises(ZS3Error, match=remedy):
        figure3.examples("nowhere/toy/voc-k10-s1")
