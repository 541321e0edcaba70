"""Tables, their checks and the audit, on made-up run records."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

from zs3lib import audit, records, tables
from zs3lib.classes import split
from zs3lib.errors import ZS3Error
from zs3lib.seal import sealed
from zs3lib.settings import Settings


def record(dataset: str = "voc", k: int = 10, seed: int = 0, *, methods=None, metrics=None, **settings) -> dict:
    """A made-up run record; `metrics` (method -> {metric: percent}) overrides the random numbers."""
    rng = random.Random(f"{dataset}{k}{seed}")
    parts = split(dataset, k)
    methods = methods or ["zs3net", "ours", "no_generator"] + ["equal_weight"] * (dataset == "voc")
    results = {
        m: {
            "metrics": {key: rng.uniform(5, 60) for key in audit.METRICS} | (metrics or {}).get(m, {}),
            "per_class_iou": {name: rng.uniform(0, 80) for name in parts.names},
            "seconds": 30.0,
        }
        for m in methods
    }
    return {
        "profile": "toy", "dataset": dataset, "k": k, "seed": seed, "protocol": "paper",
        "settings": {"profile": "toy", "dataset": dataset, "k": k, "seed": seed, "epochs": 4, "lr": 0.01, "tau": 0.7,
                     "device": "cpu", **settings},
        "seen": [parts.names[i] for i in parts.seen], "unseen": list(parts.unseen_names), "methods": results,
        "versions": {"zs3lib": "0.1.0", "python": "3.11", "torch": "2.11"},
        "git": {"commit": "0123456789abcdef", "dirty": False}, "device": "cpu (2 threads)", "wall_s": 90.0,
        "stage1_images": 300 + k, "train_images": 800, "val_images": 200, "data_fingerprint": f"ab{dataset}",
        "inputs": {"weights": "cd", "word_vectors": f"ef{dataset}"},
    }  # fmt: skip


def write(runs: Path, *made: dict) -> None:
    for r in made:
        folder = runs / records.name(r)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(sealed(r)))


def test_records_are_read_sorted_and_by_seed(tmp_path):
    write(tmp_path, record("context", 2), record(k=10), record(k=2, seed=1), record(k=2))
    names = [records.name(r) for r in records.read_records(tmp_path, "toy")]
    assert names == ["toy/voc-k2-s0", "toy/voc-k2-s1", "toy/voc-k10-s0", "toy/context-k2-s0"]
    assert [r["seed"] for r in records.read_records(tmp_path, "toy", seeds=[1])] == [1]
    assert records.read_records(tmp_path, "paper") == []


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda r: r.update(schema=1), "schema is 1, this version of zs3lib reads 2"),
        (lambda r: r.pop("schema"), "schema is None"),
        (lambda r: r["methods"]["ours"]["metrics"].update(hiou=99.0), "changed after the run wrote it"),
        (lambda r: r["settings"].update(lr=0.02), "changed after the run wrote it"),
        (lambda r: r.pop("checksum"), "'checksum' is missing"),
        (lambda r: r.pop("inputs"), "'inputs' is missing"),
        (lambda r: r.pop("wall_s"), "wall_s"),
        (lambda r: r["methods"]["ours"]["metrics"].update(hiou=float("nan")), "'hiou' of 'ours'"),
        (lambda r: r["methods"]["ours"]["metrics"].pop("unseen_pa"), "'ours'"),
        (lambda r: r["methods"]["zs3net"]["per_class_iou"].update(cow=None), "'cow' of 'zs3net'"),
        (lambda r: r["versions"].clear(), "version"),
        (lambda r: r.update(sealed(r | {"seed": 3})), "toy/voc-k10-s3"),
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


def test_runs_of_different_settings_never_share_a_table(tmp_path):
    with pytest.raises(ZS3Error, match=r"toy/voc-k2-s0 and toy/voc-k4-s0 .* lr is 0.01 in one and 0.1 in the other"):
        tables.write_tables([record(k=2), record(k=4, lr=0.1)], tmp_path, "toy")
    assert not list(tmp_path.rglob("*.md"))
    with pytest.raises(ZS3Error, match="clip is 'not set' in one and 5"):
        records.check_same_settings([record(k=2), record(k=4, clip=5)])
    other_data, other_version, other_protocol = (record("context", 2) for _ in range(3))
    records.check_same_settings([record(), record("context", 2, epochs=9)])  # a dataset may have its own epochs
    records.check_same_settings([record(k=2), record(k=4, tau=0.85, data_root="/other", device="cuda")])
    other_data["data_fingerprint"] = "cd"
    with pytest.raises(ZS3Error, match="data_fingerprint"):
        records.check_same_settings([record("context", 4), other_data])
    other_vectors = record("context", 2)
    other_vectors["inputs"]["word_vectors"] = "gh"
    with pytest.raises(ZS3Error, match="the content of word_vectors is 'efcontext' in one and 'gh' in the other"):
        records.check_same_settings([record("context", 4), other_vectors])
    other_version["versions"]["zs3lib"] = "0.2.0"
    with pytest.raises(ZS3Error, match="zs3lib version"):
        records.check_same_settings([record(), other_version])
    other_protocol["protocol"] = "strict"
    with pytest.raises(ZS3Error, match="protocol"):
        records.check_same_settings([record(), other_protocol])


def test_every_setting_but_the_free_ones_must_agree():
    settings = Settings.make(profile="toy", k=10).as_dict()
    assert records.FREE <= set(settings) and not {"stage1_steps", "stage1_epochs", "holdout", "protocol"} & records.FREE
    reference, other = record(k=2), record(k=4)
    reference["settings"] = settings
    for key in settings:
        other["settings"] = settings | {key: "another"}
        if key in records.FREE:
            records.check_same_settings([reference, other])
        else:
            with pytest.raises(ZS3Error, match=f"share a table: {key} is"):
                records.check_same_settings([reference, other])
    with pytest.raises(ZS3Error, match="tau is 0.7 in one and 0.85"):  # two seeds of one K are averaged
        records.check_same_settings([record(seed=0), record(seed=1, tau=0.85)])


def test_rows_of_one_run():
    metrics = {
        "no_generator": {"seen_pa": 99.0}, "zs3net": {"seen_pa": 50.04, "hiou": 20.0},
        "ours": {"seen_pa": 50.01, "hiou": 21.26}, "equal_weight": {"seen_pa": 40.0, "hiou": 3.0},
    }  # fmt: skip
    results = record(metrics=metrics)["methods"]
    shown = tables.rows(results)
    _, _, *lines = (line.split("|") for line in shown.to_string(delimiter="|").splitlines())
    groups, kinds = zip(*shown.columns)
    assert groups == (*["Seen"] * 3, *["Unseen"] * 3, *["Overall"] * 3, "") and kinds == (
        *["PA", "MA", "mIoU"] * 3,
        "hIoU",
    )
    assert [line[0] for line in lines] == ["No generator", "ZS3Net", "Ours", "Equal Weight"]
    assert [line[1] for line in lines] == ["99.0", "50.0", "50.0", "40.0"]
    assert [line[10] for line in lines][1:] == ["20.0", "21.3", "3.0"]
    assert bold(shown, 0) == [1, 2]  # equal as printed; the floor never counts
    assert bold(shown, 9) == [2]
    assert bold(tables.rows({"ours": results["ours"], "no_generator": results["no_generator"]}), 0) == []


def bold(styler, column: int) -> list[int]:
    """The rows of a Styler's column that are set in bold."""
    styler._compute()
    return [row for (row, c), css in sorted(styler.ctx.items()) if c == column and ("font-weight", "bold") in css]


