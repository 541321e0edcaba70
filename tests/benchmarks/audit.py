"""Do the paper's printed tables agree with themselves, and its prose with its tables?

The printed numbers do not change, nor does what follows from them: the text is committed, as
tables/audit.md and for the notebook as zs3lib/resources/audit.md, and a test holds it to this.

    python tests/benchmarks/audit.py

writes both; audit.md and claims.csv beside this file are what it fills in.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pandas as pd

from zs3lib.classes import split
from zs3lib.paths import RESOURCES, TABLES
from zs3lib.results.paper import head, published
from zs3lib.results.texts import markdown
from zs3lib.storage import write_texts

HERE = Path(__file__).parent
ROW = ["table", "dataset", "k", "model"]
CHECKED = ["overall_pa", "overall_ma", "overall_miou", "hiou"]
CLASSES = {"voc": 21, "context": 60}
HALF = 0.05  # half a unit of the last printed decimal
# Percent of unseen pixels in the masks of VOC 2012's official val split (1,449 images at full size,
# void left out), by K.
VOC_UNSEEN_PIXELS = {2: 2.27, 4: 4.47, 6: 7.53, 8: 9.92, 10: 11.29}
# The same masks' share of each of the classes that either list hides on Context, whose pictures are
# VOC's too; fence and keyboard are no classes of VOC.
VOC_SHARES = {"cow": 1.21, "motorbike": 1.06, "aeroplane": 0.79, "sofa": 1.42, "cat": 2.34}
VOC_SHARES |= {"tvmonitor": 0.72, "train": 1.60, "bottle": 0.78, "chair": 0.86}
VOC_SHARES |= {"pottedplant": 0.50, "boat": 0.55, "bird": 0.88}


def label(metric: str) -> str:
    """ "overall_miou" -> "overall mIoU"."""
    return head(metric)[0].lower() + head(metric)[1:]


def audit(rows: pd.DataFrame, classes: Mapping[str, int] = CLASSES) -> pd.DataFrame:
    """Recompute each overall number and hIoU of published rows from the others.

    MA and mIoU are the mean over classes, hIoU is the harmonic mean; PA lies between the two, since
    its weights are pixel counts that the paper does not print. All four grow with both inputs.

    Returns one row per number: ROW, metric, printed, `low` and `high` (what it must lie in,
    percent) and `off` (signed distance of its rounding interval to that; 0 where they agree).
    """
    share = rows["k"] / rows["dataset"].map(classes)
    parts = []
    for metric in CHECKED:
        kind = "miou" if metric == "hiou" else metric.removeprefix("overall_")
        part = rows[ROW].assign(metric=metric, printed=rows[metric])
        for end, shift in {"low": -HALF, "high": HALF}.items():
            seen = rows[f"seen_{kind}"] + shift
            unseen = rows[f"unseen_{kind}"] + shift
            if metric == "hiou":
                part[end] = 2 * seen * unseen / (seen + unseen)
            elif kind == "pa":
                part[end] = seen.where((seen < unseen) == (end == "low"), unseen)
            else:
                part[end] = seen * (1 - share) + unseen * share
        off = rows[metric] - rows[metric].clip(part["low"] - HALF, part["high"] + HALF)
        parts.append(part.assign(off=off.round(9)))  # decimals are not exact in binary
    return pd.concat(parts)


def pixel_shares() -> pd.DataFrame:
    """The unseen pixels' share, percent, that each PA imply: (seen - overall) / (seen - unseen).

    Returns ROW, `low` and `high` (by the rounding of all three) and `agrees`: with what was counted
    in VOC's masks, or with the other rows of that K, which were scored on the same pictures.
    """
    rows = published()
    ends = []
    for a, b, c in product((-HALF, HALF), repeat=3):
        seen = rows["seen_pa"] + a
        ends.append(100 * (seen - rows["overall_pa"] - c) / (seen - rows["unseen_pa"] - b))
    shares = pd.concat(ends, axis=1)
    found = rows[ROW].assign(
        low=shares.min(axis=1).clip(0), high=shares.max(axis=1).clip(upper=100)
    )
    possible = found.query("low <= high").groupby(["dataset", "k"])  # others allow no share at all
    common = possible["low"].transform("max") <= possible["high"].transform("min")
    counted = found["k"].map(VOC_UNSEEN_PIXELS).between(found["low"], found["high"])
    common = common.reindex(found.index, fill_value=False)
    return found.assign(agrees=counted.where(found["dataset"] == "voc", common))


def context_lists() -> pd.DataFrame:
    """Which unseen classes the rows of Table II were scored on: a row per K, texts.

    The share that the printed accuracies imply, by all rows of a K that allow one, beside what the
    masks of VOC hold of the paper's unseen classes and of those that ZS3Net's code leaves out.
    """
    shares = pixel_shares().query("dataset == 'context' and low <= high").groupby("k")
    found = pd.DataFrame({"low": shares["low"].max(), "high": shares["high"].min()})
    lines = []
    for row in found.itertuples():
        line = {"K": row.Index, "implied (%)": f"{row.low:.2f} to {row.high:.2f}"}
        for title, name in (("the paper's list", "paper"), ("ZS3Net's list", "zs3net")):
            classes = split("context", row.Index, name).unseen_names
            known = sum(VOC_SHARES.get(c, 0) for c in classes)
            lost = " and ".join(c for c in classes if c not in VOC_SHARES)
            line[f"{title}, VOC's masks (%)"] = f"{known:.2f}" + f", and {lost}" * bool(lost)
        lines.append(line)
    return pd.DataFrame(lines)


def claims() -> pd.DataFrame:
    """The paper's sentences about its tables, checked on them.

    Columns section, claim, holds ("yes" or "**no**"), better ("9 of 10" comparisons), exceptions.
    """
    numbers = published().set_index(["table", "k", "model"])
    lines = []
    for said in pd.read_csv(HERE / "claims.csv").itertuples():
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


def _rows() -> pd.DataFrame:
    rows = published()[ROW]
    for metric, found in audit(published()).groupby("metric", sort=False):
        cells = []
        for row in found.itertuples():
            allowed = f"{row.low:.2f} to {row.high:.2f}"
            bad = f"**{row.printed}** ({allowed}; off {row.off:+.2f})"
            cells.append(bad if row.off else f"{row.printed} ({allowed})")
        rows[label(metric)] = cells
    cells = []
    for row in pixel_shares().itertuples():
        text = f"{row.low:.2f} to {row.high:.2f}" if row.low <= row.high else "none"
        cells.append(text if row.agrees else f"**{text}**")
    rows["unseen pixels (%)"] = cells
    return rows


def text() -> str:
    """The claims, every row recomputed, and the lists of unseen classes."""
    found = audit(published().query("model != 'Final'")).groupby("metric", sort=False)["off"]
    agree = [f"{(off == 0).sum()} of {len(off)} {label(metric)}" for metric, off in found]
    return (
        (HERE / "audit.md")
        .read_text(encoding="utf-8")
        .format(
            agree=", ".join(agree),
            counted=", ".join(f"{share} % at K = {k}" for k, share in VOC_UNSEEN_PIXELS.items()),
            claims=markdown(claims()),
            rows=markdown(_rows()),
            lists=markdown(context_lists()),
        )
    )


if __name__ == "__main__":
    for folder in (RESOURCES, TABLES):
        write_texts(folder, {"audit.md": text()})
