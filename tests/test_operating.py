"""Methods apart from their operating point: the table and the curves of made-up records."""

from __future__ import annotations

import pytest

from zs3lib import plots
from zs3lib.method.methods import METHODS
from zs3lib.results import beside

FALLING = [50.0, 40.0, 0.0]


def record(k: int, seed: int, *, best: float | None = 20.0) -> dict:
    results = {}
    for method, hiou in (("zs3net", 10.0), ("ours", 12.0 + seed)):
        curve = {"seen_miou": FALLING, "unseen_miou": FALLING[::-1], "offset": [None, 0.0, None]}
        metrics = {"metrics": {"hiou": hiou}, "best_hiou": best, "area": 15.0}
        results[method] = metrics | {"curve": curve, "title": METHODS[method].title}
    return {"dataset": "voc", "k": k, "seed": seed, "methods": results}


def test_the_table_has_mean_and_spread_over_seeds(tmp_path):
    files = beside.write_operating([record(4, 0), record(4, 2)], tmp_path, "toy")
    assert [file.name for file in files] == ["operating.md", "operating.csv"]
    text = files[0].read_text()
    assert "| Pascal-VOC 2012 | 4 | Ours | 13.0 ± 1.4 | 20.0 ± 0.0 | 15.0 ± 0.0 |" in text
    assert "tenth of the training images" in text
    lines = files[1].read_text().splitlines()
    assert lines[0] == "dataset,k,seed,method,offset,seen_miou,unseen_miou"
    assert len(lines) == 1 + 2 * 2 * 3 and lines[2] == "voc,4,0,zs3net,0.0000,40.0000,40.0000"


def test_a_strict_run_has_no_best_hiou():
    table = beside.points([record(2, 0, best=None)])
    assert table.loc[("Pascal-VOC 2012", 2, "Ours")].tolist() == ["12.0", "-", "15.0"]


def test_the_curves_have_a_panel_for_each_k_and_a_dot_where_training_ended():
    frame = beside.curves([record(2, 0), record(4, 0), record(4, 1)])
    figure = plots.operating_curves(frame)
    assert [ax.get_title() for ax in figure.axes] == ["voc, K = 2", "voc, K = 4"]
    lines = figure.axes[1].get_lines()
    assert len(lines) == 2 * 2  # a line and a dot of each method
    assert lines[0].get_xydata().tolist() == [[50.0, 0.0], [40.0, 40.0], [0.0, 50.0]]
    dots = [line for line in lines if line.get_marker() == "o"]
    assert all(dot.get_xydata().tolist() == [[40.0, 40.0]] for dot in dots)


def test_the_curves_show_the_mean_and_the_spread_over_seeds():
    frame = beside.curves([record(2, 0), record(2, 1)])
    frame.loc[(frame["seed"] == 1) & (frame["offset"] == 0), "unseen_miou"] = 44.0
    one, two = (plots.operating_curves(f).axes[0] for f in (frame[frame["seed"] == 0], frame))
    assert not one.collections
    assert two.get_lines()[0].get_xydata()[1].tolist() == [40.0, 42.0]
    crosses = two.collections[1].get_segments()[1]  # vertical, at offset 0
    assert crosses[:, 1] == pytest.approx([42 - 8**0.5, 42 + 8**0.5])
