"""Every notebook runs through papermill, is committed without outputs, and explains itself."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import papermill
import pytest

from zs3lib.notebooks import main

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# tables.ipynb is run in test_tables.py, on made-up records.
TINY = dict(
    crop_size=32, base_size=40, val_size=40, batch_size=4, stage1_steps=0, samples=8, views=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def record(world, weights, tmp_path_factory) -> Path:
    """The run record that train.ipynb leaves, run from a folder that is not the checkout's."""
    folder = tmp_path_factory.mktemp("runs")
    parameters = dict(
        k=10, data_root=str(world), weights=str(weights), word_vectors=str(world / "wordvectors.txt"), device="cpu",
        stage1_epochs=1, stage2_epochs=2, warmup_epochs=1, options=TINY, runs_root=str(folder),
        cache_root=str(folder / "cache"),
    )  # fmt: skip
    papermill.execute_notebook(FOLDER / "train.ipynb", folder / "out.ipynb", parameters, cwd=folder, progress_bar=False)
    return folder / "toy" / "voc-k10-s0" / "metrics.json"


def pictures(notebook: Path) -> int:
    """How many figures an executed notebook shows."""
    outputs = [o for cell in nbformat.read(notebook, 4).cells for o in cell.get("outputs", [])]
    return sum("image/png" in o.get("data", {}) for o in outputs)


def test_train_notebook_leaves_a_whole_record_and_shows_figures(record):
    content = json.loads(record.read_text())
    assert set(content["methods"]) == {"no_generator", "zs3net", "ours", "equal_weight"}
    assert content["settings"]["crop_size"] == 32
    assert (record.parent / "heads.pt").is_file()
    assert not (record.parent / "training").exists()
    assert pictures(record.parents[2] / "out.ipynb") == 4  # samples, losses, per-class IoU, predictions


def test_figure3_notebook_draws_from_the_record(record, world, tmp_path):
    parameters = dict(
        runs_root=str(record.parents[2]), figures_root=str(tmp_path), data_root=str(world), device="cpu"
    )  # fmt: skip
    papermill.execute_notebook(
        FOLDER / "figure3.ipynb", tmp_path / "out.ipynb", parameters, cwd=tmp_path, progress_bar=False
    )
    for suffix in ("png", "pdf"):
        assert (tmp_path / "toy" / f"fig3.{suffix}").stat().st_size > 10_000


def test_data_notebook_shows_the_data(world, tmp_path):
    parameters = dict(k=4, samples=3, data_root=str(world), word_vectors=str(world / "wordvectors.txt"))
    papermill.execute_notebook(
        FOLDER / "data.ipynb", tmp_path / "out.ipynb", parameters, cwd=tmp_path, progress_bar=False
    )
    assert pictures(tmp_path / "out.ipynb") == 6  # samples, frequencies, sizes, what K takes away (two), words


def test_new_class_notebook_segments_words_that_the_run_never_saw(record, tmp_path):
    parameters = dict(words="zebra, van", trials=1, trial_words="zebra", runs_root=str(record.parents[2]), device="cpu")
    papermill.execute_notebook(
        FOLDER / "new_class.ipynb", tmp_path / "out.ipynb", parameters, cwd=tmp_path, progress_bar=False
    )
    assert pictures(tmp_path / "out.ipynb") == 2  # the segmentation, the probability of each new class


def test_diagnose_notebook_shows_why_classes_fail(record, world, tmp_path):
    parameters = dict(runs_root=str(record.parents[2]), data_root=str(world), per_class=20, device="cpu")
    papermill.execute_notebook(
        FOLDER / "diagnose.ipynb", tmp_path / "out.ipynb", parameters, cwd=tmp_path, progress_bar=False
    )
    assert pictures(tmp_path / "out.ipynb") == 6


def test_method_notebook_finds_every_formula_and_its_call_agreeing(tmp_path):
    """Its own asserts compare each formula, written out, with zs3lib; they must hold for another seed too."""
    parameters = dict(seed=3, steps=60, repeats=1, animate=False)
    papermill.execute_notebook(
        FOLDER / "method.ipynb", tmp_path / "out.ipynb", parameters, cwd=tmp_path, progress_bar=False
    )
    assert pictures(tmp_path / "out.ipynb") >= 10


def test_a_mistake_is_answered_by_one_line_and_exit_code_1(tmp_path, capfd):
    code = main([str(FOLDER / "train.ipynb"), str(tmp_path / "out.ipynb"), "-p", "dataset", "coco"])
    lines = capfd.readouterr().err.strip().splitlines()
    assert code == 1
    assert "ZS3Error: unknown dataset 'coco': choose one of voc, context" in lines[0]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_is_committed_without_outputs(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebook_says_what_it_shows_takes_and_needs_and_lists_its_parameters(path):
    first = nbformat.read(path, 4).cells[0].source
    assert all(word in first for word in ("**Shows**", "**Takes**", "**Needs**"))
    for name, parameter in papermill.inspect_notebook(path).items():
        assert parameter["help"], f"{path.name}: parameter {name} has no explaining comment"
        assert parameter["inferred_type_name"] != "None", f"{path.name}: parameter {name} has no type"
