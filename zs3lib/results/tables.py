"""Tables I-III from the run records, the published numbers beside the measured ones.

Which methods stand in which table, and under which names, follows from `METHODS` and `DATASETS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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

HEADS = [(group, kind) for group in ("Seen", "Unseen", "Overall") for kind in ("PA", "MA", "mIoU")]
HEADS += [("", "hIoU")]
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


@dataclass
class Table:
    """One of the paper's tables, or a dataset's own: rows (K, Model), numbers in percent.

    Attributes:
        frame: columns HEADS x (measured, std, published). Measured is the mean over seeds, std
            their sample standard deviation (NaN for one seed); what is missing is NaN.
        heading, notes: what stands above and below; models: {method: its name here}; runs: the
            records it was made from.
    """

    which: str
    profile: str
    dataset: str
    about: str
    models: dict[str, str]
    runs: list[dict]
    frame: pd.DataFrame

    @property
    def heading(self) -> str:
        return f"Table {self.which}. {self.about}, profile {self.profile}"

    @property
    def notes(self) -> list[str]:
        number = "two " if len(self.models) == 2 else ""
        make = f"make tables PROFILE={self.profile} DATASETS={self.dataset}"
        return [
            records.SETTING.get(self.profile, records.OTHER),
            f"Percent. Bold: the higher mean of the {number}models at one K, measured and "
            "published apart; no test made.",
            *records.notes(self.runs, self.models, make, self.frame.index.unique("K")),
        ]

    def show(self) -> None:
        """Display it with its notes in a notebook: measured (published), the best in bold."""
        from IPython.display import Markdown, display  # only notebooks need it

        cells = formats.beside(self.frame)
        display(cells.style.set_caption(self.heading).set_table_styles(LOOK))
        display(Markdown("".join(f"- {line}\n" for line in self.notes)))

    def to_csv(self) -> str:
        """One row per (k, model, source): measured, std where there are seeds, published."""
        tidy = self.frame.stack("Source", future_stack=True).set_axis(METRICS, axis=1).round(4)
        tidy = tidy.rename_axis(["k", "model", "source"]).reset_index()
        tidy = tidy[(tidy["source"] != "std") | tidy["hiou"].notna()]
        own = tidy["source"] != "published"
        run = [(r["k"], self.models.get(method)) for r in self.runs for method in r["methods"]]
        seeds = pd.Series([run.count(row) for row in zip(tidy["k"], tidy["model"])], tidy.index)
        tidy.insert(0, "table", self.which)
        tidy.insert(1, "dataset", self.dataset)
        tidy.insert(5, "profile", own.map({True: self.profile, False: ""}))
        tidy.insert(6, "seeds", seeds.where(own).astype("Int64"))
        return tidy.to_csv(index=False)


def table(
    runs: list[dict], which: str, ks: Iterable[int] | None = None, profile: str = "toy"
) -> Table:
    """Table "I", "II" or "III" from run records; `ks` default to the paper's and the records'."""
    dataset, about = paper.tables()[which]
    runs = records.select(runs, ks, [dataset])
    models = paper.models(which, runs)
    measured = paper.frame(runs)
    measured["model"] = measured["method"].map(models)
    groups = measured.groupby(["k", "model"])[METRICS]
    printed = paper.published().query("table == @which").set_index(["k", "model"])[METRICS]
    ks = sorted(set(ks or [*printed.index.unique("k"), *measured["k"]]))
    index = pd.MultiIndex.from_product([ks, models.values()], names=["K", "Model"])
    sources = {"measured": groups.mean(), "std": groups.std(), "published": printed}
    wide = pd.concat([part.reindex(index) for part in sources.values()], axis=1, keys=sources)
    wide = wide.swaplevel(axis=1)[[(metric, source) for metric in METRICS for source in sources]]
    columns = [(*head, source) for head in HEADS for source in sources]
    names = ["Classes", "Metric", "Source"]
    frame = wide.set_axis(pd.MultiIndex.from_tuples(columns, names=names), axis=1)
    return Table(which, profile, dataset, about, models, runs, frame)


def tables(
    runs: list[dict],
    profile: str,
    ks: Iterable[int] | None = None,
    datasets: Iterable[str] | None = None,
) -> list[Table]:
    """The tables of these datasets; None: the paper's, and those of others that have records."""
    datasets = list(datasets or [*paper.published()["dataset"], *(r["dataset"] for r in runs)])
    return [
        table(runs, which, ks, profile)
        for which, (dataset, _) in paper.tables().items()
        if dataset in datasets
    ]


