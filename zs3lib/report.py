"""The report: executed notebooks as HTML pages, and an index with the tables and figures.

python -m zs3lib.report runs/toy/tables.ipynb runs/toy/voc-k10-s0/train.ipynb --profile toy
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import nbformat
from latex2mathml.converter import convert as mathml
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from . import options, tables
from .errors import ZS3Error
from .paths import FIGURES, ROOT, RUNS, write_texts
from .records import FLOOR, SETTING, SPECS, check_same_settings, notes, read_records, select, title

TEMPLATES = Path(__file__).parent / "resources" / "report"
WIDGET = "application/vnd.jupyter.widget-view+json"
FIGURE_NOTES = {
    "fig3": "Validation images, K = 10. A star marks unseen classes.",
    "hiou": "Solid: measured, dashed: published.",
}


class MathRenderer(IPythonRenderer):
    """nbconvert's Markdown with formulas as MathML, which browsers draw themselves: no MathJax to fetch."""

    def block_math(self, body: str) -> str:
        return formula(body, "block")

    def inline_math(self, body: str) -> str:
        return formula(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def formula(tex: str, display: str) -> str:
    """TeX -> MathML; `display` is "inline" or "block". Raises ZS3Error for a command latex2mathml does not know."""
    # latex2mathml knows amsmath's environments by their outer names only.
    tex = re.sub(r"\\(begin|end)\{(align|gather)ed\}", r"\\\1{\2*}", tex.strip())
    try:
        result = mathml(tex, display=display)
    except Exception as error:  # its errors have no common class
        raise ZS3Error(
            f"the formula {tex!r} cannot be shown: {type(error).__name__} {error}"
        ) from None
    if unknown := re.findall(r"\\[a-zA-Z]+", result):
        raise ZS3Error(
            f"the formula {tex!r} cannot be shown: {unknown[0]} is unknown to latex2mathml"
        )
    # A prime is raised already: raised once more, it would be too small to see that x_i' is not x_i.
    prime = '<mo lspace="0" rspace="0">\u2032</mo>'
    result = re.sub(
        r"<msup>(<mi>\w</mi>)<mi>&#x02032;</mi></msup>", rf"<mrow>\1{prime}</mrow>", result
    )
    return result.replace("<mi>&#x02032;</mi>", prime)


def markdown(source: str) -> str:
    """Markdown, with formulas, as HTML."""
    return MarkdownWithMath(renderer=MathRenderer(escape=False, exclude_anchor_links=True)).render(
        source
    )


class PageExporter(HTMLExporter):
    """nbconvert's HTML with nothing fetched from elsewhere; light or dark as the reader's system is."""

    def __init__(self, **options):
        super().__init__(
            extra_template_basedirs=[str(TEMPLATES.parent)], template_name=TEMPLATES.name, **options
        )

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", markdown


@dataclass
class Page:
    """An executed notebook and what the index says of it. Raises ZS3Error when it was not executed to its end."""

    notebook: Path
    content: nbformat.NotebookNode = field(init=False, repr=False)

    def __post_init__(self):
        try:
            self.content = nbformat.read(self.notebook, 4)
        except Exception as error:  # missing, no JSON, no notebook: nbformat raises many kinds
            raise ZS3Error(
                f"{self.notebook} is no notebook ({type(error).__name__}): run it again"
            ) from None
        code = [
            cell for cell in self.content.cells if cell.cell_type == "code" and cell.source.strip()
        ]
        if not all(cell.execution_count for cell in code):
            raise ZS3Error(
                f"{self.notebook} was not run to its end: run it first, for example with papermill"
            )
        for output in (
            output for cell in code for output in cell.outputs if output.output_type == "error"
        ):
            raise ZS3Error(
                f"{self.notebook} stopped with {output.ename}: {output.evalue}; mend that and run it again"
            )

    @property
    def short(self) -> str:
        """The notebook's name; of several trainings, that of the run."""
        return self.notebook.parent.name if self.notebook.stem == "train" else self.notebook.stem

    @property
    def file(self) -> str:
        return f"{self.short}.html"

    @property
    def title(self) -> str:
        heading = next(
            (h for cell in self.content.cells if (h := _heading(cell))), self.notebook.stem
        )
        return f"{heading}: {self.short}" if self.notebook.stem == "train" else heading

    @property
    def shows(self) -> str:
        """The first cell's **Shows** paragraph as HTML."""
        found = re.search(
            r"\*\*Shows\*\*\s+(.*?)(?:\n\s*\n|\*\*Takes\*\*|\Z)", self.content.cells[0].source, re.S
        )
        text = found[1].strip() if found else ""
        return markdown(text[:1].upper() + text[1:])

    @property
    def took(self) -> str:
        """How long papermill ran it."""
        seconds = self.content.metadata.get("papermill", {}).get("duration")
        return (
            ""
            if seconds is None
            else f"{seconds:.0f} s"
            if seconds < 100
            else f"{seconds / 60:.1f} min"
        )

    def html(self, pages: Sequence[Page]) -> str:
        """The page, self-contained. Outputs that only a script could draw are left out."""
        content, heading = nbformat.from_dict(self.content), self.title
        for cell in content.cells:
            heading = _heading(cell) or heading
            cell.metadata["heading"] = heading
            if cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if not _needs_script(o.get("data", {}))]
        content.metadata.pop("widgets", None)
        content.metadata["title"] = self.title
        return PageExporter().from_notebook_node(content, {"pages": pages, "title": self.title})[0]


