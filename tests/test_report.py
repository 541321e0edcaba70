"""The report: executed notebooks become pages that need nothing but themselves, and an index with every number."""

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
from test_tables import record as make_record
from test_tables import write

from zs3lib import ZS3Error, audit, pictures, report

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
FIRST = "# Small things\n\n**Shows** a sum, $a_i$, and a picture.\n\n**Takes** no time. **Needs** nothing."
WIDGET = {
    report.WIDGET: {"model_id": "abc", "version_major": 2, "version_minor": 0},
    "text/plain": "HBox(children=...)",
}


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def executed(path: Path, *cells, **metadata) -> Path:
    """Write a notebook as papermill leaves it: a first cell, and code cells with execution counts."""
    notebook = new_notebook(
        cells=[new_markdown_cell(FIRST), *cells], metadata={"papermill": {"duration": 7.2}, **metadata}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def code(source: str, *data: dict) -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=1, outputs=[new_output("display_data", d) for d in data])


def references(html: str) -> list[str]:
    """Whatever a browser would fetch to show the page: sources, style sheets, imports, url() in styles, in scripts."""
    soup = BeautifulSoup(html, "html.parser")
    found = [tag[name] for tag in soup.find_all() for name in ("src", "srcset", "data", "poster") if tag.get(name)]
    found += [tag["href"] for tag in soup.find_all("link") if tag.get("href")]
    styles = " ".join(
        [*(t.string or "" for t in soup.find_all("style")), *(t["style"] for t in soup.find_all(style=True))]
    )
    found += re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", styles)
    found += [script.text for script in soup.find_all("script") if "http" in script.text]
    return [f for f in found if not str(f).startswith("data:") and not any(str(g).startswith("data:") for g in f)]


@pytest.fixture
def notebook(tmp_path) -> Path:
    return executed(
        tmp_path / "small.ipynb",
        code("1 + 1", {"text/plain": "2"}),
        new_markdown_cell("## The picture\n\n$$\\sum_{i} c_i k(a_i, b_j)$$\n\nand $\\tau$"),
        code("draw()", {"image/png": png(), "text/plain": "<Figure>"}, WIDGET),
        code("frame", {"text/html": "<table><tr><td>12.3</td></tr></table>"}),
        widgets={"application/vnd.jupyter.widget-state+json": {"state": {"abc": {}}, "version_major": 2}},
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
    assert BeautifulSoup(page.shows, "html.parser").text.startswith("A sum, a") and "Takes" not in page.shows


def test_references_sees_what_would_be_fetched():
    for html in (
        "<script src='https://x.org/a.js'></script>", "<link rel=stylesheet href='//x.org/a.css'>", "<img src='a.png'>",
        "<style>@import 'https://x.org/b.css';</style>", "<p style='background: url(http://x.org/c.png)'>",
        "<script>import('https://x.org/d.js')</script>",
    ):  # fmt: skip
        assert len(references(html)) == 1, html
    assert references("<img src='data:image/png;base64,AA'><a href='https://x.org'>a link</a>") == []


def test_the_index_shows_tables_figures_and_links_to_every_page(notebook, tmp_path):
    runs = tmp_path / "runs"
    record = make_record(k=10)
    write(runs, record)
    train = executed(runs / "toy" / "voc-k10-s0" / "train.ipynb", code("1", {"text/plain": "1"}))
    (tmp_path / "figures" / "toy").mkdir(parents=True)
    (tmp_path / "figures" / "toy" / "fig3.png").write_bytes(base64.b64decode(png()))
    arguments = [notebook, train, "--out", tmp_path / "report", "--runs", runs, "--figures", tmp_path / "figures"]
    assert report.main([*map(str, arguments), "--ks", "10", "--datasets", "voc"]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    soup = BeautifulSoup(html, "html.parser")
    assert references(html) == []
    links = [a["href"] for a in soup.find_all("a")]
    assert links == ["small.html", "voc-k10-s0.html"] and all((tmp_path / "report" / link).is_file() for link in links)
    assert [h.text for h in soup.find_all("h2")] == [
        "Fig. 3: what the models see", "Table I. Pascal-VOC 2012, profile toy",
        "Table III. Ablation on Pascal-VOC 2012, profile toy", "Unseen mIoU above the floor", "Notebooks",
    ]  # fmt: skip
    ours = record["methods"]["ours"]["metrics"]["hiou"]
    paper = audit.published().query("table == 'I' and k == 10 and model == 'Ours'")["hiou"].item()
    assert f"{ours:.1f} ({paper:.1f})" in soup.find("table").text
    assert "NOT the paper's setting" in soup.text and "Train" not in soup.find("table").text
    assert all(table.find_parent(class_="scroll") for table in soup.find_all("table")[:-1])


def test_an_unexecuted_a_failed_and_a_missing_notebook_are_refused(notebook, tmp_path, capsys):
    raw = nbformat.read(notebook, 4)
    raw.cells[1].execution_count = None
    nbformat.write(raw, tmp_path / "raw.ipynb")
    error = new_output("error", ename="ValueError", evalue="too small", traceback=[])
    failed = executed(tmp_path / "failed.ipynb", new_code_cell("f()", execution_count=1, outputs=[error]))
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    (tmp_path / "twin").mkdir()
    for paths, words in {
        (tmp_path / "raw.ipynb",): "raw.ipynb was not run to its end",
        (failed,): "failed.ipynb stopped with ValueError: too small",
        (tmp_path / "torn.ipynb",): "torn.ipynb is no notebook",
        (tmp_path / "none.ipynb",): "none.ipynb is no notebook",
        (notebook, notebook): "two notebooks would both become small.html",
    }.items():
        arguments = [*map(str, paths), "--out", str(tmp_path / "report"), "--runs", str(tmp_path / "runs")]
        assert report.main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "report").exists()


def test_formulas_are_drawn_whole_and_one_that_cannot_be_is_named():
    with pytest.raises(ZS3Error, match=r"\\nosuch is unknown"):
        report.markdown("$\\nosuch{x}$")
    prime = BeautifulSoup(report.markdown("$k(x_i, x_{i'})$"), "html.parser").find_all("msub")[1]
    assert prime.text == "xi\u2032" and not prime.find("msup") and prime.find("mo").text == "\u2032"
    aligned = report.markdown("$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$")
    assert aligned.count("<mtr") == 2 and "&<" not in aligned


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_every_formula_of_the_notebooks_can_be_drawn(path):
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            report.markdown(cell.source)


def test_a_picture_of_a_notebook_is_saved_small_or_what_is_there_is_named(notebook, tmp_path, capsys):
    out = tmp_path / "figures" / "picture.png"
    assert pictures.main([str(notebook), "The picture", str(out), "--width", "4"]) == 0
    with Image.open(out) as saved:
        assert saved.size == (4, 4) and saved.convert("RGB").getpixel((1, 1)) == (255, 0, 0)
    assert pictures.main([str(notebook), "Another", str(out)]) == 2
    assert "its headings are Small things; The picture, not 'Another'" in capsys.readouterr().err
    assert pictures.main([str(tmp_path / "none.ipynb"), "The picture", str(out)]) == 2
