"""The paper's tables: its numbers, and whose rows stand where in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

import pandas as pd

from ..classes import DATASETS
from ..method.methods import METHODS

KINDS = {"pa": "PA", "ma": "MA", "miou": "mIoU"}
METRICS = [f"{group}_{kind}" for group in ("seen", "unseen", "overall") for kind in KINDS]
METRICS += ["hiou"]


def published() -> pd.DataFrame:
    """The paper's Tables I-III: columns table, dataset, k, model and METRICS (percent)."""
    file = resources.files("zs3lib").joinpath("resources/published_tables.csv")
    with file.open(encoding="utf-8") as lines:
        return pd.read_csv(lines)


def tables() -> dict[str, tuple[str, str]]:
    """{table: (dataset, title)}: the paper's, then those of datasets that it has not."""
    found = dict(published()[["table", "dataset"]].drop_duplicates().values.tolist())
    own = {entry.table or entry.name: entry.name for entry in DATASETS.values()}
    return {
        table: (name, "Ablation on " * (table not in own) + DATASETS[name].title)
        for table, name in (found | own).items()
    }


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
    shown: dict[str, str] = {}
    for method in METHODS.values():
        if label := method.rows.get(table):  # which a subclass may have from its parent
            shown[method.name] = method.title if label in shown.values() else label
    if table in {entry.table or entry.name for entry in DATASETS.values()}:
        for name, title in frame(records)[["method", "model"]].values.tolist():
            known = METHODS.get(name)
            placed = name in shown or known and (not known.generates or paper and known.rows)
            if not placed:
                shown[name] = name if title in shown.values() else title
    return dict(sorted(shown.items(), key=lambda item: [*paper, item[1]].index(item[1])))


def hiou_frame(records: list[dict], datasets: Iterable[str] | None = None) -> pd.DataFrame:
    """hIoU (percent), long: columns dataset, k, model, source, hiou.

    One row per run and method of the datasets' own tables, and one per published number.
    """
    own = [entry.table or entry.name for entry in DATASETS.values()]
    shown = [method for table in own for method in models(table, records)]
    paper = published().assign(source="published")
    measured = frame(records).assign(source="measured")
    paper = paper[paper["table"].isin(own)]
    both = pd.concat([measured[measured["method"].isin(shown)], paper], ignore_index=True)
    both = both[both["dataset"].isin(list(datasets or DATASETS))]
    return both[["dataset", "k", "model", "source", "hiou"]]
