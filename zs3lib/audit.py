"""Do the paper's printed tables agree with themselves, and its prose with its tables?

Every overall number follows from the seen and unseen ones beside it, so it can be recomputed. A printed number stands
for the interval of +-0.05 it was rounded from; a row disagrees only where no unrounded numbers could have printed it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pandas as pd

from .claims import check_claims, label
from .classes import CLASSES
from .paths import write_texts

METRICS = tuple(
    f"{group}_{m}" for group in ("seen", "unseen", "overall") for m in ("pa", "ma", "miou")
) + ("hiou",)
CHECKED = ("overall_pa", "overall_ma", "overall_miou", "hiou")
HALF = 0.05  # half a unit of the last printed decimal

# Percent of unseen pixels in the masks of VOC 2012's official val split (1,449 images at full size, void left out), by K. At
# the paper's 513 pixels it may differ by a few hundredths.
VOC_UNSEEN_PIXELS = {2: 2.27, 4: 4.47, 6: 7.53, 8: 9.92, 10: 11.29}


def published() -> pd.DataFrame:
    """The paper's Tables I-III: 30 rows; columns table, dataset, k, model and METRICS (percent, one decimal)."""
    with (
        resources.files("zs3lib")
        .joinpath("resources/published_tables.csv")
        .open(encoding="utf-8") as file
    ):
        return pd.read_csv(file)


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a GitHub table; its index is not shown."""
    rows = [frame.columns, ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |\n" for row in rows
    )


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
            line |= {
                metric: row[metric],
                f"{metric}_low": low,
                f"{metric}_high": high,
                f"{metric}_off": off,
            }
            line[f"{metric}_agrees"] = off == 0
        lines.append(line)
    return pd.DataFrame(lines)


def pixel_shares(rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """The share of unseen pixels that each row's three PA imply, (seen - overall) / (seen - unseen), in percent.

    It is a property of the validation pictures, so all rows of one dataset and K must allow a common value. Returns
    dataset, k, model, `low` and `high` (by the rounding of all three), and `agree` (whether the rows of that K can share one).
    """
    rows = published() if rows is None else rows
    rows = rows[rows["model"] != "Final"] if final_equals_ours() else rows
    lines = []
    for _, row in rows.iterrows():
        ends = [(row["seen_pa"] + a, row["unseen_pa"] + b, row["overall_pa"] + c)
                for a in (-HALF, HALF) for b in (-HALF, HALF) for c in (-HALF, HALF)]  # fmt: skip
        low, high = 0.0, 100.0
        if (
            len({seen > unseen for seen, unseen, _ in ends}) == 1
        ):  # else rounding alone allows every share
            shares = [100 * (seen - overall) / (seen - unseen) for seen, unseen, overall in ends]
            low, high = max(min(shares), 0.0), min(max(shares), 100.0)
        if (
            low > high
        ):  # an overall PA outside of its row's two others implies nothing; `audit` tells it
            continue
        lines.append(row[["dataset", "k", "model"]].to_dict() | {"low": low, "high": high})
    found = pd.DataFrame(lines)
    groups = found.groupby(["dataset", "k"])
    found["agree"] = (groups["low"].transform("max") <= groups["high"].transform("min")) & (
        found["low"] <= found["high"]
    )
    return found


def class_counts(
    dataset: str, candidates: range = range(15, 70), model: str | None = None
) -> pd.DataFrame:
    """Which number of classes C the published rows of `dataset`, or of one `model` in it, fit.

    Returns, per C: `agree`, how many overall MA and mIoU of Tables I and II agree; `of`, their number; `mean_difference`
    and `mean_signed`, the mean |printed - recomputed| and printed - recomputed in points; best first.
    """
    rows = published().query("dataset == @dataset and table != 'III'")
    rows = rows[rows["model"] == model] if model else rows
    lines = []
    for count in candidates:
        found = audit(rows, {dataset: count})
        middle = pd.concat(
            [found[m] - (found[f"{m}_low"] + found[f"{m}_high"]) / 2 for m in CHECKED[1:3]]
        )
        agree = sum(int(found[f"{m}_agrees"].sum()) for m in CHECKED[1:3])
        lines.append({"C": count, "agree": agree, "of": 2 * len(found), "mean_difference": middle.abs().mean(),
                      "mean_signed": middle.mean()})  # fmt: skip
    return pd.DataFrame(lines).sort_values(
        ["agree", "mean_difference"], ascending=[False, True], ignore_index=True
    )


def claims() -> pd.DataFrame:
    """The paper's sentences checked on its own tables: columns section, claim, holds (bool), better, of, exceptions."""
    return check_claims(published())


