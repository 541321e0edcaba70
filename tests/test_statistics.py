"""What a dataset holds, counted by hand on label maps of a few pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zs3lib import ZS3Error, plots, split
from zs3lib.classes import VOC_CLASSES
from zs3lib.data.segmentation import VOC
from zs3lib.explore import figure3, statistics

COW, PERSON, SOFA = (VOC_CLASSES.index(name) for name in ("cow", "person", "sofa"))


@pytest.fixture
def data(tmp_path):
    """Three images of 4 x 2 pixels: person; cow and person; sofa and void."""
    kit = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (kit / folder).mkdir(parents=True)
    maps = {"a": [0, 0, 0, PERSON], "b": [COW, COW, PERSON, 0], "c": [SOFA, 255, 255, 255]}
    for name, row in maps.items():
        mask = Image.fromarray(np.array([row, row], np.uint8))
        mask.save(kit / "SegmentationClass" / f"{name}.png")
        Image.new("RGB", (4, 2)).save(kit / "JPEGImages" / f"{name}.jpg")
    (kit / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\nc\n")
    (kit / "ImageSets" / "Segmentation" / "val.txt").write_text("d\n")
    return VOC(tmp_path, "train")


@pytest.fixture
def counts(data):
    return statistics.pixel_counts(data)


def test_pixels_and_images_of_each_class(counts):
    assert counts.shape == (3, 22) and counts.sum(1).tolist() == [8, 8, 8]
    assert counts[:, -1].tolist() == [0, 0, 6]
    frame = statistics.class_frequency(counts, "voc")
    assert frame.loc["person"].tolist() == pytest.approx([2, 200 / 3, 100 * 4 / 18, 0])
    assert frame.loc["cow"].tolist() == pytest.approx([1, 100 / 3, 100 * 4 / 18, 2])
    assert frame["pixels (%)"].sum() == pytest.approx(100) and frame.attrs["total"] == 3
    assert frame["unseen from K"].value_counts().to_dict() == {0: 11, 2: 2, 4: 2, 6: 2, 8: 2, 10: 2}


def test_what_k_takes_away(counts):
    left, per_class = statistics.left_for_stage1(counts, "voc")
    assert left["images"].tolist() == [2, 1, 1, 1, 1]  # K = 2 takes the cow, K = 4 the sofa
    assert left.loc[2, "pixels (%)"] == pytest.approx(100 * 10 / 18)
    assert left["object pixels unseen (%)"].tolist()[:2] == pytest.approx([40, 60])
    assert left.loc[4, "object pixels left (%)"] == pytest.approx(20)
    assert per_class.loc["person"].tolist() == [1] * 5
    assert per_class.loc["sofa", 2] == 1 and per_class.loc[["sofa", "cow"], 4].isna().all()


def test_sizes_and_similarity(data):
    assert statistics.image_sizes(data).iloc[0].tolist() == [4, 2, 2]
    parts = split("voc", 2)
    vectors = np.eye(21)
    vectors[COW, [0, PERSON]] = 3, 2  # nearest to background, which does not count
    similarity = statistics.cosine_similarity(7 * vectors, parts.names)
    np.testing.assert_allclose(np.diag(similarity), 1)
    near = statistics.nearest_seen(similarity, parts)
    assert near.loc["cow"].tolist() == ["person", pytest.approx(2 / 14**0.5)]


def shown(**shares: float) -> np.ndarray:
    """Counts of an image of 100 pixels; the rest is background."""
    counts = np.zeros(22, int)
    for name, share in shares.items():
        counts[VOC_CLASSES.index(name)] = round(100 * share)
    counts[0] = 100 - counts.sum()
    return counts


def test_images_are_chosen_by_their_labels_alone():
    counts = np.array(
        [
            shown(dog=0.3),
            shown(cow=0.3, train=0.3),
            shown(cow=0.2, dog=0.1),
            shown(cow=0.2, cat=0.02, dog=0.1),
            shown(train=0.2, cat=0.1, person=0.1),
            shown(sofa=0.2),
            shown(sofa=0.1, person=0.02),
        ]
    )
    parts = split("voc", 10)
    # Two new unseen classes and a seen one; then cow; then sofa, though alone; then a second round,
    # the first image first.
    assert figure3.choose(counts, parts, 6) == [4, 2, 5, 3, 1, 6]
    assert figure3.choose(counts, parts, 2) == [4, 2]
    assert figure3.choose(counts[:1], parts, 6) == [0]  # no unseen class: what there is
    none = np.array([shown(person=0.2), shown(), shown(cow=0.01, dog=0.3, bus=0.1)])
    assert figure3.choose(none, split("voc", 1), 2) == [2, 0]


def test_rows_of_figure_3_are_told_and_scored():
    parts = split("voc", 1)
    truth = np.array([[COW, PERSON, 0, 255]], np.uint8)
    guess = np.array([[COW, 0, 0, 0]], np.uint8)
    rows = [{"id": "a", "Ground truth": truth, "ZS3Net": truth * 0, "Ours": guess}]
    assert figure3.present(rows, parts).loc["a"].tolist() == ["cow", "background, person"]
    table = figure3.accuracy(rows, parts)
    assert table.loc["ZS3Net", ["Seen", "Unseen"]].tolist() == [50, 0]
    assert table.loc["Ours", ["Seen", "Unseen"]].tolist() == [50, 100]
    rows = [{name: x if name == "id" else x[:, -3:] for name, x in rows[0].items()}]
    assert figure3.present(rows, parts).loc["a", "unseen"] == ""
    assert list(figure3.accuracy(rows, parts)) == ["Seen"]


def test_figure_3_needs_a_finished_run():
    remedy = r"metrics.json not found: make runs/toy/voc-k10-s1/metrics.json .* K=10 SEED=1"
    with pytest.raises(ZS3Error, match=remedy):
        figure3.examples("nowhere/toy/voc-k10-s1")


def test_figures_star_unseen_classes_and_leave_their_cells_empty(counts):
    frame = statistics.class_frequency(counts, "voc")
    left, per_class = statistics.left_for_stage1(counts, "voc")
    ax = plots.images_left(per_class, frame["images"]).axes[0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert "★ cow (1)" in labels and "person (2)" in labels
    assert len(ax.texts) == 21 * 5 - (2 + 4 + 6 + 8 + 10)
    bars = plots.seen_and_unseen(left).axes[0]
    assert [text.get_text() for text in bars.texts][:2] == ["60 %", "40 %"]
    ax = plots.class_frequencies(frame, frame).axes[0]
    assert sum(text.get_text().startswith("★") for text in ax.get_yticklabels()) == 10
    similarity = pd.DataFrame(np.eye(21), frame.index, frame.index)
    fig = plots.similarity_clusters(similarity, statistics.unseen_from("voc"))
    texts = [text.get_text() for ax in fig.axes for text in ax.get_yticklabels()]
    assert sum(text.startswith("★") for text in texts) == 10
    sizes = pd.DataFrame({"width": [4.0, 6], "height": [2.0, 2], "aspect": [2.0, 3]})
    assert len(plots.image_sizes({"train": sizes, "val": sizes}).axes) == 3
