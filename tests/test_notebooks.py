"""Every notebook runs in this interpreter's kernel, is committed empty, and explains itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from tiny import EPOCHS, TINY

from zs3lib.data.segmentation import open_data
from zs3lib.runs.notebooks import execute, parameters_of
from zs3lib.toy import cocostuff

COW = 10
FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run(name: str, folder: Path, **parameters) -> int:
    """Execute a notebook in an empty folder; how many figures it then shows."""
    parameters = {k: str(v) if isinstance(v, Path) else v for k, v in parameters.items()}
    assert execute(FOLDER / f"{name}.ipynb", folder / "out.ipynb", parameters, cwd=folder) == ""
    cells = nbformat.read(folder / "out.ipynb", 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture(scope="module")
def runs(places, tmp_path_factory) -> Path:
    """The runs_root of a training done by train.ipynb."""
    folder = tmp_path_factory.mktemp("notebooks")
    # Numbers as text, lists and dictionaries as JSON, folders that look like numbers: papermill's
    # -p makes 20121128 a number.
    methods = '["no_generator", "zs3net", "ours", "equal_weight"]'
    texts = {"k": "10.0", "runs_root": "20121128", "cache_root": "2013", "methods": methods}
    given = parameters_of(p=[*texts.items(), ("options", json.dumps(TINY))], y=['seed: "0"'])
    shown = run("train", folder, **EPOCHS, **places, **given)
    assert shown == 4  # samples, losses, per-class IoU, predictions
    return folder / "20121128"


def test_train_leaves_a_whole_record_and_nothing_half_done(runs):
    folder = runs / "toy" / "voc-k10-s0"
    record = json.loads((folder / "metrics.json").read_text())
    assert list(record["methods"]) == ["no_generator", "zs3net", "ours", "equal_weight"]
    assert record["settings"]["crop_size"] == TINY["crop_size"]
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "heads.pt"}


def test_figure3_draws_from_the_record(runs, tmp_path):
    given = {"k": "10", "seed": 0.0, "figures_root": 2012, "device": "cpu"}
    run("figure3", tmp_path, runs_root=runs, **given)
    for suffix in ("png", "pdf"):
        assert (tmp_path / "2012" / "toy" / f"fig3.{suffix}").stat().st_size > 10_000


def test_tables_are_made_of_the_record(runs, tmp_path):
    (tmp_path / "20121128").symlink_to(runs)
    roots = {"runs_root": 20121128, "tables_root": 2012, "figures_root": 2013}
    assert run("tables", tmp_path, ks=10.0, seeds="0", datasets="voc", **roots) >= 1
    assert "ZS3Net" in (tmp_path / "2012" / "toy" / "table1.md").read_text()


@pytest.mark.parametrize(
    "given", [{"k": "4"}, {"unseen_list": "15-5"}, {"dataset": "cocostuff"}], ids=str
)
def test_data_shows_the_data_and_what_a_split_takes_away(given, places, tmp_path):
    root = shutil.copytree(places["data_root"], tmp_path / "2012")
    if given.get("dataset") == "cocostuff":
        root = cocostuff.ensure(root)
    words = str(root.relative_to(tmp_path) / "wordvectors.txt")
    # Samples, frequencies, what K takes away, words.
    assert run("data", tmp_path, samples="3", data_root=2012, word_vectors=words, **given) == 4


def test_new_class_segments_words_that_the_run_never_saw(runs, places, tmp_path):
    shutil.copy(next(Path(places["data_root"]).rglob("*.jpg")), tmp_path / "2012")
    given = {"words": "zebra, van", "trials": "1", "picture": 3.0, "weight": "20"}
    given |= {"trial_words": "zebra", "device": "cpu"}
    # The segmentation, the probability of each new class.
    assert run("new_class", tmp_path, runs_root=runs, image=2012, k="10", **given) == 2


def test_diagnose_shows_why_classes_fail(runs, tmp_path):
    given = {"k": "10", "per_class": "20", "images": 8.0, "device": "cpu"}
    assert run("diagnose", tmp_path, runs_root=runs, **given) == 6


def test_method_finds_every_formula_and_its_call_agreeing(tmp_path):
    """Its own asserts hold each formula, written out, against zs3lib; for another seed too."""
    assert run("method", tmp_path, seed="3", steps=60.0, repeats="1") >= 8


@pytest.fixture(scope="module")
def smallest(places, tmp_path_factory) -> tuple[Path, Path]:
    """The runs_root of K = 1 on two training images and one for validation, without a cow."""
    folder = tmp_path_factory.mktemp("smallest")
    shutil.copytree(places["data_root"], folder / "world")
    lists = folder / "world" / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    for part, count in (("train", 2), ("val", 1)):
        images = open_data("voc", folder / "world", part)
        without = [i for i, shown in zip(images.ids, images.presence) if not shown[COW]]
        (lists / f"{part}.txt").write_text("\n".join(without[:count]))
    given = places | {"data_root": "world"}  # and read from other folders below
    run("train", folder, k=1, options=TINY, runs_root="runs", cache_root="cache", **EPOCHS, **given)
    return folder / "runs", folder / "world"


@pytest.mark.parametrize("name", ["data", "figure3", "diagnose", "new_class"])
def test_a_class_that_no_image_shows_stops_no_notebook(name, smallest, places, tmp_path):
    runs, world = smallest
    given = {"k": 1, "runs_root": runs}
    if name == "data":
        given = {"k": 1, "data_root": world, "word_vectors": places["word_vectors"]}
    own = {"figure3": {"figures_root": "figures"}, "new_class": {"trials": 0, "picture": 0}}
    run(name, tmp_path, **given, **own.get(name, {}))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_kernel_without_zs3lib_is_told_in_one_line(path):
    parameters, first = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"][:2]
    bare = [sys.executable, "-I", "-S", "-c", f"{parameters.source}\n{first.source}"]
    done = subprocess.run(bare, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith(sys.executable) and "make lab" in line and done.returncode == 1


def test_another_kernel_named_python3_is_not_taken(tmp_path, monkeypatch):
    """Somebody else's kernelspec stands first on Jupyter's path, as one under the home may."""
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    other = {"argv": ["/bin/false", "{connection_file}"], "display_name": "o", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(other))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("import sys, zs3lib; print(sys.executable)")]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "o", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    assert execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}) == ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_is_committed_empty_and_says_what_it_shows_takes_and_needs(path):
    cells = nbformat.read(path, 4).cells
    assert all(word in cells[0].source for word in ("**Shows**", "**Takes**", "**Needs**"))
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
