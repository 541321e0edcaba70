"""What a dataset holds, counted by hand on label maps of a few pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zs3lib import plots, statistics
from zs3lib.classes import VOC_CLASSES
from zs3lib.data import VOC

COW, PERSON, SOFA = (VOC_CLASSES.index(name) for name in ("cow", "person", "sofa"))


@pytest.fixture
def data(tmp_path):
    """Three images of 4 x 2 pixels: person; cow and person; sofa and void."""
    kit = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (kit / folder).mkdir(parents=True)
    maps = {"a": [0, 0, 0, PERSON], "b": [COW, COW, PERSON, 0], "c": [SOFA, 255, 255, 255]}
    for name, row in maps.items():
        Image.new("RGB", (4, 2)).save(kit / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(np.array([row, row], np.uint8)).save(kit / "SegmentationClass" / f"{name}.png")
    (kit / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\nc\n")
    (kit / "ImageSets" / "Segmentation" / "val.txt").write_text("d\n")
    return VOC(tmp_path, "train")


def test_pixels_and_images_of_each_class(data):
    counts = statistics.pixel_counts(data)
    assert counts.shape == (3, 22) and counts.sum(1).tolist() == [8, 8, 8] and counts[:, -1].tolist() == [0, 0, 6]
    frame = statistics.class_frequency(counts, data.names)
    assert frame.loc["person"].tolist() == pytest.approx([2, 200 / 3, 100 * 4 / 18, 0])
    assert frame.loc["cow"].tolist() == pytest.approx([1, 100 / 3, 100 * 4 / 18, 2])
    assert frame["pixels (%)"].sum() == pytest.approx(100) and frame.attrs["total"] == 3
    assert frame["unseen from K"].value_counts().to_dict() == {0: 11, 2: 2, 4: 2, 6: 2, 8: 2, 10: 2}


def test_what_k_takes_away(data):
    left, per_class = statistics.left_for_stage1(statistics.pixel_counts(data), "voc")
    assert left["images"].tolist() == [2, 1, 1, 1, 1]  # K = 2 takes the cow, K = 4 the sofa
    assert left.loc[2, "pixels (%)"] == pytest.approx(100 * 10 / 18)
    assert left.loc[2, "object pixels unseen (%)"] == pytest.approx(100 * 4 / 10)
    assert left.loc[4, "object pixels unseen (%)"] == pytest.approx(100 * 6 / 10)
    assert left.loc[4, "object pixels left (%)"] == pytest.approx(100 * 2 / 10)
    assert per_class.loc["person"].tolist() == [1] * 5
    assert per_class.loc["sofa", 2] == 1 and per_class.loc[["sofa", "cow"], 4].isna().all()


def test_sizes_and_similarity(data, tmp_path):
    assert statistics.image_sizes(data).iloc[0].tolist() == [4, 2, 2]
    path = tmp_path / "words.txt"
    lines = [f"{name} " + " ".join(map(str, np.eye(300)[i] + np.eye(300)[299])) for i, name in enumerate("pqr")]
    path.write_text("\n".join(["3 300", *lines]) + "\n")
    similarity = statistics.word_similarity(str(path), ("p", "q", "r"))
    np.testing.assert_allclose(similarity, 0.5 + 0.5 * np.eye(3), atol=1e-6)


def test_figures_star_unseen_classes_and_leave_their_cells_empty(data):
    counts = statistics.pixel_counts(data)
    frame = statistics.class_frequency(counts, data.names)
    left, per_class = statistics.left_for_stage1(counts, "voc")
    fig = plots.images_left(per_class, frame["images"])
    labels = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    assert "★ cow (1)" in labels and "person (2)" in labels
    assert sum(text.get_text() == "★" for text in fig.axes[0].texts) == 2 + 4 + 6 + 8 + 10
    bars = plots.seen_and_unseen(left).axes[0]
    assert [text.get_text() for text in bars.texts][:2] == ["60 %", "40 %"]
    assert sum(t.get_text()[0] == "★" for t in plots.class_frequencies(frame, frame).axes[0].get_yticklabels()) == 10
    similarity = pd.DataFrame(np.eye(21), index=data.names, columns=data.names)
    fig = plots.similarity_clusters(similarity, statistics.unseen_from(data.names))
    texts = [t.get_text() for ax in fig.axes for t in ax.get_yticklabels()]
    assert sum(text.startswith("★") for text in texts) == 10
