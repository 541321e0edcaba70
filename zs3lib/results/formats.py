"""A table as text: measured beside published, for a screen, GitHub and LaTeX."""

from __future__ import annotations

import math

import pandas as pd

TEX = {character: f"\\{character}" for character in "&%$#_{}"}
TEX |= {
    "±": r"$\pm$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a GitHub table; its index is not shown."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.values.tolist()]
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def spread(mean: pd.Series, std: pd.Series) -> pd.Series:
    """ "12.3" for one seed (std is NaN), "12.3 ± 0.4" for several."""
    return mean.map("{:.1f}".format) + std.map(lambda s: "" if math.isnan(s) else f" ± {s:.1f}")


def texts(frame: pd.DataFrame, source: str, bold: str = "{}") -> pd.DataFrame:
    """One source of a `tables.table`; the best of each K's models set by `bold`, "-" for no number.

    Best is judged on the number as printed, so a tie sets all of it; a number alone is never bold.
    """
    values = frame.xs(source, axis=1, level="Source").map("{:.1f}".format).astype(float)
    std = frame.xs("std", axis=1, level="Source")
    by_k = values.groupby(level="K")
    best = (values == by_k.transform("max")) & (by_k.transform("count") > 1)
    shown = spread(values, std if source == "measured" else std * math.nan)
    return shown.where(~best, shown.map(bold.format)).where(values.notna(), "-")


def beside(frame: pd.DataFrame, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """Measured, with the published number in parentheses behind: rows (K, Model)."""
    cells = texts(frame, "measured", bold) + " (" + texts(frame, "published", bold) + ")"
    return cells.rename_axis(columns=[None, None])


def below(frame: pd.DataFrame, bold: str = "{}") -> pd.DataFrame:
    """Measured, with the published rows below: rows (K, Source, Model)."""
    parts = {source: texts(frame, source, bold) for source in ("measured", "published")}
    stacked = pd.concat(parts, names=["Source"]).swaplevel("K", "Source")
    order = [frame.index.unique("K"), list(parts), frame.index.unique("Model")]
    cells = stacked.reindex(pd.MultiIndex.from_product(order, names=["K", "Source", "Model"]))
    return cells.rename_axis(columns=[None, None])


def to_markdown(frame: pd.DataFrame, heading: str, notes: list[str]) -> str:
    """Measured (published) in each cell, the best model in bold, notes below."""
    cells = beside(frame, "**{}**")
    cells.columns = [" ".join(head).strip() for head in cells.columns]
    cells = cells.reset_index()
    cells["K"] = cells["K"].astype(str).where(~cells["K"].duplicated(), "")
    lines = "".join(f"- {note}\n" for note in notes)
    return f"# {heading}\n\nEach cell: measured (published).\n\n{markdown(cells)}\n{lines}"


def to_text(frame: pd.DataFrame, heading: str, notes: list[str]) -> str:
    """For a terminal, about 100 columns wide; * marks the best model."""
    lines = "\n".join(notes).replace("Bold:", "*:")
    return f"{heading}\n\n{below(frame, '*{}').to_string()}\n\n{lines}\n"


def to_latex(frame: pd.DataFrame, caption: str, notes: list[str], label: str) -> str:
    """A table* float for a paper; needs the packages booktabs and multirow."""
    escape = str.maketrans(TEX)
    cells = below(frame, r"\textbf{{{}}}").replace("±", r"$\\pm$", regex=True)
    tex = cells.style.to_latex(
        environment="table*",
        position="t",
        position_float="centering",
        hrules=True,
        multicol_align="c",
        column_format="lll" + "r" * cells.shape[1],
        caption=caption.translate(escape),
        label=label,
    )
    k = rf"\multirow[c]{{{2 * len(frame.index.unique('Model'))}}}"  # where a K begins
    small = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}"
    end = "\\par\\smallskip " + " ".join(notes).translate(escape) + "\n\\end{table*}"
    tex = tex.replace(k, "\\midrule\n" + k).replace("\\midrule\n\\midrule", "\\midrule")
    tex = tex.replace("\\centering", small).replace("\\end{table*}", end)
    return "% needs \\usepackage{booktabs,multirow}\n" + tex