def _heading(cell: nbformat.NotebookNode) -> str:
    found = re.findall(r"^#+\s+(.+)$", cell.source, re.M) if cell.cell_type == "markdown" else []
    return found[-1].strip() if found else ""


def _needs_script(data: dict) -> bool:
    return (WIDGET in data or "application/javascript" in data) and not {
        "image/png",
        "text/html",
    } & set(data)


def _table(which: str, records: list[dict], profile: str, ks: Iterable[int] | None) -> dict:
    frame = tables.table(records, which, ks)
    cells = tables.beside(frame).rename_axis(columns=[None, None])
    lines = notes(records, which, profile, frame.index.unique("K"))[
        1:
    ]  # the first stands at the top of the page
    return {
        "title": title(which, profile),
        "html": cells.style.to_html(),
        "notes": lines,
        "cells": True,
    }


def contents(
    pages: Sequence[Page], records: list[dict], profile: str, figures: Path,
    ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None,
) -> str:  # fmt: skip
    """The index page: Fig. 3 and hIoU over K where they are drawn, Tables I-III, the floor, links to all pages."""
    drawn = [
        {
            "title": heading,
            "note": FIGURE_NOTES[name],
            "png": base64.b64encode(file.read_bytes()).decode(),
        }
        for name, heading in (("fig3", "Fig. 3: what the models see"), ("hiou", "hIoU over K"))
        if (file := figures / profile / f"{name}.png").is_file()
    ]
    shown = [
        _table(which, records, profile, ks)
        for which in SPECS
        if not datasets or SPECS[which][0] in datasets
    ]
    lowest = tables.floor(records)
    if len(lowest):
        html = lowest.style.format("{:.1f}", na_rep="-").to_html()
        shown.append({"title": "Unseen mIoU above the floor", "html": html, "notes": [FLOOR]})
    loader = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    return loader.get_template("contents.html.j2").render(
        profile=profile, setting=SETTING.get(profile, ""), figures=drawn, tables=shown, pages=pages
    )


def write_report(
    notebooks: Iterable[Path], folder: Path, *, profile: str, runs: Path = RUNS, figures: Path = FIGURES,
    ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None, seeds: Iterable[int] | None = None,
) -> Path:  # fmt: skip
    """Write `<folder>/index.html` and a page per executed notebook; returns the index.

    Raises ZS3Error, naming the file, when a notebook is missing or failed, when two would have the same page, and when
    the records of different settings would mix.
    """
    pages = [Page(Path(notebook)) for notebook in notebooks]
    names = [page.file for page in pages]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ZS3Error(f"two notebooks would both become {twice.pop()}: give only one of them")
    records = select(read_records(runs, profile, seeds), ks, datasets)
    check_same_settings(records)
    texts = {page.file: page.html(pages) for page in pages}
    texts["index.html"] = contents(
        pages, records, profile, Path(figures), ks, datasets
    )  # last: it links the others
    return write_texts(folder, texts)[-1]


def main(arguments: list[str] | None = None) -> int:
    """Turn executed notebooks into a self-contained HTML report whose index shows the tables and figures."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.report", description=main.__doc__)
    parser.add_argument(
        "notebooks", nargs="+", type=Path, help="executed notebooks, in the order of the index"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "report",
        help="folder to write to (default: %(default)s)",
    )
    options.add_runs(parser)
    parser.add_argument(
        "--figures", type=Path, default=FIGURES, help="folder of the figures (default: %(default)s)"
    )
    options.add_choice(parser)
    args = parser.parse_args(arguments)
    try:
        index = write_report(
            args.notebooks, args.out, profile=args.profile, runs=args.runs, figures=args.figures,
            ks=args.ks, datasets=args.datasets, seeds=args.seeds,
        )  # fmt: skip
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Report: {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
