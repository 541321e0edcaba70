"""What a user meets: few public names, each documented; commands and notebooks that say what they take."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
import yaml

import zs3lib
from zs3lib import __main__ as commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    str(path.relative_to(ROOT)).removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    for path in (ROOT / "zs3lib").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def test_public_names_are_few_and_each_stands_in_the_readme_in_one_line():
    rows = dict(re.findall(r"^\| `zs3lib\.(\w+)(?:\([^`]*\))?` \| (.+) \|$", README, re.M))
    assert sorted(rows) == zs3lib.__all__ and len(zs3lib.__all__) <= 15
    assert all(20 < len(text) < 160 for text in rows.values())


@pytest.mark.parametrize("name", zs3lib.__all__)
def test_every_public_name_says_in_its_first_line_what_it_is(name):
    first, *_ = (getattr(zs3lib, name).__doc__ or "").strip().split("\n")
    assert 20 < len(first) <= 120 and first.endswith((".", ":"))


def test_python_m_zs3lib_lists_every_command():
    assert sorted(re.findall(r"python -m (zs3lib\.[\w.]+) ", commands.__doc__)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_explains_every_option(command):
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"], cwd=ROOT, capture_output=True, text=True, env={"COLUMNS": "250"}
    )
    assert done.returncode == 0 and done.stderr == ""
    description = done.stdout.split("\n\n")[1]
    assert done.stdout.startswith(f"usage: python -m {command} ") and description[0].isupper() and len(description) > 30
    # Every option's line carries its help or, where the option is long, the next line does, far to the right.
    options = re.findall(r"^  (-?\w\S*.*(?:\n {10,}\S.*)*)$", done.stdout.split("\n\n", 2)[2], re.M)
    assert options and all(re.search(r"\S(?:  +|\n {10,})\S", option) for option in options)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.name)
def test_papermill_lists_every_parameter_with_its_meaning_and_type(path):
    parameters = papermill.inspect_notebook(path)
    assert parameters
    for name, parameter in parameters.items():
        assert parameter["help"] and len(parameter["help"]) > 8, f"{path.name}: what is {name}?"
        assert parameter["inferred_type_name"] not in ("", "None"), f"{path.name}: of what type is {name}?"


def test_the_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and all(citation[key] for key in ("message", "title", "authors"))
    assert str(citation["version"]) == re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert citation["references"][0]["title"] == "Recursive Training for Zero-Shot Semantic Segmentation"


def test_the_readme_shows_every_notebook_and_no_missing_file():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert {f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("*.ipynb")} <= set(links)
