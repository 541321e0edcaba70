"""The report: executed notebooks as HTML pages, and an index with the tables and figures.

Pages are nbconvert's, with the template and the style of `resources/report`; they fetch nothing.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import jinja2
import nbformat
from latex2mathml.converter import convert
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

    def block_math(self, body: str, display: str = "block") -> str:
        # latex2mathml knows amsmath's environments by their outer names only.
        tex = re.sub(r"\\(begin|end)\{(align|gather)ed\}", r"\\\1{\2*}", body.strip())
        # A prime is raised already: raised once more, it would be too small to tell x_i' from x_i.
        prime = '<mo lspace="0" rspace="0">\u2032</mo>'
        raised = r"<msup>(<mi>\w</mi>)<mi>&#x02032;</mi></msup>"
        math = re.sub(raised, rf"<mrow>\1{prime}</mrow>", convert(tex, display=display))
        return math.replace("<mi>&#x02032;</mi>", prime)

    def inline_math(self, body: str) -> str:
        return self.block_math(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def markdown(source: str) -> str:
    """Markdown, with formulas, as HTML."""
    renderer = MathRenderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


def _read(notebook: Path) -> nbformat.NotebookNode:
    """A notebook, each cell with the "heading" that it stands below."""
    try:
        content = nbformat.read(notebook, 4)
    except Exception as error:  # missing, no JSON, no notebook: nbformat raises many kinds
        kind = type(error).__name__
        raise ZS3Error(f"{notebook} is no notebook ({kind}): run it again") from None
    heading = notebook.stem
    for cell in content.cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.M)][-1]
        cell.metadata["heading"] = heading
    return content


class Page:
    """An executed notebook and what the index says of it.

    Attributes:
        short: the notebook's name, of several trainings that of the run; file: the page's name;
        title: its heading; shows: its **Shows** paragraph as HTML; took: papermill's time.

    Raises ZS3Error when it was not executed to its end.
    """

    def __init__(self, notebook: Path):
        self.content = _read(notebook)
        cells = self.content.cells
        for cell in [c for c in cells if c.cell_type == "code" and c.source.strip()]:
            if not cell.execution_count:
                raise ZS3Error(f"{notebook} was not run to its end: run it first, with papermill")
            for output in [found for found in cell.outputs if found.output_type == "error"]:
                reason = f"{output.ename}: {output.evalue}"
                raise ZS3Error(f"{notebook} stopped with {reason}; mend that and run it again")
        training = notebook.stem == "train"
        self.short = notebook.parent.name if training else notebook.stem
        self.file = f"{self.short}.html"
        self.title = cells[0].metadata["heading"] + f": {self.short}" * training
        shows = re.search(r"\*\*Shows\*\*\s+(.*?)(?:\n\s*\n|\*\*|\Z)", cells[0].source, re.S)
        self.shows = markdown(shows[1][:1].upper() + shows[1][1:]) if shows else ""
        seconds = self.content.metadata.get("papermill", {}).get("duration")
        self.took = f"{seconds:.0f} s" if seconds else ""

    def html(self, pages: list[Page]) -> str:
        """The page, self-contained, with links to the others."""
        self.content.metadata["title"] = self.title
        exporter = HTMLExporter(
            extra_template_basedirs=[str(TEMPLATES.parent)],
            template_name=TEMPLATES.name,
            filters={"markdown2html": markdown},
        )
        return exporter.from_notebook_node(self.content, {"pages": pages, "title": self.title})[0]


def _figures(folder: Path) -> list[dict]:
    drawn = []
    for name, (title, note) in DRAWN.items():
        file = folder / f"{name}.png"
        if file.is_file():
            png = base64.b64encode(file.read_bytes()).decode()
            drawn.append({"title": title, "note": note, "png": png})
    return drawn


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
        title = "Unseen mIoU above the floor"
        shown.append({"title": title, "html": cells, "notes": [tables.FLOOR]})
    return shown


def write(
    pages, out=ROOT / "report", profile="toy", *, runs=RUNS, figures=FIGURES, ks=None, **chosen
) -> Path:
    """Write `<out>/index.html` and a page per executed notebook of `pages`; returns the index.

    The index shows the figures where they are drawn, Tables I-III and the floor of the records that
    `ks`, `datasets` and `seeds` choose, and links to all pages. Raises ZS3Error, naming the file,
    when a notebook is missing or failed, when two would have the same page, and as `tables.write`.
    """
    shown = [Page(Path(notebook)) for notebook in pages]
    names = [page.file for page in shown]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ZS3Error(f"two notebooks would both become {twice[0]}: give only one of them")
    found = records.read_records(runs, profile, ks=ks, **chosen)
    records.check_same_settings(found)
    texts = {page.file: page.html(shown) for page in shown}
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    texts["index.html"] = templates.get_template("contents.html.j2").render(  # last: it links them
        profile=profile,
        setting=records.SETTING[profile],
        figures=_figures(Path(figures, profile)),
        tables=_tables(found, profile, ks, chosen.get("datasets")),
        pages=shown,
    )
    return write_texts(out, texts)[-1]


def picture(notebook: Path, heading: str, out: Path, *, width: int = 1000) -> Path:
    """Save the first picture below a heading of an executed notebook as a small PNG.

    It has at most `width` pixels across and 256 colours: a third of the bytes, and the eye sees no
    difference. Raises ZS3Error when there is no such picture.
    """
    cells = _read(notebook).cells
    for cell in cells:
        for output in cell.get("outputs", []) if cell.metadata["heading"] == heading else []:
            if png := output.get("data", {}).get("image/png"):
                found = Image.open(io.BytesIO(base64.b64decode(png)))
                found.thumbnail((width, found.height), Image.Resampling.LANCZOS)
                small = found.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                with atomic_write(out) as file:
                    small.save(file, "png", optimize=True)
                return Path(out)
    headings = dict.fromkeys(cell.metadata["heading"] for cell in cells)
    raise ZS3Error(f"{notebook}: no picture below {heading!r}; headings: {'; '.join(headings)}")