def rows(results: Mapping[str, Mapping]) -> Styler:
    """One run's scores in percent: rows the methods' titles, columns HEADS, one decimal.

    `results` is {method: {"metrics": {...}}}, as `Run.evaluate` returns it. Bold: the best of each
    column as printed, the floor aside; nothing is bold without a second method to compare with.
    """
    names = paper.titles(results)
    values = [[results[method]["metrics"][metric] for metric in METRICS] for method in names]
    shown = pd.DataFrame(values, list(names.values()), pd.MultiIndex.from_tuples(HEADS), float)
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
    models = {base.name: base.title} | paper.models("I", runs)
    scores = paper.frame(runs).rename(columns={"dataset": "Dataset", "k": "K"})
    wide = {
        model: scores[scores["method"] == method]
        .groupby(["Dataset", "K"], sort=False)["unseen_miou"]
        .mean()
        for method, model in models.items()
    }
    wide = pd.concat(wide, axis=1)
    for model in wide.columns[1:]:
        wide[f"{model} / floor"] = wide[model] / wide[base.title].where(wide[base.title] > 0)
    return wide


def write_tables(
    runs: list[dict],
    out: Path | str,
    profile: str,
    *,
    ks: Iterable[int] | None = None,
    datasets: Iterable[str] | None = None,
) -> list[Path]:
    """Write `<out>/<profile>/table{1,2,3}.{csv,md,tex}`, floor.{csv,md} and table1.txt; the paths.

    `datasets` leaves out the others' tables; table1.txt, for the terminal, is the first of them.
    Raises ZS3Error when runs of different settings would mix.
    """
    runs = records.select(runs, ks, datasets)
    records.check_same_settings(runs)
    numbers = {which: number for number, which in enumerate(paper.tables(), 1)}
    shown = tables(runs, profile, ks, datasets)
    files: dict[str, str] = {}
    for one in shown:
        number = numbers[one.which]
        caption = f"{one.about}, profile {profile} (the paper's Table {one.which})."
        files[f"table{number}.csv"] = one.to_csv()
        files[f"table{number}.md"] = formats.to_markdown(one.frame, one.heading, one.notes)
        files[f"table{number}.tex"] = formats.to_latex(
            one.frame, caption, one.notes, f"tab:{profile}-{number}"
        )
    files["table1.txt"] = formats.to_text(shown[0].frame, shown[0].heading, shown[0].notes)
    lowest = floor(runs)
    if len(lowest):
        cells = lowest.map("{:.1f}".format).replace("nan", "-").reset_index()
        text = f"# Unseen mIoU above the floor, profile {profile}\n\n{FLOOR}\n\n"
        files["floor.csv"] = lowest.round(4).to_csv()
        files["floor.md"] = text + formats.markdown(cells)
    return write_texts(Path(out, profile), files)


def write(
    profile: str,
    *,
    runs: Path | str = RUNS,
    out: Path | str = TABLES,
    ks: Iterable[int] | None = None,
    datasets: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
) -> list[Path]:
    """Write a profile's tables from its run records, as `write_tables` does.

    Raises ZS3Error where there is no record, and as `read_records` does.
    """
    found = records.read_records(runs, profile, seeds)
    if not found:
        raise ZS3Error(f"no run records in {Path(runs, profile)}: make tables PROFILE={profile}")
    return write_tables(found, out, profile, ks=ks, datasets=datasets)