def test_table_has_the_papers_rows_and_numbers():
    frame = tables.table([record(k=10), record(k=3)], "I")
    assert frame.index.tolist() == [(k, m) for k in (2, 3, 4, 6, 8, 10) for m in ("ZS3Net", "Ours")]
    assert frame.shape == (12, 30)
    assert frame.loc[(10, "Ours"), ("Unseen", "mIoU", "published")] == 23.9
    assert frame.loc[(10, "ZS3Net"), ("", "hIoU", "published")] == 23.6
    own = record(k=10)["methods"]["ours"]["metrics"]["seen_ma"]
    assert frame.loc[(10, "Ours"), ("Seen", "MA", "measured")] == pytest.approx(own)
    assert frame.loc[3].xs("published", axis=1, level="Source").isna().all(axis=None)
    assert frame.loc[2].xs("measured", axis=1, level="Source").isna().all(axis=None)
    assert tables.table([record()], "III", ks=[10]).index.tolist() == [(10, "Equal Weight"), (10, "Final")]


def test_bold_marks_the_better_and_both_of_a_tie():
    numbers = {"zs3net": {"seen_pa": 50.04, "seen_ma": 10.0}, "ours": {"seen_pa": 50.01, "seen_ma": 12.0}}
    cells = tables.beside(tables.table([record(metrics=numbers)], "I", ks=[10]), "**{}**")
    assert cells[("Seen", "PA")].tolist() == ["**50.0** (**82.7**)", "**50.0** (82.0)"]
    assert cells[("Seen", "MA")].tolist() == ["10.0 (37.4)", "**12.0** (**38.3**)"]
    alone = tables.beside(tables.table([record(methods=["ours"])], "I", ks=[10]), "**{}**")
    assert alone.loc[(10, "ZS3Net"), ("Seen", "PA")] == "- (**82.7**)"
    assert not alone.loc[(10, "Ours"), ("Seen", "MA")].startswith("**")


