"""A new user's way: JupyterLab in a browser, every notebook opened and run, a word typed, the report read on a phone."""

from __future__ import annotations

import urllib.error

import pytest
from driver import ROOT, Lab

from zs3lib import report

pytestmark = pytest.mark.timeout(3600)
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
WIDTHS = {"desktop": (1200, 900), "phone": (390, 844)}


def run(lab: Lab, name: str) -> dict:
    """Open a notebook, run all its cells; what it then holds and what the browser shows of it."""
    lab.open(name)
    notebook = lab.run_all(name)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    lab.page.wait_for_timeout(500)
    lab.shoot(name)
    show = lab.page.evaluate
    seen = {
        "errors": [f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error"],
        "pictures": sum("image/png" in d for d in data),
        "pictures shown": show(
            "[...document.querySelectorAll('.jp-RenderedImage img')].filter(i => i.naturalWidth).length"
        ),
        "bars": [text.strip() for text in lab.page.locator(".jp-OutputArea .widget-hbox").all_inner_texts()],
        "bars full": show("[...document.querySelectorAll('.jp-OutputArea [role=progressbar]')].length"),
        "widgets": sum(report.WIDGET in d for d in data),
        "unshown widgets": lab.page.get_by_text("Error displaying widget").count(),
        "text": lab.page.locator(".jp-Notebook").inner_text(),
    }
    lab.shut_down_kernels()
    return seen


@pytest.fixture(scope="module")
def trained(lab) -> dict:
    """The training notebook, run in the browser: the notebooks that need a finished run find it."""
    return run(lab, "train")


def test_jupyterlab_answers_only_those_who_have_the_token(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        lab.api("contents", token=False)
    assert {file["name"] for file in lab.api("contents")["content"]} == {f"{name}.ipynb" for name in NOTEBOOKS}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_runs_in_jupyterlab_and_shows_its_figures(lab, trained, name):
    seen = trained if name == "train" else run(lab, name)
    assert seen["errors"] == []
    assert seen["pictures shown"] == seen["pictures"] > 0
    assert seen["unshown widgets"] == 0
    assert lab.page.foreign == []  # nothing is fetched from the network
    if name == "train":
        assert [text for text in seen["bars"] if "100%" in text], seen["bars"]
