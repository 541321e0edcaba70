"""Figures: the colour map, the right panels and legends, and files that do not change by chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver

from zs3lib import ZS3Error, plots, split
from zs3lib.classes import COCOSTUFF_CLASSES
from zs3lib.explore import statistics
from zs3lib.method.methods import METHODS
from zs3lib.plots import Cloud, Panel
from zs3lib.plots.diagnose import CLASSES_SHOWN

SPLIT = split("voc", 10)


def legend_texts(fig) -> list[str]:
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def titles(fig) -> list[str]:
    return [ax.get_title() for ax in fig.axes if ax.get_title()]


def ticks(ax) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def test_qualitative_shows_rows_and_columns_in_voc_colours_and_stars_unseen_regions():
    cow = np.zeros((80, 120), np.uint8)
    cow[20:60, 20:60] = 10  # one region, with room for a star
    cow[70, :] = 10  # and a sliver
    row = {"Input": np.zeros((80, 120, 3), np.uint8), "Ground truth": cow, "Ours": cow // 10 * 17}
    row["Ours"][0, 0] = 255
    tall = {column: np.swapaxes(x, 0, 1) for column, x in row.items()}
    fig = plots.qualitative([row, tall, row], SPLIT.names, SPLIT.unseen_names)
    assert titles(fig) == list(row) and len(fig.axes) == 9
    assert legend_texts(fig) == ["background", "sheep", "★ cow", "void"]
    assert len({ax.get_box_aspect() for ax in fig.axes}) == 1
    stars = [[line.get_xydata()[0] for line in ax.lines] for ax in fig.axes]
    assert [len(s) for s in stars] == [0, 1, 0] * 3
    assert all(35 <= x <= 45 for x in stars[1][0])
    shown = fig.axes[1].images[0].get_array()
    assert shown[0, 0].tolist() == [0, 0, 0] and shown[40, 40].tolist() == [64, 128, 0]
    alone = plots.qualitative([{"x": np.zeros((12, 16), np.float32)}], SPLIT.names, ())
    assert alone.axes[0].images[0].get_clim() == (0, 1) and not alone.legends  # probabilities
    first = [{"x": np.zeros((12, 16), np.uint8)}]  # without background label 0 may be unseen
    assert len(plots.qualitative(first, SPLIT.names[1:], ["aeroplane"]).axes[0].lines) == 1
    with pytest.raises(ZS3Error, match="no image to show"):
        plots.qualitative([], SPLIT.names, ())


def test_show_samples():
    pictures = [np.full((12, 16, 3), 120, np.uint8)] * 5
    masks = [np.resize(np.uint8([0, 1]), (12, 16)), *[np.full((12, 16), 15, np.uint8)] * 4]
    fig = plots.show_samples(pictures, masks, SPLIT.names, SPLIT.unseen_names, titles="abcde")
    assert sum(bool(ax.images) for ax in fig.axes) == 10 and titles(fig) == list("abcde")
    assert legend_texts(fig) == ["background", "person", "★ aeroplane"]


def test_loss_curves_leave_gaps_and_skip_what_nobody_has():
    history = {
        "zs3net": {"generator": [1.0, 0.5], "classifier": [2.0, 1.0], "recursion": [], "q": []},
        "ours": {"generator": [1.0, 0.4], "recursion": [None, 0.1], "q": [None, None]},
    }
    fig = plots.loss_curves(history)
    assert len(fig.axes) == 3 and legend_texts(fig) == ["ZS3Net", "Ours"]
    (recursion,) = fig.axes[2].lines
    assert to_hex(recursion.get_color()) == METHODS["ours"].colour
    assert recursion.get_xydata()[-1].tolist() == [2, 0.1]


def test_per_class_iou():
    parts = split("context", 10)
    scores = {method: dict.fromkeys(parts.names, 10.0) for method in ("zs3net", "ours")}
    fig = plots.per_class_iou(scores, parts.unseen_names)
    assert legend_texts(fig) == ["ZS3Net", "Ours"]
    first, *others = (ticks(ax) for ax in fig.axes)
    assert first == [f"★ {name}" for name in parts.unseen_names] and len(others) == 3
    assert sum(others, []) == [parts.names[c] for c in parts.seen]


def test_panels_of_the_plane_share_one_scale_and_one_legend():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    pull = np.array([[0.0, 2.0], [1.0, 0.0]])
    clouds = [Cloud(points, "real", "C0"), Cloud(points, "generated", "C1", hollow=True)]
    both = {"long": pull, "half": pull / 2}
    panels = [Panel(title, clouds, arrows=(points, drawn)) for title, drawn in both.items()]
    fig = plots.plane(panels, limits=(-1, 2, -1, 2), arrow=0.5)
    assert legend_texts(fig) == ["real", "generated"] and titles(fig) == ["long", "half"]
    arrows = [next(c for c in ax.collections if isinstance(c, Quiver)) for ax in fig.axes[:2]]
    lengths = [np.hypot(drawn.U, drawn.V).max() for drawn in arrows]
    assert lengths == pytest.approx([0.5, 0.25])  # the longest of all panels, and half of it


def test_confusion_shows_unseen_first_and_what_takes_their_pixels():
    names = [f"c{i}" for i in range(60)]
    table = pd.DataFrame(np.eye(60) * 100, names, names)
    table.loc["c3", ["c3", "c5"]] = 30, 70
    small = plots.confusion_heatmaps({"zs3net": table.iloc[:6, :6]}, ["c3"]).axes[0]
    assert ticks(small)[:3] == ["★ c3", "c5", "c0"] and small.texts[0].get_text() == "30"
    large = plots.confusion_heatmaps({"ours": table}, ["c3", "c4"]).axes[0]
    columns = [text.get_text() for text in large.get_xticklabels()]
    assert ticks(large) == ["★ c3", "★ c4"] and columns[:3] == ["★ c3", "★ c4", "c5"]
    assert len(columns) == CLASSES_SHOWN


def test_confidences_tell_the_share_that_is_right():
    columns = ["method", "kind", "class", "predicted", "unseen", "confidence"]
    rows = [["ours", "real", "cow", "car", True, 0.8], ["ours", "generated", "cow", "cow", True, 1]]
    rows += [["ours", "generated", "car", "car", False, 0.7]]  # no real car
    seen, unseen = titles(plots.confidence_histograms(pd.DataFrame(rows, columns=columns), 0.85))
    assert seen == "Ours, seen classes\ngenerated 100 % right"
    assert unseen == "Ours, ★ unseen classes\ngenerated 100 % right, real 0 % right"


def test_figures_of_a_dataset_star_unseen_classes_and_tell_what_is_left():
    counts = np.ones((2, 22), int)
    counts[1, list(SPLIT.unseen)] = 0
    frame = statistics.class_frequency(counts, "voc")
    left, _ = statistics.left_for_stage1(counts, "voc")
    bars = plots.object_pixels(left).axes[0]
    assert [text.get_text() for text in bars.texts[-5:]] == ["7 %", "13 %", "20 %", "27 %", "33 %"]
    similarity = pd.DataFrame(np.eye(21), frame.index, frame.index)
    clusters = plots.similarity_clusters(similarity, frame["unseen from K"])
    for fig in (plots.class_frequencies(frame, frame), clusters):
        assert 10 in [sum(text.startswith("★") for text in ticks(ax)) for ax in fig.axes]


def test_figures_of_a_later_papers_split_tell_seen_from_unseen_and_what_no_image_holds():
    counts = np.zeros((2, 172), int)
    held = ("cow", "road", "person", "sky-other")  # the first two are unseen
    counts[:, [COCOSTUFF_CLASSES.index(name) for name in held]] = 1
    frame = statistics.class_frequency(counts, "cocostuff", "156-15")
    fig = plots.class_frequencies(frame, frame)
    assert sorted(ticks(fig.axes[0])) == ["person", "sky-other", "★ cow", "★ road"]
    assert fig.get_suptitle().endswith("\nnot drawn: 167 classes without a pixel")
    assert legend_texts(fig) == ["seen", "★ unseen"]


def test_saved_files_are_equal_for_equal_figures(tmp_path):
    for folder in ("a", "b"):
        fig = plots.loss_curves({"ours": {"generator": [1.0, 0.5]}})
        files = plots.save(fig, tmp_path / folder / "loss.v1")
        assert [file.name for file in files] == ["loss.v1.png", "loss.v1.pdf"]
    for name in ("loss.v1.png", "loss.v1.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
