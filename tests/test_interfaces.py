"""What a user meets: few public names, each documented; commands and notebooks that say it all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import papermill
import pytest
import yaml

import zs3lib
from zs3lib.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_public_names_are_few_and_each_says_what_it_is_in_the_readme_and_in_its_first_line():
    rows = dict(re.findall(r"^\| `zs3lib\.(\w+)(?:\([^`]*\))?` \| (.+) \|$", README, re.M))
    assert sorted(rows) == zs3lib.__all__ and len(zs3lib.__all__) <= 15
    assert all(20 < len(text) < 160 for text in rows.values())
    for name in zs3lib.__all__:
        first, *_ = (getattr(zs3lib, name).__doc__ or "").strip().split("\n")
        assert 15 < len(first) <= 100 and first.endswith((".", ":")), name


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_python_m_zs3lib_lists_every_command(words, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(words)
    assert re.findall(r"^    ([a-z0-9-]+)(?:\s|$)", capsys.readouterr().out, re.M) == [*COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_its_function_says_what_it_does_and_explains_every_option(
    command, capsys, monkeypatch
):
    assert callable(resolve_name(f"zs3lib.{COMMANDS[command][0]}"))
    monkeypatch.setenv("COLUMNS", "250")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    usage, about, rest = capsys.readouterr().out.split("\n\n", 2)
    assert usage.startswith(f"usage: python -m zs3lib {command} ")
    assert about[0].isupper() and len(about) > 30
    # Every option's line carries its help or, where it is long, the next line does, to the right.
    options = re.findall(r"^  (-?\w\S*.*(?:\n {10,}\S.*)*)$", rest, re.M)
    assert options and all(re.search(r"\S(?:  +|\n {10,})\S", option) for option in options)


def test_a_pipe_that_closes_ends_a_command_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "zs3lib", "data", "--only-list", "--root", tmp_path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        process.stdout.close()  # as `| head` does when it has read enough
        assert process.stderr.read() == "" and process.wait() == 141


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_papermill_lists_every_parameter_with_its_meaning_and_type(path):
    parameters = papermill.inspect_notebook(path)
    assert parameters
    for name, parameter in parameters.items():
        assert len(parameter["help"]) > 8, f"{path.name}: what is {name}?"
        assert parameter["inferred_type_name"] not in ("", "None"), f"{path.name}: type of {name}?"


def test_the_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors"))
    assert f'\nversion = "{citation["version"]}"\n' in (ROOT / "pyproject.toml").read_text()
    title = "Recursive Training for Zero-Shot Semantic Segmentation"
    assert citation["references"][0]["title"] == title


def test_the_readme_shows_every_notebook_and_no_missing_file():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert {f"notebooks/{p.name}" for p in NOTEBOOKS} <= set(links)
