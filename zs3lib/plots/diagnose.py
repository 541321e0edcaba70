"""Figures of diagnose.ipynb: generated features beside real ones, confusion, words, confidence."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .base import figure, mark, method_colours, method_title

REAL = "#262626"  # real features are near black in every panel; each method has its own colour
CLASSES_SHOWN = 30  # columns of a confusion matrix; more would not be readable


def projections(frame: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """One panel per class: its real and generated features, over real ones of all in light grey.

    Arguments:
        frame: `diagnose.projected`: columns "class", "source" ("real" or a method), "x", "y".
        titles: {class: title of its panel}.
    """
    frame = frame.assign(source=frame["source"].map(method_title))
    cloud = frame[frame["source"] == "real"].groupby("class").head(60)
    sources = list(frame["source"].unique())
    look = {"x": "x", "y": "y", "hue": "source", "palette": method_colours(sources)}
    look["palette"]["real"] = REAL
    facets = {"col": "class", "col_order": list(titles), "col_wrap": min(4, len(titles))}
    grid = sns.relplot(frame, **look, **facets, style="source", s=18, alpha=0.5, height=2.6)
    for name, ax in grid.axes_dict.items():
        ax.plot(cloud["x"], cloud["y"], ".", color="0.88", ms=3, zorder=0)
        means = frame[frame["class"] == name].groupby("source", as_index=False)[["x", "y"]].mean()
        sns.scatterplot(means, **look, marker="P", s=110, legend=False, ax=ax)
        ax.set_title(titles[name])
    first, second = frame.attrs["explained"]
    grid.set_axis_labels(f"first direction ({first:.0f} %)", f"second ({second:.0f} %)")
    grid.legend.set_title("grey: real,\nevery class\n+: mean\n")
    plt.close(grid.figure)
    return grid.figure


def confusion_heatmaps(tables: Mapping[str, pd.DataFrame], unseen: Sequence[str]) -> Figure:
    """Row-normalised confusion matrices (percent), one panel per method; unseen classes first, ★.

    With more than CLASSES_SHOWN classes the rows are the unseen ones, the columns those that get
    most of their pixels.
    """
    given = sum(table.loc[list(unseen)].sum() for table in tables.values()).drop(list(unseen))
    columns = [*unseen, *given.nlargest(CLASSES_SHOWN - len(unseen)).index]
    rows = columns if len(columns) == len(given) + len(unseen) else list(unseen)
    size = (0.29 * len(columns) + 1.9, (0.29 * len(rows) + 1.9) * len(tables))
    fig, axes = figure(len(tables), 1, size, "white")
    look = {"vmin": 0, "vmax": 100, "cmap": "cividis", "square": True, "linewidths": 0.3}
    look |= {"xticklabels": True, "yticklabels": True, "fmt": "", "annot_kws": {"fontsize": 6.5}}
    look |= {"cbar_kws": {"label": "share of the true class's pixels (%)", "shrink": 0.7}}
    for ax, (method, table) in zip(axes.flat, tables.items()):
        shown = table.loc[rows, columns]
        texts = shown.map(lambda value: f"{value:.0f}" if value >= 10 else "")
        stars = {name: mark(name, unseen) for name in columns}
        sns.heatmap(shown.rename(index=stars, columns=stars), annot=texts, ax=ax, **look)
        ax.axhline(len(unseen), color="white", lw=1.5)
        ax.axvline(len(unseen), color="white", lw=1.5)
        ax.set(title=f"{method_title(method)} (★ unseen)", xlabel="predicted", ylabel="true")
        ax.tick_params(labelsize=8)
    return fig


def confidence_histograms(frame: pd.DataFrame, tau: float) -> Figure:
    """Softmax confidence of generated and real features: a column per method, seen above unseen.

    frame: `diagnose.confidences` with columns "method" and "kind" ("generated" or "real"). Lines:
    all features; filled: those given to their own class. Dotted: tau.
    """
    groups = np.where(frame["unseen"], "★ unseen classes", "seen classes")
    frame = frame.assign(method=frame["method"].map(method_title), group=groups)
    frame["right"] = frame["predicted"] == frame["class"]
    counts = frame.groupby(["method", "kind", "group"])["right"].transform("size")
    frame["features (%)"] = 100 / counts
    look = {"x": "confidence", "hue": "kind", "palette": {"real": REAL, "generated": "#cc78bc"}}
    look |= {"weights": "features (%)", "element": "step", "bins": 20, "binrange": (0, 1)}
    facets = {"col": "method", "row": "group", "row_order": sorted(set(groups)), "aspect": 1.5}
    grid = sns.displot(frame, fill=False, height=2.7, **look, **facets)
    for (group, method), ax in grid.axes_dict.items():
        part = frame[(frame["group"] == group) & (frame["method"] == method)]
        sns.histplot(part[part["right"]], alpha=0.3, linewidth=0, legend=False, ax=ax, **look)
        shares = 100 * part.groupby("kind")["right"].mean()
        told = ", ".join(f"{kind} {share:.0f} % right" for kind, share in shares.items())
        ax.set_title(f"{method}, {group}\n{told}", fontsize=10)
        if "★" in group:
            ax.axvline(tau, color="0.4", ls=":")
    grid.set_axis_labels("softmax confidence (filled: right class)", "features (%)")
    grid.tight_layout()
    plt.close(grid.figure)
    return grid.figure
