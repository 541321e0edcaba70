"""Tables, their checks and the audit, on made-up run records."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

from zs3lib import classes
from zs3lib.classes import split
from zs3lib.errors import ZS3Error
from zs3lib.method import methods
from zs3lib.results import audit, formats, paper, records, tables
from zs3lib.settings import Settings
from zs3lib.storage import sealed

SOURCES = ("measured", "std", "published")
ALL = ("no_generator", "zs3net", "ours", "equal_weight")
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "tables.ipynb"
SHARED = Path(__file__).parents[2] / "shared" / "voc"


def record(dataset="voc", k=10, seed=0, *, names=ALL, metrics=None, **changes) -> dict:
    """A made-up run record; `metrics` ({method: {metric: percent}}) overrides random numbers.

    `changes` are settings, but for what a record holds beside them.
    """
    rng = random.Random(f"{dataset}{k}{seed}")
    results = {}
    for method in names:
        title = methods.METHODS[method].title if method in methods.METHODS else "Mine"
        scores = {key: rng.uniform(5, 60) for key in paper.METRICS}
        scores |= (metrics or {}).get(method, {})
        results[method] = {"title": title, "metrics": scores}
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
    assert {file.parent for file in files} == {folder / "tables" / "toy"}
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def bold(styler, column: int) -> list[int]:
    """The rows of a Styler's column that are set in bold."""
    styler._compute()
    cells = sorted(styler.ctx.items())
    return [row for (row, c), css in cells if c == column and ("font-weight", "bold") in css]


# ---- records -------------------------------------------------------------------------------------


def test_records_are_read_sorted_and_chosen(tmp_path):
    save(tmp_path, record("context", 2), record(), record(k=2, seed=1), record(k=2))
    save(tmp_path, record(k=2, protocol="strict"), record(k=4, holdout=0.2))
    for chosen, names in [
        ({}, ["voc-k2-s0", "voc-k2-s1", "voc-k10-s0", "context-k2-s0"]),
        ({"seeds": [1]}, ["voc-k2-s1"]),
        ({"ks": [2], "datasets": ["voc"]}, ["voc-k2-s0", "voc-k2-s1"]),
        ({"ks": [2], "protocol": "strict"}, ["voc-k2-s0-strict"]),
    ]:
        found = records.read_records(tmp_path, "toy", **chosen)
        assert [records.name(r) for r in found] == [f"toy/{name}" for name in names]
    assert records.read_records(tmp_path, "paper") == []
    for unknown in ({"profile": "coco"}, {"profile": "toy", "datasets": ["coco"]}):
        with pytest.raises(ZS3Error, match="unknown (profile|dataset) 'coco': choose one of"):
            records.read_records(tmp_path, **unknown)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda r: r.update(schema=2), "schema is 2, this version of zs3lib reads 3"),
        (lambda r: r["methods"]["ours"]["metrics"].update(hiou=99.0), "changed after the run"),
        (lambda r: r.pop("checksum"), "changed after the run wrote it"),
        (lambda r: r.update(sealed(r | {"seed": 3})), "it holds toy/voc-k10-s3"),
        (lambda r: r.update(sealed(r | {"dataset": "coco"})), "'coco' is none of voc, context"),
        (None, "not valid JSON"),
    ],
)
def test_a_bad_record_is_named(tmp_path, spoil, says):
    bad = sealed(record())
    file = tmp_path / "toy" / "voc-k10-s0" / "metrics.json"
    file.parent.mkdir(parents=True)
    if spoil:
        spoil(bad)
    file.write_text(json.dumps(bad) if spoil else '{"schema": 1,')
    with pytest.raises(ZS3Error) as error:
        records.read_records(tmp_path, "toy")
    assert str(file) in str(error.value) and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "first, second, says",
    [
        ({"k": 2}, {"k": 4, "lr": 0.1}, "lr is 0.01 in one and 0.1 in the other"),
        ({"seed": 0}, {"seed": 1, "tau": 0.85}, "tau is 0.7 in one and 0.85"),
        ({"k": 2}, {"k": 4, "data_fingerprint": "xy"}, "data_fingerprint is"),
        ({"k": 2}, {"k": 4, "inputs": {"weights": "xy"}}, "the content of weights is 'cd'"),
        ({}, {"dataset": "context", "versions": {"zs3lib": "0.2.0"}}, "zs3lib version is"),
    ],
)
def test_runs_of_different_settings_never_share_a_table(tmp_path, first, second, says):
    pair = [record(**first), record(**second)]
    names = f"{records.name(pair[0])} and {records.name(pair[1])} cannot share a table: "
    with pytest.raises(ZS3Error, match=names) as error:
        write(tmp_path, *pair)
    assert says in str(error.value)
    assert not list(tmp_path.rglob("*.md"))


