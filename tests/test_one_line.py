"""Bad input, as the train and tables notebooks meet it: one clear line, a failed cell, nothing half-written.

The cells run in an IPython shell in this process, which shows an error as Jupyter and papermill do.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from bad_inputs import DATA, PARAMETERS, RECORDS

from zs3lib import Run, stage1
from zs3lib.finished import open_run
from zs3lib.notebooks import _value as typed

ROOT = Path(__file__).parents[1]
TINY = dict(crop_size=32, base_size=40, val_size=40, batch_size=4, stage1_steps=0, samples=8, views=1)


# ---- cells in a shell -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shell():
    import matplotlib
    from IPython.core.interactiveshell import InteractiveShell

    matplotlib.use("Agg")
    made = InteractiveShell.instance()
    yield made
    InteractiveShell.clear_instance()


@pytest.fixture
def answer(shell, capsys):
    """Run cells until one fails; the lines shown of its error. Fails itself when none fails."""

    def run(cells: list[str], **names) -> str:
        import matplotlib.pyplot as plt

        shell.reset(new_session=False)
        shell.push(names)
        for source in cells:
            capsys.readouterr()
            result = shell.run_cell(source, store_history=False)
            plt.close("all")
            if not result.success:
                shown = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
                assert shown[-1].startswith("ZS3Error: ") and ": " in shown[-1][10:], shown
                assert not any("Traceback" in line or line.startswith("---") for line in shown), shown
                assert str(result.error_in_exec) in shown[-1]
                return shown[-1]
        raise AssertionError("no cell failed")

    return run


def cells_of(notebook: str, parameters: dict) -> list[str]:
    """A notebook's code cells, the parameters given after those it has, as papermill does."""
    cells = [cell for cell in nbformat.read(ROOT / "notebooks" / notebook, 4).cells if cell.cell_type == "code"]
    at = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    sources = [cell.source for cell in cells]
    return sources[: at + 1] + ["\n".join(f"{k} = {v!r}" for k, v in parameters.items())] + sources[at + 1 :]


def half_written(*roots: Path) -> list[Path]:
    return [
        p
        for root in roots
        if root.is_dir()
        for p in root.rglob("*")
        if p.name in ("metrics.json", "heads.pt") or ".tmp" in p.name
    ]


def train_cells(tmp_path: Path, w: Path, weights: Path, **changes) -> list[str]:
    own = w / "weights.pt" if (w / "weights.pt").exists() else weights
    vectors = next(iter(w.glob("*.kv")), w / "wordvectors.txt")
    parameters = dict(
        k=10, data_root=str(w), weights=str(own), word_vectors=str(vectors), device="cpu", stage1_epochs=1, stage2_epochs=2,
        warmup_epochs=1, runs_root=str(tmp_path / "runs"), cache_root=str(tmp_path / "cache"), options=TINY,
    )  # fmt: skip
    if isinstance(changes.get("options"), dict):
        changes["options"] = TINY | changes["options"]
    return cells_of("train.ipynb", parameters | changes)


def check(line: str, says: str) -> None:
    """What the answer must name; counted at the end of the test run (conftest)."""
    assert says in line and len(line) < 700 and "\n" not in line, line


@pytest.mark.parametrize("case", DATA)
def test_a_bad_input_gets_one_line_data(case, world, weights, answer, tmp_path):
    spoil, dataset, says = DATA[case]
    w = tmp_path / "world"
    shutil.copytree(world, w)
    lost = case == "no weights"
    if "weights" in case:
        shutil.copy(weights, w / "weights.pt")
    spoil(w)
    line = answer(train_cells(tmp_path, w, w / "weights.pt" if lost else weights, dataset=dataset))
    check(line, says)
    assert not half_written(tmp_path / "runs", tmp_path / "cache")
    assert not hasattr(sys.modules["zs3lib"], "code_ran")


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_bad_input_gets_one_line_parameters(case, world, weights, answer, tmp_path):
    name, value, says = PARAMETERS[case]
    check(answer(train_cells(tmp_path, world, weights, **{name: typed(value)})), says)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    """A finished run of K = 10, its cache kept."""
    root = tmp_path_factory.mktemp("trained")
    run = Run(settings(k=10, stage2_epochs=1), runs_root=root / "runs", cache_root=root / "cache")
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save(keep_cache=True)
    return root


