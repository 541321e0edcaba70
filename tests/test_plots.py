"""Figures: the colour map, the right panels and legends, and files that do not change without reason."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from PIL import Image

from zs3lib import figure3, plots, records
from zs3lib.classes import split
from zs3lib.errors import ZS3Error
from zs3lib.plots import method

SPLIT = split("voc", 10)


def labels(*present: int) -> np.ndarray:
    return np.resize(np.array(present, dtype=np.uint8), (12, 16))


def picture() -> np.ndarray:
    return np.full((12, 16, 3), 120, dtype=np.uint8)


def legend_texts(fig: Figure) -> list[str]:
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


def test_voc_palette_is_the_official_one():
    palette = plots.voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[20].tolist() == [0, 64, 128] and palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(plots.voc_palette(60), axis=0)) == 60


def test_colorize_shows_void_apart():
    shown = plots.colorize(np.array([[0, 1], [20, 255]]))
    assert shown.shape == (2, 2, 3) and shown.dtype == np.uint8
    assert shown[0, 1].tolist() == [128, 0, 0] and shown[1, 1].tolist() == list(plots.VOID_COLOUR)


def test_qualitative_has_six_rows_four_columns_and_marks_unseen():
    row = {"Input": picture(), "Ground truth": labels(0, 10, 255), "ZS3Net": labels(0, 17), "Ours": labels(0, 10)}
    fig = plots.qualitative([row] * 6, SPLIT.names, SPLIT.unseen_names)
    assert len(fig.axes) == 24
    assert [ax.get_title() for ax in fig.axes[:4]] == ["Input", "Ground truth", "ZS3Net", "Ours"]
    assert legend_texts(fig) == ["background", "sheep", "★ cow", "void"]
    weights = [text.get_fontweight() for text in fig.legends[0].get_texts()]
    assert weights == ["normal", "normal", "bold", "normal"]
    with pytest.raises(ZS3Error, match="row 1.*Ours"):
        plots.qualitative([{k: v for k, v in row.items() if k != "Ours"}], SPLIT.names, ())
    with pytest.raises(ZS3Error, match="sizes differ"):
        plots.qualitative([row | {"Ours": np.zeros((3, 3), np.uint8)}], SPLIT.names, ())
    with pytest.raises(ZS3Error, match=r"\[99\] have no name"):
        plots.qualitative([row | {"Ours": labels(99)}], SPLIT.names, ())


def test_qualitative_aligns_its_lines_and_stars_regions_of_unseen_classes():
    cow = np.zeros((80, 120), np.uint8)
    cow[20:60, 20:60] = 10  # one region, with room for a star
    cow[70, :] = 10  # and a sliver
    wide = {"Input": np.zeros((80, 120, 3), np.uint8), "Ground truth": cow, "Ours": np.full_like(cow, 17)}
    tall = {column: np.swapaxes(x, 0, 1) for column, x in wide.items()}
    fig = plots.qualitative([wide, tall, wide], SPLIT.names, SPLIT.unseen_names, columns=list(wide))
    assert len({ax.get_box_aspect() for ax in fig.axes}) == 1
    stars = [[line.get_xydata()[0].tolist() for line in ax.lines] for ax in fig.axes]
    assert [len(s) for s in stars] == [0, 1, 0] * 3
    x, y = stars[1][0]
    assert 35 <= x <= 45 and 35 <= y <= 45


def test_images_of_figure_3_are_chosen_by_their_labels_alone():
    def image(**parts: float) -> np.ndarray:
        shown = np.zeros(21)
        for name, share in parts.items():
            shown[SPLIT.names.index(name)] = share
        shown[0] = 1 - shown.sum()
        return shown

    shown = np.array([
        image(dog=0.3), image(cow=0.3, train=0.3), image(cow=0.2, dog=0.1), image(cow=0.2, cat=0.02, dog=0.1),
        image(train=0.2, cat=0.1, person=0.1), image(sofa=0.2), image(sofa=0.1, person=0.02),
    ])  # fmt: skip
    # two new unseen classes and a seen one; then cow; then sofa, though alone; then a second round, the first image first
    assert figure3.choose(shown, SPLIT, 6) == [4, 2, 5, 3, 1, 6]
    assert figure3.choose(shown, SPLIT, 2) == [4, 2] and figure3.choose(shown[:1], SPLIT, 6) == []
    with pytest.raises(ZS3Error, match=r"metrics.json not found: make runs/toy/voc-k10-s1/metrics.json .* K=10 SEED=1"):
        figure3.examples("nowhere/toy/voc-k10-s1")


def test_show_samples():
    fig = plots.show_samples([picture()] * 5, [labels(0, 1), *[labels(0, 15)] * 4], SPLIT.names, SPLIT.unseen_names)
    assert sum(bool(ax.images) for ax in fig.axes) == 10
    assert legend_texts(fig) == ["background (not coloured)", "person", "★ aeroplane"]


def test_loss_curves_leave_gaps_and_skip_what_nobody_has():
    history = {
        "zs3net": {"generator": [1.0, 0.5], "classifier": [2.0, 1.0], "recursion": [], "q": []},
        "ours": {"generator": [1.0, 0.4], "classifier": [2.0, 0.9], "recursion": [None, 0.1], "q": [float("nan")] * 2},
    }
    fig = plots.loss_curves(history)
    assert len(fig.axes) == 3 and legend_texts(fig) == ["ZS3Net", "Ours"]
    assert len(fig.axes[2].lines) == 1  # the recursion: Ours alone, in its own colour
    assert to_hex(fig.axes[2].lines[0].get_color()) == to_hex(fig.axes[0].lines[1].get_color())
    with pytest.raises(ZS3Error, match="no finite number"):
        plots.loss_curves({"ours": {"generator": []}})


@pytest.mark.parametrize("dataset, panels", [("voc", 2), ("context", 4)])
def test_per_class_iou(dataset, panels):
    parts = split(dataset, 10)
    scores = {m: dict.fromkeys(parts.names, 10.0) for m in ("zs3net", "ours")}
    fig = plots.per_class_iou(scores, parts.unseen_names)
    assert len(fig.axes) == panels and legend_texts(fig) == ["ZS3Net", "Ours"]
    ticks = [[text.get_text() for text in ax.get_yticklabels()] for ax in fig.axes]
    assert len(ticks[0]) == 10 and all(text.startswith("★") for text in ticks[0])
    assert sum(map(len, ticks)) == len(parts.names) and not any(t.startswith("★") for panel in ticks[1:] for t in panel)


def test_hiou_over_k_without_and_with_runs():
    frame = records.hiou_frame([])
    fig = plots.hiou_over_k(frame)
    assert [ax.get_title() for ax in fig.axes] == ["Pascal-VOC 2012", "Pascal-Context"]
    assert len(frame) == 20 and set(frame["source"]) == {"published"}


def test_panels_of_the_plane_share_one_scale_and_one_legend():
    points, pull = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 2.0], [1.0, 0.0]])
    cloud = method.Cloud(points, "real")
    panels = [
        method.Panel("long", [cloud], arrows=(points, pull)),
        method.Panel("half", [cloud, method.Cloud(points, "generated", hollow=True)], arrows=(points, pull / 2)),
        method.Panel(
            "field", [cloud], height=lambda z: z[:, 0], regions=lambda z: z[:, 1] > 0, region_colours=["C0", "C1"]
        ),
    ]
    fig = plots.plane(panels, limits=(-1, 2, -1, 2), arrow=0.5)
    assert legend_texts(fig) == ["real", "generated"] and [ax.get_title() for ax in fig.axes] == [
        "long",
        "half",
        "field",
    ]
    arrows = [next(c for c in ax.collections if isinstance(c, Quiver)) for ax in fig.axes[:2]]
    assert np.hypot(arrows[0].U, arrows[0].V).max() == pytest.approx(0.5)  # the longest of all panels
    assert np.hypot(arrows[1].U, arrows[1].V).max() == pytest.approx(0.25)


def test_an_animation_is_one_self_contained_picture():
    panels = [method.Panel(str(i), [method.Cloud(np.full((3, 2), i), "")]) for i in range(3)]
    shown = plots.animate(panels, limits=(0, 3, 0, 3), text="three frames")
    kind, data = shown.split('src="')[1].rstrip('">').split(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as film:
        assert (kind, film.format, film.n_frames) == ("data:image/gif;base64", "GIF", 3)
    assert 'alt="three frames"' in shown


def test_the_loop_of_figure_2_names_its_parts():
    texts = {text.get_text().replace("\n", " ") for ax in plots.recursion_loop().axes for text in ax.texts}
    assert {"generator", "frozen backbone", "MMD(x, y)", "γ · ZS-MMD(a, b; c)", "one Adam step"} <= texts


def test_a_method_has_one_colour_in_every_figure():
    both, alone = plots.method_colours(["no_generator", "zs3net", "ours"]), plots.method_colours(["ours", "zs3net"])
    assert both["ours"] == alone["ours"] and both["zs3net"] == alone["zs3net"]
    assert len({to_hex(colour) for colour in plots.method_colours([*both, "equal_weight", "other"]).values()}) == 5


def test_saved_files_are_equal_for_equal_figures(tmp_path):
    for folder in ("a", "b"):
        fig = plots.loss_curves({"ours": {"generator": [1.0, 0.5]}})
        assert [f.name for f in plots.save(fig, tmp_path / folder / "loss.v1")] == ["loss.v1.png", "loss.v1.pdf"]
    for name in ("loss.v1.png", "loss.v1.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(list((tmp_path / "a").iterdir())) == 2