def test_every_setting_but_the_free_ones_must_agree():
    settings = Settings.make(profile="toy", k=10).as_dict()
    assert records.FREE <= set(settings)
    assert not {"stage1_epochs", "holdout", "protocol"} & records.FREE
    for key in settings:
        other = {"settings": settings | {key: "another"}}
        pair = [record(k=2) | {"settings": settings}, record(k=4) | other]
        records.check_same_settings([pair[0], record("context") | other])  # has its own
        if key in records.FREE:
            records.check_same_settings(pair)
        else:
            with pytest.raises(ZS3Error, match=f"share a table: {key} is"):
                records.check_same_settings(pair)


def test_parameters_as_make_and_papermill_hand_them_over():
    assert records.listed("6 10", int) == records.listed([6, 10], int) == [6, 10]
    assert records.listed(6, int) == [6] and records.listed(0, int) == [0]
    assert records.listed("voc context") == ["voc", "context"]
    assert records.listed(None) is None and records.listed("") is None
    with pytest.raises(ZS3Error, match="'six' is not"):
        records.listed("six", int)


@pytest.mark.parametrize(
    "made, which, says",
    [
        ([{"k": 2}], "I", "NOT the paper's setting"),
        ([{}], "I", "Measured on 200 validation images after training on 800 images (backbone"),
        ([{"k": 2}, {"k": 8}], "I", "classes: 302-308; crops of 64 px, val at a short side of 80"),
        ([{"k": 2}, {"k": 8}], "I", "); 1 seed(s) per K (0); 3.0 min in all on cpu (2 threads);"),
        ([{"interrupted": True}], "I", "(of 1 interrupted run(s) only the last attempt)"),
        ([{}], "I", "protocol paper; zs3lib 0.1.0, commit 0123456789."),
        ([{"k": 2}], "I", 'No run yet: make tables PROFILE=toy DATASETS=voc K="4 6 8 10"'),
        ([{}, {"seed": 1}], "I", "2 seed(s) per K (0, 1); mean ± sample standard deviation"),
        ([{}, {"k": 2, "seed": 1}], "I", "seeds 0 at K=10, 1 at K=2;"),
        ([{"holdout": 0.2}], "I", "200 HELD-OUT TRAINING (tuning runs, not val) images"),
        ([{"names": ALL[:3]}], "III", "was run without Equal Weight: remove runs/toy/voc-k10-s0,"),
    ],
)
def test_notes_say_what_a_reader_must_know(made, which, says):
    runs = [record(**changes) for changes in made]
    assert says in " ".join(tables.Table(which, runs, "toy").notes)


# ---- tables --------------------------------------------------------------------------------------


def test_table_has_the_papers_rows_and_numbers():
    frame = tables.Table("I", [record(k=10), record(k=3)], "toy").frame
    ks = (2, 3, 4, 6, 8, 10)
    rows = [(k, m, s) for k in ks for m in ("ZS3Net", "Ours") for s in SOURCES]
    assert frame.index.tolist() == rows and frame.columns.tolist() == paper.METRICS
    assert frame.loc[(10, "Ours", "published"), "unseen_miou"] == 23.9
    own = record(k=10)["methods"]["ours"]["metrics"]["seen_ma"]
    assert frame.loc[(10, "Ours", "measured"), "seen_ma"] == pytest.approx(own)
    assert frame.xs("published", level="Source").loc[3].isna().all(axis=None)
    assert frame.xs("measured", level="Source").loc[2].isna().all(axis=None)
    third = tables.Table("III", [record()], "toy", ks=[10])
    assert list(third.models.values()) == ["Equal Weight", "Final"]
    assert third.heading == "Table III. Ablation on Pascal-VOC 2012, profile toy"


