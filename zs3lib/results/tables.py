"""Tables I-III from the run records, the published numbers beside the measured ones.

Which methods stand in which table, and under which names, follows from `METHODS` and `DATASETS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import ZS3Error
from ..method.methods import METHODS
from ..storage import RUNS, TABLES, write_texts
from . import formats, paper, protocols, records
from .paper import METRICS

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

write_protocols = protocols.write  # the other command that writes tables

# Measured and published stay on one line; a heading stands amid the columns it is for.
LOOK = [
    {"selector": "td", "props": "white-space: nowrap"},
    {"selector": "th.level0", "props": "text-align: center"},
]
FLOOR = (
    "Unseen mIoU in percent, mean over seeds. No generator: the same head trained without "
    "generated features, which never learns an unseen class. A dash: not measured, or a ratio to "
    "a floor of 0."
)


class Table:
    """Table "I", "II" or "III" from run records, or the table of a dataset that is not the paper's.

    Arguments:
        runs: records of any dataset; ks: default the paper's and the records'.

    Attributes:
        frame: percent, rows (K, Model, Source), columns METRICS. Source "measured" is the mean over
            seeds, "std" their sample standard deviation; what is missing is NaN.
        heading, about, origin: title, what it is of, where it is from; notes: what must be known
            to read it; models: {method: name here}.
    """

    def __init__(self, which: str, runs: list[dict], profile: str, ks: Iterable[int] | None = None):
        self.which = which
        self.profile = profile
        self.dataset, self.about = paper.tables()[which]
        self.runs = records.select(runs, ks, [self.dataset])
        self.models = paper.models(which, self.runs)
        self.heading = f"Table {which}. {self.about}, profile {profile}"
        printed = paper.published().query("table == @which").set_index(["k", "model"])[METRICS]
        self.origin = f" (the paper's Table {which})" if len(printed) else ""
        scores = paper.frame(self.runs)
        scores["model"] = scores["method"].map(self.models)
        ks = sorted(set(ks or [*printed.index.unique("k"), *scores["k"]]))
        groups = scores.groupby(["k", "model"])[METRICS]
        sources = {"measured": groups.mean(), "std": groups.std(), "published": printed}
        frame = pd.concat(sources, names=["Source", "K", "Model"])
        order = [ks, list(self.models.values()), list(sources)]
        rows = pd.MultiIndex.from_product(order, names=["K", "Model", "Source"])
        self.frame = frame.reorder_levels(rows.names).reindex(rows)
        number = "two " if len(self.models) == 2 else ""
        make = f"make tables PROFILE={profile} DATASETS={self.dataset}"
        self.notes = [
            records.SETTING.get(profile, records.OTHER),
            f"Percent. Bold: the higher mean of the {number}models at one K, measured and "
            "published apart; no test made.",
            *records.notes(self.runs, paper.models(which), make, ks),
        ]

    def show(self) -> None:
        """Display it with its notes in a notebook: measured (published), the best in bold."""
        from IPython.display import Markdown, display  # only notebooks need it

        shown = formats.beside(self.frame).style.set_caption(self.heading)
        display(shown.set_table_styles(LOOK))
        display(Markdown("".join(f"- {line}\n" for line in self.notes)))

    def to_csv(self) -> str:
        """One row per (k, model, source): measured, std where there are seeds, published."""
        frame = self.frame.round(4).rename_axis(["k", "model", "source"]).reset_index()
        frame = frame[(frame["source"] != "std") | frame["hiou"].notna()]
        own = frame["source"] != "published"
        run = [(r["k"], self.models.get(method)) for r in self.runs for method in r["methods"]]
        seeds = pd.Series(list(zip(frame["k"], frame["model"])), frame.index).map(run.count)
        frame.insert(0, "table", self.which)
        frame.insert(1, "dataset", self.dataset)
        frame.insert(5, "profile", own.map({True: self.profile, False: ""}))
        frame.insert(6, "seeds", seeds.where(own).astype("Int64"))
        return frame.to_csv(index=False)


def tables(runs: list[dict], profile: str, ks=None, datasets=None) -> list[Table]:
    """The tables of these datasets; None: the paper's, and those of others that have records."""
    datasets = list(datasets or [*paper.published()["dataset"], *(r["dataset"] for r in runs)])
    chosen = [which for which, (dataset, _) in paper.tables().items() if dataset in datasets]
    return [Table(which, runs, profile, ks) for which in chosen]


