"""The report: executed notebooks as HTML pages, and an index with the tables and figures.

Pages are nbconvert's, with the template and the style of `resources/report`; they fetch nothing.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from pathlib import Path

import jinja2
import nbformat
from latex2mathml.converter import convert as mathml
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

from ..errors import ZS3Error
from ..storage import FIGURES, RESOURCES, ROOT, RUNS, atomic_write, write_texts
from . import formats, records, tables

TEMPLATES = RESOURCES / "report"
DRAWN = {
    "fig3": ("Fig. 3: what the models see", "Validation images, K = 10. A star: an unseen class."),
    "hiou": ("hIoU over K", "Solid: measured, dashed: published."),
}


class MathRenderer(IPythonRenderer):
    """nbconvert's Markdown with formulas as MathML, which browsers draw themselves."""

    def block_math(self, body: str) -> str:
        return formula(body, "block")

    def inline_math(self, body: str) -> str:
        return formula(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def formula(tex: str, display: str) -> str:
    """TeX -> MathML, "inline" or "block". ZS3Error for a command that latex2mathml does not know."""
    # It knows amsmath's environments by their outer names only.
    tex = re.sub(r"\\(begin|end)\{(align|gather)ed\}", r"\\\1{\2*}", tex.strip())
    try:
        result = mathml(tex, display=display)
    except Exception as error:  # its errors have no common class
        raise ZS3Error(f"the formula {tex!r} cannot be shown: {error!r}") from None
    if unknown := re.findall(r"\\[a-zA-Z]+", result):
        raise ZS3Error(f"the formula {tex!r} cannot be shown: {unknown[0]} is unknown")
    # A prime is raised already: raised once more, it would be too small to tell x_i' from x_i.
    prime = '<mo lspace="0" rspace="0">\u2032</mo>'
    result = re.sub(
        r"<msup>(<mi>\w</mi>)<mi>&#x02032;</mi></msup>", rf"<mrow>\1{prime}</mrow>", result
    )
    return result.replace("<mi>&#x02032;</mi>", prime)


def markdown(source: str) -> str:
    """Markdown, with formulas, as HTML."""
    renderer = MathRenderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


def _read(notebook: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(notebook, 4)
    except Exception as error:  # missing, no JSON, no notebook: nbformat raises many kinds
        kind = type(error).__name__
        raise ZS3Error(f"{notebook} is no notebook ({kind}): run it again") from None


def _check(cell: nbformat.NotebookNode, notebook: Path) -> None:
    if not cell.execution_count:
        raise ZS3Error(
            f"{notebook} was not run to its end: run it first, for example with papermill"
        )
    for output in cell.outputs:
        if output.output_type == "error":
            reason = f"{output.ename}: {output.evalue}"
            raise ZS3Error(f"{notebook} stopped with {reason}; mend that and run it again")


def _headings(cell: nbformat.NotebookNode) -> list[str]:
    found = re.findall(r"^#+\s+(.+)$", cell.source, re.M) if cell.cell_type == "markdown" else []
    return [heading.strip() for heading in found]


class Page:
    """An executed notebook and what the index says of it.

    Attributes:
        short: the notebook's name, of several trainings that of the run; file: the page's name;
        title: its first heading; shows: its **Shows** paragraph as HTML; took: papermill's time.

    Raises ZS3Error when it was not executed to its end.
    """

    def __init__(self, notebook: Path):
        self.content = _read(notebook)
        cells = self.content.cells
        for cell in cells:
            if cell.cell_type == "code" and cell.source.strip():
                _check(cell, notebook)
        training = notebook.stem == "train"
        self.short = notebook.parent.name if training else notebook.stem
        self.file = f"{self.short}.html"
        heading = notebook.stem
        for cell in cells:
            heading = (_headings(cell) or [heading])[-1]
            cell.metadata["heading"] = heading  # what the template calls a picture
        headings = [found for cell in cells for found in _headings(cell)]
        self.title = (headings or [notebook.stem])[0] + f": {self.short}" * training
        first = cells[0].source if cells else ""
        shows = re.search(r"\*\*Shows\*\*\s+(.*?)(?:\n\s*\n|\*\*Takes\*\*|\Z)", first, re.S)
        self.shows = markdown(shows[1][:1].upper() + shows[1][1:]) if shows else ""
        seconds = self.content.metadata.get("papermill", {}).get("duration")
        self.took = "" if seconds is None else f"{seconds:.0f} s"
        if seconds and seconds >= 100:
            self.took = f"{seconds / 60:.1f} min"

    def html(self, pages: list[Page]) -> str:
        """The page, self-contained, with links to the others."""
        self.content.metadata["title"] = self.title
        exporter = HTMLExporter(
            extra_template_basedirs=[str(TEMPLATES.parent)],
            template_name=TEMPLATES.name,
            filters={"markdown2html": markdown},
        )
        resources = {"pages": pages, "title": self.title}
        return exporter.from_notebook_node(self.content, resources)[0]


def _tables(runs: list[dict], profile: str, ks, datasets) -> list[dict]:
    """What the index shows of each table: title, cells as HTML, and notes."""
    shown = []
    for one in tables.tables(runs, profile, ks, datasets):
        cells = formats.beside(one.frame).style.to_html()
        notes = ["Each cell: measured (published).", *one.notes[1:]]  # the first stands at the top
        shown.append({"title": one.heading, "html": cells, "notes": notes})
    lowest = tables.floor(runs)
    if len(lowest):
        cells = lowest.style.format("{:.1f}", na_rep="-").to_html()
        shown.append(
            {"title": "Unseen mIoU above the floor", "html": cells, "notes": [tables.FLOOR]}
        )
    return shown


def write(
    pages: Iterable[Path | str],
    out: Path | str = ROOT / "report",
    profile: str = "toy",
    *,
    runs: Path | str = RUNS,
    figures: Path | str = FIGURES,
    ks: Iterable[int] | None = None,
    datasets: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
) -> Path:
    """Write `<out>/index.html` and a page per executed notebook of `pages`; returns the index.

    The index shows the figures where they are drawn, Tables I-III and the floor, and links to all
    pages. Raises ZS3Error, naming the file, when a notebook is missing or failed, when two would
    have the same page, and when the records of different settings would mix.
    """
    shown = [Page(Path(notebook)) for notebook in pages]
    names = [page.file for page in shown]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ZS3Error(f"two notebooks would both become {twice[0]}: give only one of them")
    found = records.select(records.read_records(runs, profile, seeds), ks, datasets)
    records.check_same_settings(found)
    drawn = []
    for name, (title, note) in DRAWN.items():
        file = Path(figures, profile, f"{name}.png")
        if file.is_file():
            png = base64.b64encode(file.read_bytes()).decode()
            drawn.append({"title": title, "note": note, "png": png})
    loader = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    texts = {page.file: page.html(shown) for page in shown}
    texts["index.html"] = loader.get_template("contents.html.j2").render(  # last: it links to them
        profile=profile,
        setting=records.SETTING.get(profile, records.OTHER),
        figures=drawn,
        tables=_tables(found, profile, ks, datasets),
        pages=shown,
    )
    return write_texts(out, texts)[-1]


def picture(notebook: Path, heading: str, out: Path, *, width: int = 1000) -> Path:
    """Save the first picture below a heading of an executed notebook as a small PNG.

    It has at most `width` pixels across and 256 colours: a third of the bytes, and the eye sees no
    difference. Raises ZS3Error when there is no such picture.
    """
    headings: list[str] = []
    for cell in _read(notebook).cells:
        headings += _headings(cell)
        for output in cell.get("outputs", []) if heading in headings else []:
            if png := output.get("data", {}).get("image/png"):
                found = Image.open(io.BytesIO(base64.b64decode(png)))
                found.thumbnail((width, found.height), Image.Resampling.LANCZOS)
                small = found.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                with atomic_write(out) as file:
                    small.save(file, "png", optimize=True)
                return Path(out)
    have = f"its headings are {'; '.join(headings)}, not"
    raise ZS3Error(f"{notebook}: {'no picture below' if heading in headings else have} {heading!r}")
