"""The Makefile is the dependency graph: nothing is rebuilt that has not changed, nothing half-written is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = {"crop_size": 32, "base_size": 40, "val_size": 40, "batch_size": 4, "stage1_steps": 0, "samples": 8, "views": 1}


@pytest.fixture(scope="module")
def checkout(world, weights, tmp_path_factory) -> Path:
    """A copy of the checkout whose toy data is already there."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in ("zs3lib", "notebooks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    (copy / "data" / "toy").mkdir(parents=True)
    (copy / "data" / "toy" / "ready").touch()
    (copy / "installed").touch()
    return copy


@pytest.fixture(scope="module")
def make(checkout, world, weights):
    """Run `make tables`, or another target, in the copy on a tiny grid; returns the finished process."""
    parameters = {
        "data_root": world, "weights": weights, "word_vectors": world / "wordvectors.txt", "stage1_epochs": 1,
        "stage2_epochs": 2, "warmup_epochs": 1, "device": "cpu",
    }  # fmt: skip
    words = " ".join(f"-p {name} {value}" for name, value in parameters.items())
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "CONDA_DEFAULT_ENV")}

    def run(*extra: str, more: str = "", target: str = "tables", interrupt: str = "") -> subprocess.CompletedProcess:
        command = [
            "make", target, "DATASETS=voc", "K=10", f"BIN={Path(sys.executable).parent}", "READY=installed",
            f"PARAMS={words} -p options '{json.dumps(TINY)}' {more}", *extra,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=checkout, env=environment | {"PYTHONPATH": str(checkout)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            # tests that run in the background are deaf to Ctrl-C, and so would be what they start
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        if interrupt:
            while process.poll() is None and not list(checkout.glob(interrupt)):
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
        output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    return run


def products(checkout: Path) -> dict[str, int]:
    """Modification time of every file that make has made."""
    folders = ("runs", "tables", "figures", "report")
    return {str(p): p.stat().st_mtime_ns for f in folders for p in (checkout / f).rglob("*") if p.is_file()}


def test_make_tables_builds_then_does_nothing_then_only_what_changed(checkout, make):
    failed = make(more="-p tau 7")
    assert failed.returncode != 0
    assert "ZS3Error: tau is 7.0: it must be from 0 to 1" in failed.stderr
    assert not list((checkout / "runs").rglob("metrics.json")) and not (checkout / "tables/toy/table1.txt").exists()

    stopped = make(interrupt="runs/toy/backbones/*/*.pt")
    assert stopped.returncode != 0 and "Traceback" not in stopped.stderr
    assert "interrupted; saved: stage 1" in stopped.stderr and "goes on from there" in stopped.stderr
    assert not list((checkout / "runs").rglob("metrics.json"))

    first = make()
    assert first.returncode == 0, first.stderr
    assert "ZS3Net" in first.stdout and "tables/toy/table" in first.stdout.splitlines()[-1]
    before = products(checkout)
    for name in (
        "tables/toy/table1.md",
        "tables/toy/table3.tex",
        "figures/toy/fig3.png",
        "runs/toy/voc-k10-s0/metrics.json",
    ):
        assert str(checkout / name) in before

    second = make()
    assert second.returncode == 0 and products(checkout) == before

    (checkout / "notebooks" / "figure3.ipynb").touch()
    assert make().returncode == 0
    after = products(checkout)
    changed = {Path(p).name for p in after if after[p] != before.get(p)}
    assert changed == {"fig3.png", "fig3.pdf", "figure3.ipynb"}

    # The notebooks that explain are run by test_notebooks.py, on settings of their own.
    assert make("STORIES=", target="report").returncode == 0
    built = {name: moment for name, moment in products(checkout).items() if name not in after}
    assert {Path(p).name for p in built} == {"index.html", "tables.html", "figure3.html", "voc-k10-s0.html", ".grid"}
    assert make("STORIES=", target="report").returncode == 0 and products(checkout) == after | built


def test_help_lists_the_targets():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    targets = ("setup", "data", "tables", "figure", "report", "test", "test-browser", "lint", "clean")
    assert all(f"  make {target} " in done.stdout for target in targets)


def test_what_is_installed_stays_as_it_is_where_uv_is_not_at_hand(checkout):
    """Without uv on the PATH an installed environment was once installed again, from another checkout."""
    command = ["make", "-n", "setup", f"BIN={Path(sys.executable).parent}", "READY=installed"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "CONDA_DEFAULT_ENV")}
    tools = {str(Path(shutil.which(name)).parent) for name in ("make", "bash", "nproc")}
    tools = [folder for folder in tools if not Path(folder, "uv").exists()]
    done = subprocess.run(
        command, cwd=checkout, env=environment | {"PATH": ":".join(tools)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "install" not in done.stdout.replace("installed", ""), done.stdout + done.stderr


@pytest.mark.parametrize("profile, datasets", [("paper", "voc context"), ("lite", "voc")])
def test_make_data_downloads_for_real_profiles_and_makes_the_toy_world_else(checkout, profile, datasets):
    command = ["make", "-n", "data", f"BIN={Path(sys.executable).parent}", "READY=installed"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "CONDA_DEFAULT_ENV")}
    runs = [
        subprocess.run([*command, *more], cwd=checkout, env=environment, capture_output=True, text=True).stdout
        for more in ((f"PROFILE={profile}", f"DATASETS={datasets}"), ())
    ]
    assert f"-m zs3lib.data.download --profile {profile} --datasets {datasets}" in runs[0]
    assert "zs3lib.data.download" not in runs[1] and "data/toy/ready" in runs[1]


def test_make_protocol_trains_both_protocols_then_makes_one_table(checkout):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "CONDA_DEFAULT_ENV")}
    command = [
        "make",
        "-n",
        "protocol",
        f"BIN={Path(sys.executable).parent}",
        "READY=installed",
        "PROFILE=dry",
        "SEED=0 1",
    ]
    lines = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True).stdout.splitlines()
    runs = [line for line in lines if "notebooks/train.ipynb" in line]
    for seed in (0, 1):
        first, second = (n for n, line in enumerate(runs) if f"-p seed {seed} " in line)
        assert f"runs/dry/voc-k10-s{seed}/train.ipynb" in runs[first] and "-p protocol paper" in runs[first]
        assert f"runs/dry/voc-k10-s{seed}-strict/train.ipynb" in runs[second] and "-p protocol strict" in runs[second]
    assert len(runs) == 4 and any("zs3lib.protocols --profile dry" in line for line in lines)