def test_seeds_give_mean_and_sample_standard_deviation(tmp_path):
    runs = [record(k=2, seed=s, metrics={"ours": {"hiou": h}}) for s, h in enumerate((20.0, 22.0, 27.0))]
    frame = tables.table(runs, "I", ks=[2])
    assert frame.loc[(2, "Ours"), ("", "hIoU", "measured")] == pytest.approx(23.0)
    assert frame.loc[(2, "Ours"), ("", "hIoU", "std")] == pytest.approx(3.6056, abs=1e-4)  # sqrt((9 + 1 + 16) / 2)
    assert "23.0 ± 3.6" in tables.beside(frame).loc[(2, "Ours"), ("", "hIoU")]
    tables.write_tables(runs, tmp_path, "toy", ks=[2])
    assert "3 seed(s) per K (0, 1, 2)" in (tmp_path / "toy" / "table1.md").read_text()
    csv = pd.read_csv(tmp_path / "toy" / "table1.csv")
    assert csv.query("source == 'std' and model == 'Ours'")["hiou"].item() == pytest.approx(3.6056)
    assert csv.query("source == 'measured'")["seeds"].tolist() == [3, 3]


def test_files_written(tmp_path):
    runs = [record(k=2), record(k=10), record("context", 2)]
    files = tables.write_tables(runs, tmp_path, "toy")
    assert sorted(f.name for f in files) == sorted(
        [f"table{n}.{kind}" for n in (1, 2, 3) for kind in ("csv", "md", "tex")]
        + ["floor.csv", "floor.md", "table1.txt"]
    )
    assert sorted(p.name for p in (tmp_path / "toy").iterdir()) == sorted(f.name for f in files)
    md = (tmp_path / "toy" / "table1.md").read_text()
    assert md.startswith("# Table I. Pascal-VOC 2012, profile toy") and "NOT the paper's setting" in md
    assert 'make tables PROFILE=toy DATASETS=voc K="4 6 8"' in md and "| 4 | ZS3Net | - (" in md
    assert "200 validation images" in md and "302-310" in md and "3.0 min" in md and "cpu (2 threads)" in md
    csv = pd.read_csv(tmp_path / "toy" / "table2.csv")
    assert len(csv) == 20 and set(csv["source"]) == {"measured", "published"}
    assert csv.query("k == 8 and model == 'Ours' and source == 'published'")["unseen_miou"].item() == 15.9
    assert (tmp_path / "toy" / "table1.txt").read_text().startswith("Table I. ")
    only = tables.write_tables(runs, tmp_path / "voc", "toy", datasets=["voc"], ks=[2])
    assert {f.stem for f in only} == {"table1", "table3", "floor"}
    assert tables.write_tables(runs, tmp_path / "c", "toy", datasets=["context"])[-1].exists()
    assert (tmp_path / "c" / "toy" / "table1.txt").read_text().startswith("Table II. ")


def test_tex_is_escaped_and_balanced(tmp_path):
    runs = [record(k=2, seed=s) for s in (0, 1)]
    for r in runs:
        r["device"] = "A & B_100%"
    tables.write_tables(runs, tmp_path, "toy", ks=[2, 4])
    tex = (tmp_path / "toy" / "table1.tex").read_text()
    assert r"A \& B\_100\%" in tex and r"$\pm$" in tex and "±" not in tex and r"\textbf{" in tex
    for word in (r"\begin{table*}", r"\toprule", r"\multirow", r"\bottomrule", r"\end{table*}"):
        assert word in tex
    assert tex.count("{") == tex.count("}")
    rows = [line for line in tex.splitlines() if "ZS3Net" in line or "Ours" in line]
    assert len(rows) == 8 and all(line.count("&") == 12 for line in rows)


