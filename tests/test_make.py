"""The Makefile is the dependency graph: only what changed is made, nothing half-made stays."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from zs3lib.runs import notebooks

ROOT = Path(__file__).parents[1]


def told(done: subprocess.CompletedProcess) -> list[str]:
    """The lines that are not make's own."""
    return [line for line in done.stderr.splitlines() if not line.startswith("make")]


def products(checkout: Path) -> dict[str, int]:
    """Modification time of every file that make has made."""
    folders = ("runs", "tables", "figures", "report")
    files = [p for folder in folders for p in (checkout / folder).rglob("*") if p.is_file()]
    return {str(p.relative_to(checkout)): p.stat().st_mtime_ns for p in files}


def test_make_tables_builds_then_does_nothing_then_only_what_changed(checkout, make, tiny_params):
    tiny = ["DATASETS=voc", "K=10", tiny_params]
    stopped = make("tables", *tiny, interrupt="runs/toy/backbones/*/*.pt")
    assert stopped.returncode != 0 and "Traceback" not in stopped.stderr
    assert "interrupted; saved: stage 1" in stopped.stderr
    assert "goes on from there" in stopped.stderr
    assert not list((checkout / "runs").rglob("metrics.json"))

    first = make("tables", *tiny)
    assert first.returncode == 0, first.stderr
    assert "ZS3Net" in first.stdout and "tables/toy/table" in first.stdout.splitlines()[-1]
    before = products(checkout)
    made = {"tables/toy/table1.md", "tables/toy/table3.tex", "figures/toy/fig3.png"}
    assert made | {"runs/toy/voc-k10-s0/metrics.json"} <= set(before)
    assert make("tables", *tiny).returncode == 0 and products(checkout) == before

    figure = checkout / "notebooks" / "figure3.ipynb"
    figure.touch()
    assert make("tables", *tiny).returncode == 0
    after = products(checkout)
    changed = {Path(p).name for p in after if after[p] != before.get(p)}
    assert changed == {"fig3.png", "fig3.pdf", "figure3.ipynb"}

    # The notebooks that explain are run by test_notebooks.py, on settings of their own.
    report = ("report", "STORIES=", "PICTURES=", *tiny)
    assert make(*report).returncode == 0
    built = {name: moment for name, moment in products(checkout).items() if name not in after}
    pages = {"index.html", "tables.html", "figure3.html", "voc-k10-s0.html", ".grid"}
    assert {Path(p).name for p in built} == pages
    assert make(*report).returncode == 0 and products(checkout) == after | built

    # What nobody foresaw keeps its traceback, down to the line.
    notebook = json.loads(figure.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[2]["source"] = ["def broken():\n", "    return rows[0] + 1\n", "\n", "broken()"]
    figure.write_text(json.dumps(notebook))
    failed = make("tables", *tiny)
    assert failed.returncode != 0
    for words in ("Traceback", "return rows[0] + 1", "TypeError: unsupported operand"):
        assert words in failed.stderr


BAD_WORDS = {
    "PROFILE=Toy": 'PROFILE="Toy": choose from toy lite paper',
    "DATASETS=VOC": 'DATASETS="VOC": choose from voc context',
    "K=2,4 six": 'K="2,4 six": choose from 1 2 3 4 5 6 7 8 9 10',
    "LISTS=mine": 'LISTS="mine": choose from paper zs3net',
    "SEED=-1": 'SEED="-1": give whole numbers, a space between two: SEED="0 1"',
    "PARAMS=-p tua 7": "PARAMS: train.ipynb has no parameter 'tua': it has profile, dataset",
}


@pytest.mark.parametrize("target", ["tables", "data"])
def test_gets_one_line_each_for_all_wrong_words_and_nothing_stays(checkout, make, target):
    before = products(checkout)
    done = make(target, *BAD_WORDS)
    assert done.returncode != 0 and len(told(done)) == len(BAD_WORDS)
    for line, says in zip(told(done), BAD_WORDS.values()):
        assert line.startswith(says)
    assert done.stdout == "" and products(checkout) == before
    assert not list(checkout.glob("*/Toy"))


@pytest.mark.parametrize(
    "word, says",
    [
        ("K=010", 'K="010": choose from 1 2 3 4 5 6 7 8 9 10'),
        ("SEED=00", 'SEED="00": give whole numbers, a space between two: SEED="0 1"'),
        ("JOBS=0", 'JOBS="0": give a whole number from 1 on'),
        ("JOBS=all", 'JOBS="all": give a whole number from 1 on'),
    ],
)
def test_a_word_that_would_name_another_run_or_none_is_refused(make, word, says):
    done = make("valid", word)
    assert done.returncode != 0 and says in done.stderr


@pytest.mark.parametrize("words", ["-y 'tau: 7'", "-f tau.yml"])
def test_gets_one_line_a_setting_in_params(checkout, make, words):
    (checkout / "tau.yml").write_text("tau: 7\n")
    assert told(make("tables", f"PARAMS={words}")) == ["PARAMS: tau is 7: it must be from 0 to 1"]


def test_coco_stuff_is_got_by_its_name_and_stands_in_no_grid(capsys):
    words = {"ks": "2 10", "seeds": "0", "p": [("tau", "0.8")]}
    assert notebooks.check("paper", "cocostuff", data=True, **words) == 0
    assert capsys.readouterr().err == ""
    assert notebooks.check("paper", "cocostuff", **words) == 1
    assert capsys.readouterr().err == 'DATASETS="cocostuff": choose from voc context\n'


def test_help_lists_every_target(make):
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert len(targets) >= 16
    assert re.findall(r"^  make ([a-z-]+) ", make("help").stdout, re.M) == targets


# ---- environments -------------------------------------------------------------------------------


def test_what_is_set_up_stays_and_a_moved_checkout_is_set_up_anew(checkout, make, tmp_path):
    tools = {str(Path(shutil.which(name)).parent) for name in ("make", "sh", "grep", "nproc")}
    path = ":".join(folder for folder in tools if not Path(folder, "uv").exists())
    done = make("-n", "setup", env={"PATH": path})
    assert done.returncode == 0 and "nstall" not in done.stdout, done.stdout + done.stderr
    moved = tmp_path / "moved"
    shutil.copytree(checkout, moved, symlinks=True)
    done = make("-n", "lab", folder=moved)
    assert "venv -q --clear .venv" in done.stdout and "Installing" in done.stdout


def test_a_conda_prefix_with_a_space_is_quoted_and_set_up_once(make, tmp_path):
    python = tmp_path / "my conda" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> "$0.log"\n')
    python.chmod(0o755)
    conda = {"CONDA_PREFIX": str(tmp_path / "my conda"), "CONDA_DEFAULT_ENV": "zs3"}
    for _ in range(2):
        done = make("lab", env=conda)
        assert done.returncode == 0, done.stderr
    called = python.with_name("python.log").read_text().splitlines()
    assert called[0] == "-m pip install -q -e .[test]" and called[1].startswith("-m jupyter lab ")
    assert called[2:] == called[1:2]


def test_gets_one_line_without_python_or_uv(checkout, make, tmp_path):
    shutil.copy(checkout / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "cat", "grep", "echo", "nproc", "make", "test", "tr"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    done = make("setup", folder=tmp_path, env={"PATH": str(tmp_path / "bin")})
    (line,) = told(done)
    assert done.returncode != 0 and "apt-get install python3-venv" in line


# ---- what is asked for --------------------------------------------------------------------------


def test_lab_stays_on_this_machine_with_its_token_and_starts_for_root_too(make):
    done = make("-n", "lab")
    assert "--ServerApp.ip=127.0.0.1" in done.stdout and "allow_remote_access=False" in done.stdout
    assert "--allow-root" in done.stdout and "share/jupyter" in done.stdout


def test_make_data_downloads_for_real_profiles_and_makes_the_toy_world_else(make):
    real = make("-n", "data", "PROFILE=lite", "DATASETS=voc").stdout
    assert "-m zs3lib data --profile lite --datasets voc" in real
    with_coco = make("data", "PROFILE=paper", "DATASETS=voc cocostuff", "-n").stdout
    assert "--data" in with_coco and "--profile paper --datasets voc cocostuff" in with_coco
    toy = make("-n", "-W", "zs3lib/toy/world.py", "data").stdout
    assert "-m zs3lib data" not in toy and "-m zs3lib toy --root data/toy" in toy


def test_make_protocol_trains_both_protocols_then_makes_one_table(make):
    lines = make("-n", "protocol", "PROFILE=lite", "SEED=0 1").stdout.splitlines()
    runs = [line.split()[-1] for line in lines if " -m zs3lib run " in line]
    assert len(runs) == 4
    for first in ("runs/lite/voc-k10-s0", "runs/lite/voc-k10-s1"):  # whose backbone both take
        assert runs.index(first) < runs.index(f"{first}-strict")
    assert any("zs3lib protocols --profile lite" in line for line in lines)


def test_params_reach_every_training_and_a_run_has_its_share_of_the_cores(make):
    lines = make("-n", "tables", "PROFILE=lite", "JOBS=1", "PARAMS=-p device cpu -f my.yml").stdout
    runs = [line for line in lines.splitlines() if " -m zs3lib run runs/" in line]
    assert len(runs) == 10 and all(line.endswith("-p device cpu -f my.yml") for line in runs)
    assert runs[0].startswith(f"OMP_NUM_THREADS={len(os.sched_getaffinity(0))} ")


# ---- on other machines --------------------------------------------------------------------------


def test_launch_goes_before_every_training_and_before_nothing_else(make):
    launch = ("LAUNCH=srun --gres=gpu:1 -c8", "PROFILE=lite")
    for target, count in {"tables": 10, "protocol": 2}.items():
        lines = make("-n", target, "-j", "20", *launch).stdout.splitlines()
        sent = [line for line in lines if line.startswith("srun --gres=gpu:1 -c8 ")]
        assert len(sent) == count and not any("OMP_NUM_THREADS" in line for line in sent)
        assert sent == [line for line in lines if " -m zs3lib run runs/" in line]
        here = [line for line in lines if " -m zs3lib " in line and line not in sent]
        assert here and all(line.startswith("OMP_NUM_THREADS=") for line in here)


@pytest.mark.parametrize("asked", ["-j20", "JOBS=20"])
def test_as_many_trainings_are_launched_at_a_time_as_asked(make, tmp_path, asked):
    """Each waits for the twentieth, however many cores this machine has."""
    launcher = tmp_path / "launch"
    launcher.write_text(
        'cd "$(dirname "$0")"; folder=$(echo "$*" | grep -o "runs/[^ ]*")\n'
        'touch "here-$(basename "$folder")"\n'
        "for second in $(seq 100); do\n"
        "  [ $(ls | grep -c here-) -lt 20 ] || exit 1\n"  # no record is made: make stops
        "  sleep 0.2\n"
        "done\n"
    )
    words = ("DATASETS=voc context", "PROFILE=lite", "SEED=0 1")
    failed = make("tables", asked, *words, f"LAUNCH=sh {launcher}")
    assert failed.returncode != 0
    assert len(list(tmp_path.glob("here-*"))) == 20