@pytest.mark.parametrize("case", RECORDS)
def test_a_bad_input_gets_one_line_records(case, trained, answer, tmp_path):
    reader, spoil, says = RECORDS[case]
    shutil.copytree(trained / "runs", tmp_path / "runs")
    folder = tmp_path / "runs" / "toy" / "voc-k10-s0"
    spoil(folder)
    if reader == "heads":
        line = answer(["open_run(folder)"], open_run=open_run, folder=folder)
    else:
        roots = {f"{name}_root": str(tmp_path / name) for name in ("runs", "tables", "figures")}
        line = answer(cells_of("tables.ipynb", roots))
    check(line, says)
    assert not (tmp_path / "tables").exists() and not (tmp_path / "figures").exists()


# ---- disks and folders ----------------------------------------------------------------------------------------------


@contextmanager
def file_size_limit(size: int):
    """Files beyond `size` bytes cannot be written: what a full disk says, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path):
    """A file system of 256 KB in memory, mounted on `folder`; skips where mounting is not allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def forbidden(folder: Path):
    """A folder that nothing may be written to; skips where permissions do not bind (root)."""
    folder.mkdir()
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("permissions do not bind this user (root)")
        yield
    finally:
        folder.chmod(0o755)


@contextmanager
def a_file(path: Path):
    path.write_text("not a folder")
    yield


PLACES = {  # which root, what is done to it, what is called, what the line names
    "disk full in stage 1": ("runs", lambda p: file_size_limit(1 << 20), "run.train_backbone()", "training.pt cannot be written"),
    "disk full in the cache": ("cache", lambda p: file_size_limit(1 << 16), "run.train_heads()", "cannot be written"),
    "disk full at the record": ("runs", lambda p: file_size_limit(1 << 10), "run.save()", "heads.pt cannot be written"),
    "a small disk for runs": ("runs", small_disk, "run.train_backbone()", "training.pt cannot be written (No space left"),
    "a small disk for the cache": ("cache", small_disk, "run.train_heads()", "No space left"),
    "a file for runs_root": ("runs", a_file, "run.train_backbone()", "/runs/toy"),
    "a file for cache_root": ("cache", a_file, "run.train_heads()", "/cache/"),
    "runs_root read-only": ("runs", forbidden, "run.train_backbone()", "/runs/toy"),
    "cache_root read-only": ("cache", forbidden, "run.train_heads()", "/cache/"),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
def test_a_bad_input_gets_one_line_places(case, trained, settings, answer, tmp_path):
    root, spoil, call, says = PLACES[case]
    changes = {"stage1_lr": 1e-4} if "backbone" in call else {}
    with _nothing() if "save" in call else spoil(tmp_path / root):
        roots = {name: tmp_path / name if name == root else trained / name for name in ("runs", "cache")}
        run = Run(settings(k=10, stage2_epochs=1, **changes), runs_root=roots["runs"], cache_root=roots["cache"])
        if "save" in call:
            run.train_backbone(), run.train_heads(), run.evaluate()
        elif "heads" in call:
            run.model = stage1.freeze(run.model)
        with spoil(tmp_path / root) if "save" in call else _nothing():
            line = answer([call], run=run)
        check(line, says)
        assert not half_written(tmp_path / root)


@contextmanager
def _nothing():
    yield


# ---- the same through the front door --------------------------------------------------------------------------------


def test_plain_papermill_ends_with_the_line_too(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "papermill", ROOT / "notebooks/train.ipynb", tmp_path / "out.ipynb", "-p", "k", "0"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode != 0 and lines[-1].startswith("ZS3Error: k is 0: K must be a whole number")
    outputs = [o for c in nbformat.read(tmp_path / "out.ipynb", 4).cells for o in c.get("outputs", [])]
    (error,) = [o for o in outputs if o.output_type == "error"]
    assert error.traceback == [lines[-1]]