def test_parameters_as_make_and_papermill_hand_them_over():
    assert records.listed("6 10", int) == records.listed([6, 10], int) == [6, 10]
    assert records.listed(6, int) == [6] and records.listed(0, int) == [0]
    assert records.listed("voc context") == ["voc", "context"]
    assert records.listed(None) is None and records.listed("") is None
    with pytest.raises(ZS3Error, match="'six' is not"):
        records.listed("six", int)


def test_the_time_of_interrupted_runs_is_told_for_what_it_is():
    broken = record(k=8) | {"interrupted": True}
    text = " ".join(records.notes([record(), broken], "I", "toy", [8, 10]))
    assert "3.0 min in all (of 1 interrupted run(s) only the last attempt) on" in text


def test_tuning_runs_are_never_called_validation():
    text = " ".join(records.notes([record(holdout=0.2)], "I", "toy", [10]))
    assert "HELD-OUT TRAINING" in text and "validation images" not in text


def test_missing_method_says_how_to_fill_it():
    lines = records.notes([record(methods=["zs3net", "ours"])], "III", "toy", [10])
    assert "toy/voc-k10-s0 was run without Equal Weight: remove runs/toy/voc-k10-s0, then make tables" in lines[-1]


def test_floor_and_its_ratio():
    numbers = {"no_generator": {"unseen_miou": 2.0}, "zs3net": {"unseen_miou": 10.0}, "ours": {"unseen_miou": 15.0}}
    zero = numbers | {"no_generator": {"unseen_miou": 0.0}}
    frame = tables.floor(
        [record(k=10, metrics=numbers), record("context", 2, metrics=zero), record(k=4, methods=["ours"])]
    )
    assert frame.loc[("voc", 10)].tolist() == [2.0, 10.0, 15.0, 5.0, 7.5]
    assert frame.loc[("context", 2)].isna().tolist() == [False, False, False, True, True]
    assert len(frame) == 2 and tables.floor([]).empty


