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

from ..storage import TABLES, write_texts
from .formats import HEADS, page
from .paper import published

ROW = ["table", "dataset", "k", "model"]
CHECKED = ["overall_pa", "overall_ma", "overall_miou", "hiou"]
CLASSES = {"voc": 21, "context": 60}
HALF = 0.05  # half a unit of the last printed decimal
# Percent of unseen pixels in the masks of VOC 2012's official val split (1,449 images at full size,
# void left out), by K.
VOC_UNSEEN_PIXELS = {2: 2.27, 4: 4.47, 6: 7.53, 8: 9.92, 10: 11.29}


def label(metric: str) -> str:
    """ "overall_miou" -> "overall mIoU"."""
    group, kind = HEADS[metric]
    return f"{group.lower()} {kind}".strip()


def audit(rows: pd.DataFrame, classes: Mapping[str, int] = CLASSES) -> pd.DataFrame:
    """Recompute each overall number and hIoU of published rows from the others.

    MA and mIoU are the mean over classes, hIoU is the harmonic mean; PA lies between the two, since
    its weights are pixel counts that the paper does not print. All four grow with both inputs, so
    the ends of their intervals suffice.

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
        above = (part["printed"] - HALF - part["high"]).clip(lower=0)
        below = (part["printed"] + HALF - part["low"]).clip(upper=0)
        part["off"] = (above + below).where((above - below) > 1e-9, 0.0)  # up to float rounding
        parts.append(part)
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
    low = shares.min(axis=1).clip(lower=0)
    high = shares.max(axis=1).clip(upper=100)
    found = rows[ROW].assign(low=low, high=high)
    groups = found[low <= high].groupby(["dataset", "k"])  # other rows' PA allow no share at all
    common = groups["low"].transform("max") <= groups["high"].transform("min")
    counted = rows["k"].map(VOC_UNSEEN_PIXELS).where(rows["dataset"] == "voc")
    agrees = counted.between(low, high).where(counted.notna(), common.reindex(rows.index))
    return found.assign(agrees=agrees.eq(True))


def claims() -> pd.DataFrame:
    """The paper's sentences about its tables, checked on them.

    Columns section, claim, holds ("yes" or "**no**"), better ("9 of 10" comparisons), exceptions.
    """
    numbers = published().set_index(["table", "k", "model"])
    lines = []
    for said in pd.read_csv(resources.files("zs3lib") / "resources/claims.csv").itertuples():
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
            between = f"{row.low:.2f} to {row.high:.2f}"
            good = f"{row.printed:.1f} ({between})"
            bad = f"**{row.printed:.1f}** ({between}; off {row.off:+.2f})"
            cells.append(bad if row.off else good)
        rows[label(metric)] = cells
    shares = pixel_shares()
    text = shares["low"].map("{:.2f}".format) + " to " + shares["high"].map("{:.2f}".format)
    text = text.where(shares["low"] <= shares["high"], "none")
    rows["unseen pixels (%)"] = text.where(shares["agrees"], "**" + text + "**")
    return rows


def write(out: Path | str = TABLES) -> Path:
    """Write `<out>/audit.md`: the claims, every row recomputed, the number of classes; the path."""
    found = audit(published().query("model != 'Final'")).groupby("metric", sort=False)["off"]
    agree = [f"{(off == 0).sum()} of {len(off)} {label(metric)}" for metric, off in found]
    counted = ", ".join(f"{share} % at K = {k}" for k, share in VOC_UNSEEN_PIXELS.items())
    text = page(
        "# Audit of the published tables",
        (__doc__ or "").partition("\n\n")[2],
        f'Numbers that agree with their row: {", ".join(agree)}. Table III\'s "Final" rows are '
        'Table I\'s "Ours" rows, number for number; they are counted once. Means over classes are '
        "recomputed with 21 classes (VOC) and 60 (Context), background counted: with those all of "
        "ZS3Net's agree, with no other number on VOC more than one in ten does, and on Context "
        "the decimals cannot tell 60 from 59 and 61.",
        "## What the text says of the tables",
        'A larger printed number counts as "better", more than half as "most"; words in brackets '
        "are ours.",
        claims(),
        "## Every row",
        "Printed (what the rest of its row allows); bold where the two cannot both be right. The "
        "three pixel accuracies of a row imply which share of the pixels is of unseen classes, "
        f"which is the same for all rows of one dataset and K. VOC's val masks hold {counted}; at "
        "the paper's 513 pixels it may be a few hundredths more or less.",
        _rows(),
    )
    return write_texts(out, {"audit.md": text})[0]
