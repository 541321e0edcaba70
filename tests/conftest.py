"""A tiny toy world, random weights for it, and settings that run in a second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from tiny import EPOCHS, TINY

from zs3lib import Run, storage
from zs3lib.method import deeplab
from zs3lib.settings import Settings
from zs3lib.toy import world as toy

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=3, help="tiny runs to kill and resume")


def pytest_terminal_summary(terminalreporter):
    """How many bad inputs were answered as they should be (bad_inputs.py)."""
    for where, seen in (("", False), (" in JupyterLab", True)):
        ends = [
            kind
            for kind in ("passed", "failed", "error")
            for r in terminalreporter.stats.get(kind, [])
            if "gets_one_line" in r.nodeid and ("/browser/" in r.nodeid) == seen
        ]
        if ends:
            count = f"{ends.count('passed')}/{len(ends)}"
            terminalreporter.write_line(f"{count} bad inputs answered by one clear line{where}")


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A toy world of 24 + 8 small images, VOC and Context; a test that changes it copies it."""
    root = tmp_path_factory.mktemp("data") / "world"
    toy.ensure(root, seed=0, train=24, val=8, short_side=64, workers=1, progress=False)
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A whole random toy network without its classifier, as its pretraining leaves it."""
    model = deeplab.build(Settings.make(profile="toy", backbone_seed=99), 21)
    path = tmp_path_factory.mktemp("weights") / "toy.pt"
    state = model.state_dict()
    storage.save(path, {k: v for k, v in state.items() if not k.startswith("classifier.")})
    return path


@pytest.fixture(scope="session")
def places(world, weights) -> dict:
    """The tiny world's files as parameters of a notebook, or of Settings."""
    return {
        "data_root": str(world),
        "weights": str(weights),
        "word_vectors": str(world / "wordvectors.txt"),
    }


@pytest.fixture(scope="session")
def settings(places):
    """Make tiny settings: settings(k=2, ...)."""

    def make(**changes) -> Settings:
        return Settings.make(**({"profile": "toy", "k": 2} | TINY | EPOCHS | places | changes))

    return make


@pytest.fixture
def opened(settings, tmp_path):
    """Open a tiny run of K = 10 in a folder under tmp_path: opened("b", methods="ours", ...)."""

    def make(folder="a", **changes) -> Run:
        root = tmp_path / folder
        return Run(settings(**({"k": 10} | changes)), runs_root=root, cache_root=root / "cache")

    return make


@pytest.fixture(scope="session")
def trained(settings, tmp_path_factory) -> Path:
    """A finished run of K = 10, its cache kept; a test copies what it spoils."""
    root = tmp_path_factory.mktemp("trained")
    run = Run(settings(k=10), runs_root=root / "runs", cache_root=root / "cache")
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save(keep_cache=True)
    return root


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout, set up, whose toy data is there; its .venv is this interpreter's."""
    copy = tmp_path_factory.mktemp("a checkout")
    for part in ("zs3lib", "notebooks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    (copy / "data" / "toy").mkdir(parents=True)
    (copy / "data" / "toy" / "ready").touch()
    (copy / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".zs3lib-installed":
            (copy / ".venv" / path.name).symlink_to(path)
    (copy / ".venv" / ".zs3lib-installed").write_text(f"{copy}\n")
    return copy


@pytest.fixture(scope="module")
def make(checkout):
    """Run make in the copy, or in another folder, in a plain environment and `env`.

    Once a file `interrupt` is there, `how` is called, which is Ctrl-C.
    """
    own = "MAKEFLAGS MAKELEVEL CONDA_DEFAULT_ENV OMP_NUM_THREADS PYTHONPATH PROFILE K SEED LAUNCH"
    plain = {name: value for name, value in os.environ.items() if name not in own.split()}

    def ctrl_c(process: subprocess.Popen) -> None:
        os.killpg(process.pid, signal.SIGINT)  # as in a terminal

    def run(*words: str, interrupt: str = "", how=ctrl_c, folder: Path = checkout, env=None):
        process = subprocess.Popen(
            [shutil.which("make"), *words],
            cwd=folder,
            env=plain | (env or {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # Tests in the background are deaf to Ctrl-C, and so would be what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        if interrupt:
            while process.poll() is None and not list(checkout.glob(interrupt)):
                time.sleep(0.01)
            how(process)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    return run


@pytest.fixture(scope="session")
def tiny_params(places) -> str:
    """The word of make's command that makes every training tiny."""
    given = yaml.safe_dump({"options": TINY} | EPOCHS | places, default_flow_style=True, width=9999)
    return f"PARAMS=-y '{given.strip()}'"


@pytest.fixture(scope="session")
def same():
    """Whether two state dicts hold the same bytes."""

    def compare(first: dict, second: dict) -> bool:
        return first.keys() == second.keys() and all(
            torch.equal(first[key], second[key]) for key in first
        )

    return compare