def final_equals_ours() -> bool:
    """Whether Table III's "Final" rows repeat Table I's "Ours" rows number for number."""
    rows = published().set_index("k")[["table", "model", *METRICS]]
    ours = rows.query("table == 'I' and model == 'Ours'")[list(METRICS)]
    return ours.equals(rows.query("table == 'III' and model == 'Final'")[list(METRICS)])


def _summary(found: pd.DataFrame) -> list[str]:
    unique = found.query("model != 'Final'") if final_equals_ours() else found
    agree = {m: f"{int(unique[f'{m}_agrees'].sum())} of {len(unique)} {label(m)}" for m in CHECKED}
    lines = [f"Numbers that agree with their row: {', '.join(agree.values())}."]
    if final_equals_ours():
        lines.append(
            'Table III\'s "Final" rows are Table I\'s "Ours" rows, number for number; they are counted once.'
        )
    for _, row in unique.iterrows():
        wrong = [
            f"{label(m)} is printed {row[m]:.1f}, its row gives {row[f'{m}_low']:.2f} to {row[f'{m}_high']:.2f} "
            f"(off by {row[f'{m}_off']:+.2f} after rounding)"
            for m in CHECKED if not row[f"{m}_agrees"]
        ]  # fmt: skip
        if wrong:
            lines.append(f"Table {row['table']}, K={row['k']}, {row['model']}: {'; '.join(wrong)}.")
    unique = unique.assign(whole=unique[[f"{m}_agrees" for m in CHECKED]].all(axis=1))
    by_model = [
        f"{model} in Table {table}: K = {', '.join(map(str, part['k'][part['whole']])) or 'none'}"
        for (table, model), part in unique.groupby(["table", "model"], sort=False)
    ]
    lines.insert(1, f"Rows that agree in all four numbers: {'; '.join(by_model)}.")
    for dataset in CLASSES:
        counts = class_counts(dataset)
        best = counts[counts["agree"] == counts["agree"].max()]
        shown = ", ".join(
            f"C = {r.C} (mean difference {r.mean_difference:.3f}, signed {r.mean_signed:+.3f})"
            for r in best.itertuples()
        )
        own = class_counts(dataset, model="ZS3Net")
        fits = ", ".join(str(c) for c in sorted(own["C"][own["agree"] == own["of"]]))
        rest = own["agree"][own["agree"] < own["of"]].max()
        lines.append(
            f"Number of classes, background counted, that fits {dataset} best: {shown}: {best['agree'].iloc[0]} of "
            f"{best['of'].iloc[0]} overall MA and mIoU agree. ZS3Net's rows alone all agree at C = {fits}, and at no other C "
            f"more than {rest} of {own['of'].iloc[0]} do. The checks here use C = {len(CLASSES[dataset])}."
        )
    return lines + _share_lines()


def _share_lines() -> list[str]:
    shares = pixel_shares()
    lines = []
    for (dataset, k), part in shares[~shares["agree"]].groupby(["dataset", "k"], sort=False):
        implied = ", ".join(f"{r.model} {r.low:.2f} to {r.high:.2f} %" for r in part.itertuples())
        counted = (
            f"; counted in the val masks: {VOC_UNSEEN_PIXELS[k]} %" if dataset == "voc" else ""
        )
        lines.append(
            f"Pixel accuracies of {dataset}, K={k}, imply different shares of unseen pixels in the same pictures: "
            f"{implied}{counted}."
        )
    voc = shares[shares["dataset"] == "voc"]
    fits = voc[[r.low <= VOC_UNSEEN_PIXELS[r.k] <= r.high for r in voc.itertuples()]]
    named = [
        f"{model} at K = {', '.join(map(str, ks))}"
        for model, ks in fits.groupby("model", sort=False)["k"].apply(list).items()
    ]
    lines.append(
        f"The share counted in VOC's val masks lies within what the row implies for {'; '.join(named)}."
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
            f"{p:.1f} ({low:.2f} to {high:.2f})"
            if ok
            else f"**{p:.1f}** ({low:.2f} to {high:.2f}; off {off:+.2f})"
            for p, low, high, off, ok in found[
                [m + end for end in ("", "_low", "_high", "_off", "_agrees")]
            ].values
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
    return write_texts(tables_dir, {"audit.md": text})[0]
