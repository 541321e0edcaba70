"""The report: executed notebooks as HTML pages, and an index with the tables and figures.

Pages are nbconvert's, with the template and the style of `resources/report`; they fetch nothing.
"""

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
from ..paths import FIGURES, RESOURCES, ROOT, RUNS
from ..storage import atomic_write, write_texts
from . import beside, records, tables
from .texts import spread

TEMPLATES = RESOURCES / "report"


class MathRenderer(IPythonRenderer):
    """nbconvert's Markdown with formulas as MathML, which browsers draw themselves."""

    def block_math(self, body: str, display: str = "block") -> str:
        # latex2mathml knows amsmath's environments by their outer names only.
        tex = re.sub(r"\\(begin|end)\{(align|gather)ed\}", r"\\\1{\2*}", body.strip())
        # The sign of a prime is small and high: raised by LaTeX's ', it could not be read.
        return convert(tex.replace("'", "\u2032"), display=display)

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
        raise ZS3Error(
            f"{notebook} is no notebook ({type(error).__name__}): run it again"
        ) from None
    heading = notebook.stem
    for cell in content.cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.M)][-1]
        cell.metadata["heading"] = heading
    return content


def _page(notebook: Path) -> dict:
    """An executed notebook and what the index says of it, as the templates name that.

    Raises ZS3Error when it was not executed to its end.
    """
    content = _read(notebook)
    for cell in content.cells:
        if cell.cell_type == "code" and cell.source.strip() and not cell.execution_count:
            raise ZS3Error(f"{notebook} was not run to its end: run it first, with papermill")
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                reason = f"{output.ename}: {output.evalue}"
                raise ZS3Error(f"{notebook} stopped with {reason}; mend that and run it again")
    short = notebook.stem
    title = content.cells[0].metadata["heading"]
    if short == "train":  # one of several: the run's name tells them apart
        short = notebook.parent.name
        title += f": {short}"
    content.metadata["title"] = title
    shows = re.search(r"\*\*Shows\*\*\s+(.*?)(?:\n\n|\*\*|\Z)", content.cells[0].source, re.S)
    seconds = content.metadata.get("papermill", {}).get("duration")
    return {
        "content": content,
        "short": short,
        "file": f"{short}.html",
        "title": title,
        "shows": markdown(shows[1][:1].upper() + shows[1][1:]) if shows else "",
        "took": f"{seconds:.0f} s" if seconds else "",
    }


def write(
    pages, out=ROOT / "report", profile="toy", *, runs=RUNS, figures=FIGURES, ks=None, **chosen
) -> Path:
    """Write `<out>/index.html` and a page per executed notebook of `pages`; returns the index.

    The index shows the figures where they are drawn, Tables I-III, the floor and the operating
    points of the records that `ks`, `datasets` and `seeds` choose, and links to all pages. Raises
    ZS3Error, naming the file, when a notebook is missing or failed, when two would have the same
    page, and as `tables.write`.
    """
    shown = [_page(Path(notebook)) for notebook in pages]
    names = [page["file"] for page in shown]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ZS3Error(f"two notebooks would both become {twice[0]}: give only one of them")
    found = records.read_records(runs, profile, ks=ks, **chosen)
    records.check_same_settings(found)
    exporter = HTMLExporter(
        extra_template_basedirs=[str(TEMPLATES.parent)],
        template_name=TEMPLATES.name,
        filters={"markdown2html": markdown},
    )
    texts = {}
    for page in shown:
        said = {"pages": shown, "title": page["title"]}
        texts[page["file"]], _ = exporter.from_notebook_node(page["content"], said)
    drawn = {
        file.stem: base64.b64encode(file.read_bytes()).decode()
        for file in Path(figures, profile).glob("*.png")
    }
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    texts["index.html"] = templates.get_template("contents.html.j2").render(  # last: it links them
        profile=profile,
        setting=records.SETTING[profile],
        figures=drawn,
        tables=tables.tables(found, profile, ks, chosen.get("datasets")),
        floor=spread(tables.floor(found)),
        floor_note=tables.FLOOR,
        points=beside.points(found),
        points_note=beside.POINTS,
        pages=shown,
    )
    return write_texts(out, texts)[-1]


def picture(notebook: Path, heading: str, out: Path, *, width: int = 1000) -> Path:
    """Save the first picture below a heading of an executed notebook as a small PNG.

    At most `width` pixels across, in 256 colours. Raises ZS3Error when there is no such picture.
    """
    cells = _read(notebook).cells
    below = [cell for cell in cells if cell.metadata["heading"] == heading]
    outputs = [output.get("data", {}) for cell in below for output in cell.get("outputs", [])]
    pngs = [data["image/png"] for data in outputs if "image/png" in data]
    if not pngs:
        there = "; ".join(dict.fromkeys(cell.metadata["heading"] for cell in cells))
        raise ZS3Error(f"{notebook}: no picture below {heading!r}; headings: {there}")
    found = Image.open(io.BytesIO(base64.b64decode(pngs[0])))
    found.thumbnail((width, found.height), Image.Resampling.LANCZOS)
    small = found.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with atomic_write(out) as file:
        small.save(file, "png", optimize=True)
    return Path(out)
