"""How time and memory of each stage grow with images, image size, classes and K.

python tests/benchmarks/scaling.py            # minutes; tables/scaling.md and figures/scaling.png
python tests/benchmarks/scaling.py --quick    # two points a sweep: that it runs, no more
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from estimate import estimate
from shown import machine, table
from tqdm.auto import tqdm
from worlds import measure

from zs3lib import storage
from zs3lib.paths import FIGURES, TABLES

BASE = {"images": 24, "size": 96, "classes": 21, "k": 10}
SWEEPS = {
    "images": (24, 48, 96, 192),
    "size": (64, 96, 128, 192, 256),
    "classes": (21, 60, 171, 255),  # of a label map of 8 bits, 255 is void
    "k": (2, 6, 10),
}


def measured(sweeps: dict[str, tuple[int, ...]]) -> pd.DataFrame:
    """One row for every (varied, value, stage): seconds and MB in a process of its own."""
    rows = []
    points = [(varied, value) for varied, values in sweeps.items() for value in values]
    for varied, value in tqdm(points, desc="scaling", unit="run"):
        for stage, found in measure(**(BASE | {varied: value})).items():
            rows.append({"varied": varied, "value": value, "stage": stage} | found)
    return pd.DataFrame(rows)


def exponent(part: pd.DataFrame, cost: str) -> float:
    """Slope of log(cost) over log(value): the cost grows as the value to this power."""
    return float(np.polyfit(np.log(part["value"]), np.log(part[cost]), 1)[0])


def laws(frame: pd.DataFrame) -> list[list[str]]:
    """A line of the table for every (varied, stage)."""
    lines = []
    for (varied, stage), part in frame.groupby(["varied", "stage"], sort=False):
        line = [varied, stage, f"{part['value'].min()} to {part['value'].max()}"]
        for cost, digits in (("seconds", 2), ("peak_mb", 0)):
            first, last = part[cost].iloc[[0, -1]]
            line.append(f"{first:.{digits}f} to {last:.{digits}f}")
            line.append(f"{varied}^{exponent(part, cost):.2f}")
        lines.append(line)
    return lines


def figure(frame: pd.DataFrame, path: Path) -> None:
    """Seconds above, peak memory below, one column for each thing varied."""
    import matplotlib

    matplotlib.use("Agg")
    import seaborn

    costs = {"seconds": "seconds", "peak_mb": "peak memory, MB"}
    kept = ["varied", "value", "stage"]
    long = frame.rename(columns=costs).melt(kept, var_name="cost", value_name="of a stage")
    places = {"x": "value", "y": "of a stage", "row": "cost", "col": "varied"}
    looks = {"hue": "stage", "style": "stage", "markers": True, "kind": "line", "height": 2.4}
    axes = {"sharex": "col", "sharey": "row"}
    grid = seaborn.relplot(long, **places, **looks, facet_kws=axes)
    grid.set(xscale="log", yscale="log", yticks=(0.1, 0.3, 1, 3, 10)).set_titles("")
    grid.axes[1, 0].set(yscale="linear", ylim=(0, None))
    for row, cost in zip(grid.axes, costs.values()):
        row[0].set_ylabel(cost)
        row[0].yaxis.set_major_formatter("{x:g}")
    for bottom, (varied, part) in zip(grid.axes[1], frame.groupby("varied", sort=False)):
        bottom.set_xlabel({"size": "image side, px", "k": "K"}.get(varied, varied))
        bottom.set_xticks(part["value"].unique(), part["value"].unique(), fontsize=8)
    for panel in grid.axes.flat:
        panel.minorticks_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Measure, fit, estimate; print and write the table and the figure."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--quick", action="store_true", help="two points a sweep")
    parser.add_argument("--out", type=Path, default=TABLES / "scaling.md")
    parser.add_argument("--figure", type=Path, default=FIGURES / "scaling.png")
    options = parser.parse_args(arguments)
    frame = measured({"images": (8, 16), "size": (32, 64)} if options.quick else SWEEPS)
    figure(frame, options.figure)
    base = ", ".join(f"{name} {value}" for name, value in BASE.items())
    head = ["varied", "stage", "range", "seconds", "time ~", "peak MB", "memory ~"]
    text = f"""# How cost grows

{machine()}. Every point is a process of its own: a run of the lite network on made-up pictures,
each stage once over all of them, every layer trained, one method ("ours"). Where it is not varied:
{base}. The laws are slopes of log cost
over log value; the size is the side: 2 is linear in pixels. Memory is the whole process's, torch
included.
{"**--quick: two points a sweep, the laws mean nothing.**" if options.quick else ""}

{table(head, laws(frame))}
![laws](../figures/scaling.png)

{estimate()}"""
    storage.write_texts(options.out.parent, {options.out.name: text})
    print(text)


if __name__ == "__main__":
    main()