def test_command_line(tmp_path, capsys):
    assert tables.main(["--profile", "toy", "--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    write(tmp_path / "runs", record(k=2))
    assert tables.main(["--runs", str(tmp_path / "runs"), "--tables", str(tmp_path / "tables")]) == 0
    shown = capsys.readouterr().out
    assert "Table I." in shown and "published" in shown and str(tmp_path / "tables" / "toy" / "table1.md") in shown
    assert max(map(len, shown.split("Generated")[0].splitlines())) <= 120


def test_audit_against_rows_worked_by_hand():
    found = audit.audit().set_index(["table", "k", "model"])
    assert len(found) == 30
    good = found.loc[("I", 10, "ZS3Net")]  # mIoU (33.9 * 11 + 18.1 * 10) / 21 = 26.376; hIoU 1227.18 / 52 = 23.600
    assert good["overall_miou_low"] == pytest.approx(26.326, abs=1e-3) and good["overall_miou_agrees"]
    assert good["hiou_low"] < 23.6 < good["hiou_high"] and good["hiou_agrees"] and good["overall_ma_agrees"]
    bad = found.loc[("I", 2, "Ours")]  # mIoU (71.6 * 19 + 37.5 * 2) / 21 = 68.352, printed 67.7
    assert not bad["overall_miou_agrees"] and bad["overall_miou_off"] == pytest.approx(67.75 - 68.302, abs=1e-3)
    assert not found.loc[("I", 6, "Ours"), "hiou_agrees"]  # 2 * 51.1 * 25.5 / 76.6 = 34.02, printed 33.6
    assert not found.loc[("II", 10, "ZS3Net"), "overall_pa_agrees"]  # 52.8 lies below both 53.5 and 58.6
    assert found.loc[("II", 8, "Ours"), "overall_pa_agrees"]  # 56.9 is the seen PA itself


def test_class_counts_and_claims():
    assert audit.class_counts("voc")["C"].iloc[0] == 21
    context = audit.class_counts("context")
    assert set(context.query("agree == agree.max()")["C"]) == {59, 60}  # the printed decimals cannot tell them apart
    assert audit.class_counts("voc", model="ZS3Net").iloc[0][["C", "agree", "of"]].tolist() == [21, 10, 10]
    said = audit.claims()
    assert said.loc[said["claim"].str.startswith("for all cases of K"), "holds"].tolist() == [False]
    assert "K=8 unseen mIoU: Ours 15.9, ZS3Net 16.0" in said["exceptions"].tolist()
    assert audit.final_equals_ours()


def test_pixel_accuracies_imply_one_share_of_unseen_pixels_or_are_told():
    shares = audit.pixel_shares().set_index(["dataset", "k", "model"])
    ours = shares.loc[
        ("voc", 2, "Ours")
    ]  # (94.0 - 92.8) / (94.0 - 54.4) = 3.03 %; ends 1.1 / 39.6 and 1.3 / 39.6, about
    assert ours["low"] == pytest.approx(2.78, abs=0.01) and ours["high"] == pytest.approx(3.28, abs=0.01)
    told = shares.index[~shares["agree"]]
    assert {(dataset, k) for dataset, k, _ in told} == {("voc", 2), ("voc", 6)} and len(shares) == 24
    voc = shares.loc["voc"]
    fits = {key for key, r in voc.iterrows() if r["low"] <= audit.VOC_UNSEEN_PIXELS[key[0]] <= r["high"]}
    assert {(k, "ZS3Net") for k in (2, 4, 6, 8, 10)} <= fits and not {(2, "Ours"), (6, "Ours")} & fits


SHARED = Path(__file__).parents[2] / "shared" / "voc"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs VOC 2012's val masks in ../shared/voc")
def test_the_share_of_unseen_pixels_as_counted():
    from zs3lib.classes import split
    from zs3lib.data import VOC

    data, counts = VOC(SHARED, "val"), 0
    for i in range(len(data)):
        counts = counts + np.bincount(data.load_mask(i).ravel(), minlength=256)
    shares = {
        k: round(100 * counts[list(split("voc", k).unseen)].sum() / counts[:21].sum(), 2)
        for k in audit.VOC_UNSEEN_PIXELS
    }
    assert len(data) == 1449 and shares == audit.VOC_UNSEEN_PIXELS


def test_notebook_runs_from_anywhere(tmp_path, monkeypatch):
    write(tmp_path / "runs", record(k=2), record(k=2, seed=1), record("context", 6, methods=["zs3net", "ours"]))
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).parents[1] / "notebooks" / "tables.ipynb"
    roots = {f"{kind}_root": str(tmp_path / kind) for kind in ("runs", "tables", "figures")}
    roots |= {"ks": "2 6", "datasets": "voc context", "seeds": "0 1"}  # as the Makefile hands them over
    done = papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters=roots, progress_bar=False)
    text = json.dumps(done, ensure_ascii=False)
    assert "Table II. Pascal-Context, profile toy" in text and "±" in text and "Audit of the published tables" in text
    assert (tmp_path / "tables" / "toy" / "table3.tex").exists()
    report = (tmp_path / "tables" / "audit.md").read_text()
    assert "Table I, K=2, Ours: overall MA is printed 80.1" in report and report.count("| III | voc |") == 10
    assert (tmp_path / "figures" / "toy" / "hiou.pdf").exists()


def test_notebook_is_committed_clean_and_its_parameters_are_explained():
    source = Path(__file__).parents[1] / "notebooks" / "tables.ipynb"
    cells = json.loads(source.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    parameters = papermill.inspect_notebook(str(source))
    assert list(parameters) == ["profile", "runs_root", "tables_root", "figures_root", "ks", "datasets", "seeds"]
    assert all(p["help"] for p in parameters.values())


@pytest.mark.parametrize("epochs, says", [(0, "as it is"), (2, "trained 2 more epoch(s)")])
def test_notes_say_whose_backbone_a_smaller_k_used(epochs, says):
    made = [record(k=k, stage1_from_k=10, stage1_from_epochs=epochs, crop_size=192, val_size=256) for k in (2, 8, 10)]
    text = " ".join(records.notes(made, "I", "lite", [2, 8, 10]))
    assert f"K = 2, 8: the backbone of K = 10, which saw none of their unseen classes either, {says}" in text
    assert "crops of 192 px, val at a short side of 256 px" in text
    assert "the backbone of" not in " ".join(records.notes(made[2:], "I", "lite", [10]))
