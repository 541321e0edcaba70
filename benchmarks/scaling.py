"""How time and memory of each stage grow with images, image size, classes and K; and what that means for large runs.

python benchmarks/scaling.py            # some minutes on two cores; tables/scaling.md and figures/scaling.png
python benchmarks/scaling.py --quick    # two points a sweep: that it runs, not what it finds
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench import processor, table
from estimate import estimate
from tqdm.auto import tqdm
from worlds import STAGES, measure

from zs3lib import paths

BASE = {"images": 24, "size": 96, "classes": 21, "k": 10}
SWEEPS = {"images": (24, 48, 96, 192), "size": (64, 96, 128, 192, 256), "classes": (21, 60, 171, 1000), "k": (2, 6, 10)}
NAMES = {"stage1": "stage 1", "cache": "feature cache", "stage2": "stage 2 (ours)", "evaluation": "evaluation"}
# An exponent above these is growth faster than linear in images or in pixels (size is the side: pixels are its square).
LINEAR = {"images": 1.0, "size": 2.0}
MARGIN = 0.15


def measured(sweeps: dict[str, tuple[int, ...]], repeats: int) -> pd.DataFrame:
    """One row for every (sweep, value, stage): the quickest of `repeats` processes, seconds and MB."""
    rows, base = [], {}
    tasks = {tuple((BASE | {sweep: value}).items()) for sweep, values in sweeps.items() for value in values}
    for task in tqdm(sorted(tasks), desc="scaling", unit="configuration"):
        runs = [measure(stages=list(STAGES), **dict(task)) for _ in range(repeats)]
        base[task] = {
            stage: {what: min(run[stage][what] for run in runs) for what in ("seconds", "peak_mb", "more_mb")}
            for stage in STAGES
        }
    for sweep, values in sweeps.items():
        for value in values:
            for stage, found in base[tuple((BASE | {sweep: value}).items())].items():
                rows.append({"sweep": sweep, "value": value, "stage": stage} | found)
    return pd.DataFrame(rows)


def exponent(part: pd.DataFrame, what: str) -> float:
    """Slope of log(what) over log(value): cost grows as value to this power over what was measured."""
    return float(np.polyfit(np.log(part["value"]), np.log(part[what].clip(lower=1e-3)), 1)[0])


def laws(frame: pd.DataFrame) -> pd.DataFrame:
    """Exponents of seconds and of peak memory for every sweep and stage."""
    rows = []
    for (sweep, stage), part in frame.groupby(["sweep", "stage"], sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        time, space = exponent(part, "seconds"), exponent(part, "peak_mb")
        limit = LINEAR.get(sweep, np.inf) + MARGIN
        rows.append({
            "sweep": sweep, "stage": stage, "from": f"{first.value} to {last.value}",
            "s": f"{first.seconds:.2f} to {last.seconds:.2f}", "time": time,
            "MB": f"{first.peak_mb:.0f} to {last.peak_mb:.0f}", "memory": space,
            "verdict": "FASTER THAN LINEAR" if max(time, space) > limit else "",
        })  # fmt: skip
    return pd.DataFrame(rows)


def figure(frame: pd.DataFrame, path: Path) -> None:
    """Seconds above (logarithmic), peak memory below, one column a sweep."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator, ScalarFormatter

    sweeps = list(dict.fromkeys(frame["sweep"]))
    labels = {"images": "images", "size": "image side, pixels", "classes": "classes", "k": "K (unseen classes)"}
    fig, axes = plt.subplots(
        2, len(sweeps), figsize=(3 * len(sweeps), 5.2), sharey="row", sharex="col", layout="constrained"
    )
    for column, sweep in enumerate(sweeps):
        for row, (what, name) in enumerate((("seconds", "seconds"), ("peak_mb", "peak memory, MB"))):
            ax = axes[row, column]
            for marker, (stage, part) in zip("osD^", frame[frame["sweep"] == sweep].groupby("stage", sort=False)):
                draw = ax.semilogx if row else ax.loglog
                draw(part["value"], part[what], marker=marker, markersize=4, label=NAMES[stage])
            ax.grid(alpha=0.3, which="both")
            ax.set_xticks(frame[frame["sweep"] == sweep]["value"].unique())
            ax.xaxis.set_major_formatter(ScalarFormatter())
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel(labels[sweep] if row else "")
            ax.set_ylabel(name if not column else "")
    axes[1, 0].set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main(arguments: list[str] | None = None) -> int:
    """Measure, fit, estimate; print and write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small points a sweep: a test that it runs")
    parser.add_argument(
        "--repeats", type=int, default=1, help="processes for each point, the best counts (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=paths.TABLES / "scaling.md", help="table to write (%(default)s)")
    parser.add_argument("--figure", type=Path, default=paths.FIGURES / "scaling.png", help="figure (%(default)s)")
    options = parser.parse_args(arguments)
    sweeps = {"images": (8, 16), "size": (32, 64)} if options.quick else SWEEPS
    frame = measured(sweeps, options.repeats)
    found = laws(frame)
    figure(frame, options.figure)
    head = ["varied", "stage", "range", "seconds", "time ~", "peak MB", "memory ~", ""]
    rows = [
        [
            r.sweep,
            NAMES[r.stage],
            r["from"],
            r.s,
            f"{r.sweep}^{r.time:.2f}",
            r.MB,
            f"{r.sweep}^{r.memory:.2f}",
            r.verdict,
        ]
        for _, r in found.iterrows()
    ]
    text = f"""# How cost grows

{processor()}. Every point is a process of its own that trains and evaluates a ResNet-18 on made-up pictures; peak memory is
the whole process's, torch and the network included, so that its exponents are lower than those of what is added.
One epoch of stage 1 and of stage 2 ("ours", loss at image resolution, 128 vectors a class). Where it is not varied:
{BASE["images"]} images of {BASE["size"]} x {BASE["size"]}, {BASE["classes"]} classes, K = {BASE["k"]}. The laws are slopes of
log cost over log value. Size is the image's side: pixels are its square, so 2 is linear in pixels. Label maps have 8 bits:
of 1,000 classes, 1,000 are trained for and told apart, at most 255 occur.
{"**--quick: two points a sweep, the laws mean nothing.**" if options.quick else ""}

{table(head, rows)}
![laws](../figures/scaling.png)

{estimate()}"""
    with paths.atomic_write(options.out, "w") as file:
        file.write(text)
    print(text)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(torch.get_num_threads())
    sys.exit(main())
