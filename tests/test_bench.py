"""The benchmarks run, and say what they compare and where time went."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_tables import cells

from zs3lib.classes import DATASETS
from zs3lib.settings import Settings

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
bench, estimate, scaling, shown, worlds = map(
    importlib.import_module, ("bench", "estimate", "scaling", "shown", "worlds")
)


@pytest.fixture(autouse=True)
def no_dataset_stays():
    """Datasets that are made up are not there for other tests."""
    yield
    DATASETS.pop("made_up", None)


def test_bench_writes_one_table_and_names_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda **task: {"stage2": {"peak_mb": task["images"]}})
    bench.main(["--quick", "--runs", str(tmp_path), "--out", str(tmp_path / "bench.md")])
    text = (tmp_path / "bench.md").read_text()
    assert all(f"{feature} " in text for feature in ("avx2", "avx512_bf16", "amx", "torch"))
    rows = cells(text)
    assert len(rows) == 7
    for _, _, ours, beside, ratio in rows:
        middle, low, high = map(float, ratio.replace("(", "").strip(")").replace("-", " ").split())
        assert float(ours) > 0 and float(beside) > 0 and 0 < low <= middle <= high
    assert "No run records" in text and "8, 128 MB" in text


def test_ratios_are_of_the_same_turn(monkeypatch):
    times = iter([9, 9, 4, 1, 6, 3, 9, 3])  # the first of each side does not count
    monkeypatch.setattr(bench, "seconds", lambda side: next(times))
    row = bench.compared(("a", "b", None, None, 2), 3)
    assert row == ["a", "b", "3000.00", "1500.00", "3.00 (2.00-4.00)"]


def test_minutes_come_from_run_records(tmp_path):
    seconds = {"stage1": 60, "features": 30, "stage2": 120, "evaluation": 12}
    for n, end in enumerate(("2026-01-01T00:05:00Z", "2026-01-01T00:06:00Z")):
        record = {"seconds": seconds, "wall_s": 240.0, "time": end, "device": "CPU, 1 threads"}
        path = tmp_path / "toy" / f"voc-k{n}-s0" / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record | {"peak_memory_mb": 500 + n}))
    (row,) = cells(shown.minutes(tmp_path))
    parts = ["2.0", "1.0", "4.0", "0.4", "0.6", "8.0", "5.0"]
    assert row == ["toy", "2", *parts, "501", "CPU, 1 threads"]


@pytest.mark.parametrize("task", [{"profile": "toy"}, {"classes": 255, "k": 4}])
def test_every_stage_runs_on_made_up_pictures(task):
    found = worlds.work(images=8, size=32, **task)
    assert list(found) == list(shown.STAGES)
    assert all(cost > 0 for stage in found.values() for cost in stage.values())


def test_laws_are_slopes():
    values = [1, 2, 4, 8]
    part = {"value": values, "seconds": [3 * v**2 for v in values], "peak_mb": [5.0] * 4}
    frame = pd.DataFrame(part).assign(varied="images", stage="features")
    assert scaling.exponent(frame, "seconds") == pytest.approx(2)
    assert scaling.exponent(frame, "peak_mb") == pytest.approx(0)
    assert scaling.laws(frame)[0][2:5] == ["1 to 8", "3.00 to 192.00", "images^2.00"]


def test_scaling_writes_table_estimate_and_figure(tmp_path, monkeypatch):
    cost = estimate.Cost(1e9, 1000)
    monkeypatch.setattr(estimate, "step_cost", lambda *_: (cost, cost))
    monkeypatch.setattr(estimate, "network_cost", lambda *_: cost)
    monkeypatch.setattr(estimate, "stage1_cost", lambda *_: cost)
    monkeypatch.setattr(scaling, "measure", lambda **task: {"stage1": {"seconds": 1, "peak_mb": 2}})
    figure = tmp_path / "scaling.png"
    scaling.main(["--quick", "--out", str(tmp_path / "scaling.md"), "--figure", str(figure)])
    text = (tmp_path / "scaling.md").read_text()
    assert "COCO-Stuff" in text and "| images | stage1 | 8 to 16 |" in text
    assert figure.stat().st_size > 1000


def test_a_step_of_more_objects_asks_for_more_operations_and_compiled_for_fewer():
    settings = Settings.make(crop_size=32)
    few, many = (estimate.step_cost(settings, 21, n, ("zs3net",), False) for n in (2, 4))
    for a, b in zip(few, many):
        assert 0 < a.flops < b.flops and 0 < a.operations < b.operations
    assert few[1].operations + few[1].compiled < few[0].operations / 2
    recursing = estimate.step_cost(settings, 21, 2, ("ours",), True)
    assert recursing[0].operations > few[0].operations
    seen = settings.batch_size // 2  # images, with three classes each
    assert recursing[1].steps > few[1].steps == 3 * seen


def test_the_slower_of_host_and_gpu_counts():
    assert estimate.Cost(2e12, 1).seconds(1e12) == 2
    assert estimate.Cost(0, 10**6, 10, 5).seconds(1) == pytest.approx(5 + 10 * 60e-6 + 5 * 60e-6)
