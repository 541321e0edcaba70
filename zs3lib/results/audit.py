"""Do the paper's printed tables agree with themselves, and its prose with its tables?

Every overall number follows from the seen and unseen ones beside it, so it can be recomputed. A
printed number stands for the interval of +-0.05 it was rounded from; a row disagrees only where no
unrounded numbers could have printed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from itertools import product
from pathlib import Path

import pandas as pd

from ..classes import DATASETS
from ..storage import TABLES, write_texts
from .formats import markdown
from .paper import KINDS, METRICS, published

CHECKED = ["overall_pa", "overall_ma", "overall_miou", "hiou"]
HALF = 0.05  # half a unit of the last printed decimal
# Percent of unseen pixels in the masks of VOC 2012's official val split (1,449 images at full size,
# void left out), by K. At the paper's 513 pixels it may differ by a few hundredths.
VOC_UNSEEN_PIXELS = {2: 2.27, 4: 4.47, 6: 7.53, 8: 9.92, 10: 11.29}


def label(metric: str) -> str:
    """ "overall_miou" -> "overall mIoU"."""
    return " ".join(KINDS.get(part, part) for part in metric.replace("hiou", "hIoU").split("_"))


def audit(
    rows: pd.DataFrame | None = None, classes: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Recompute each overall number and hIoU of the published rows (or `rows`) from the others.

    MA and mIoU are the mean over classes, (seen (C-K) + unseen K) / C; hIoU is the harmonic mean;
    PA lies between the two, since its weights are pixel counts that the paper does not print. All
    four grow with both inputs, so the ends of their intervals suffice.

    `classes` are the numbers of classes C; default VOC 21, Context 60. Returns one row per number:
    table, dataset, k, model, metric, printed, `low` and `high` (what it must lie in, percent) and
    `off` (signed distance of its rounding interval to that; 0 where they agree).
    """
    rows = published() if rows is None else rows
    classes = classes or {name: len(entry.classes) for name, entry in DATASETS.items()}
    share = rows["k"] / rows["dataset"].map(classes)
    parts = []
    for metric in CHECKED:
        kind = "miou" if metric == "hiou" else metric.removeprefix("overall_")
        part = rows[["table", "dataset", "k", "model"]].assign(metric=metric, printed=rows[metric])
        for end, shift in {"low": -HALF, "high": HALF}.items():
            seen = rows[f"seen_{kind}"] + shift
            unseen = rows[f"unseen_{kind}"] + shift
            if metric == "hiou":
                part[end] = 2 * seen * unseen / (seen + unseen)
            elif kind == "pa":
                part[end] = seen.where((seen < unseen) == (end == "low"), unseen)
            else:
                part[end] = seen * (1 - share) + unseen * share
        above = (part["printed"] - HALF - part["high"]).clip(lower=0)
        below = (part["printed"] + HALF - part["low"]).clip(upper=0)
        part["off"] = (above + below).where((above - below) > 1e-9, 0.0)  # up to float rounding
        parts.append(part)
    return pd.concat(parts)


def own_rows() -> pd.DataFrame:
    """The published rows without Table III's "Final", which repeats Table I's "Ours"."""
    rows = published()
    ours = rows.query("table == 'I' and model == 'Ours'")[METRICS].values.tolist()
    final = rows.query("table == 'III' and model == 'Final'")[METRICS].values.tolist()
    return rows[rows["model"] != "Final"] if ours == final else rows


def pixel_shares() -> pd.DataFrame:
    """The unseen pixels' share, percent, that each PA imply: (seen - overall) / (seen - unseen).

    It is a property of the validation pictures, so all rows of one dataset and K must allow a
    common value. Returns dataset, k, model, `low` and `high` (by the rounding of all three), and
    `agree` (whether the rows of that K can share one).
    """
    rows = own_rows()
    ends = []
    for a, b, c in product((-HALF, HALF), repeat=3):
        seen = rows["seen_pa"] + a
        ends.append(100 * (seen - rows["overall_pa"] - c) / (seen - rows["unseen_pa"] - b))
    shares = pd.concat(ends, axis=1)
    apart = (rows["seen_pa"] - rows["unseen_pa"]).abs() > 2 * HALF  # else rounding allows any share
    low = shares.min(axis=1).clip(lower=0).where(apart, 0.0)
    high = shares.max(axis=1).clip(upper=100).where(apart, 100.0)
    found = rows[["dataset", "k", "model"]].assign(low=low, high=high)
    found = found[low <= high]  # a PA outside of its row's two others implies nothing: see `audit`
    groups = found.groupby(["dataset", "k"])
    agree = groups["low"].transform("max") <= groups["high"].transform("min")
    return found.assign(agree=agree)


def class_counts(dataset: str, model: str | None = None) -> pd.DataFrame:
    """Which number of classes C the published rows of `dataset`, or of one `model` in it, fit.

    Returns, per C: `agree`, how many overall MA and mIoU of Tables I and II agree; `of`, their
    number; `mean_difference` and `mean_signed`, the mean |printed - recomputed| and printed -
    recomputed in points; best first.
    """
    rows = published().query("dataset == @dataset and table != 'III'")
    rows = rows[rows["model"] == model] if model else rows
    lines = []
    for count in range(15, 70):
        found = audit(rows, {dataset: count}).query("metric in ['overall_ma', 'overall_miou']")
        apart = found["printed"] - (found["low"] + found["high"]) / 2
        agree = int((found["off"] == 0).sum())
        lines.append([count, agree, len(found), apart.abs().mean(), apart.mean()])
    found = pd.DataFrame(lines, columns=["C", "agree", "of", "mean_difference", "mean_signed"])
    order = ["agree", "mean_difference"]
    return found.sort_values(order, ascending=[False, True], ignore_index=True)


