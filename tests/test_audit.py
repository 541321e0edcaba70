"""The audit of the paper's own tables, against rows worked by hand and as it is committed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from zs3lib.paths import RESOURCES, TABLES
from zs3lib.results import paper

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
audit = importlib.import_module("audit")


@pytest.mark.parametrize(
    "row, metric, off",
    [
        (("I", 10, "ZS3Net"), "overall_miou", 0),  # (33.9 * 11 + 18.1 * 10) / 21 = 26.376
        (("I", 2, "Ours"), "overall_miou", 67.75 - 68.302),  # (71.6 * 19 + 37.5 * 2) / 21 - 0.05
        (("I", 10, "ZS3Net"), "hiou", 0),  # 1227.18 / 52 = 23.600
        (("I", 6, "Ours"), "hiou", 33.65 - 33.967),  # 2 * 51.05 * 25.45 / 76.5
        (("II", 10, "ZS3Net"), "overall_pa", 52.85 - 53.45),  # below both its parts
        (("II", 8, "Ours"), "overall_pa", 0),  # 56.9 is the seen PA itself
    ],
)
def test_audit_against_rows_worked_by_hand(row, metric, off):
    found = audit.audit(paper.published()).set_index(["table", "k", "model", "metric"])
    assert found.loc[(*row, metric), "off"] == pytest.approx(off, abs=1e-3 if off else 0)


@pytest.mark.parametrize("dataset, fits", [("voc", [21]), ("context", [59, 60, 61])])
def test_the_number_of_classes_that_zs3nets_rows_agree_with(dataset, fits):
    rows = paper.published().query("dataset == @dataset and model == 'ZS3Net'")
    agree = {}
    for count in range(15, 70):
        off = audit.audit(rows, {dataset: count}).set_index("metric")["off"]
        agree[count] = int((off[["overall_ma", "overall_miou"]] == 0).sum())
    assert [count for count, number in agree.items() if number == 10] == fits
    assert dataset != "voc" or sorted(agree.values())[-2] == 1


def test_the_pixel_shares_of_a_row_by_hand():
    shares = audit.pixel_shares().set_index(["table", "k", "model"])
    ours = shares.loc[("I", 2, "Ours")]  # (94.0 - 92.8) / (94.0 - 54.4) = 3.03 %
    assert ours[["low", "high"]].tolist() == pytest.approx([2.78, 3.28], abs=0.01)
    assert not ours["agrees"] and shares.loc[("I", 2, "ZS3Net"), "agrees"]  # VOC's masks: 2.27 %


@pytest.mark.parametrize("folder", [RESOURCES, TABLES])
def test_the_committed_audit_is_what_the_printed_numbers_say(folder):
    assert audit.text() == (folder / "audit.md").read_text(encoding="utf-8")