def test_bold_marks_the_better_and_both_of_a_tie():
    seen = {"zs3net": {"seen_pa": 50.04, "seen_ma": 10}, "ours": {"seen_pa": 50.01, "seen_ma": 12}}
    frame = tables.Table("I", [record(metrics=seen)], "toy", ks=[10]).frame
    cells = formats.beside(frame, "**{}**")
    assert cells[("Seen", "PA")].tolist() == ["**50.0** (**82.7**)", "**50.0** (82.0)"]
    assert cells[("Seen", "MA")].tolist() == ["10.0 (37.4)", "**12.0** (**38.3**)"]
    frame = tables.Table("I", [record(names=["ours"])], "toy", ks=[10]).frame
    alone = formats.beside(frame, "**{}**")
    assert alone.loc[(10, "ZS3Net"), ("Seen", "PA")] == "- (**82.7**)"
    assert not alone.loc[(10, "Ours"), ("Seen", "MA")].startswith("**")


def test_seeds_give_mean_and_sample_standard_deviation(tmp_path):
    values = (20.0, 22.0, 27.0)  # mean 23, std sqrt((9 + 1 + 16) / 2)
    runs = [record(k=2, seed=s, metrics={"ours": {"hiou": h}}) for s, h in enumerate(values)]
    files = write(tmp_path, *runs, ks=[2])
    assert "23.0 ± 3.6" in files["table1.md"] and r"23.0 $\pm$ 3.6" in files["table1.tex"]
    csv = pd.read_csv(io.StringIO(files["table1.csv"])).query("model == 'Ours'").set_index("source")
    assert csv["hiou"].tolist() == pytest.approx([23.0, 3.6056, 49.2])
    assert csv.loc["measured", "seeds"] == 3


def test_files_written(tmp_path):
    files = write(tmp_path, record(k=2), record(k=10), record("context", 2))
    expected = [f"table{n}.{kind}" for n in (1, 2, 3) for kind in ("csv", "md", "tex")]
    assert [*files] == [*expected, "table1.txt", "floor.csv", "floor.md"]
    heading = "# Table I. Pascal-VOC 2012, profile toy\n\nEach cell: measured (published)."
    assert files["table1.md"].startswith(heading) and "| 4 | ZS3Net | - (" in files["table1.md"]
    csv = pd.read_csv(io.StringIO(files["table2.csv"]))
    columns = ["table", "dataset", "k", "model", "source", "profile", "seeds", *paper.METRICS]
    assert csv.columns.tolist() == columns
    assert len(csv) == 20 and set(csv["source"]) == {"measured", "published"}
    printed = csv.query("k == 8 and model == 'Ours' and source == 'published'")
    assert printed["unseen_miou"].item() == 15.9
    shown = files["table1.txt"].split("Generated")[0]
    assert "published" in shown and max(map(len, shown.splitlines())) <= 120
    only = write(tmp_path / "voc", record(k=2), record("context", 2), datasets=["voc"], ks=[2])
    assert {name.partition(".")[0] for name in only} == {"table1", "table3", "floor"}
    second = write(tmp_path / "c", record("context", 2), datasets=["context"])
    assert second["table1.txt"].startswith("Table II. ")
    with pytest.raises(ZS3Error, match="no run records in .*toy: make tables PROFILE=toy"):
        write(tmp_path / "none")


def test_tex_is_escaped_and_balanced(tmp_path):
    runs = [record(k=2, seed=s, device="A & B_100%") for s in (0, 1)]
    tex = write(tmp_path, *runs, ks=[2, 4])["table1.tex"]
    assert r"A \& B\_100\%" in tex and r"$\pm$" in tex and "±" not in tex and r"\textbf{" in tex
    for word in (r"\begin{table*}", r"\toprule", r"\multirow", r"\bottomrule", r"\end{table*}"):
        assert word in tex
    assert tex.count("{") == tex.count("}") and tex.count(r"\midrule") == 2
    rows = [line for line in tex.splitlines() if "ZS3Net" in line or "Ours" in line]
    assert len(rows) == 8 and all(line.count("&") == 12 for line in rows)


def test_rows_of_one_run():
    metrics = {
        "no_generator": {"seen_pa": 99.0},
        "zs3net": {"seen_pa": 50.04, "hiou": 20.0},
        "ours": {"seen_pa": 50.01, "hiou": 21.26},
        "equal_weight": {"seen_pa": 40.0, "hiou": 3.0},
    }
    results = record(metrics=metrics)["methods"]
    shown = tables.rows(results)
    lines = [line.split("|") for line in shown.to_string(delimiter="|").splitlines()[2:]]
    assert [line[0] for line in lines] == ["No generator", "ZS3Net", "Ours", "Equal Weight"]
    assert [line[1] for line in lines] == ["99.0", "50.0", "50.0", "40.0"]
    assert [line[10] for line in lines][1:] == ["20.0", "21.3", "3.0"]
    assert bold(shown, 0) == [1, 2]  # equal as printed; the floor never counts
    assert bold(shown, 9) == [2]
    two = {name: results[name] for name in ("ours", "no_generator")}
    assert bold(tables.rows(two), 0) == []


