"""Tables and their checks, on made-up run records."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pandas as pd
import pytest

from zs3lib import classes
from zs3lib.errors import ZS3Error
from zs3lib.method import methods
from zs3lib.results import beside, paper, records, tables
from zs3lib.settings import Settings
from zs3lib.storage import sealed

ALL = ("no_generator", "zs3net", "ours", "equal_weight")


def record(dataset="voc", k=10, seed=0, *, names=ALL, metrics=None, **changes) -> dict:
    """A made-up run record; `metrics` ({method: {metric: percent}}) overrides random numbers.

    `changes` are settings, but for what a record holds beside them.
    """
    rng = random.Random(f"{dataset}{k}{seed}")
    results = {}
    for method in names:
        title = methods.METHODS[method].title if method in methods.METHODS else "Mine"
        scores = {key: rng.uniform(5, 60) for key in paper.METRICS}
        results[method] = {"title": title, "metrics": scores | (metrics or {}).get(method, {})}
    made = {"profile": "toy", "dataset": dataset, "k": k, "seed": seed, "protocol": "paper"}
    made |= {"methods": results, "versions": {"zs3lib": "0.1.0"}, "device": "cpu (2 threads)"}
    made |= {"git": {"commit": "0123456789abcdef", "dirty": False}, "wall_s": 90.0}
    made |= {"stage1_images": 300 + k, "train_images": 800, "val_images": 200}
    made |= {"data_fingerprint": f"ab{dataset}", "interrupted": False}
    made |= {"inputs": {"weights": "cd", "word_vectors": f"ef{dataset}"}}
    settings = {"lr": 0.01, "tau": 0.7, "device": "cpu", "crop_size": 64, "val_size": 80}
    for key, value in changes.items():
        (made if key in made else settings)[key] = value
    return made | {"settings": settings | {"protocol": made["protocol"]}}


def save(runs: Path, *made: dict) -> None:
    for r in made:
        folder = runs / records.name(r)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(sealed(r)))


def write(folder: Path, *made: dict, **chosen) -> dict[str, str]:
    """Tables of made-up records: {file name: text}, in the order of their paths."""
    save(folder / "runs", *made)
    files = tables.write("toy", runs=folder / "runs", out=folder / "tables", **chosen)
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def cells(md: str) -> list[list[str]]:
    """The cells of a table in Markdown, row by row, without its head."""
    rows = [line[2:-2].split(" | ") for line in md.splitlines() if line.startswith("|")]
    return rows[2:]


# ---- records -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen, names",
    [
        ({}, "voc-k2-s0 voc-k2-s1 voc-k10-s0 context-k2-s0"),
        ({"unseen_list": "zs3net"}, "context-k4-s0-zs3net"),
        ({"ks": [2], "datasets": ["voc"], "seeds": [1]}, "voc-k2-s1"),
        ({"ks": [2], "protocol": "strict"}, "voc-k2-s0-strict"),
        ({"ks": [4], "datasets": ["voc"]}, ""),  # scored on held-out training images
    ],
)
def test_records_are_read_sorted_and_chosen(tmp_path, chosen, names):
    save(tmp_path, record("context", 2), record(), record(k=2, seed=1), record(k=2))
    save(tmp_path, record(k=2, protocol="strict"), record(k=4, holdout=0.2))
    save(tmp_path, record("context", 4, unseen_list="zs3net"))
    found = records.read_records(tmp_path, "toy", **chosen)
    assert [records.name(r) for r in found] == [f"toy/{name}" for name in names.split()]


def test_runs_that_do_not_belong_together_share_no_table():
    settings = Settings.make(profile="toy", k=10).as_dict()
    assert not {"stage1_epochs", "holdout", "protocol"} & records.FREE
    first = record() | {"settings": settings}
    told = {key: {"k": 4, "settings": settings | {key: "x"}} for key in settings}
    told |= {key: {"settings": settings | {key: "x"}} for key in ("tau", "gamma")}  # at one K
    told["data_fingerprint"] = {"data_fingerprint": "x"}
    told["the content of weights"] = {"inputs": {"weights": "x"}}
    told["zs3lib version"] = {"dataset": "context", "versions": {"zs3lib": "0.2.0"}}
    for key in records.FREE - {"tau", "gamma"}:
        records.check_same_settings([first, first | told.pop(key)])
    for key, changes in told.items():
        with pytest.raises(ZS3Error, match=f"cannot share a table: {key} is .* in one and "):
            records.check_same_settings([first, first | changes])


def test_names_as_make_and_papermill_hand_them_over():
    assert records.listed("voc") == ["voc"] and records.listed("") is records.listed(None) is None
    assert records.listed(["voc", "context"]) == records.listed("voc context") == ["voc", "context"]
    with pytest.raises(ZS3Error, match="unknown dataset 'coco': choose one of voc, context"):
        tables.write("toy", runs="none", datasets=["coco"])
    with pytest.raises(ZS3Error, match="no run records in none/toy: make tables PROFILE=toy"):
        tables.write("toy", runs="none")


@pytest.mark.parametrize(
    "made, says",
    [
        ([{}], "protocol paper; zs3lib 0.1.0, commit 0123456789."),
        ([{"k": 2}, {"k": 8}], "Measured on 200 validation images after training on 800 images"),
        ([{"k": 2}, {"k": 8}], "classes: 302-308; crops of 64 px, val at a short side of 80"),
        ([{"k": 2}, {"k": 8}], "); 1 seed(s) per K (0); 3.0 min in all on cpu (2 threads);"),
        ([{"k": 2}, {"k": 8}], 'No run yet: make tables PROFILE=toy DATASETS=voc K="4 6 10"'),
        ([{}, {"seed": 1}], "2 seed(s) per K (0, 1); mean ± sample standard deviation"),
        ([{}, {"k": 2, "seed": 1}], "seeds 0 at K=10, 1 at K=2;"),
        ([{"interrupted": True}], "(of 1 interrupted run(s) only the last attempt)"),
        ([{"holdout": 0.2}], "200 HELD-OUT TRAINING (tuning runs, not val) images"),
        ([{"names": ALL[:2]}], "was run without Ours: remove runs/toy/voc-k10-s0, then make"),
    ],
)
def test_notes_say_what_a_reader_must_know(made, says):
    runs = [record(**changes) for changes in made]
    assert says in " ".join(tables.Table("I", runs, "toy").notes)


# ---- tables --------------------------------------------------------------------------------------


def test_files_hold_mean_deviation_and_published_number(tmp_path):
    values = (20.0, 22.0, 27.0)  # mean 23, std sqrt((9 + 1 + 16) / 2)
    runs = [record(k=2, seed=s, metrics={"ours": {"hiou": h}}) for s, h in enumerate(values)]
    files = write(tmp_path, *runs, record(k=3), record("context", 2, device="A & B_100%"))
    expected = [f"table{n}.{kind}" for n in (1, 2, 3) for kind in ("csv", "md", "tex")]
    assert [*files] == [*expected, "table1.txt", "floor.csv", "floor.md"]
    found = pd.read_csv(io.StringIO(files["table1.csv"])).set_index(["k", "model", "source"])
    assert set(found.index.unique("k")) == {2, 3, 4, 6, 8, 10} and len(found) == 26
    assert found.loc[(2, "Ours", "measured"), ["seeds", "hiou"]].tolist() == [3, 23.0]
    assert found.loc[(2, "Ours", "std"), "hiou"] == pytest.approx(3.6056)
    assert found.loc[(10, "Ours", "published"), "unseen_miou"] == 23.9
    assert found.loc[(10, "Ours", "measured"), paper.METRICS].isna().all()
    assert "23.0 ± 3.6 (**49.2**)" in files["table1.md"]
    assert r"23.0 $\pm$ 3.6" in files["table1.tex"]
    assert files["table3.md"].startswith("# Table III. Ablation on Pascal-VOC 2012, profile toy\n")
    assert [row[1] for row in cells(files["table3.md"])][:2] == ["Equal Weight", "Final"]
    tex = files["table2.tex"]
    assert r"A \& B\_100\%" in tex and r"\textbf{" in tex and r"\end{table*}" in tex
    assert tex.count("{") == tex.count("}") and tex.count(r"\midrule") == 5
    context = write(tmp_path, datasets=["context"], ks=[2])
    assert [*context] == [*expected[3:6], "table1.txt", "floor.csv", "floor.md"]
    shown = context["table1.txt"].split("Generated")[0]
    assert shown.startswith("Table II. ") and max(map(len, shown.splitlines())) <= 120


def test_bold_marks_the_better_and_both_of_a_tie(tmp_path):
    seen = {"zs3net": {"seen_pa": 50.04, "seen_ma": 10}, "ours": {"seen_pa": 50.01, "seen_ma": 12}}
    files = write(tmp_path, record(metrics=seen), record(k=2, names=["ours"]), ks=[2, 10])
    missing, alone, first, second = cells(files["table1.md"])
    assert first[2:4] == ["**50.0** (**82.7**)", "10.0 (37.4)"]
    assert second[2:4] == ["**50.0** (82.0)", "**12.0** (**38.3**)"]
    assert missing[2] == "- (93.6)" and not alone[2].startswith("**")


def test_rows_of_one_run_are_bold_where_best_as_printed():
    pa = {"no_generator": 99.0, "zs3net": 50.04, "ours": 50.01, "equal_weight": 40.0}
    results = record(metrics={name: {"seen_pa": one} for name, one in pa.items()})["methods"]
    shown = tables.rows(results)
    first = [line.split("|")[:2] for line in shown.to_string(delimiter="|").splitlines()[2:6]]
    assert first[1:3] == [["ZS3Net", "50.0"], ["Ours", "50.0"]]
    style = shown.to_html().partition("font-weight: bold")[0]
    assert [f"row{n}_col0" in style for n in range(4)] == [False, True, True, False]  # no floor
    two = {name: results[name] for name in ("ours", "no_generator")}
    assert "bold" not in tables.rows(two).to_html()


def test_floor_with_its_ratio_and_hiou_over_k():
    scores = {"no_generator": 2.0, "zs3net": 10.0, "ours": 15.0}
    numbers = {method: {"unseen_miou": score} for method, score in scores.items()}
    zero = record("context", 2, metrics=numbers | {"no_generator": {"unseen_miou": 0.0}})
    frame = tables.floor([record(metrics=numbers), zero, record(k=4, names=["ours"])])
    assert frame.loc[("voc", 10)].tolist() == [2.0, 10.0, 15.0, 5.0, 7.5]
    assert frame.loc[("context", 2)].isna().tolist() == [False, False, False, True, True]
    assert len(frame) == 2 and tables.floor([]).empty
    curves = paper.hiou_frame([record(k=2), record(k=2, seed=1), zero])
    assert curves["source"].value_counts().to_dict() == {"measured": 6, "published": 20}
    assert set(curves["model"]) == {"ZS3Net", "Ours"}


def test_both_protocols_in_one_table(tmp_path):
    save(tmp_path, record(metrics={"ours": {"hiou": 30.0}}), record("context", 2))
    with pytest.raises(ZS3Error, match="under both protocols: make protocol"):
        beside.protocols("toy", runs=tmp_path, out=tmp_path)
    save(tmp_path, record(protocol="strict", metrics={"ours": {"hiou": 28.5}}))
    csv, md = beside.protocols("toy", runs=tmp_path, out=tmp_path)
    found = pd.read_csv(csv).query("model == 'Ours'")[["protocol", "seeds", "hiou"]]
    assert found.values.tolist() == [["paper", 1, 30.0], ["strict", 1, 28.5]]
    text = md.read_text(encoding="utf-8")
    assert "| 30.0 | 28.5 | -1.5 |" in text and "context" not in text
    assert "voc, K = 10: 310 of 800 training images have no unseen class." in text
    save(tmp_path, record(protocol="strict", lr=0.5))
    with pytest.raises(ZS3Error, match="lr is 0.01 in one and 0.5"):
        beside.protocols("toy", runs=tmp_path, out=tmp_path)


def test_a_method_and_a_dataset_of_ones_own_have_their_rows(tmp_path, monkeypatch):
    named = {"name": "better", "title": "Better"}  # its rows are those of Ours
    monkeypatch.setitem(methods.METHODS, "better", type("Better", (methods.Ours,), named)())
    own = classes.Dataset("farm", "A farm", classes.VOC_CLASSES, reader="farm:Farm")
    monkeypatch.setitem(classes.DATASETS, "farm", own)
    runs = [record(names=("ours", "better", "unheard")), record(k=2), record("farm")]
    files = write(tmp_path, *runs, ks=[10])
    rows = cells(files["table1.md"])
    assert [row[1] for row in rows] == ["ZS3Net", "Ours", "Better", "Mine"]
    every = [row[1] for row in cells(write(tmp_path, *runs)["table1.md"])]
    assert every.count("Better") == 1 and every.count("Ours") == 5, "no empty rows"
    assert rows[-1][-1].endswith(" (-)") and "without Mine" not in files["table1.md"]
    assert [row[1] for row in cells(files["table-farm.md"])] == ["ZS3Net", "Ours", "Equal Weight"]
    assert "A farm" in files["table-farm.tex"]
    assert "Generated toy images" not in files["table-farm.md"]
    assert "paper's Table" not in files["table-farm.tex"]
    assert "(" not in cells(files["table-farm.md"])[0][-1], "nothing is published"


def test_runs_of_another_list_have_rows_of_their_own_in_table_ii(tmp_path):
    theirs = record("context", 4, unseen_list="zs3net", metrics={"ours": {"hiou": 12.34}})
    files = write(tmp_path, record("context", 4), theirs, ks=[4])
    (line,) = [x for x in files["table2.md"].splitlines() if "Ours, zs3net list" in x]
    assert "12.3" in line and "(31.0)" in line.replace("**", "")  # beside the same printed row
