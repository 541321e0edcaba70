"""Figures of diagnose.ipynb: generated features beside real ones, confusion, words, confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .base import figure, legend, mark, method_colours, method_title

REAL = "#262626"  # real features are near black in every panel; each method has its own colour
CLASSES_SHOWN = 30  # columns of a confusion matrix; more would not be readable


def projections(frame: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """One panel per class: its real and generated features, over real ones of all in light grey.

    Arguments:
        frame: `diagnose.projected`: columns "class", "source" ("real" or a method), "x", "y".
        titles: {class: title of its panel}.
    """
    frame = frame.assign(source=frame["source"].map(method_title))
    sources = list(frame["source"].unique())
    columns = min(4, len(titles))
    lines = -(-len(titles) // columns)
    size = (2.9 * columns, 2.75 * lines + 0.9)
    fig, axes = figure(lines, columns, size, "white", sharex=True, sharey=True)
    cloud = frame[frame["source"] == "real"].groupby("class").head(60)
    look = {"x": "x", "y": "y", "hue": "source", "hue_order": sources, "style_order": sources}
    look |= {"palette": method_colours(sources) | {"real": REAL}}
    for ax in axes.flat[len(titles) :]:
        ax.axis("off")
    for ax, (name, title) in zip(axes.flat, titles.items()):
        part = frame[frame["class"] == name]
        ax.plot(
            cloud["x"], cloud["y"], ".", color="0.88", ms=3, zorder=0, label="real, every class"
        )
        sns.scatterplot(part, style="source", s=18, alpha=0.5, ax=ax, **look)
        means = part.groupby("source", as_index=False)[["x", "y"]].mean()
        sns.scatterplot(means, marker="P", s=110, legend=False, ax=ax, **look)
        ax.set(title=title, xlabel="", ylabel="")
    first, second = frame.attrs["explained"]
    fig.supxlabel(f"first principal component of real features ({first:.0f} % of their variance)")
    fig.supylabel(f"second ({second:.0f} %)")
    legend(fig, loc="outside upper center", title="real features and generated ones; +: their mean")
    return fig


def confusion_heatmaps(tables: Mapping[str, pd.DataFrame], unseen: Sequence[str]) -> Figure:
    """Row-normalised confusion matrices (percent), one panel per method; unseen classes first, ★.

    With more than CLASSES_SHOWN classes the rows are the unseen ones, the columns those that get
    most of their pixels.
    """
    names = next(iter(tables.values())).index
    rows = [*unseen, *names.drop(list(unseen))]
    columns = rows
    if len(names) > CLASSES_SHOWN:
        rows = list(unseen)
        given = sum(table.loc[rows].sum() for table in tables.values()).drop(rows)
        columns = [*rows, *given.nlargest(CLASSES_SHOWN - len(rows)).index]
    flat = len(rows) < len(columns)
    grid = (len(tables), 1) if flat else (1, len(tables))  # flat ones stand above one another
    size = ((0.29 * len(columns) + 1.9) * grid[1], (0.29 * len(rows) + 1.9) * grid[0])
    fig, axes = figure(*grid, size, "white")
    look = {"vmin": 0, "vmax": 100, "cmap": "cividis", "square": True, "linewidths": 0.3}
    look |= {"xticklabels": True, "yticklabels": True, "fmt": "", "annot_kws": {"fontsize": 6.5}}
    look |= {"cbar_kws": {"label": "share of the true class's pixels (%)", "shrink": 0.7}}
    for ax, (method, table) in zip(axes.flat, tables.items()):
        shown = table.loc[rows, columns].rename(lambda name: mark(name, unseen))
        shown = shown.rename(columns=lambda name: mark(name, unseen))
        texts = shown.map(lambda value: f"{value:.0f}" if value >= 10 else "")
        sns.heatmap(shown, annot=texts, ax=ax, **look)
        ax.axhline(len(unseen), color="white", lw=1.5)
        ax.axvline(len(unseen), color="white", lw=1.5)
        ax.set(title=f"{method_title(method)} (★ unseen)", xlabel="predicted", ylabel="true")
        ax.tick_params(labelsize=8)
    return fig


def iou_over_distance(frame: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """IoU of the unseen classes, from the word nearest to a seen one's down to the farthest.

    frame: `diagnose.words_and_iou`: per class "nearest", "distance" (1 - cosine) and each
    method's IoU in percent.
    """
    frame = frame.rename(columns=method_title).sort_values("distance")
    frame["word"] = "★ " + frame.index + " ~ " + frame["nearest"]
    titles = list(map(method_title, methods))
    long = frame.melt("word", titles, var_name="method", value_name="IoU")
    fig, axes = figure(1, 2, (9.5, 0.3 * len(frame) + 1.9), sharey=True)
    near, scores = axes[0]
    sns.barplot(frame, x="distance", y="word", color="0.7", ax=near)
    near.set(title="How far the nearest seen word is", xlabel="1 − cosine", ylabel="")
    look = {"hue": "method", "style": "method", "palette": method_colours(titles), "s": 70}
    sns.scatterplot(long, x="IoU", y="word", alpha=0.8, ax=scores, **look)
    ranks = frame[["distance", *titles]].rank().corr()["distance"].drop("distance").dropna()
    told = ", ".join(f"{title} {rank:.2f}" for title, rank in ranks.items())
    title = f"rank correlation with the distance: {told}" if told else ""
    scores.set(xlabel="IoU of the unseen class (%)")
    scores.set_title(title, fontsize=10)
    legend(fig)
    return fig


def confidence_histograms(frame: pd.DataFrame, tau: float | None = None) -> Figure:
    """Softmax confidence of generated and real features: a column per method, seen above unseen.

    frame: `diagnose.confidences` with columns "method" and "kind" ("generated" or "real"). Lines:
    all features; filled: those given to their own class.
    """
    groups = frame["unseen"].map({False: "seen classes", True: "★ unseen classes"})
    frame = frame.assign(method=frame["method"].map(method_title), group=groups)
    sizes = frame.groupby(["method", "kind", "group"])["kind"].transform("size")
    frame["features (%)"] = 100 / sizes
    kinds = {"real": REAL, "generated": "#cc78bc"}
    look = {"x": "confidence", "hue": "kind", "hue_order": list(kinds), "palette": kinds}
    look |= {"weights": "features (%)", "element": "step", "bins": 20, "binrange": (0, 1)}
    rows = [name for name in ("seen classes", "★ unseen classes") if name in set(groups)]
    facets = {"col": "method", "row": "group", "row_order": rows, "height": 2.7, "aspect": 1.5}
    grid = sns.displot(frame, fill=False, **look, **facets)
    for (group, method), ax in grid.axes_dict.items():
        part = frame[(frame["group"] == group) & (frame["method"] == method)]
        right = part[part["predicted"] == part["class"]]
        sns.histplot(right, alpha=0.3, linewidth=0, legend=False, ax=ax, **look)
        shares = right.groupby("kind")["features (%)"].sum()
        there = [kind for kind in kinds if kind in set(part["kind"])]
        told = ", ".join(f"{kind} {shares.get(kind, 0):.0f} % right" for kind in there)
        ax.set_title(f"{method}, {group}\n{told}", fontsize=10)
        if tau is not None and "★" in group:
            ax.axvline(tau, color="0.4", ls=":")
    grid.tight_layout()
    grid.set_xlabels("softmax confidence (filled: right class)").set_ylabels("features (%)")
    plt.close(grid.figure)
    return grid.figure