def test_floor_and_its_ratio():
    scores = {"no_generator": 2.0, "zs3net": 10.0, "ours": 15.0}
    numbers = {method: {"unseen_miou": score} for method, score in scores.items()}
    zero = record("context", 2, metrics=numbers | {"no_generator": {"unseen_miou": 0.0}})
    frame = tables.floor([record(metrics=numbers), zero, record(k=4, names=["ours"])])
    assert frame.loc[("voc", 10)].tolist() == [2.0, 10.0, 15.0, 5.0, 7.5]
    assert frame.loc[("context", 2)].isna().tolist() == [False, False, False, True, True]
    assert len(frame) == 2 and tables.floor([]).empty


def test_hiou_over_k_holds_every_run_and_every_published_number():
    runs = [record(k=2), record(k=2, seed=1), record("context", 4)]
    frame = paper.hiou_frame(runs)
    counts = frame.groupby("source").size().to_dict()
    assert counts == {"measured": 6, "published": 20}  # ZS3Net and Ours of three runs
    assert set(frame["model"]) == {"ZS3Net", "Ours"}
    assert set(paper.hiou_frame(runs, ["context"])["dataset"]) == {"context"}


def test_both_protocols_in_one_table(tmp_path):
    pair = [record(metrics={"ours": {"hiou": 30.0}})]
    pair += [record(protocol="strict", metrics={"ours": {"hiou": 28.5}})]
    save(tmp_path, pair[0], record("context", 2))
    with pytest.raises(ZS3Error, match="under both protocols: make protocol"):
        tables.write_protocols("toy", runs=tmp_path, out=tmp_path)
    save(tmp_path, pair[1])
    csv, md = tables.write_protocols("toy", runs=tmp_path, out=tmp_path)
    found = pd.read_csv(csv).query("model == 'Ours'")
    assert found["protocol"].tolist() == ["paper", "strict"]
    assert found["hiou"].tolist() == [30.0, 28.5] and found["seeds"].tolist() == [1, 1]
    text = md.read_text(encoding="utf-8")
    assert "| 30.0 | 28.5 | -1.5 |" in text and "context" not in text
    assert "voc, K = 10: 310 of 800 training images have no unseen class." in text
    save(tmp_path, record(protocol="strict", lr=0.5))
    with pytest.raises(ZS3Error, match="lr is 0.01 in one and 0.5"):
        tables.write_protocols("toy", runs=tmp_path, out=tmp_path)


def test_a_method_and_a_dataset_of_ones_own_have_their_rows(tmp_path, monkeypatch):
    named = {"name": "better", "title": "Better"}  # its rows are those of Ours
    monkeypatch.setitem(methods.METHODS, "better", type("Better", (methods.Ours,), named)())
    own = classes.Dataset("farm", "A farm", classes.VOC_CLASSES, reader="farm:Farm")
    monkeypatch.setitem(classes.DATASETS, "farm", own)
    runs = [record(names=("ours", "better", "unheard")), record("farm", 2)]
    files = write(tmp_path, *runs, ks=[2, 10])
    first = tables.Table("I", runs, "toy", ks=[10])
    assert list(first.models.values()) == ["ZS3Net", "Ours", "Better", "Mine"]
    assert formats.beside(first.frame).loc[(10, "Mine"), ("", "hIoU")].endswith("(-)")
    farm = files["table4.md"]
    assert "A farm" in farm and "| Equal Weight |" in farm and "No generator" not in farm
    assert "Mine" in tables.rows(runs[0]["methods"]).to_string()
    assert "without Mine" not in " ".join(tables.Table("I", [*runs, record(k=2)], "toy").notes)
    assert "the paper's" not in files["table4.tex"].split("smallskip")[0]


# ---- the paper's own tables ----------------------------------------------------------------------


