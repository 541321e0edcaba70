"""Figures: the colour map, the right panels and legends, and files that do not change by chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from zs3lib import ZS3Error, plots, split
from zs3lib.method.methods import METHODS
from zs3lib.plots import Cloud, Panel
from zs3lib.plots.diagnose import CLASSES_SHOWN

SPLIT = split("voc", 10)
PICTURE = np.full((12, 16, 3), 120, dtype=np.uint8)


def labels(*present: int) -> np.ndarray:
    return np.resize(np.array(present, dtype=np.uint8), (12, 16))


def legend_texts(fig: Figure) -> list[str]:
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def ticks(ax) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def test_voc_palette_is_the_official_one_and_void_is_shown_apart():
    palette = plots.voc_palette()
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[20].tolist() == [0, 64, 128] and palette[255].tolist() == [224, 224, 192]
    shown = plots.colorize(np.array([[0, 1], [20, 255]]))
    assert shown.shape == (2, 2, 3) and shown.dtype == np.uint8
    assert shown[0, 1].tolist() == [128, 0, 0] and shown[1, 1].tolist() == list(plots.VOID_COLOUR)


def test_qualitative_has_a_line_per_row_a_column_per_title_and_marks_unseen():
    row = {"Input": PICTURE, "Ground truth": labels(0, 10, 255)}
    row |= {"ZS3Net": labels(0, 17), "Ours": labels(0, 10)}
    fig = plots.qualitative([row] * 6, SPLIT.names, SPLIT.unseen_names)
    assert len(fig.axes) == 24
    assert [ax.get_title() for ax in fig.axes[:4]] == ["Input", "Ground truth", "ZS3Net", "Ours"]
    assert legend_texts(fig) == ["background", "sheep", "★ cow", "void"]
    alone = plots.qualitative([{"x": np.zeros((12, 16), np.float32)}], SPLIT.names, (), ["x"])
    assert alone.axes[0].images[0].get_clim() == (0, 1) and not alone.legends  # probabilities


@pytest.mark.parametrize(
    "change, message",
    [
        (None, "no image to show"),
        ({"Ours": None}, "row 1.*Ours"),
        ({"Ours": np.zeros((3, 3), np.uint8)}, "sizes differ"),
        ({"Ours": labels(99)}, r"\[99\] have no name"),
    ],
)
def test_qualitative_refuses_what_cannot_be_drawn(change, message):
    row = dict.fromkeys(("Ground truth", "ZS3Net", "Ours"), labels(0)) | {"Input": PICTURE}
    row = {name: value for name, value in (row | (change or {})).items() if value is not None}
    with pytest.raises(ZS3Error, match=message):
        plots.qualitative([] if change is None else [row], SPLIT.names, ())


def test_qualitative_aligns_its_lines_and_stars_regions_of_unseen_classes():
    cow = np.zeros((80, 120), np.uint8)
    cow[20:60, 20:60] = 10  # one region, with room for a star
    cow[70, :] = 10  # and a sliver
    wide = {"Input": np.zeros((80, 120, 3), np.uint8), "Ground truth": cow, "Ours": cow * 0 + 17}
    tall = {column: np.swapaxes(x, 0, 1) for column, x in wide.items()}
    fig = plots.qualitative([wide, tall, wide], SPLIT.names, SPLIT.unseen_names, list(wide))
    assert len({ax.get_box_aspect() for ax in fig.axes}) == 1
    stars = [[line.get_xydata()[0].tolist() for line in ax.lines] for ax in fig.axes]
    assert [len(s) for s in stars] == [0, 1, 0] * 3
    x, y = stars[1][0]
    assert 35 <= x <= 45 and 35 <= y <= 45


def test_show_samples():
    masks = [labels(0, 1), *[labels(0, 15)] * 4]
    fig = plots.show_samples([PICTURE] * 5, masks, SPLIT.names, SPLIT.unseen_names, titles="abcde")
    assert sum(bool(ax.images) for ax in fig.axes) == 10
    assert legend_texts(fig) == ["background", "person", "★ aeroplane"]
    assert [ax.get_title() for ax in fig.axes if ax.get_title()] == list("abcde")


def test_loss_curves_leave_gaps_and_skip_what_nobody_has():
    history = {
        "zs3net": {"generator": [1.0, 0.5], "classifier": [2.0, 1.0], "recursion": [], "q": []},
        "ours": {"generator": [1.0, 0.4], "recursion": [None, 0.1], "q": [float("nan")] * 2},
    }
    fig = plots.loss_curves(history)
    assert len(fig.axes) == 3 and legend_texts(fig) == ["ZS3Net", "Ours"]
    (recursion,) = fig.axes[2].lines
    assert to_hex(recursion.get_color()) == METHODS["ours"].colour
    assert recursion.get_xydata()[-1].tolist() == [2, 0.1]
    with pytest.raises(ZS3Error, match="no finite number"):
        plots.loss_curves({"ours": {"generator": []}})


@pytest.mark.parametrize("dataset, k, panels", [("voc", 10, 2), ("voc", 1, 2), ("context", 10, 4)])
def test_per_class_iou(dataset, k, panels):
    parts = split(dataset, k)
    scores = {method: dict.fromkeys(parts.names, 10.0) for method in ("zs3net", "ours")}
    fig = plots.per_class_iou(scores, parts.unseen_names)
    assert len(fig.axes) == panels and legend_texts(fig) == ["ZS3Net", "Ours"]
    names = [ticks(ax) for ax in fig.axes]
    assert len(names[0]) == k and all(name.startswith("★") for name in names[0])
    assert sum(map(len, names)) == len(parts.names)
    assert not any(name.startswith("★") for panel in names[1:] for name in panel)


def test_hiou_over_k():
    rows = [["voc", 2, "Ours", "published", 30.0], ["context", 4, "ZS3Net", "measured", 20.0]]
    frame = pd.DataFrame(rows, columns=["dataset", "k", "model", "source", "hiou"])
    fig = plots.hiou_over_k(frame)
    assert [ax.get_title() for ax in fig.axes] == ["Pascal-VOC 2012", "Pascal-Context"]


def test_a_method_has_one_colour_in_every_figure_by_name_and_by_title():
    colours = plots.method_colours([*METHODS, "Ours", "Final", "something else"])
    assert colours["ours"] == colours["Ours"] == colours["Final"] == METHODS["ours"].colour
    assert len({colours[method] for method in METHODS} | {colours["something else"]}) == 5


def test_panels_of_the_plane_share_one_scale_and_one_legend():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    pull = np.array([[0.0, 2.0], [1.0, 0.0]])
    cloud = Cloud(points, "real")
    hollow = Cloud(points, "generated", hollow=True)
    panels = [
        Panel("long", [cloud], arrows=(points, pull)),
        Panel("half", [cloud, hollow], arrows=(points, pull / 2)),
        Panel("field", [cloud], height=lambda z: z[:, 0]),
        Panel("regions", [cloud], regions=lambda z: z[:, 1] > 0, region_colours=["C0", "C1"]),
    ]
    fig = plots.plane(panels, limits=(-1, 2, -1, 2), arrow=0.5, columns=3)
    assert legend_texts(fig) == ["real", "generated"]
    assert [ax.get_title() for ax in fig.axes[:4]] == ["long", "half", "field", "regions"]
    arrows = [next(c for c in ax.collections if isinstance(c, Quiver)) for ax in fig.axes[:2]]
    lengths = [np.hypot(drawn.U, drawn.V).max() for drawn in arrows]
    assert lengths == pytest.approx([0.5, 0.25])  # the longest of all panels, and half of it


def test_confusion_shows_unseen_first_and_what_takes_their_pixels():
    names = [f"c{i}" for i in range(60)]
    table = pd.DataFrame(np.eye(60) * 100, names, names)
    table.loc["c3", ["c3", "c50"]] = 30, 70
    small = table.iloc[:6, :6]
    fig = plots.confusion_heatmaps({"zs3net": small, "ours": small}, ["c3"])
    assert [ticks(ax)[:2] for ax in fig.axes[:2]] == [["★ c3", "c0"]] * 2
    assert fig.axes[0].texts[0].get_text() == "30"
    large = plots.confusion_heatmaps({"ours": table}, ["c3", "c4"]).axes[0]
    columns = [text.get_text() for text in large.get_xticklabels()]
    assert ticks(large) == ["★ c3", "★ c4"] and columns[:3] == ["★ c3", "★ c4", "c50"]
    assert len(columns) == CLASSES_SHOWN


@pytest.mark.parametrize("count", [1, 3])
def test_iou_over_distance_is_sorted_and_tells_the_correlation(count):
    columns = {"nearest": "dog", "distance": [0.3, 0.1, 0.2], "zs3net": 0, "ours": [0, 20, 10]}
    frame = pd.DataFrame(columns, pd.Index(["cow", "cat", "sofa"], name="class")).head(count)
    fig = plots.iou_over_distance(frame, ["zs3net", "ours"])
    assert ticks(fig.axes[0]) == ["★ cat ~ dog", "★ sofa ~ dog", "★ cow ~ dog"][-count:]
    told = "rank correlation with the distance: Ours -1.00"  # nothing to rank in zeros
    assert fig.axes[1].get_title() == (told if count > 1 else "")
    assert legend_texts(fig) == ["ZS3Net", "Ours"]


def test_saved_files_are_equal_for_equal_figures(tmp_path):
    for folder in ("a", "b"):
        fig = plots.loss_curves({"ours": {"generator": [1.0, 0.5]}})
        files = plots.save(fig, tmp_path / folder / "loss.v1")
        assert [file.name for file in files] == ["loss.v1.png", "loss.v1.pdf"]
    for name in ("loss.v1.png", "loss.v1.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(list((tmp_path / "a").iterdir())) == 2
