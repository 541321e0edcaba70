"""What people get wrong, seen in JupyterLab: one line below the cell; a bug keeps its traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from bad_inputs import DATA, HEADS, NUMBERS, PARAMETERS, RECORDS, WEIGHTS, spoil
from driver import DEFAULTS, ROOT, SCREENSHOTS
from PIL import Image
from tiny import EPOCHS, TINY

from zs3lib.runs import notebooks

pytestmark = pytest.mark.timeout(3600)
RED = ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr")  # also what a bug prints
# A row is (a parameter of new_class.ipynb, its value or what makes it in a folder, what it says).
NEW_CLASS: dict[str, tuple[str, object, str]] = {
    "a word misspelt": ("words", "zebre", "zebra"),
    "a word that is a class already": ("words", "zebra, cow", "'cow' is a class"),
    "no word": ("words", " , ", "no class name"),
    "a number for words": ("words", 7, "no vector for '7'"),
    "numbers for words": ("words", [7, 8], "no vector for '7'"),
    "a weight of 0": ("weight", 0, "weight is 0"),
    "an unknown method": ("method", "nobody", "unknown method 'nobody'"),
    "a number for a method": ("method", 7, "unknown method '7'"),
    "words that nobody can draw": ("trial_words", "foo, bar", "no word to try"),
    "a run that is not there": ("profile", "lite", "make runs/lite/voc-k10-s0"),
    "a picture that is not there": ("image", "nowhere.jpg", "nowhere.jpg"),
    "a folder for a picture": ("image", lambda folder: str(folder), "cannot be read as a picture"),
    "text for a picture": ("image", __file__, "cannot be read as a picture"),
    "a picture of 200 megapixels": ("image", lambda folder: huge(folder), "200000000 pixels"),
}


def huge(folder: Path) -> str:
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    return str(folder / "huge.png")


# ---- every case as a cell -----------------------------------------------------------------------


def code(name: str, which: list[int], given: dict) -> str:
    """Code cells of a notebook, the first with its parameters, some of which are then others."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    parameters, *others = [cell.source for cell in cells if cell.cell_type == "code"]
    nan = {"nan": 'float("nan")'}
    changed = [f"{key} = {nan.get(repr(value), repr(value))}" for key, value in given.items()]
    return "\n\n".join([parameters, "\n".join(changed), *(others[n] for n in which)])


def of_data(case: str, own: Path, places: dict, trained: Path) -> str:
    """train.ipynb up to its first pictures."""
    file, how, _ = DATA[case]
    copy = own / "world"
    shutil.copytree(places["data_root"], copy)
    shutil.copy(places["weights"], copy / WEIGHTS)
    spoil(copy / file, how)
    given = {
        "dataset": "context" if "context" in file or "VOC2010" in file else "voc",
        "data_root": str(copy),
        "weights": str(copy / WEIGHTS),
        "word_vectors": str(next(copy.glob("*.kv"), copy / "wordvectors.txt")),
        "options": TINY,
        "runs_root": str(own / "runs"),
        "cache_root": str(own / "cache"),
    }
    return code("train", [0, 1], EPOCHS | given)


def of_parameter(case: tuple[str, str], own: Path, places: dict, trained: Path) -> str:
    """train.ipynb up to its settings."""
    given = notebooks.parameters_of(p=[case])
    roots = {"runs_root": str(own / "runs"), "cache_root": str(own / "cache")}
    return code("train", [0], {"stage2_epochs": 2, "warmup_epochs": 1} | places | roots | given)


def of_number(case: tuple[Path, str], own: Path, places: dict, trained: Path) -> str:
    """Any notebook up to its settings."""
    path, name = case
    device = {"device": "cpu"} if name != "device" else {}
    return code(path.stem, [0], device | {name: "six"})


def of_record(case: str, own: Path, places: dict, trained: Path) -> str:
    """tables.ipynb up to the tables, or figure3.ipynb up to its examples."""
    shutil.copytree(trained / "runs", own / "runs")
    file, how, _ = (RECORDS | HEADS)[case]
    spoil((own / "runs/toy/voc-k10-s0" / file).resolve(), how)
    roots = {f"{name}_root": str(own / name) for name in ("runs", "tables", "figures")}
    if case in RECORDS:
        return code("tables", [0, 1], roots)
    del roots["tables_root"]
    return code("figure3", [0], roots)


def of_new_class(case: str, own: Path, places: dict, trained: Path) -> str:
    """new_class.ipynb up to the segmented picture, or to its last table."""
    name, value, _ = NEW_CLASS[case]
    given = {name: value(own) if callable(value) else value}
    cells = [0, 1, 2, 5] if name == "trial_words" else [0, 1, 2]
    return code("new_class", cells, {"runs_root": str(trained / "runs")} | given)