def test_audit_against_rows_worked_by_hand():
    found = audit.audit(paper.published()).set_index(["table", "k", "model", "metric"])
    assert len(found) == 120
    good = found.loc[("I", 10, "ZS3Net", "overall_miou")]  # (33.9 * 11 + 18.1 * 10) / 21 = 26.376
    assert good["low"] == pytest.approx(26.326, abs=1e-3) and good["off"] == 0
    good = found.loc[("I", 10, "ZS3Net", "hiou")]  # 1227.18 / 52 = 23.600
    assert good["low"] < 23.6 < good["high"] and good["off"] == 0
    bad = found.loc[("I", 2, "Ours", "overall_miou")]  # (71.6 * 19 + 37.5 * 2) / 21 = 68.352
    assert bad["off"] == pytest.approx(67.75 - 68.302, abs=1e-3)
    assert found.loc[("I", 6, "Ours", "hiou"), "off"] != 0  # 2 * 51.1 * 25.5 / 76.6 = 34.02
    assert found.loc[("II", 10, "ZS3Net", "overall_pa"), "off"] < 0  # below both its parts
    assert found.loc[("II", 8, "Ours", "overall_pa"), "off"] == 0  # 56.9 is the seen PA itself


@pytest.mark.parametrize("dataset, fits", [("voc", [21]), ("context", [59, 60, 61])])
def test_the_number_of_classes_that_zs3nets_rows_agree_with(dataset, fits):
    rows = paper.published().query("dataset == @dataset and model == 'ZS3Net'")
    agree = {}
    for count in range(15, 70):
        found = audit.audit(rows, {dataset: count})
        means = found[found["metric"].isin(["overall_ma", "overall_miou"])]
        agree[count] = int((means["off"] == 0).sum())
    assert [count for count, number in agree.items() if number == 10] == fits
    assert dataset != "voc" or sorted(agree.values())[-2] == 1


def test_claims_are_checked_on_the_printed_numbers():
    said = audit.claims()
    first = said[said["claim"].str.startswith("for all cases of K")]
    assert len(said) == 10 and first["holds"].tolist() == ["**no**"]
    assert "K=8 unseen mIoU: Ours 15.9, ZS3Net 16.0" in said["exceptions"].tolist()
    rows = paper.published().query("dataset == 'voc'").set_index("model")[paper.METRICS]
    assert (rows.loc["Final"].to_numpy() == rows.loc["Ours"].to_numpy()).all()


def test_pixel_accuracies_imply_one_share_of_unseen_pixels_or_are_told():
    shares = audit.pixel_shares().set_index(["table", "k", "model"])
    ours = shares.loc[("I", 2, "Ours")]  # (94.0 - 92.8) / (94.0 - 54.4) = 3.03 %
    assert ours["low"] == pytest.approx(2.78, abs=0.01)
    assert ours["high"] == pytest.approx(3.28, abs=0.01)
    fits = set(shares.index[shares["agrees"]])
    assert {("I", k, "ZS3Net") for k in (2, 4, 6, 8, 10)} <= fits
    assert not {("I", 2, "Ours"), ("I", 6, "Ours"), ("II", 10, "ZS3Net")} & fits


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs VOC 2012's val masks in ../shared/voc")
def test_the_share_of_unseen_pixels_as_counted():
    from zs3lib.data.segmentation import open_data

    data = open_data("voc", SHARED, "val")
    counts = sum(np.bincount(data.load_mask(i).ravel(), minlength=256) for i in range(len(data)))
    for k, share in audit.VOC_UNSEEN_PIXELS.items():
        unseen = counts[list(split("voc", k).unseen)].sum()
        assert round(100 * unseen / counts[:21].sum(), 2) == share
    assert len(data) == 1449


# ---- as they are used ----------------------------------------------------------------------------


def test_notebook_runs_from_anywhere(tmp_path, monkeypatch):
    few = record("context", 6, names=["zs3net", "ours"])
    save(tmp_path / "runs", record(k=2), record(k=2, seed=1), few)
    monkeypatch.chdir(tmp_path)
    given = {f"{kind}_root": str(tmp_path / kind) for kind in ("runs", "tables", "figures")}
    given |= {"ks": "2 6", "datasets": "voc context", "seeds": "0 1"}  # as make hands them over
    done = papermill.execute_notebook(NOTEBOOK, tmp_path / "out.ipynb", given, progress_bar=False)
    text = json.dumps(done, ensure_ascii=False)
    assert "Table II. Pascal-Context, profile toy" in text and "±" in text
    assert "Audit of the published tables" in text and "No run under both protocols yet" in text
    assert (tmp_path / "tables" / "toy" / "table3.tex").exists()
    report = (tmp_path / "tables" / "audit.md").read_text(encoding="utf-8")
    assert "**80.1** (81.29 to 81.39; off -1.14)" in report and report.count("| III | voc |") == 10
    assert (tmp_path / "figures" / "toy" / "hiou.pdf").exists()
