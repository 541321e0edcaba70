"""A table as text: measured beside published, for a screen, GitHub and LaTeX.

A table is a frame of numbers in percent with rows (K, Model, Source) and a column per metric;
Source is measured (the mean over seeds), std (over seeds) and published.
"""

from __future__ import annotations

import pandas as pd

HEADS = {
    f"{group.lower()}_{kind.lower()}": (group, kind)
    for group in ("Seen", "Unseen", "Overall")
    for kind in ("PA", "MA", "mIoU")
}
HEADS["hiou"] = ("", "hIoU")
METRICS = list(HEADS)
COLUMNS = pd.MultiIndex.from_tuples(HEADS.values())
TEX = {character: f"\\{character}" for character in "&%$#_{}"}
TEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def page(*parts: str | list[str] | pd.DataFrame) -> str:
    """Markdown for GitHub: texts as they are, a frame of texts as a table, a list as bullets."""
    shown = []
    for part in parts:
        if isinstance(part, pd.DataFrame):
            rows = [list(part.columns), ["---"] * len(part.columns), *part.values.tolist()]
            lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
            part = "\n".join(f"| {line} |" for line in lines)
        elif isinstance(part, list):
            part = "\n".join(f"- {line}" for line in part)
        shown.append(part.strip())
    return "\n\n".join(shown) + "\n"


def spread(mean: pd.DataFrame, std: pd.DataFrame) -> pd.DataFrame:
    """ "12.3" for one seed (std is NaN), "12.3 ± 0.4" for several, "-" for no number."""
    shown = mean.map("{:.1f}".format) + std.map(" ± {:.1f}".format).where(std.notna(), "")
    return shown.where(mean.notna(), "-")


def below(frame: pd.DataFrame, bold: str) -> pd.DataFrame:
    """Measured, with the published rows below: texts, rows (K, Source, Model), columns COLUMNS.

    `bold` sets the best of a K's measured or published, as printed: a tie sets all of it. A number
    alone is never bold.
    """
    mean = frame.drop("std", level="Source")
    std = frame.xs("std", level="Source", drop_level=False)
    std = std.rename({"std": "measured"}, level="Source").reindex(mean.index)
    values = mean.map("{:.1f}".format).astype(float)
    groups = values.groupby(level=["K", "Source"])
    best = (values == groups.transform("max")) & (groups.transform("count") > 1)
    plain = spread(mean, std)
    cells = plain.where(~best, plain.map(bold.format)).set_axis(COLUMNS, axis=1)
    cells = cells.swaplevel("Model", "Source")
    return cells.sort_index(level=["K", "Source"], sort_remaining=False)


def beside(frame: pd.DataFrame, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """Measured, with the published number in parentheses behind: rows (K, Model)."""
    cells = below(frame, bold)
    published = cells.xs("published", level="Source")
    return cells.xs("measured", level="Source") + " (" + published + ")"


def to_markdown(frame: pd.DataFrame, heading: str, notes: list[str]) -> str:
    """Measured (published) in each cell, the best model in bold, notes below."""
    cells = beside(frame, "**{}**")
    cells.columns = [" ".join(head).strip() for head in cells.columns]
    cells = cells.reset_index()
    cells["K"] = cells["K"].astype(str).where(~cells["K"].duplicated(), "")
    return page(f"# {heading}", "Each cell: measured (published).", cells, notes)


def to_text(frame: pd.DataFrame, heading: str, notes: list[str]) -> str:
    """For a terminal, about 100 columns wide; * marks the best model."""
    lines = "\n".join(notes).replace("Bold:", "*:")
    return f"{heading}\n\n{below(frame, '*{}').to_string()}\n\n{lines}\n"


def to_latex(frame: pd.DataFrame, caption: str, notes: list[str], label: str) -> str:
    """A table* float for a paper; needs the packages booktabs and multirow."""
    escape = str.maketrans(TEX)
    tex = below(frame, r"\textbf{{{}}}").style.to_latex(
        environment="table*",
        position="t",
        position_float="centering",
        hrules=True,
        multicol_align="c",
        column_format="lll" + "r" * len(COLUMNS),
        caption=caption.translate(escape),
        label=label,
    )
    k = rf"\multirow[c]{{{2 * len(frame.index.unique('Model'))}}}"  # where a K begins
    small = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}"
    end = "\\par\\smallskip " + " ".join(notes).translate(escape) + "\n\\end{table*}"
    tex = tex.replace(k, "\\midrule\n" + k).replace("\\midrule\n\\midrule", "\\midrule")
    tex = tex.replace("\\centering", small).replace("\\end{table*}", end).replace("±", r"$\pm$")
    return "% needs \\usepackage{booktabs,multirow}\n" + tex
