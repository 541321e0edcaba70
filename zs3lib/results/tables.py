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
from .formats import METRICS

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
    """Table "I", "II", "III" or that of a dataset which is not the paper's, from run records.

    Its rows are `ks`, by default the paper's and the records'. `frame` holds percent, rows (K,
    Model, Source), columns METRICS: Source "measured" is the mean over seeds, "std" their sample
    standard deviation; what is missing is NaN. `notes` say what a reader must know.
    """

    def __init__(self, which: str, runs: list[dict], profile: str, ks: Iterable[int] | None = None):
        self.which = which
        self.profile = profile
        self.dataset, about = paper.tables()[which]
        runs = [r for r in runs if r["dataset"] == self.dataset]
        self.models = paper.models(which, runs)
        self.heading = f"Table {which}. {about}, profile {profile}"
        printed = paper.published().query("table == @which").set_index(["k", "model"])[METRICS]
        origin = f" (the paper's Table {which})" if len(printed) else ""
        self.caption = f"{about}, profile {profile}{origin}."
        scores = paper.frame(runs)
        scores["model"] = scores["method"].map(self.models)
        ks = sorted(set(ks or [*printed.index.unique("k"), *scores["k"]]))
        groups = scores.groupby(["k", "model"])[METRICS]
        self.seeds = groups.size().rename("seeds")
        sources = {"measured": groups.mean(), "std": groups.std(), "published": printed}
        frame = pd.concat(sources, names=["Source", "K", "Model"])
        order = [ks, list(self.models.values()), list(sources)]
        rows = pd.MultiIndex.from_product(order, names=["K", "Model", "Source"])
        self.frame = frame.reorder_levels(rows.names).reindex(rows)
        number = "two " if len(self.models) == 2 else ""
        make = f"make tables PROFILE={profile} DATASETS={self.dataset}"
        self.notes = [
            records.SETTING[profile],
            f"Percent. Bold: the higher mean of the {number}models at one K, measured and "
            "published apart; no test made.",
            *records.notes(runs, paper.models(which), make, ks),
        ]

    def show(self) -> None:
        """Display it with its notes in a notebook: measured (published), the best in bold."""
        from IPython.display import Markdown, display  # only notebooks need it

        shown = formats.beside(self.frame).style.set_caption(self.heading)
        display(shown.set_table_styles(LOOK), Markdown(formats.page(self.notes)))

    def to_csv(self) -> str:
        """One row per (k, model, source): measured, std where there are seeds, published."""
        frame = self.frame.round(4).rename_axis(["k", "model", "source"]).reset_index()
        frame = frame[(frame["source"] != "std") | frame["hiou"].notna()]
        frame = frame.join(self.seeds, on=["k", "model"]).fillna({"seeds": 0})
        frame = frame.assign(table=self.which, dataset=self.dataset, profile=self.profile)
        frame = frame.astype({"seeds": "Int64"})
        frame.loc[frame["source"] == "published", ["profile", "seeds"]] = None
        columns = ["table", "dataset", "k", "model", "source", "profile", "seeds", *METRICS]
        return frame.to_csv(columns=columns, index=False)

    def files(self) -> dict[str, str]:
        """{file name: text}: for GitHub, for a paper, and to compute with."""
        number = list(paper.tables()).index(self.which) + 1
        label = f"tab:{self.profile}-{number}"
        return {
            f"table{number}.csv": self.to_csv(),
            f"table{number}.md": formats.to_markdown(self.frame, self.heading, self.notes),
            f"table{number}.tex": formats.to_latex(self.frame, self.caption, self.notes, label),
        }


def tables(runs: list[dict], profile: str, ks=None, datasets=None) -> list[Table]:
    """The tables of these datasets; None: the paper's, and those of others that have records."""
    datasets = list(datasets or [*paper.published()["dataset"], *(r["dataset"] for r in runs)])
    chosen = [which for which, (dataset, _) in paper.tables().items() if dataset in datasets]
    return [Table(which, runs, profile, ks) for which in chosen]


def rows(results: Mapping[str, Mapping]) -> Styler:
    """One run's scores in percent: rows the methods' titles, formats.COLUMNS, one decimal.

    `results` is {method: {"metrics": {...}}}, as `Run.evaluate` returns it. Bold: the best of each
    column as printed, the floor aside; nothing is bold without a second method to compare with.
    """
    titles = paper.titles(results)
    values = [[results[method]["metrics"][metric] for metric in METRICS] for method in titles]
    shown = pd.DataFrame(values, list(titles.values()), formats.COLUMNS, float).round(1)
    floors = [method.title for method in METHODS.values() if not method.generates]
    compared = [model for model in shown.index if model not in floors]
    compared = compared if len(compared) > 1 else []
    best = {"subset": (compared, formats.COLUMNS), "props": "font-weight: bold"}
    return shown.style.format(precision=1, na_rep="-").highlight_max(**best)


def floor(runs: list[dict]) -> pd.DataFrame:
    """Unseen mIoU (percent), means over seeds, beside the floor: the same head without a generator.

    Rows (Dataset, K) of the runs that measured the floor; a ratio to a floor of 0 is NaN.
    """
    base = next(method for method in METHODS.values() if not method.generates)
    runs = [r for r in runs if base.name in r["methods"]]
    shown = {base.name: base.title} | paper.models("I", runs)
    scores = paper.frame(runs).pivot_table("unseen_miou", ["dataset", "k"], "method", sort=False)
    wide = scores.reindex(columns=list(shown)).set_axis(list(shown.values()), axis=1)
    lowest = wide[base.title].where(wide[base.title] > 0)
    ratios = wide.drop(columns=base.title).div(lowest, axis=0).add_suffix(" / floor")
    return wide.join(ratios).rename_axis(["Dataset", "K"])


def write(profile: str, *, runs=RUNS, out=TABLES, ks=None, datasets=None, seeds=None) -> list[Path]:
    """Write `<out>/<profile>/table{1,2,3}.{csv,md,tex}`, floor.{csv,md} and table1.txt; the paths.

    They are of a profile's run records in `runs`. `datasets` leaves out the others' tables;
    table1.txt, for the terminal, is the first of them. Raises ZS3Error where there is no record,
    when runs of different settings would mix, and as `read_records` does.
    """
    found = records.read_records(runs, profile, ks=ks, datasets=datasets, seeds=seeds)
    if not found:
        raise ZS3Error(f"no run records in {Path(runs, profile)}: make tables PROFILE={profile}")
    records.check_same_settings(found)
    shown = tables(found, profile, ks, datasets)
    files = {name: text for table in shown for name, text in table.files().items()}
    files["table1.txt"] = formats.to_text(shown[0].frame, shown[0].heading, shown[0].notes)
    lowest = floor(found)
    if len(lowest):
        cells = lowest.map("{:.1f}".format).replace("nan", "-").reset_index()
        heading = f"# Unseen mIoU above the floor, profile {profile}"
        files["floor.csv"] = lowest.round(4).to_csv()
        files["floor.md"] = formats.page(heading, FLOOR, cells)
    return write_texts(Path(out, profile), files)
