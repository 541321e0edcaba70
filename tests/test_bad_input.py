"""Whatever a user can get wrong is answered by one line that names it, and nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bad_inputs import DATA, HEADS, NUMBERS, PARAMETERS, RECORDS, TRAIN, WEIGHTS, spoil

import zs3lib
from zs3lib import Run, Settings, ZS3Error, load_heads, open_run
from zs3lib.__main__ import main
from zs3lib.data import augment
from zs3lib.results import tables
from zs3lib.runs import notebooks
from zs3lib.runs.notebooks import typed

ROOT = Path(__file__).parents[1]
TRAINING = str(ROOT / "notebooks" / "train.ipynb")
RUN = "runs/toy/voc-k2-s0"


def one_line(call) -> str:
    """The one line that a call is answered by, as JupyterLab and papermill show it."""
    with pytest.raises(ZS3Error) as caught:
        call()
    message = str(caught.value)
    assert message and "\n" not in message and len(message) < 700
    assert caught.value._render_traceback_() == [f"ZS3Error: {message}"]
    return message


def half_written(*roots: Path) -> list[Path]:
    found = [path for root in roots if root.is_dir() for path in root.rglob("*")]
    return [p for p in found if p.name in ("metrics.json", "heads.pt") or p.suffix == ".tmp"]


# ---- data, word vectors, weights ----------------------------------------------------------------


@pytest.mark.parametrize("case", DATA)
def test_gets_one_line_data(case, world, weights, settings, tmp_path):
    file, how, says = DATA[case]
    copy = tmp_path / "world"
    shutil.copytree(world, copy)
    shutil.copy(weights, copy / WEIGHTS)
    spoil(copy / file, how)
    given = settings(
        dataset="context" if "context" in file or "VOC2010" in file else "voc",
        k=10,
        data_root=str(copy),
        weights=str(copy / WEIGHTS),
        word_vectors=str(next(copy.glob("*.kv"), copy / "wordvectors.txt")),
    )
    roots = {"runs_root": tmp_path / "runs", "cache_root": tmp_path / "cache"}
    assert says in one_line(lambda: Run(given, **roots).train.load(0))
    assert not (tmp_path / "runs").exists() and not half_written(tmp_path / "cache")
    assert not hasattr(zs3lib, "code_ran")


def test_gets_one_line_in_stage_1(world, settings, tmp_path):
    """A damaged picture; and a single one, of which batch norm has no variance."""
    shutil.copytree(world, tmp_path / "world")
    given = settings(data_root=str(tmp_path / "world"), k=10)
    run = Run(given, runs_root=tmp_path, cache_root=tmp_path)
    spoiled = [run.train.images[i] for i in run.seen_images]
    for path in spoiled:
        path.write_bytes(path.read_bytes()[:300])
    message = one_line(run.train_backbone)
    assert any(path.name in message for path in spoiled)
    (tmp_path / "world" / TRAIN).write_text("2012_000001\n2012_000002\n")
    run = Run(settings(data_root=str(tmp_path / "world")), runs_root=tmp_path, cache_root=tmp_path)
    run.seen_images = run.seen_images[:1]
    message = one_line(run.train_backbone)
    assert "only one training image" in message and "at least two" in message


# ---- settings and parameters --------------------------------------------------------------------


@pytest.mark.parametrize("name, value, says", PARAMETERS)
def test_gets_one_line_parameters(name, value, says, places, tmp_path):
    given = notebooks.parameters_of(p=[(name, value)])
    roots = {"runs_root": tmp_path / "runs", "cache_root": tmp_path / "cache"}
    make = partial(Settings.make, **({"stage2_epochs": 2, "warmup_epochs": 1} | places | given))
    assert says in one_line(lambda: Run(make(), **roots))
    assert list(tmp_path.iterdir()) == []


def test_papermills_four_ways_to_give_a_parameter_are_one(tmp_path):
    (tmp_path / "tau.yml").write_text("tau: 0.5\noptions: {views: 3}\n")
    ways = [
        {"p": [("tau", "0.5"), ("options", '{"views": 3}')]},
        {"r": [("tau", "0.5"), ("options", '{"views": 3}')]},
        {"y": ["tau: 0.5", "options: {views: 3}"]},
        {"f": [str(tmp_path / "tau.yml")]},
    ]
    made = [Settings.make(**notebooks.parameters_of(**way)) for way in ways]
    assert all(settings == Settings.make(tau=0.5, views=3) for settings in made)


def test_numbers_of_a_notebook_may_be_text_or_whole_floats():
    assert typed(int, k=6, samples="6", images=6.0, seed="6.0", trials=None) == [6] * 4 + [None]
    assert typed(float, weight="0.5") == [0.5]
    lists = typed(list, ks="2 10", seeds=[2, "10"], a="2.0", b=2.0, c=None)
    assert lists == [(2, 10), (2, 10), (2,), (2,), None]


@pytest.mark.parametrize("kind", [int, list])
@pytest.mark.parametrize("value", [6.5, "6.5", True, "six", float("nan")])
def test_gets_one_line_what_is_no_whole_number(kind, value):
    assert f"samples is {value!r}: it must be a" in one_line(lambda: typed(kind, samples=value))


@pytest.mark.parametrize("path, name, kind", NUMBERS, ids=lambda x: getattr(x, "stem", x))
def test_gets_one_line_every_number_of_every_notebook(path, name, kind, tmp_path, monkeypatch):
    """Up to its first cell, which takes them: as the kernel runs it, before data are looked for."""
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(code[0], space)
    space |= {"device": "cpu", name: "six"}
    assert f"{name} is 'six': " in one_line(lambda: exec(code[1], space))
    assert list(tmp_path.iterdir()) == []


# ---- records and heads --------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*RECORDS, *HEADS])
def test_gets_one_line_records(case, trained, tmp_path):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    folder = tmp_path / "runs" / "toy" / "voc-k10-s0"
    file, how, says = (RECORDS | HEADS)[case]
    spoil((folder / file).resolve(), how)
    call = partial(tables.write, "toy", runs=tmp_path / "runs", out=tmp_path / "tables")
    assert says in one_line(partial(open_run, folder) if case in HEADS else call)
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_loaded_generators_draw_the_noise_that_they_were_trained_with(noise, trained, settings):
    _, heads = load_heads(trained / "runs/toy/voc-k10-s0", settings(k=10, noise=noise), 21)
    drawn = heads["ours"].generator.sample_noise(1000)
    assert (drawn.min() < 0) == (noise == "gaussian")
    assert heads["no_generator"].generator.noise == noise


# ---- disks and folders --------------------------------------------------------------------------


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
def a_file(path: Path):
    path.write_text("not a folder")
    yield


def full_at(size: int):
    return lambda folder: file_size_limit(size)


STEPS = ("train_backbone", "train_heads", "evaluate", "save")
PLACES = {  # which root, what is done to it, before which step, what the line names
    "disk full in stage 1": ("runs", full_at(1 << 18), "train_backbone", "cannot be written"),
    "disk full in the cache": ("cache", full_at(1 << 14), "train_heads", "cannot be written"),
    "disk full at the record": ("runs", full_at(1 << 10), "save", "heads.pt cannot be written"),
    "a file for runs_root": ("runs", a_file, "train_backbone", "/runs/toy"),
    "a file for cache_root": ("cache", a_file, "train_heads", "/cache"),
}


@pytest.mark.parametrize("case", PLACES)
def test_gets_one_line_places(case, trained, settings, tmp_path):
    name, spoiled, step, says = PLACES[case]
    roots = {f"{x}_root": tmp_path / x if x == name else trained / x for x in ("runs", "cache")}
    changes = {"train_backbone": {"stage1_lr": 1e-4}, "train_heads": {"views": 2}}.get(step, {})
    run = Run(settings(k=10, stage2_epochs=1, **changes), **roots)
    for before in STEPS[: STEPS.index(step)]:
        getattr(run, before)()
    with spoiled(tmp_path / name):
        assert says in one_line(getattr(run, step))
        assert not half_written(tmp_path / name)


@pytest.mark.parametrize("megabytes, fit", [(1, 0), (64, 1), (1024, 8)])
def test_no_more_workers_than_shared_memory_has_room_for(megabytes, fit, monkeypatch):
    """A container has 64 MB by default, and a batch of stage 1 takes 19."""
    usage = SimpleNamespace(free=megabytes << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16))
    given = Settings.make(profile="paper", device="cpu")
    told = pytest.warns(UserWarning, match="8 workers.*--shm-size.*workers: 0")
    with told if fit < 8 else nullcontext():
        assert augment.workers(given) == fit


# ---- the same through every front door ----------------------------------------------------------


@pytest.mark.parametrize("door", ["papermill", "zs3lib run"])
def test_gets_one_line_at_the_command_line(door, tmp_path):
    """What is shown, and the error in the notebook that is left; test_make.py has a bug's."""
    command = [sys.executable, "-m", *door.split(), TRAINING, "out.ipynb", "-p", "k", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    shown = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode != 0 and "ZS3Error: k is 0: K must be a whole number" in shown[-1]
    assert door == "papermill" or len(shown) == 1
    cells = nbformat.read(tmp_path / "out.ipynb", 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    (error,) = [output for output in outputs if output.output_type == "error"]
    assert error.traceback == ["ZS3Error: " + shown[-1].partition("ZS3Error: ")[2]]


@pytest.mark.parametrize(
    "what, words, says",
    [
        (RUN, ["-p", "tua", "7"], "train.ipynb has no parameter 'tua': it has profile, dataset"),
        (TRAINING, ["-y", "options: ["], "-y 'options: [' is not 'name: value' in YAML"),
        (RUN, ["-y", "tau"], "-y 'tau' is not 'name: value' in YAML"),
        (TRAINING, ["-f", "nothing.yml"], "nothing.yml cannot be read (No such file"),
        (RUN, ["-p", "k", "6"], "k is in the run's name already"),
        ("runs/toy/voc-k2", [], "runs/toy/voc-k2 is no run: write runs/<profile>/<dataset>-k<K>"),
        ("nothing.ipynb", [], "nothing.ipynb is no notebook"),
    ],
)
def test_gets_one_line_before_a_kernel_starts(what, words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", what, *words]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {says}") and shown.out == ""
    assert list(tmp_path.iterdir()) == []
