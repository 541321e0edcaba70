"""Tables I-III from the run records, the published numbers beside the measured ones."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ..errors import ZS3Error
from ..method.methods import METHODS, is_extra
from ..paths import RUNS, TABLES
from ..storage import write_texts
from . import paper, records
from .paper import HEADS, METRICS
from .texts import bullets, page, spread

COLUMNS = pd.MultiIndex.from_tuples(HEADS.values())
TEX = {character: f"\\{character}" for character in "&%$#_{}"}
TEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
FLOOR = records.NOTES["table"]["floor"]


class Table:
    """Table "I", "II", "III" or that of a dataset which is not the paper's, from run records.

    Its rows are `ks`, by default the paper's and the records'. `frame` holds percent, rows (K,
    Model), columns (source, metric): "measured" is the mean over seeds, "std" their sample standard
    deviation, then "published"; what is missing is NaN. `notes` say what a reader must know. Runs
    of another list of unseen classes than the paper's have rows of their own; those of a later
    paper's split are left out, and a note says so.
    """

    def __init__(self, which: str, runs: list[dict], profile: str, ks: Iterable[int] | None = None):
        self.which = which
        self.profile = profile
        self.dataset, self.title = paper.tables()[which]
        runs = [r for r in runs if r["dataset"] == self.dataset]
        later = [records.name(r) for r in runs if records.later_split(r)]
        runs = [r for r in runs if not records.later_split(r)]
        self.models = paper.models(which, runs)
        self.printed = paper.published().query("table == @which").set_index(["k", "model"])[METRICS]
        self.name = f"table-{which}"
        self.heading = f"{self.title}, profile {profile}"
        setting = []
        if len(self.printed):
            self.name = f"table{[*paper.tables()].index(which) + 1}"
            self.heading = f"Table {which}. {self.heading}"
            setting = [records.SETTING[profile]]
        scores = paper.frame(runs)
        scores["model"] = scores["method"].map(self.models)
        scores["model"] += scores["unseen_list"]
        lists = ["", *sorted({*scores["unseen_list"]} - {""})]
        self.names = [model + name for name in lists for model in self.models.values()]
        printed = [self.printed.rename(lambda m: m + name, level="model") for name in lists]
        groups = scores.groupby(["k", "model"])[METRICS]
        sources = {"measured": groups.mean(), "std": groups.std(), "published": pd.concat(printed)}
        ks = sorted(set(ks or [*self.printed.index.unique("k"), *scores["k"]]))
        rows = pd.MultiIndex.from_product([ks, self.names], names=["K", "Model"])
        if len(self.printed):  # a method that the paper has not has a row where it was run
            theirs = {m + name for m in self.printed.index.unique("model") for name in lists}
            rows = rows[[name in theirs or (k, name) in groups.indices for k, name in rows]]
        self.frame = pd.concat({name: part.reindex(rows) for name, part in sources.items()}, axis=1)
        self.seeds = groups.size().reindex(rows, fill_value=0)
        number = "two " if len(self.names) == 2 else ""
        make = f"make tables PROFILE={profile} DATASETS={self.dataset}"
        self.notes = [
            *setting,
            f"Percent. Bold: the higher mean of the {number}models at one K, measured and "
            "published apart; no test made.",
            *records.notes(runs, paper.models(which), make, ks),
        ]
        if later:
            names = ", ".join(later)
            self.notes.append(f"Left out, for a split that is not the paper's: {names} (Table IV).")

    def cells(self, bold: str) -> dict[str, pd.DataFrame]:
        """Texts, {"measured" or "published": rows (K, Model)}; `bold` sets the best of each K.

        The best as printed: a tie sets all of it, a number alone is never bold.
        """
        plain = {
            "measured": spread(self.frame["measured"], self.frame["std"]),
            "published": spread(self.frame["published"]),
        }
        shown = {}
        for source, texts in plain.items():
            values = self.frame[source].map("{:.1f}".format).astype(float)
            groups = values.groupby("K")
            best = (values == groups.transform("max")) & (groups.transform("count") > 1)
            shown[source] = texts.where(~best, texts.map(bold.format)).set_axis(COLUMNS, axis=1)
        return shown

    def beside(self, bold: str = "<b>{}</b>") -> pd.DataFrame:
        """Measured, with the published number in parentheses behind: rows (K, Model)."""
        cells = self.cells(bold)
        published = " (" + cells["published"] + ")" if len(self.printed) else ""
        return cells["measured"] + published

    def below(self, bold: str) -> pd.DataFrame:
        """Measured, with the published rows below: rows (K, Source, Model)."""
        cells = pd.concat(self.cells(bold), names=["Source"]).swaplevel("Source", "K")
        return cells.sort_index(level=["K", "Source"], sort_remaining=False)

    def show(self) -> None:
        """Display it with its notes in a notebook: measured (published), the best in bold."""
        from IPython.display import Markdown, display  # only notebooks need it

        shown = self.beside().style.set_caption(self.heading)
        centred = {"selector": "th.level0", "props": "text-align: center"}
        one_line = {"selector": "td", "props": "white-space: nowrap"}
        display(shown.set_table_styles([one_line, centred]), Markdown(bullets(self.notes)))

    def csv(self) -> str:
        """To compute with; rows measured, std where there are several seeds, published."""
        long = self.frame.round(4).stack(0, future_stack=True)
        long = long.rename_axis(["k", "model", "source"]).reset_index()
        long = long[(long["source"] != "std") | long["hiou"].notna()]
        long = long.join(self.seeds.rename("seeds"), on=["k", "model"])
        long = long.assign(table=self.which, dataset=self.dataset, profile=self.profile)
        long.loc[long["source"] == "published", ["profile", "seeds"]] = None
        columns = ["table", "dataset", "k", "model", "source", "profile", "seeds", *METRICS]
        return long.astype({"seeds": "Int64"}).to_csv(columns=columns, index=False)

    def md(self) -> str:
        """For GitHub: measured (published) in each cell, the best model in bold, notes below."""
        cells = self.beside("**{}**").set_axis([*map(paper.head, METRICS)], axis=1).reset_index()
        cells["K"] = cells["K"].astype(str).where(~cells["K"].duplicated(), "")
        about = "Each cell: measured (published)." if len(self.printed) else ""
        return page(self.heading, cells, about=about, notes=self.notes)

    def txt(self) -> str:
        """For a terminal, about 100 columns wide; * marks the best model."""
        notes = "\n".join(self.notes).replace("Bold:", "*:")
        return f"{self.heading}\n\n{self.below('*{}').to_string()}\n\n{notes}\n"

    def tex(self) -> str:
        """A table* float for a paper; needs the packages booktabs and multirow."""
        escape = str.maketrans(TEX)
        origin = f" (the paper's Table {self.which})" if len(self.printed) else ""
        tex = self.below(r"\textbf{{{}}}").style.to_latex(
            environment="table*",
            position="t",
            position_float="centering",
            hrules=True,
            multicol_align="c",
            column_format="lll" + "r" * len(COLUMNS),
            caption=f"{self.title}, profile {self.profile}{origin}.".translate(escape),
            label=f"tab:{self.profile}-{self.which}",
        )
        small = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}"
        end = f"\\par\\smallskip {' '.join(self.notes).translate(escape)}\n\\end{{table*}}"
        tex = re.sub(r"^(?=\\multirow)", r"\\midrule\n", tex, flags=re.M)  # where a K begins
        tex = tex.replace("\\midrule\n\\midrule", "\\midrule")
        tex = tex.replace("\\centering", small).replace("\\end{table*}", end).replace("±", r"$\pm$")
        return "% needs \\usepackage{booktabs,multirow}\n" + tex


def tables(runs: list[dict], profile: str, ks=None, datasets=None) -> list[Table]:
    """The tables of these datasets; None: the paper's, and those of others that have records."""
    datasets = list(datasets or [*paper.published()["dataset"], *(r["dataset"] for r in runs)])
    chosen = [which for which, (dataset, _) in paper.tables().items() if dataset in datasets]
    return [Table(which, runs, profile, ks) for which in chosen]


