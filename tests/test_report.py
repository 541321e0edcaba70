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
WIDGET = {
    "application/vnd.jupyter.widget-view+json": {"model_id": "abc", "version_major": 2},
    "text/plain": "HBox(children=...)",
}


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def code(source: str, *data: dict) -> nbformat.NotebookNode:
    outputs = [new_output("display_data", one) for one in data]
    return new_code_cell(source, execution_count=1, outputs=outputs)


def executed(path: Path, *cells, **metadata) -> Path:
    """Write a notebook as papermill leaves it: a first cell, and code with execution counts."""
    metadata = {"papermill": {"duration": 7.2}, **metadata}
    notebook = new_notebook(cells=[new_markdown_cell(FIRST), *cells], metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def references(html: str) -> list[str]:
    """Whatever a browser would fetch to show the page: sources, style sheets, url(), scripts."""
    soup = BeautifulSoup(html, "html.parser")
    kinds = ("src", "srcset", "data", "poster")
    found = [tag[kind] for tag in soup.find_all() for kind in kinds if tag.get(kind)]
    found += [tag["href"] for tag in soup.find_all("link") if tag.get("href")]
    styles = [tag.string or "" for tag in soup.find_all("style")]
    styles += [tag["style"] for tag in soup.find_all(style=True)]
    found += re.findall(r"""(?:url\(\s*["']?|@import\s+["'])([^"')]+)""", " ".join(styles))
    found += [script.text for script in soup.find_all("script") if "http" in script.text]
    return [one for one in found if not one.startswith("data:")]


@pytest.fixture
def notebook(tmp_path) -> Path:
    return executed(
        tmp_path / "small.ipynb",
        code("1 + 1", {"text/plain": "2"}),
        new_markdown_cell("## The picture\n\n$$\\sum_{i} c_i k(a_i, b_j)$$\n\nand $\\tau$"),
        code("draw()", {"image/png": png(), "text/plain": "<Figure>"}, WIDGET),
        code("frame", {"text/html": "<table><tr><td>12.3</td></tr></table>"}),
        widgets={"application/vnd.jupyter.widget-state+json": {"state": {"abc": {}}}},
    )


def test_a_page_holds_what_the_notebook_shows_and_fetches_nothing(notebook):
    page = report.Page(notebook)
    html = page.html([page])
    assert references(html) == []
    soup = BeautifulSoup(html, "html.parser")
    assert not soup.find_all("script")
    assert [str(m["display"]) for m in soup.find_all("math")] == ["inline", "block", "inline"]
    assert "∑" in soup.find("math", display="block").text and "$" not in soup.find("main").text
    assert [i["alt"] for i in soup.find_all("img")] == ["Figure: The picture"]
    assert "12.3" in soup.text and "HBox" not in soup.text
    assert soup.find("meta", attrs={"name": "viewport"}) and "prefers-color-scheme: dark" in html
    assert soup.find("nav").a["href"] == "index.html"
    assert (page.title, page.file, page.took) == ("Small things", "small.html", "7 s")
    shows = BeautifulSoup(page.shows, "html.parser").text
    assert shows.startswith("A sum, a") and "Takes" not in shows


def test_the_index_shows_tables_figures_and_links_to_every_page(notebook, tmp_path):
    runs = tmp_path / "runs"
    save(runs, record(metrics={"ours": {"hiou": 44.44}}))
    train = executed(runs / "toy" / "voc-k10-s0" / "train.ipynb", code("1", {"text/plain": "1"}))
    (tmp_path / "figures" / "toy").mkdir(parents=True)
    (tmp_path / "figures" / "toy" / "fig3.png").write_bytes(base64.b64decode(png()))
    places = {"runs": runs, "figures": tmp_path / "figures"}
    chosen = {"ks": [10], "datasets": ["voc"], "seeds": [0]}
    index = report.write([notebook, train], tmp_path / "report", "toy", **places, **chosen)
    html = index.read_text(encoding="utf-8")
    soup = BeautifulSoup(html, "html.parser")
    assert references(html) == []
    links = [a["href"] for a in soup.find_all("a")]
    assert links == ["small.html", "voc-k10-s0.html"]
    assert all((index.parent / link).is_file() for link in links)
    assert [h.text for h in soup.find_all("h2")] == [
        "Fig. 3: what the models see",
        "Table I. Pascal-VOC 2012, profile toy",
        "Table III. Ablation on Pascal-VOC 2012, profile toy",
        "Unseen mIoU above the floor",
        "Notebooks",
    ]
    assert "44.4 (28.2)" in soup.find("table").text and "NOT the paper's setting" in soup.text
    assert all(table.find_parent(class_="scroll") for table in soup.find_all("table")[:-1])


def test_an_unexecuted_a_failed_and_a_missing_notebook_are_refused(notebook, tmp_path):
    raw = nbformat.read(notebook, 4)
    raw.cells[1].execution_count = None
    nbformat.write(raw, tmp_path / "raw.ipynb")
    error = new_output("error", ename="ValueError", evalue="too small", traceback=[])
    executed(tmp_path / "failed.ipynb", new_code_cell("f()", execution_count=1, outputs=[error]))
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    for names, words in {
        "raw": "raw.ipynb was not run to its end",
        "failed": "failed.ipynb stopped with ValueError: too small",
        "torn": "torn.ipynb is no notebook",
        "none": "none.ipynb is no notebook",
        "small small": "two notebooks would both become small.html",
    }.items():
        paths = [tmp_path / f"{name}.ipynb" for name in names.split()]
        with pytest.raises(ZS3Error, match=words):
            report.write(paths, tmp_path / "report", "toy", runs=tmp_path / "runs")
    assert not (tmp_path / "report").exists()


def test_a_prime_is_raised_once_and_aligned_formulas_are_drawn_whole():
    html = report.markdown("$k(x_i, x_{i'})$")
    prime = BeautifulSoup(html, "html.parser").find_all("msub")[1]
    assert prime.text == "xi\u2032" and not prime.find("msup") and prime.find("mo").text == "\u2032"
    aligned = report.markdown("$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$")
    assert aligned.count("<mtr") == 2 and "&<" not in aligned


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_every_formula_of_the_notebooks_can_be_drawn(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            soup = BeautifulSoup(report.markdown(cell.source), "html.parser")
            assert not re.findall(r"\\[a-zA-Z]+", " ".join(m.text for m in soup.find_all("math")))


def test_a_picture_of_a_notebook_is_saved_small_or_what_is_there_is_named(notebook, tmp_path):
    out = tmp_path / "figures" / "picture.png"
    report.picture(notebook, "The picture", out, width=4)
    with Image.open(out) as saved:
        assert saved.size == (4, 4) and saved.convert("RGB").getpixel((1, 1)) == (255, 0, 0)
    for path, heading, words in (
        (notebook, "Another", "no picture below 'Another'; headings: Small things; The picture"),
        (executed(tmp_path / "b.ipynb"), "Small things", "no picture below 'Small things'"),
        (tmp_path / "none.ipynb", "The picture", "none.ipynb is no notebook"),
    ):
        with pytest.raises(ZS3Error, match=words):
            report.picture(path, heading, out)
