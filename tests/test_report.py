"""The report: executed notebooks as pages that need nothing else, and an index of all numbers."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from test_tables import record, save

from zs3lib import ZS3Error
from zs3lib.results import report

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
FIRST = "# Small things\n\n**Shows** a sum, $a_i$, and a picture.\n\n**Takes** no time."
FORMULAS = "## The picture\n\n$$\\sum_{i} c_i k(a_i, b_{j'})$$\n\nand $\\tau$"
WIDGET = {
    "application/vnd.jupyter.widget-view+json": {"model_id": "abc", "version_major": 2},
    "text/plain": "HBox(children=...)",
}
# Whatever a browser would fetch to show a page, or run.
FETCHED = (
    r"""<script|<link\b[^>]*href|(?:src|srcset|poster)=["'](?!data:)|url\(["']?(?!["']?data:)"""
)
LEFT_BY_PAPERMILL = {
    "papermill": {"duration": 7.2},
    "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"abc": {}}}},
}


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def executed(path: Path, *outputs, count: int | None = 1) -> Path:
    """Write a notebook as papermill leaves it."""
    code = new_code_cell("draw()", execution_count=count, outputs=[*outputs])
    cells = [new_markdown_cell(FIRST), new_markdown_cell(FORMULAS), code]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=LEFT_BY_PAPERMILL), path)
    return path


@pytest.fixture
def notebook(tmp_path) -> Path:
    table = "<table><tr><td>12.3</td></tr></table>"
    shown = [{"image/png": png(), "text/plain": "<Figure>"}, WIDGET, {"text/html": table}]
    outputs = [new_output("display_data", data) for data in shown]
    return executed(tmp_path / "small.ipynb", *outputs)


def test_the_report_shows_tables_figures_and_every_notebook_and_fetches_nothing(notebook, tmp_path):
    runs = tmp_path / "runs"
    save(runs, record(metrics={"ours": {"hiou": 44.44}}))
    train = executed(runs / "toy" / "voc-k10-s0" / "train.ipynb")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "fig3.png").write_bytes(base64.b64decode(png()))
    chosen = {"ks": [10], "datasets": ["voc"], "seeds": [0]}
    out = tmp_path / "report"
    index = report.write([notebook, train], out, runs=runs, figures=tmp_path, **chosen)
    pages = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}
    assert [re.findall(FETCHED + "|@import", html) for html in pages.values()] == [[]] * 3
    contents = BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser")
    assert [a["href"] for a in contents.find_all("a")] == ["small.html", "voc-k10-s0.html"]
    assert [h.text for h in contents.find_all("h2")] == [
        "Fig. 3: what the models see",
        "Table I. Pascal-VOC 2012, profile toy",
        "Table III. Ablation on Pascal-VOC 2012, profile toy",
        "Unseen mIoU above the floor",
        "Methods apart from their operating point",
        "Notebooks",
    ]
    for words in ("44.4 (28.2)", "NOT the paper's setting", "7 s", "A sum, a"):
        assert words in contents.text
    page = BeautifulSoup(pages["small.html"], "html.parser")
    assert [str(m["display"]) for m in page.find_all("math")] == ["inline", "block", "inline"]
    assert "∑" in page.text and "bj\u2032" in page.text and "$" not in page.find("main").text
    assert [i["alt"] for i in page.find_all("img")] == ["Figure: The picture"]
    assert "12.3" in page.text and "HBox" not in page.text
    assert page.find("meta", attrs={"name": "viewport"})
    assert "prefers-color-scheme: dark" in pages["small.html"]
    assert page.find("nav").a["href"] == "index.html"


def test_what_is_no_executed_notebook_is_refused(notebook, tmp_path):
    executed(tmp_path / "raw.ipynb", count=None)
    error = new_output("error", ename="ValueError", evalue="small", traceback=[])
    executed(tmp_path / "failed.ipynb", error)
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    for names, words in {
        "raw": "raw.ipynb was not run to its end",
        "failed": "failed.ipynb stopped with ValueError: small",
        "torn": "torn.ipynb is no notebook",
        "none": "none.ipynb is no notebook",
        "small small": "two notebooks would both become small.html",
    }.items():
        paths = [tmp_path / f"{name}.ipynb" for name in names.split()]
        with pytest.raises(ZS3Error, match=words):
            report.write(paths, tmp_path / "report", runs=tmp_path / "runs")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_every_formula_of_the_notebooks_can_be_drawn(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            soup = BeautifulSoup(report.markdown(cell.source), "html.parser")
            assert not re.findall(r"\\[a-zA-Z]+|&", " ".join(m.text for m in soup.find_all("math")))


def test_a_picture_of_a_notebook_is_saved_small_or_what_is_there_is_named(notebook, tmp_path):
    out = report.picture(notebook, "The picture", tmp_path / "figures" / "picture.png", width=4)
    with Image.open(out) as saved:
        assert saved.size == (4, 4) and saved.convert("RGB").getpixel((1, 1)) == (255, 0, 0)
    with pytest.raises(ZS3Error, match="'Another'; headings: Small things; The picture"):
        report.picture(notebook, "Another", out)
