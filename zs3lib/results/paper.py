"""The paper's tables: its numbers, and whose rows stand where in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

import pandas as pd

from ..classes import DATASETS
from ..method.methods import METHODS
from .formats import METRICS


def published() -> pd.DataFrame:
    """The paper's Tables I-III: columns table, dataset, k, model and METRICS (percent)."""
    return pd.read_csv(resources.files("zs3lib") / "resources/published_tables.csv")


def results_tables() -> dict[str, str]:
    """{table: dataset} of every dataset's results: the paper's number, else the dataset's name."""
    return {entry.table or entry.name: entry.name for entry in DATASETS.values()}


def tables() -> dict[str, tuple[str, str]]:
    """{table: (dataset, title)}: the paper's, then those of datasets that it has not."""
    own = results_tables()
    found = dict(published()[["table", "dataset"]].values.tolist()) | own
    kinds = {table: "" if table in own else "Ablation on " for table in found}
    return {table: (name, kinds[table] + DATASETS[name].title) for table, name in found.items()}


def titles(methods: Mapping[str, Mapping]) -> dict[str, str]:
    """{method: title} of a record's "methods" in table order; own titles where not registered."""
    known = {name: method.title for name, method in METHODS.items() if name in methods}
    return known | {name: methods[name]["title"] for name in methods if name not in METHODS}


def frame(records: Iterable[dict]) -> pd.DataFrame:
    """One row per run and method: dataset, k, seed, protocol, method, model (title), METRICS."""
    lines = []
    for r in records:
        for method, model in titles(r["methods"]).items():
            lines.append(r | r["methods"][method]["metrics"] | {"method": method, "model": model})
    columns = ["dataset", "k", "seed", "protocol", "method", "model", *METRICS]
    kinds = {"k": int, "seed": int} | dict.fromkeys(METRICS, float)
    return pd.DataFrame(lines, columns=columns).astype(kinds)


def models(table: str, records: Iterable[dict] = ()) -> dict[str, str]:
    """{method: its name} in a table, in the paper's order, then in the registry's.

    They are the methods that name the table in `rows`. A dataset's own table also shows what else
    its `records` hold and no table of the paper has a place for, the floor aside.
    """
    paper = published().query("table == @table")["model"].unique().tolist()
    named = [(m.name, m.rows[table], m.title) for m in METHODS.values() if table in m.rows]
    if table in results_tables():
        for name, title in frame(records)[["method", "model"]].values.tolist():
            known = METHODS.get(name)
            if not known or known.generates and not (paper and known.rows):
                named.append((name, title, name))
    shown: dict[str, str] = {}
    for method, label, other in named:  # a subclass may have its parent's label
        shown.setdefault(method, other if label in shown.values() else label)
    return dict(sorted(shown.items(), key=lambda item: [*paper, item[1]].index(item[1])))


def hiou_frame(records: list[dict], datasets: Iterable[str] | None = None) -> pd.DataFrame:
    """hIoU (percent), long: columns dataset, k, model, source, hiou.

    One row per run and method of the datasets' own tables, and one per published number.
    """
    own = list(results_tables())
    shown = [method for table in own for method in models(table, records)]
    measured = frame(records).assign(source="measured")
    paper = published().assign(source="published")
    both = [measured[measured["method"].isin(shown)], paper[paper["table"].isin(own)]]
    both = pd.concat(both, ignore_index=True)[["dataset", "k", "model", "source", "hiou"]]
    return both[both["dataset"].isin(list(datasets or DATASETS))]
