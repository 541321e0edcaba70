"""A table as text: measured beside published, for a screen, GitHub and LaTeX.

A table is a frame of numbers in percent with rows (K, Model, Source) and a column per metric;
Source is measured (the mean over seeds), std (over seeds) and published.
"""

from __future__ import annotations

import pandas as pd

HEADS = [(group, kind) for group in ("Seen", "Unseen", "Overall") for kind in ("PA", "MA", "mIoU")]
HEADS += [("", "hIoU")]
TEX = {character: f"\\{character}" for character in "&%$#_{}"}
TEX |= {"±": r"$\pm$", "\\": r"\textbackslash{}"}
TEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a GitHub table; its index is not shown."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.values.tolist()]
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def spread(mean: pd.DataFrame, std: pd.DataFrame) -> pd.DataFrame:
    """ "12.3" for one seed (std is NaN), "12.3 ± 0.4" for several, "-" for no number."""
    shown = mean.map("{:.1f}".format) + std.map(" ± {:.1f}".format).where(std.notna(), "")
    return shown.where(mean.notna(), "-")


def texts(frame: pd.DataFrame, bold: str) -> dict[str, pd.DataFrame]:
    """{"measured": rows (K, Model), columns HEADS, "published": ...}; each K's best set by `bold`.

    Best is judged on the number as printed, so a tie sets all of it; a number alone is never bold.
    """
    shown = {}
    std = frame.xs("std", level="Source")
    for source in ("measured", "published"):
        values = frame.xs(source, level="Source").map("{:.1f}".format).astype(float)
        by_k = values.groupby(level="K")
        best = (values == by_k.transform("max")) & (by_k.transform("count") > 1)
        plain = spread(values, std if source == "measured" else std * float("nan"))
        cells = plain.where(~best, plain.map(bold.format))
        shown[source] = cells.set_axis(pd.MultiIndex.from_tuples(HEADS), axis=1)
    return shown


def beside(frame: pd.DataFrame, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """Measured, with the published number in parentheses behind: rows (K, Model)."""
    shown = texts(frame, bold)
    return shown["measured"] + " (" + shown["published"] + ")"


def below(frame: pd.DataFrame, bold: str) -> pd.DataFrame:
    """Measured, with the published rows below: rows (K, Source, Model)."""
    shown = pd.concat(texts(frame, bold), names=["Source"]).swaplevel("K", "Source")
    order = [frame.index.unique("K"), ["measured", "published"], frame.index.unique("Model")]
    return shown.reindex(pd.MultiIndex.from_product(order, names=["K", "Source", "Model"]))


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
