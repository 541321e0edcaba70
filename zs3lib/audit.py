"""Do the paper's printed tables agree with themselves, and its prose with its tables?

Every overall number follows from the seen and unseen ones beside it, so it can be recomputed. A printed number stands
for the interval of +-0.05 it was rounded from; a row disagrees only where no unrounded numbers could have printed it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pandas as pd

from .classes import CLASSES
from .paths import atomic_write

METRICS = tuple(f"{group}_{m}" for group in ("seen", "unseen", "overall") for m in ("pa", "ma", "miou")) + ("hiou",)
CHECKED = ("overall_pa", "overall_ma", "overall_miou", "hiou")
HALF = 0.05  # half a unit of the last printed decimal
LABELS = {"pa": "PA", "ma": "MA", "miou": "mIoU", "hiou": "hIoU"}

ALL = (2, 4, 6, 8, 10)
OVERALL = ("overall_pa", "overall_ma", "overall_miou")
# The paper's sentences about its tables: (section, its words, table, the model said to be higher, the other, metrics,
# K, "all" or "most" of these comparisons).
CLAIMS = (
    ("IV-B", "our model gives better intersection-over-union (IoU) than ZS3Net on most cases, for both seen and unseen",
     "I", "Ours", "ZS3Net", ("seen_miou", "unseen_miou"), ALL, "most"),
    ("IV-B", "for K = 2 and 10, the PA, MA and mIoU scores are significantly better [...] for unseen classes",
     "I", "Ours", "ZS3Net", ("unseen_pa", "unseen_ma", "unseen_miou"), (2, 10), "all"),
    ("IV-B", "for all cases of K, our model achieves better mIoU than the baseline for unseen classes and in overall",
     "I", "Ours", "ZS3Net", ("unseen_miou", "overall_miou"), ALL, "all"),
    ("IV-B", "A similar trend can be observed for seen classes except for K = 2 [in mIoU]",
     "I", "Ours", "ZS3Net", ("seen_miou",), (4, 6, 8, 10), "all"),
    ("IV-C", "for K = 4, 8, 10, the mIoU on unseen classes of our method are better than that of ZS3Net",
     "II", "Ours", "ZS3Net", ("unseen_miou",), (4, 8, 10), "all"),
    ("IV-C", "For K = 2 and 6 [...] our method's mIoU on unseen classes is lower than that of ZS3Net",
     "II", "ZS3Net", "Ours", ("unseen_miou",), (2, 6), "all"),
    ("IV-C", "on seen classes, aside from the results on K = 2, our model provides better results for all metrics",
     "II", "Ours", "ZS3Net", ("seen_pa", "seen_ma", "seen_miou"), (4, 6, 8, 10), "all"),
    ("IV-C", "for K=4, 6, 8, 10, the overall performance of our method is clearly better than ZS3Net",
     "II", "Ours", "ZS3Net", OVERALL, (4, 6, 8, 10), "all"),
    ("IV-E", "for most cases, weighing the selected feature vectors with confidence gives better mIoU scores on unseen",
     "III", "Final", "Equal Weight", ("unseen_miou",), ALL, "most"),
    ("IV-E", "weighing pseudo feature vectors based on confidence score leads to better performance [in hIoU]",
     "III", "Final", "Equal Weight", ("hiou",), ALL, "all"),
)  # fmt: skip


def published() -> pd.DataFrame:
    """The paper's Tables I-III: 30 rows; columns table, dataset, k, model and METRICS (percent, one decimal)."""
    with resources.files("zs3lib").joinpath("resources/published_tables.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a GitHub table; its index is not shown."""
    rows = [frame.columns, ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def recompute(row: pd.Series, metric: str, classes: int) -> tuple[float, float]:
    """The interval (low, high), in percent, in which one of CHECKED must lie by the row's seen and unseen numbers.

    MA and mIoU: the mean over classes, (seen (C-K) + unseen K) / C. hIoU: the harmonic mean. PA: between the two, since
    its weights are pixel counts that the paper does not print. All four grow with both inputs, so the ends suffice.
    """
    kind = "miou" if metric == "hiou" else metric.removeprefix("overall_")
    ends = []
    for shift in (-HALF, HALF):
        seen, unseen, k = row[f"seen_{kind}"] + shift, row[f"unseen_{kind}"] + shift, row["k"]
        if metric == "hiou":
            ends.append(2 * seen * unseen / (seen + unseen))
        elif kind == "pa":
            ends.append(min(seen, unseen) if shift < 0 else max(seen, unseen))
        else:
            ends.append((seen * (classes - k) + unseen * k) / classes)
    return ends[0], ends[1]


def audit(rows: pd.DataFrame | None = None, classes: dict[str, int] | None = None) -> pd.DataFrame:
    """Check each published row (or `rows`, of the same columns) against itself.

    `classes` are the numbers of classes with background; default VOC 21, Context 60. Returns table, dataset, k, model
    and, for each of CHECKED, the printed number, `_low` and `_high` (what it must lie in, percent), `_off` (signed
    distance of the printed number's rounding interval to that, 0 where they meet) and `_agrees` (bool).
    """
    rows = published() if rows is None else rows
    classes = classes or {dataset: len(names) for dataset, names in CLASSES.items()}
    lines = []
    for _, row in rows.iterrows():
        line = row[["table", "dataset", "k", "model"]].to_dict()
        for metric in CHECKED:
            low, high = recompute(row, metric, classes[row["dataset"]])
            off = max(row[metric] - HALF - high, 0.0) + min(row[metric] + HALF - low, 0.0)
            off = 0.0 if abs(off) < 1e-9 else off  # intervals that touch, up to float rounding
            line |= {metric: row[metric], f"{metric}_low": low, f"{metric}_high": high, f"{metric}_off": off}
            line[f"{metric}_agrees"] = off == 0
        lines.append(line)
    return pd.DataFrame(lines)


def class_counts(dataset: str, candidates: range = range(15, 70)) -> pd.DataFrame:
    """Which number of classes C the published rows of `dataset` fit.

    Returns, per C: `agree`, how many overall MA and mIoU of Tables I and II agree; `of`, their number;
    `mean_difference`, the mean |printed - recomputed| in points; best first.
    """
    rows = published().query("dataset == @dataset and table != 'III'")
    lines = []
    for count in candidates:
        found = audit(rows, {dataset: count})
        middle = [abs(found[m] - (found[f"{m}_low"] + found[f"{m}_high"]) / 2) for m in CHECKED[1:3]]
        agree = sum(int(found[f"{m}_agrees"].sum()) for m in CHECKED[1:3])
        lines.append({"C": count, "agree": agree, "of": 2 * len(found), "mean_difference": pd.concat(middle).mean()})
    return pd.DataFrame(lines).sort_values(["agree", "mean_difference"], ascending=[False, True], ignore_index=True)


def claims() -> pd.DataFrame:
    """The paper's sentences checked on its own tables: columns section, claim, holds (bool), better, of, exceptions."""
    numbers = published().set_index(["table", "k", "model"])
    lines = []
    for section, words, table, higher, other, metrics, ks, need in CLAIMS:
        exceptions = []
        for k in ks:
            for metric in metrics:
                a, b = numbers.loc[(table, k, higher), metric], numbers.loc[(table, k, other), metric]
                if not a > b:
                    exceptions.append(f"K={k} {label(metric)}: {higher} {a}, {other} {b}")
        of = len(ks) * len(metrics)
        holds = not exceptions if need == "all" else 2 * len(exceptions) < of
        lines.append({"section": section, "claim": words, "holds": holds, "better": of - len(exceptions), "of": of,
                      "exceptions": "; ".join(exceptions)})  # fmt: skip
    return pd.DataFrame(lines)


def final_equals_ours() -> bool:
    """Whether Table III's "Final" rows repeat Table I's "Ours" rows number for number."""
    rows = published().set_index("k")[["table", "model", *METRICS]]
    ours = rows.query("table == 'I' and model == 'Ours'")[list(METRICS)]
    return ours.equals(rows.query("table == 'III' and model == 'Final'")[list(METRICS)])


def label(metric: str) -> str:
    """ "overall_miou" -> "overall mIoU"."""
    group, _, kind = metric.rpartition("_")
    return f"{group} {LABELS[kind]}".strip()


def _summary(found: pd.DataFrame) -> list[str]:
    unique = found.query("model != 'Final'") if final_equals_ours() else found
    agree = {m: f"{int(unique[f'{m}_agrees'].sum())} of {len(unique)} {label(m)}" for m in CHECKED}
    lines = [f"Numbers that agree with their row: {', '.join(agree.values())}."]
    if final_equals_ours():
        lines.append('Table III\'s "Final" rows are Table I\'s "Ours" rows, number for number; they are counted once.')
    for _, row in unique.iterrows():
        wrong = [
            f"{label(m)} is printed {row[m]:.1f}, its row gives {row[f'{m}_low']:.2f} to {row[f'{m}_high']:.2f} "
            f"(off by {row[f'{m}_off']:+.2f} after rounding)"
            for m in CHECKED if not row[f"{m}_agrees"]
        ]  # fmt: skip
        if wrong:
            lines.append(f"Table {row['table']}, K={row['k']}, {row['model']}: {'; '.join(wrong)}.")
    for dataset in CLASSES:
        counts = class_counts(dataset)
        best = counts[counts["agree"] == counts["agree"].max()]
        shown = ", ".join(f"C = {int(r.C)} (mean difference {r.mean_difference:.3f})" for r in best.itertuples())
        lines.append(
            f"Number of classes, background counted, that fits {dataset} best: {shown}: {best['agree'].iloc[0]} of "
            f"{best['of'].iloc[0]} overall MA and mIoU agree. The checks here use C = {len(CLASSES[dataset])}."
        )
    return lines


def write_audit(tables_dir: Path | str) -> Path:
    """Write `<tables_dir>/audit.md`: a summary made from the numbers, the claims, and every row. Returns the path."""
    found, said = audit(), claims()
    said["holds"] = said["holds"].map({True: "yes", False: "**no**"})
    said["better"] = [f"{b} of {of}" for b, of in zip(said["better"], said["of"])]
    rows = found[["table", "dataset", "k", "model"]].copy()
    for m in CHECKED:
        rows[label(m)] = [
            f"{p:.1f} ({low:.2f} to {high:.2f})" if ok else f"**{p:.1f}** ({low:.2f} to {high:.2f}; off {off:+.2f})"
            for p, low, high, off, ok in found[[m + end for end in ("", "_low", "_high", "_off", "_agrees")]].values
        ]
    text = "\n".join([
        "# Audit of the published tables", "", __doc__.split("\n\n", 1)[1].strip(), "",
        *(f"- {line}" for line in _summary(found)), "",
        "## What the text says of the tables", "",
        'A larger printed number counts as "better", more than half as "most"; words in brackets are ours.', "",
        markdown(said.drop(columns="of")),
        "## Every row", "", "Printed (what the rest of its row allows); bold where the two cannot both be right.",
        "", markdown(rows),
    ])  # fmt: skip
    with atomic_write(Path(tables_dir, "audit.md")) as file:
        file.write(text.encode())
    return Path(tables_dir, "audit.md")