def claims() -> pd.DataFrame:
    """The paper's sentences about its tables, checked on them.

    Columns section, claim, holds ("yes" or "**no**"), better ("9 of 10" comparisons), exceptions.
    """
    numbers = published().set_index(["table", "k", "model"])
    lines = []
    for said in pd.read_csv(
        resources.files("zs3lib").joinpath("resources/claims.csv")
    ).itertuples():
        cases = list(product(map(int, said.ks.split()), said.metrics.split()))
        exceptions = []
        for k, metric in cases:
            a = numbers.loc[(said.table, k, said.higher), metric]
            b = numbers.loc[(said.table, k, said.other), metric]
            if not a > b:
                exceptions.append(f"K={k} {label(metric)}: {said.higher} {a}, {said.other} {b}")
        few = 2 * len(exceptions) < len(cases) if said.need == "most" else not exceptions
        better = f"{len(cases) - len(exceptions)} of {len(cases)}"
        holds = "yes" if few else "**no**"
        lines.append([said.section, said.claim, holds, better, "; ".join(exceptions)])
    return pd.DataFrame(lines, columns=["section", "claim", "holds", "better", "exceptions"])


def _of_rows() -> list[str]:
    found = audit(own_rows())
    metrics = found.groupby("metric", sort=False)["off"]
    agree = [f"{(off == 0).sum()} of {len(off)} {label(metric)}" for metric, off in metrics]
    whole: dict[str, list[str]] = {}
    wrong = []
    for (table, model, k), row in found.groupby(["table", "model", "k"], sort=False):
        bad = [
            f"{label(r.metric)} is printed {r.printed:.1f}, its row gives {r.low:.2f} to "
            f"{r.high:.2f} (off by {r.off:+.2f} after rounding)"
            for r in row[row["off"] != 0].itertuples()
        ]
        if bad:
            wrong.append(f"Table {table}, K={k}, {model}: {'; '.join(bad)}.")
        else:
            whole.setdefault(f"{model} in Table {table}", []).append(str(k))
    rows = "; ".join(f"{which}: K = {', '.join(ks)}" for which, ks in whole.items())
    lines = [
        f"Numbers that agree with their row: {', '.join(agree)}.",
        f"Rows that agree in all four numbers: {rows}.",
    ]
    if len(own_rows()) < len(published()):
        final = 'Table III\'s "Final" rows are Table I\'s "Ours" rows, number for number'
        lines.append(f"{final}; they are counted once.")
    return lines + wrong


def _of_classes(dataset: str) -> str:
    counts = class_counts(dataset)
    best = counts[counts["agree"] == counts["agree"].max()]
    shown = ", ".join(
        f"C = {r.C} (mean difference {r.mean_difference:.3f}, signed {r.mean_signed:+.3f})"
        for r in best.itertuples()
    )
    own = class_counts(dataset, "ZS3Net")
    fits = own["agree"] == own["of"]
    return (
        f"Number of classes, background counted, that fits {dataset} best: {shown}: "
        f"{best['agree'].iloc[0]} of {best['of'].iloc[0]} overall MA and mIoU agree. ZS3Net's rows "
        f"alone all agree at C = {', '.join(map(str, sorted(own['C'][fits])))}, and at no other C "
        f"more than {own['agree'][~fits].max()} of {own['of'].iloc[0]} do. The checks here use "
        f"C = {len(DATASETS[dataset].classes)}."
    )


def _of_pixels() -> list[str]:
    shares = pixel_shares()
    lines = []
    for (dataset, k), part in shares[~shares["agree"]].groupby(["dataset", "k"], sort=False):
        implied = ", ".join(f"{r.model} {r.low:.2f} to {r.high:.2f} %" for r in part.itertuples())
        counted = f"; counted in the val masks: {VOC_UNSEEN_PIXELS[k]} %" * (dataset == "voc")
        lines.append(
            f"Pixel accuracies of {dataset}, K={k}, imply different shares of unseen pixels in the "
            f"same pictures: {implied}{counted}."
        )
    voc = shares[shares["dataset"] == "voc"]
    share = voc["k"].map(VOC_UNSEEN_PIXELS)
    fits = voc[(voc["low"] <= share) & (share <= voc["high"])]
    named = [
        f"{model} at K = {', '.join(map(str, part['k']))}"
        for model, part in fits.groupby("model", sort=False)
    ]
    text = "The share counted in VOC's val masks lies within what the row implies for "
    return [*lines, text + "; ".join(named) + "."]


def _cell(row) -> str:
    between = f"{row.low:.2f} to {row.high:.2f}"
    if row.off == 0:
        return f"{row.printed:.1f} ({between})"
    return f"**{row.printed:.1f}** ({between}; off {row.off:+.2f})"


def write(out: Path | str = TABLES) -> Path:
    """Write `<out>/audit.md`: a summary made from the numbers, the claims, and every row."""
    rows = published()[["table", "dataset", "k", "model"]]
    for metric, found in audit().groupby("metric", sort=False):
        rows[label(metric)] = [_cell(row) for row in found.itertuples()]
    summary = [*_of_rows(), *map(_of_classes, rows["dataset"].unique()), *_of_pixels()]
    parts = [
        "# Audit of the published tables",
        (__doc__ or "").partition("\n\n")[2].strip(),
        "\n".join(f"- {line}" for line in summary),
        "## What the text says of the tables",
        'A larger printed number counts as "better", more than half as "most"; words in brackets '
        "are ours.",
        markdown(claims()) + "\n## Every row",
        "Printed (what the rest of its row allows); bold where the two cannot both be right.",
        markdown(rows),
    ]
    return write_texts(out, {"audit.md": "\n\n".join(parts)})[0]