# name: (what makes its code, of which case, what the line says)
CASES: dict[str, tuple[Callable, object, str]] = {
    **{case: (of_data, case, row[-1]) for case, row in DATA.items()},
    **{f"{name} = {value}": (of_parameter, (name, value), x) for name, value, x in PARAMETERS},
    **{
        f"{name} = six in {path.stem}": (of_number, (path, name), f"{name} is 'six': ")
        for path, name, _ in NUMBERS
    },
    **{case: (of_record, case, row[-1]) for case, row in (RECORDS | HEADS).items()},
    **{case: (of_new_class, case, row[-1]) for case, row in NEW_CLASS.items()},
}

if not DEFAULTS:  # `make test-browser` looks at all, some minutes
    CASES = dict(list(CASES.items())[::8])


@pytest.fixture(scope="module")
def parameters() -> dict:
    """None: notebooks are served as they are."""
    return {}


@pytest.fixture(scope="module")
def shown(trained, places, lab, tmp_path_factory) -> dict:
    """What JupyterLab shows below a cell of each case, all run one after the other."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    for number, (name, (source_of, case, _)) in enumerate(CASES.items()):
        own = tmp_path_factory.mktemp(f"case{number}")
        cell = nbformat.v4.new_code_cell(source_of(case, own, places, trained))
        cell.metadata = {"tags": ["raises-exception"], "jupyter": {"source_hidden": True}}
        notebook.cells += [nbformat.v4.new_markdown_cell(f"**{name}**"), cell]
    last = "import zs3lib\nprint(hasattr(zs3lib, 'code_ran'))"
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    nbformat.write(notebook, lab.folder / "bad_inputs.ipynb")
    lab.open("bad_inputs")
    lab.run_cells("bad_inputs")
    outputs = lab.outputs()
    lab.shoot("bad_inputs")
    lab.shut_down_kernels()
    assert len(outputs) == len(CASES) + 1
    return dict(zip([*CASES, "code ran"], outputs))


def the_line(outputs: list[list[str]]) -> str:
    """The one line of the one error among outputs, beside which nothing is red."""
    (line,) = [text for kind, text in outputs if kind in RED]
    assert line.startswith("ZS3Error: ") and "\n" not in line.strip()
    return line


@pytest.mark.parametrize("case", CASES)
def test_gets_one_line_in_jupyterlab(case, shown):
    assert CASES[case][-1] in the_line(shown[case])


def test_nothing_ran_that_a_file_brought_along(shown):
    ((_, text),) = shown["code ran"]
    assert text.strip() == "False"


# ---- as a user types them -----------------------------------------------------------------------

TYPED = [  # what stands in the parameter cell of train.ipynb, what is typed, what the line says
    ("k: int", 'k: int = "six"', "k is 'six'"),
    ("k: int", "k: int = 6.5", "k is 6.5"),
    ("methods: str", 'methods: str = "zs4net"', "unknown method 'zs4net'"),
    ("data_root: str", 'data_root: str = "/nowhere"', "no VOCdevkit"),
    ("weights: str", 'weights: str = "nowhere.pth"', "nowhere.pth"),
    ("options: dict", 'options: dict = "fast"', "options is 'fast'"),
]


def test_what_is_mistyped_in_the_parameter_cell_is_told_and_a_bug_keeps_its_traceback(lab, places):
    lab.open("train")
    for name in ("data_root", "word_vectors"):  # a checkout has no toy world of its own yet
        lab.retype(f"{name}: str", f'{name}: str = "{places[name]}"')
    for number, (start, line, says) in enumerate(TYPED, start=1):
        before = lab.retype(start, line)
        lab.run_cells("train")
        # JupyterLab leaves a user at the end of the notebook; the line stands further up.
        lab.page.locator(".jp-OutputArea-output").first.scroll_into_view_if_needed()
        lab.page.screenshot(path=SCREENSHOTS / f"lab-mistyped-{number}.png")
        parameters, settings, *_ = lab.outputs()
        assert parameters == [] and len(settings) == 1 and says in the_line(settings)
        lab.retype(start, before)
    lab.retype("seed: int", "seed: int = zero")
    lab.run_cells("train")
    lab.page.locator(".jp-OutputArea-output").first.scroll_into_view_if_needed()
    lab.page.screenshot(path=SCREENSHOTS / "lab-bug.png")
    ((_, text),) = lab.outputs()[0]
    lab.shut_down_kernels()
    assert "Traceback (most recent call last)" in text and "----> 4 seed" in text
    assert "NameError: name 'zero' is not defined" in text
