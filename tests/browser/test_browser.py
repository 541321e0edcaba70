"""A new user's way in a browser: every notebook run, a word typed, the report read on a phone."""

from __future__ import annotations

import shutil
import urllib.error
from pathlib import Path

import pytest
from driver import ROOT, SCREENSHOTS, Lab

from zs3lib.results import report

pytestmark = pytest.mark.timeout(3600)
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
WIDTHS = {"desktop": (1200, 900), "phone": (390, 844)}
SHOWN = "[...document.querySelectorAll('.jp-RenderedImage img')].filter(i => i.naturalWidth).length"
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]"


def look(lab: Lab, name: str, picture: str) -> dict:
    """Run all cells of the open notebook; what it then holds and what the browser shows of it."""
    notebook = lab.run_all(name)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    lab.page.wait_for_timeout(500)
    lab.shoot(picture)
    return {
        "errors": [f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error"],
        "pictures": sum("image/png" in output.get("data", {}) for output in outputs),
        "pictures shown": lab.page.evaluate(SHOWN),
        "bars": lab.page.locator(".jp-OutputArea .widget-hbox").all_inner_texts(),
        "widgets not shown": lab.page.get_by_text("Error displaying widget").count(),
        "text": " ".join(lab.page.locator(".jp-OutputArea").all_inner_texts()),
    }


def run(lab: Lab, name: str) -> dict:
    """Open a notebook, run all its cells, look, and let its kernel go."""
    lab.open(name)
    try:
        return look(lab, name, name)
    finally:
        lab.shut_down_kernels()


@pytest.fixture(scope="module")
def trained(lab) -> dict:
    """The training notebook, run in the browser: notebooks that need a finished run find it."""
    return run(lab, "train")


def test_jupyterlab_answers_only_those_who_have_the_token(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        lab.api("contents", token=False)
    served = {file["name"] for file in lab.api("contents")["content"]}
    assert served == {f"{name}.ipynb" for name in NOTEBOOKS}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_runs_in_jupyterlab_and_shows_its_figures(lab, trained, name):
    seen = trained if name == "train" else run(lab, name)
    assert seen["errors"] == []
    assert seen["pictures shown"] >= seen["pictures"] > 0  # a slider's are not saved
    assert seen["widgets not shown"] == 0
    assert lab.page.foreign == []  # nothing is fetched from the network
    if name == "train":  # both stages, the features, the evaluation
        assert len([text for text in seen["bars"] if "100%" in text]) >= 4


def test_a_word_is_typed_misspelt_then_right_and_segmented(lab, trained):
    lab.open("new_class")
    lab.retype("words: str", 'words: str = "tracter"')
    seen = look(lab, "new_class", "new_class-misspelt")
    assert len(seen["errors"]) == 1
    assert "tracter" in seen["errors"][0] and "tractor" in seen["errors"][0]
    assert "Traceback" not in seen["text"]
    lab.retype("words: str", 'words: str = "tractor, stool"')
    seen = look(lab, "new_class", "new_class-typed")
    lab.shut_down_kernels()
    assert seen["errors"] == [] and "tractor, stool added in" in seen["text"]
    assert seen["pictures shown"] == seen["pictures"] > 0


@pytest.fixture(scope="module")
def index(lab, trained, parameters, tmp_path_factory) -> Path:
    """The report of what the browser ran, the training in the folder of its run."""
    folder = tmp_path_factory.mktemp("trained") / "voc-k10-s0"
    folder.mkdir()
    shutil.copy(lab.folder / "train.ipynb", folder)
    others = [lab.folder / f"{name}.ipynb" for name in NOTEBOOKS if name != "train"]
    roots = {name: parameters[f"{name}_root"] for name in ("runs", "figures")}
    pages = [*others, folder / "train.ipynb"]
    return report.write(pages, tmp_path_factory.mktemp("report"), "toy", **roots)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_the_report_is_readable(index, chromium, device, scheme):
    page = chromium(*WIDTHS[device], color_scheme=scheme)
    pages = sorted(index.parent.glob("*.html"))
    assert len(pages) == len(NOTEBOOKS) + 1
    for path in pages:
        page.goto(path.as_uri())
        picture = f"report-{path.stem}-{device}-{scheme}.png"
        page.screenshot(path=SCREENSHOTS / picture, full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{path.name} is wider than the screen"
        assert page.evaluate("[...document.images].every(i => i.naturalWidth)")
        assert (page.evaluate(BACKGROUND) < 64) == (scheme == "dark")
    assert page.foreign == []
    page.goto(index.as_uri())
    page.get_by_role("link", name="Fig. 3").click()
    page.get_by_role("link", name="Report").click()
    assert page.url == index.as_uri()
