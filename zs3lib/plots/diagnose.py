"""Figures of diagnose.ipynb: real against generated features, confusion, confidence, and how near words are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.patheffects as effects
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import spearmanr

from ..diagnose import Features, Projection
from .base import figure, mark, method_colours, method_name

REAL = "0.15"  # real features are near black in every panel; each method has its own colour
MARKERS = {"zs3net": "^", "ours": "o", "equal_weight": "D"}
CLASSES_SHOWN = 30  # columns of a confusion matrix; more would not be readable


def projections(
    project: Projection,
    real: Features,
    generated: Mapping[str, Features],
    classes: Sequence[int],
    titles: Sequence[str],
) -> Figure:
    """One panel per class: its real features and each method's generated ones, over those of all classes in light grey.

    generated: {method: {class: features}}. All panels share the projection and the axes.
    """
    columns = min(4, len(classes))
    lines = -(-len(classes) // columns)
    fig, axes = figure(lines, columns, 2.9 * columns, 2.75 * lines + 0.9, "white", sharex=True, sharey=True)
    cloud = np.concatenate([project(x[:60]) for x in real.values()])
    colours = method_colours(generated)
    for ax, c, title in zip(axes.flat, classes, titles):
        ax.plot(*cloud.T, ".", color="0.88", ms=3, zorder=0)
        if c in real:
            ax.plot(*project(real[c][:120]).T, "x", color=REAL, ms=4, mew=0.9, alpha=0.8)
        for method, features in generated.items():
            points = project(features[c][:120])
            ax.plot(*points.T, MARKERS.get(method, "s"), color=colours[method], ms=3.5, alpha=0.45, mew=0)
        for rows, colour in [(real.get(c), REAL), *((f[c], colours[m]) for m, f in generated.items())]:
            if rows is not None:
                ax.plot(*project(rows.mean(0, keepdim=True)).T, "P", color=colour, mec="white", mew=1.2, ms=10)
        ax.set_title(title, fontsize=10)
    for ax in list(axes.flat)[len(classes) :]:
        ax.axis("off")
    share = [f"{100 * s:.0f} %" for s in project.explained]
    fig.supxlabel(f"first principal component of real features ({share[0]} of their variance)", fontsize=10)
    fig.supylabel(f"second ({share[1]})", fontsize=10)
    handles = [Line2D([], [], ls="", marker="x", color=REAL, label="real"), *(
        Line2D([], [], ls="", marker=MARKERS.get(m, "s"), color=colours[m], label=f"generated, {method_name(m)}") for m in generated
    ), Line2D([], [], ls="", marker="P", color="0.5", mec="white", ms=10, label="mean"),
        Line2D([], [], ls="", marker=".", color="0.8", label="real, every class")]  # fmt: skip
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return fig


def confusion_heatmaps(tables: Mapping[str, pd.DataFrame], unseen: Sequence[str]) -> Figure:
    """Row-normalised confusion matrices (percent), one panel per method; unseen classes first, starred.

    With more than CLASSES_SHOWN classes the rows are the unseen ones, the columns those that get most of their pixels.
    """
    names = list(next(iter(tables.values())).index)
    rows = [*unseen, *(name for name in names if name not in set(unseen))]
    columns = rows
    if len(names) > CLASSES_SHOWN:
        rows = list(unseen)
        given = sum(table.loc[rows].sum() for table in tables.values())
        most = set(given.drop(rows).nlargest(CLASSES_SHOWN - len(rows)).index)
        columns = [*rows, *(name for name in names if name in most)]
    grid = (1, len(tables)) if len(rows) == len(columns) else (len(tables), 1)  # flat ones stand above one another
    width, height = 0.29 * len(columns) + 1.6, 0.29 * len(rows) + 1.9
    fig, axes = figure(*grid, width * grid[1] + 0.9, height * grid[0], "white", sharey=True)
    for ax, (method, table) in zip(axes.flat, tables.items()):
        shown = table.loc[rows, columns]
        sns.heatmap(shown, vmin=0, vmax=100, cmap="cividis", square=True, cbar=ax in axes[:, -1], ax=ax, linewidths=0.3,
                    linecolor="0.4", xticklabels=True, yticklabels=True,
                    cbar_kws={"label": "share of the true class's pixels (%)", "shrink": 0.7})  # fmt: skip
        for y, row in enumerate(shown.to_numpy()):
            for x, value in enumerate(row):
                if value >= 10:
                    ax.text(x + 0.5, y + 0.5, f"{value:.0f}", ha="center", va="center", fontsize=6.5,
                            color="black" if value > 55 else "white")  # fmt: skip
        ax.axhline(len(unseen), color="white", lw=1.5)
        ax.axvline(len(unseen), color="white", lw=1.5)
        ax.set(title=f"{method_name(method)} (★ unseen)", xlabel="predicted", ylabel="true" if ax in axes[:, 0] else "")
        ax.set_xticklabels([mark(name, unseen) for name in columns], fontsize=8, rotation=90)
        ax.set_yticklabels([mark(name, unseen) for name in rows], fontsize=8, rotation=0)
    return fig


def iou_over_distance(frame: pd.DataFrame) -> Figure:
    """IoU of unseen classes over the distance of their word to the nearest seen class, one panel per method.

    frame: columns "class", "method", "distance" (1 - cosine), "IoU" (percent) and "nearest".
    """
    methods = list(dict.fromkeys(frame["method"]))
    fig, axes = figure(1, len(methods), 4.6 * len(methods), 3.8, sharex=True, sharey=True)
    colours = method_colours(methods)
    reach = frame["distance"].max() - frame["distance"].min() or 0.1
    top = 1.15 * frame["IoU"].max() + 1
    axes[0, 0].set(xlim=(frame["distance"].min() - 0.15 * reach, frame["distance"].max() + 0.25 * reach))
    axes[0, 0].set(ylim=(-0.08 * top, top), ylabel="IoU of the unseen class (%)")
    for ax, method in zip(axes[0], methods):
        part = frame[frame["method"] == method]
        ax.plot(part["distance"], part["IoU"], MARKERS.get(method, "s"), color=colours[method], ms=7)
        _labels(ax, part)
        ranked = len(part) > 2 and part[["distance", "IoU"]].nunique().min() > 1  # all alike have no rank
        correlation = spearmanr(part["distance"], part["IoU"]).statistic if ranked else np.nan
        text = f"rank correlation {correlation:.2f}, {len(part)} classes" if np.isfinite(correlation) else ""
        ax.set(
            title=f"{method_name(method)}\n{text}", xlabel="distance of the word to its nearest seen class (1 − cosine)"
        )
        ax.title.set_fontsize(11)
    return fig


def _labels(ax, part: pd.DataFrame) -> None:
    """Names beside the points, at the first of several places where they cover neither a point nor another name."""
    points = ax.transAxes.inverted().transform(ax.transData.transform(part[["distance", "IoU"]]))
    taken = [(x - 0.02, y - 0.03, x + 0.02, y + 0.03) for x, y in points]
    halo = [effects.withStroke(linewidth=2.5, foreground="white")]
    for (x, y), name, nearest in zip(points, part["class"], part["nearest"]):
        text = f"{name} ~ {nearest}"
        wide, high = 0.0165 * len(text), 0.05  # of the axes, at this size of letters
        places = [(x + 0.025, y), (x - 0.025 - wide, y)]
        places += [(x - wide / 2, y + sign * step * 0.055) for step in (1, 2, 3, 4) for sign in (1, -1)]
        boxes = [(left, middle - high / 2, left + wide, middle + high / 2) for left, middle in places]
        inside = [box for box in boxes if box[0] > 0 and box[2] < 1 and box[1] > 0 and box[3] < 1]
        free = [box for box in inside if not any(_overlap(box, other) for other in taken)]
        box = (free or inside or boxes)[0]
        taken.append(box)
        ax.text(box[0], (box[1] + box[3]) / 2, text, fontsize=8, va="center", transform=ax.transAxes, path_effects=halo)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def confidence_histograms(scored: Mapping[tuple[str, str], pd.DataFrame], tau: float | None = None) -> Figure:
    """Softmax confidence of generated and real features, a column per method, seen classes above unseen ones.

    scored: {(method, "generated" or "real"): `diagnose.confidences`}. Solid: all; filled: those given to their own class.
    """
    methods = list(dict.fromkeys(method for method, _ in scored))
    fig, axes = figure(2, len(methods), 4.4 * len(methods), 5.4, sharex=True, sharey=True)
    colours, bins = method_colours(methods), np.linspace(0, 1, 21)
    for (method, kind), table in scored.items():
        colour = REAL if kind == "real" else colours[method]
        for row, unseen in enumerate((False, True)):
            ax, part = axes[row, methods.index(method)], table[table["unseen"] == unseen]
            each = np.full(len(part), 100 / max(len(part), 1))
            right = (part["predicted"] == part["class"]).to_numpy()
            look = {"bins": bins, "color": colour}
            label = "real pixels" if kind == "real" else f"generated, {method_name(method)}"
            ax.hist(part["confidence"], weights=each, histtype="step", lw=1.7, ls="-" if kind == "real" else "--",
                    label=f"{label}: {100 * right.mean():.0f} % right", **look)  # fmt: skip
            ax.hist(part["confidence"][right], weights=each[right], alpha=0.3, **look)
    for row, title in enumerate(("seen classes", "unseen classes")):
        for ax, method in zip(axes[row], methods):
            ax.set_title(f"{method_name(method)}, {title}", fontsize=11)
            if tau is not None and row:
                ax.axvline(tau, color="0.4", ls=":", label=f"τ = {tau:g}")
            ax.legend(fontsize=8, frameon=False, loc="upper left")
    for ax in axes[-1]:
        ax.set_xlabel("softmax confidence (filled: right class)")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of features (%)")
    return fig


def kept_bars(kept: Mapping[str, pd.Series], samples: int) -> Figure:
    """Q by unseen class: how many of `samples` generated features pass tau with the right class; {method: `diagnose.kept`}."""
    frame = pd.concat([pd.DataFrame({"class": q.index, "Q": q.to_numpy(), "method": m}) for m, q in kept.items()])
    frame = frame.reset_index(drop=True)
    fig, axes = figure(1, 1, 8.4, 3.2)
    sns.barplot(frame, x="class", y="Q", hue="method", palette=method_colours(kept), ax=axes[0, 0])
    ax = axes[0, 0]
    ax.axhline(2, color="0.3", ls=":", label="2: below, the step is skipped")
    ax.set(xlabel="", ylabel="feature vectors", ylim=(0, samples),
           title=f"Q at the end of training: of {samples} generated features, those a recursive step would keep")  # fmt: skip
    ax.tick_params(axis="x", rotation=30)
    handles, labels = ax.get_legend_handles_labels()
    ax.get_legend().remove()
    fig.legend(handles, [method_name(label) for label in labels], loc="outside lower center", ncols=3, frameon=False)
    return fig


def shown_classes(names: Sequence[str], unseen: Iterable[str], iou: Mapping[str, float], good: int = 2) -> list[str]:
    """The `good` best seen classes besides background, to compare with, then all unseen ones from best to worst."""
    hidden = set(unseen)
    best = sorted((name for name in names[1:] if name not in hidden), key=lambda name: -iou[name])
    return [*best[:good], *sorted(hidden, key=lambda name: (-iou[name], names.index(name)))]
