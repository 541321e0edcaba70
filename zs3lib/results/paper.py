"""The tables' columns and rows, and the paper's numbers in them."""

from collections.abc import Iterable

import pandas as pd

from ..classes import DATASETS, in_grid
from ..method.methods import METHODS, is_extra
from ..paths import RESOURCES
from .records import later_split, unseen

HEADS = {  # of a table's columns: {metric: its head}
    f"{group}_{kind}".lower(): (group, kind)
    for group in ("Seen", "Unseen", "Overall")
    for kind in ("PA", "MA", "mIoU")
} | {"hiou": ("", "hIoU")}
METRICS = list(HEADS)
SHORT = ["seen_miou", "unseen_miou", "overall_miou", "hiou"]  # of the tables beside the paper's
CURVE = ["best_hiou", "area"]  # of the curve between seen and unseen mIoU


def head(metric: str) -> str:
    """ "Overall mIoU" of "overall_miou"."""
    return " ".join(HEADS[metric]).strip()


def published() -> pd.DataFrame:
    """The paper's Tables I-III: columns table, dataset, k, model and METRICS (percent)."""
    return pd.read_csv(RESOURCES / "published_tables.csv")


def results_tables() -> dict[str, str]:
    """{table: dataset} of every dataset's results: the paper's number, else the dataset's name.

    A dataset of later papers' splits alone has none: it stands in Table IV.
    """
    return {DATASETS[name].table or name: name for name in in_grid()}


def tables() -> dict[str, tuple[str, str]]:
    """{table: (dataset, title)}: the paper's, then those of datasets that it has not."""
    own = results_tables()
    found = dict(published()[["table", "dataset"]].values.tolist()) | own
    kinds = {table: "" if table in own else "Ablation on " for table in found}
    return {table: (name, kinds[table] + DATASETS[name].title) for table, name in found.items()}


def models(table: str, records: Iterable[dict] = ()) -> dict[str, str]:
    """{method: its name} of a table's rows, in the paper's order, then in the registry's.

    They are the methods that name the table in `rows`. A dataset's own table also shows what else
    its `records` hold and no table of the paper has a place for, the floor aside.
    """
    printed = published().query("table == @table")["model"].unique().tolist()
    shown = {}
    for method in METHODS.values():
        if table in method.rows:  # a subclass may have its parent's name there
            taken = method.rows[table] in shown.values()
            shown[method.name] = method.title if taken else method.rows[table]
    if table in results_tables():
        placed = [m.name for m in METHODS.values() if not m.generates or (printed and m.rows)]
        for method, title in frame(records)[["method", "model"]].values.tolist():
            if method not in placed and not is_extra(method):  # those are Table IV's
                shown[method] = title
    return dict(sorted(shown.items(), key=lambda item: [*printed, item[1]].index(item[1])))


def frame(records: Iterable[dict]) -> pd.DataFrame:
    """One row per run and method, these in the registry's order; METRICS and CURVE in percent.

    Columns: dataset, k, seed, protocol, unseen_list ("", or ", zs3net list" for another than the
    paper's), split (a later paper's, else ""), method, model (the method's title), METRICS, CURVE.
    """
    lines = []
    for r in records:
        for method in sorted(r["methods"], key=[*METHODS, *r["methods"]].index):
            scored = r["methods"][method]
            named = {"method": method, "model": scored["title"], "split": later_split(r)}
            own = named["split"] or unseen(r) == "paper"
            named["unseen_list"] = "" if own else f", {unseen(r)} list"
            lines.append(r | scored | scored["metrics"] | named)
    numbers = [*METRICS, *CURVE]
    columns = ["dataset", "k", "seed", "protocol", "unseen_list", "split", "method", "model"]
    return pd.DataFrame(lines, columns=[*columns, *numbers]).astype(dict.fromkeys(numbers, float))


def hiou_frame(records: list[dict], datasets: Iterable[str] | None = None) -> pd.DataFrame:
    """hIoU (percent) of the datasets' own tables, a row per run and method or published number.

    Columns: dataset, k, model, source ("measured" or "published"), hiou.
    """
    own = list(results_tables())
    shown = [method for table in own for method in models(table, records)]
    measured = frame(records).assign(source="measured")
    printed = published().assign(source="published")
    both = [measured[measured["method"].isin(shown)], printed[printed["table"].isin(own)]]
    both = pd.concat(both, ignore_index=True)[["dataset", "k", "model", "source", "hiou"]]
    return both[both["dataset"].isin(list(datasets or DATASETS))]