def rows(results: Mapping[str, Mapping]):
    """One run's scores in percent, a Styler with a row per method, one decimal.

    `results` is {method: {"title": ..., "metrics": {...}}}, as `Run.evaluate` returns it. Bold: the
    best of each column as printed, floor and extras aside; nothing is bold without a second method.
    """
    scores = paper.frame([{"methods": results}]).set_index("model").rename_axis(None)
    shown = scores[METRICS].set_axis(COLUMNS, axis=1).round(1).style.format(precision=1, na_rep="-")
    floors = [method.name for method in METHODS.values() if not method.generates]
    aside = scores["method"].isin(floors) | scores["method"].map(is_extra)
    compared = scores.index[~aside]
    if len(compared) < 2:
        return shown
    return shown.highlight_max(subset=(compared, COLUMNS), props="font-weight: bold")


def floor(runs: list[dict]) -> pd.DataFrame:
    """Unseen mIoU (percent), means over seeds, beside the floor: the same head without a generator.

    Rows (Dataset, K) of the runs that measured the floor; a ratio to a floor of 0 is NaN.
    """
    base = METHODS["no_generator"]
    runs = [r for r in runs if base.name in r["methods"]]
    shown = {base.name: base.title} | paper.models("I", runs)
    scores = paper.frame(runs).pivot_table("unseen_miou", ["dataset", "k"], "method", sort=False)
    wide = scores.reindex(columns=list(shown)).set_axis(list(shown.values()), axis=1)
    lowest = wide[base.title].where(wide[base.title] > 0)
    ratios = wide.drop(columns=base.title).div(lowest, axis=0).add_suffix(" / floor")
    return wide.join(ratios).rename_axis(["Dataset", "K"])


