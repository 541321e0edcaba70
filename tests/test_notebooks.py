"""Every notebook runs in this interpreter's kernel, is committed empty, and explains itself."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from tiny import EPOCHS, TINY

from zs3lib.notebooks import execute

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
    roots = {"runs_root": folder / "runs", "cache_root": folder / "cache"}
    shown = run("train", folder, k=10, options=TINY, **EPOCHS, **places, **roots)
    assert shown == 4  # samples, losses, per-class IoU, predictions
    return folder / "runs"


def test_train_leaves_a_whole_record_and_nothing_half_done(runs):
    folder = runs / "toy" / "voc-k10-s0"
    record = json.loads((folder / "metrics.json").read_text())
    assert list(record["methods"]) == ["no_generator", "zs3net", "ours", "equal_weight"]
    assert record["settings"]["crop_size"] == TINY["crop_size"]
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "heads.pt"}


def test_figure3_draws_from_the_record(runs, tmp_path):
    run("figure3", tmp_path, runs_root=runs, figures_root=tmp_path, device="cpu")
    for suffix in ("png", "pdf"):
        assert (tmp_path / "toy" / f"fig3.{suffix}").stat().st_size > 10_000


def test_tables_are_made_of_the_record(runs, tmp_path):
    roots = {"tables_root": tmp_path / "tables", "figures_root": tmp_path / "figures"}
    assert run("tables", tmp_path, runs_root=runs, ks="10", datasets="voc", **roots) >= 1
    assert "ZS3Net" in (tmp_path / "tables" / "toy" / "table1.md").read_text()


def test_data_shows_the_data(places, tmp_path):
    given = {name: places[name] for name in ("data_root", "word_vectors")}
    # Samples, frequencies, sizes, what K takes away (two), words.
    assert run("data", tmp_path, k=4, samples=3, **given) == 6


def test_new_class_segments_words_that_the_run_never_saw(runs, tmp_path):
    given = {"words": "zebra, van", "trials": 1, "trial_words": "zebra", "device": "cpu"}
    # The segmentation, the probability of each new class.
    assert run("new_class", tmp_path, runs_root=runs, **given) == 2


def test_diagnose_shows_why_classes_fail(runs, tmp_path):
    assert run("diagnose", tmp_path, runs_root=runs, per_class=20, device="cpu") == 6


def test_method_finds_every_formula_and_its_call_agreeing(tmp_path):
    """Its own asserts hold each formula, written out, against zs3lib; for another seed too."""
    assert run("method", tmp_path, seed=3, steps=60, repeats=1) >= 8


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