def rows(results: Mapping[str, Mapping]) -> Styler:
    """One run's scores in percent: rows the methods' titles, columns HEADS, one decimal.

    `results` is {method: {"metrics": {...}}}, as `Run.evaluate` returns it. Bold: the best of each
    column as printed, the floor aside; nothing is bold without a second method to compare with.
    """
    titles = paper.titles(results)
    values = [[results[method]["metrics"][metric] for metric in METRICS] for method in titles]
    columns = pd.MultiIndex.from_tuples(formats.HEADS)
    shown = pd.DataFrame(values, list(titles.values()), columns, float)
    floors = [method.title for method in METHODS.values() if not method.generates]

    def bold(column: pd.Series) -> list[str]:
        printed = column.map("{:.1f}".format).astype(float).drop(floors, errors="ignore")
        best = printed.index[printed == printed.max()] if printed.count() > 1 else ()
        return ["font-weight: bold" if model in best else "" for model in column.index]

    return shown.style.format(precision=1, na_rep="-").apply(bold)


def floor(runs: list[dict]) -> pd.DataFrame:
    """Unseen mIoU (percent) beside the floor, the same head without a generator.

    Rows (Dataset, K) of the runs that measured the floor, means over seeds; a ratio to a floor of 0
    is NaN.
    """
    base = next(method for method in METHODS.values() if not method.generates)
    runs = [r for r in runs if base.name in r["methods"]]
    scores = paper.frame(runs).rename(columns={"dataset": "Dataset", "k": "K"})
    columns = {}
    for method, model in ({base.name: base.title} | paper.models("I", runs)).items():
        own = scores[scores["method"] == method].groupby(["Dataset", "K"], sort=False)
        columns[model] = own["unseen_miou"].mean()
    wide = pd.concat(columns, axis=1)
    for model in wide.columns[1:]:
        wide[f"{model} / floor"] = wide[model] / wide[base.title].where(wide[base.title] > 0)
    return wide


def write_tables(
    runs: list[dict], out: Path | str, profile: str, *, ks=None, datasets=None
) -> list[Path]:
    """Write `<out>/<profile>/table{1,2,3}.{csv,md,tex}`, floor.{csv,md} and table1.txt; the paths.

    `datasets` leaves out the others' tables; table1.txt, for the terminal, is the first of them.
    Raises ZS3Error when runs of different settings would mix.
    """
    runs = records.select(runs, ks, datasets)
    records.check_same_settings(runs)
    shown = tables(runs, profile, ks, datasets)
    files = {}
    for table in shown:
        number = list(paper.tables()).index(table.which) + 1
        name = f"table{number}"
        caption = f"{table.about}, profile {profile}{table.origin}."
        files[f"{name}.csv"] = table.to_csv()
        files[f"{name}.md"] = formats.to_markdown(table.frame, table.heading, table.notes)
        label = f"tab:{profile}-{number}"
        files[f"{name}.tex"] = formats.to_latex(table.frame, caption, table.notes, label)
    files["table1.txt"] = formats.to_text(shown[0].frame, shown[0].heading, shown[0].notes)
    lowest = floor(runs)
    if len(lowest):
        cells = lowest.map("{:.1f}".format).replace("nan", "-").reset_index()
        heading = f"# Unseen mIoU above the floor, profile {profile}"
        files["floor.csv"] = lowest.round(4).to_csv()
        files["floor.md"] = f"{heading}\n\n{FLOOR}\n\n{formats.markdown(cells)}"
    return write_texts(Path(out, profile), files)


def write(profile: str, *, runs=RUNS, out=TABLES, ks=None, datasets=None, seeds=None) -> list[Path]:
    """Write the tables of a profile's run records in `runs` below `out`, as `write_tables` does.

    Raises ZS3Error where there is no record, and as `read_records` does.
    """
    found = records.read_records(runs, profile, seeds)
    if not found:
        raise ZS3Error(f"no run records in {Path(runs, profile)}: make tables PROFILE={profile}")
    return write_tables(found, out, profile, ks=ks, datasets=datasets)
