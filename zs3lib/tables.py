"""Tables I-III from the run records, the published numbers beside the measured ones.

python -m zs3lib.tables --profile toy
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from . import options
from .audit import METRICS, markdown, published
from .classes import PAPER_KS
from .errors import ZS3Error
from .paths import TABLES, write_texts
from .records import FLOOR, MODELS, SPECS, check_same_settings, notes, read_records, select, title

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

HEADS = tuple(
    (group, m) for group in ("Seen", "Unseen", "Overall") for m in ("PA", "MA", "mIoU")
) + (("", "hIoU"),)

# Measured and published stay on one line; a heading stands amid the columns it is for.
LOOK = [
    dict(selector="td", props="white-space: nowrap"),
    dict(selector="th.level0", props="text-align: center"),
]


def table(records: list[dict], which: str, ks: Iterable[int] | None = None) -> pd.DataFrame:
    """Table "I", "II" or "III" in percent: rows (K, Model), columns HEADS x (measured, std, published).

    `ks` default to the paper's five and those of the records. Measured is the mean over seeds, std their sample
    standard deviation (NaN for one seed). A run that is missing, and a K the paper has not, are NaN.
    """
    dataset, models, _ = SPECS[which]
    runs = [r for r in records if r["dataset"] == dataset]
    ks = sorted(set(ks) if ks else {*PAPER_KS, *(r["k"] for r in runs)})
    measured = pd.DataFrame(
        [
            {"K": r["k"], "Model": model, **r["methods"][method]["metrics"]}
            for r in runs for model, method in models.items() if method in r["methods"]
        ],
        columns=["K", "Model", *METRICS],
    ).groupby(["K", "Model"])  # fmt: skip
    paper = published().query("table == @which").rename(columns={"k": "K", "model": "Model"})
    sources = {
        "measured": measured.mean(),
        "std": measured.std(),
        "published": paper.set_index(["K", "Model"])[list(METRICS)],
    }
    index = pd.MultiIndex.from_product([ks, models], names=["K", "Model"])
    wide = pd.concat(
        {source: frame.reindex(index).astype(float) for source, frame in sources.items()}, axis=1
    )
    heads = dict(zip(METRICS, HEADS))
    wide.columns = pd.MultiIndex.from_tuples(
        [(*heads[metric], source) for source, metric in wide.columns]
    )
    return wide[[(*head, source) for head in HEADS for source in sources]].rename_axis(
        columns=["Classes", "Metric", "Source"]
    )


def rows(results: Mapping[str, Mapping]) -> Styler:
    """One run's scores in percent: rows the methods in the paper's words, columns HEADS, one decimal.

    `results` is {method: {"metrics": {...}}}, as `Run.evaluate` returns it. Bold: the best of each column as printed,
    the floor "No generator" aside; nothing is bold without a second method to compare with.
    """
    known = [method for method in MODELS if method in results]
    values = [[results[method]["metrics"][metric] for metric in METRICS] for method in known]
    frame = pd.DataFrame(
        values, [MODELS[method] for method in known], pd.MultiIndex.from_tuples(HEADS), float
    )

    def bold(column: pd.Series) -> list[str]:
        printed = column.map(lambda x: float(f"{x:.1f}")).drop("No generator", errors="ignore")
        best = printed.index[printed == printed.max()] if printed.count() > 1 else ()
        return ["font-weight: bold" if model in best else "" for model in column.index]

    return frame.style.format(precision=1, na_rep="-").apply(bold)


def texts(frame: pd.DataFrame, source: str, bold: str = "{}") -> pd.DataFrame:
    """One source of a table as text, "12.3", "12.3 ± 0.4" or "-"; the better of each K's two models set by `bold`.

    Better is judged on the number as printed, so a tie sets both; a number without its partner is never bold.
    """
    values = frame.xs(source, axis=1, level="Source").map(lambda x: float(f"{x:.1f}"))
    spread = (
        frame.xs("std", axis=1, level="Source") if source == "measured" else values * float("nan")
    )
    by_k = values.groupby(level="K")
    best = (values == by_k.transform("max")) & (by_k.transform("count") == 2)
    shown = values.map("{:.1f}".format) + spread.map(
        lambda s: "" if math.isnan(s) else f" ± {s:.1f}"
    )
    return shown.where(~best, shown.map(bold.format)).where(values.notna(), "-")


def beside(frame: pd.DataFrame, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """A table as text with the published number in parentheses behind the measured one."""
    return texts(frame, "measured", bold) + " (" + texts(frame, "published", bold) + ")"


def below(frame: pd.DataFrame, bold: str = "{}") -> pd.DataFrame:
    """A table as text with the published rows below the measured ones: rows (K, Source, Model)."""
    parts = {source: texts(frame, source, bold) for source in ("measured", "published")}
    stacked = pd.concat(parts, names=["Source"]).reorder_levels(["K", "Source", "Model"])
    ks, models = frame.index.unique("K"), frame.index.unique("Model")
    return stacked.loc[[(k, source, model) for k in ks for source in parts for model in models]]


def floor(records: list[dict]) -> pd.DataFrame:
    """Unseen mIoU (percent) of ZS3Net and Ours beside the floor, the same head without a generator.

    Rows (Dataset, K) of the runs that measured the floor, means over seeds; a ratio to a floor of 0 is NaN.
    """
    columns = {MODELS[method]: method for method in ("no_generator", "zs3net", "ours")}
    lines = [
        {"Dataset": r["dataset"], "K": r["k"]}
        | {c: r["methods"][m]["metrics"]["unseen_miou"] for c, m in columns.items() if m in r["methods"]}
        for r in records if "no_generator" in r["methods"]
    ]  # fmt: skip
    frame = (
        pd.DataFrame(lines, columns=["Dataset", "K", *columns])
        .groupby(["Dataset", "K"], sort=False)
        .mean()
    )
    for model in ("ZS3Net", "Ours"):
        frame[f"{model} / floor"] = frame[model] / frame["No generator"].where(
            frame["No generator"] > 0
        )
    return frame


def to_csv(frame: pd.DataFrame, records: list[dict], which: str, profile: str) -> str:
    """One row per (k, model, source): measured, its std where there are several seeds, published; percent."""
    dataset, models, _ = SPECS[which]
    tidy = frame.stack("Source", future_stack=True)
    tidy = (
        tidy.set_axis(METRICS, axis=1).rename_axis(["k", "model", "source"]).reset_index().round(4)
    )
    tidy = tidy[(tidy["source"] != "std") | tidy["hiou"].notna()]
    seeds = [sum(r["dataset"] == dataset and r["k"] == k and models[m] in r["methods"] for r in records)
             for k, m in zip(tidy["k"], tidy["model"])]  # fmt: skip
    own = tidy["source"] != "published"
    tidy.insert(0, "table", which)
    tidy.insert(1, "dataset", dataset)
    tidy.insert(5, "profile", own.map({True: profile, False: ""}))
    tidy.insert(6, "seeds", pd.Series(seeds, tidy.index).where(own).astype("Int64"))
    return tidy.to_csv(index=False)


def to_markdown(frame: pd.DataFrame, heading: str, lines: list[str]) -> str:
    """Measured (published) in each cell, the better model in bold, notes below."""
    cells = beside(frame, "**{}**")
    cells.columns = [" ".join(head).strip() for head in cells.columns]
    cells = cells.reset_index()
    cells["K"] = cells["K"].astype(str).where(~cells["K"].duplicated(), "")
    text = "".join(f"- {line}\n" for line in lines)
    return f"# {heading}\n\nEach cell: measured (published).\n\n{markdown(cells)}\n{text}"


def to_latex(frame: pd.DataFrame, heading: str, lines: list[str], label: str) -> str:
    """A table* float for a paper; needs the packages booktabs and multirow."""
    special = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
                             "^": r"\textasciicircum{}", "±": r"$\pm$"})  # fmt: skip
    cells = (
        below(frame, r"\textbf{{{}}}")
        .rename_axis(columns=[None, None])
        .replace("±", r"$\\pm$", regex=True)
    )
    tex = cells.style.to_latex(
        environment="table*", position="t", position_float="centering", hrules=True,
        multirow_align="c", multicol_align="c", column_format="lll" + "r" * len(METRICS),
        caption=heading.translate(special), label=label,
    )  # fmt: skip
    group = r"\multirow[c]{4}"  # where a K begins: a rule between them, not above the first
    tex = tex.replace(group, "\\midrule\n" + group).replace("\\midrule\n\\midrule", "\\midrule")
    small = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}"
    end = "\\par\\smallskip " + " ".join(lines).translate(special) + "\n\\end{table*}"
    tex = tex.replace("\\centering", small).replace("\\end{table*}", end)
    return "% needs \\usepackage{booktabs,multirow}\n" + tex


def _for_terminal(
    records: list[dict], profile: str, ks: Iterable[int] | None, datasets: Iterable[str] | None
) -> str:
    """Table I (Table II without VOC) as plain text about 100 columns wide; * marks the better of the two models."""
    which = "I" if not datasets or "voc" in datasets else "II"
    frame = table(records, which, ks)
    cells = below(frame, "*{}").rename_axis(columns=[None, None])
    lines = "\n".join(notes(records, which, profile, frame.index.unique("K"))).replace(
        "Bold:", "*:"
    )
    return f"{title(which, profile)}\n\n{cells.to_string()}\n\n{lines}\n"


def show(which: str, records: list[dict], profile: str, ks: Iterable[int] | None = None) -> None:
    """Display a table and its notes in a notebook: measured (published), the better model in bold."""
    from IPython.display import Markdown, display  # only notebooks need it

    frame = table(records, which, ks)
    cells = beside(frame).rename_axis(columns=[None, None])
    display(cells.style.set_caption(title(which, profile)).set_table_styles(LOOK))
    display(
        Markdown(
            "".join(
                f"- {line}\n" for line in notes(records, which, profile, frame.index.unique("K"))
            )
        )
    )


def write_tables(
    records: list[dict], tables_dir: Path | str, profile: str, *,
    ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None,
) -> list[Path]:  # fmt: skip
    """Write `<tables_dir>/<profile>/table{1,2,3}.{csv,md,tex}`, floor.{csv,md} and table1.txt; returns the paths.

    `datasets` (default both) leaves out the other's tables; table1.txt, for the terminal, is Table II without VOC.
    Raises ZS3Error when runs of different settings would mix.
    """
    records = select(records, ks, datasets)
    check_same_settings(records)
    files: dict[str, str] = {}
    for number, which in enumerate(SPECS, 1):
        if not datasets or SPECS[which][0] in datasets:
            frame, heading = table(records, which, ks), title(which, profile)
            lines = notes(records, which, profile, frame.index.unique("K"))
            files[f"table{number}.csv"] = to_csv(frame, records, which, profile)
            files[f"table{number}.md"] = to_markdown(frame, heading, lines)
            files[f"table{number}.tex"] = to_latex(
                frame,
                f"{SPECS[which][2]}, profile {profile} (the paper's Table {which}).",
                lines,
                f"tab:{profile}-{number}",
            )
    files["table1.txt"] = _for_terminal(records, profile, ks, datasets)
    lowest = floor(records)
    if len(lowest):
        files["floor.csv"] = lowest.round(4).to_csv()
        shown = lowest.map("{:.1f}".format).replace("nan", "-").reset_index()
        files["floor.md"] = (
            f"# Unseen mIoU above the floor, profile {profile}\n\n{FLOOR}\n\n{markdown(shown)}"
        )
    return write_texts(Path(tables_dir, profile), files)


def main(arguments: list[str] | None = None) -> int:
    """Write the tables of a profile from its run records, print Table I (Table II without VOC) and where they are."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.tables", description=main.__doc__)
    options.add_runs(parser)
    parser.add_argument(
        "--tables", type=Path, default=TABLES, help="folder to write to (default: %(default)s)"
    )
    options.add_choice(parser)
    args = parser.parse_args(arguments)
    try:
        records = read_records(args.runs, args.profile, args.seeds)
        if not records:
            raise ZS3Error(
                f"no run records in {args.runs / args.profile}: make tables PROFILE={args.profile}"
            )
        files = write_tables(records, args.tables, args.profile, ks=args.ks, datasets=args.datasets)
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print((args.tables / args.profile / "table1.txt").read_text(encoding="utf-8"))
    print("Tables:", *files, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