def write(
    profile: str,
    *,
    runs=RUNS,
    out=TABLES,
    ks=None,
    datasets=None,
    seeds=None,
    free: Iterable[str] = (),
    note: str = "",
) -> list[Path]:
    """Write `<out>/<profile>/table{1,2,3}.{csv,md,tex}`, table1.txt and floor.{csv,md}; the paths.

    `datasets` leaves out the others' tables; table1.txt, for the terminal, is the first. `free` as
    in `check_same_settings`; `note` stands below each of the tables. Raises ZS3Error where there
    is no record, when runs of different settings would mix, and as `read_records` does.
    """
    chosen = {"ks": ks, "datasets": datasets, "seeds": seeds}
    found = records.read_records(runs, profile, **chosen, unseen_list=None)
    if not found:
        raise ZS3Error(f"no run records in {Path(runs, profile)}: make tables PROFILE={profile}")
    if all(map(records.later_split, found)):
        there = records.several(map(records.name, found))
        raise ZS3Error(f"no run is of the paper's classes: {there} stand in Table IV, extras.md")
    records.check_same_settings(found, free)
    shown = tables(found, profile, ks, datasets)
    files = {}
    for one in shown:
        one.notes += [note] * bool(note)
        files |= {f"{one.name}.{kind}": getattr(one, kind)() for kind in ("csv", "md", "tex")}
    files["table1.txt"] = shown[0].txt()
    lowest = floor(records.read_records(runs, profile, **chosen))
    if len(lowest):
        heading = f"Unseen mIoU above the floor, profile {profile}"
        files["floor.csv"] = lowest.round(4).to_csv()
        files["floor.md"] = page(heading, spread(lowest).reset_index(), about=FLOOR)
    return write_texts(Path(out, profile), files)
