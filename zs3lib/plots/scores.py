"""Losses while training, scores, and the curves between seen and unseen mIoU."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..classes import DATASETS
from .base import figure, legend, method_colours, method_title

QUANTITIES = {  # of a training history, with the panel's title and unit
    "generator": ("Generator on seen classes", "MMD (Eq. 1)"),
    "classifier": ("Classifier", "cross-entropy (nats)"),
    "recursion": ("Recursion on unseen classes", "ZS-MMD (Eq. 2)"),
    "q": ("Q, kept in a recursive step", "feature vectors"),
    "graph": ("Generator of nodes (extra)", "MMD (Eq. 1)"),
    "nodes": ("Classifier on nodes (extra)", "cross-entropy (nats)"),
    "projection": ("Projection (extra)", "squared distance"),
}
LOOKS = ("o-", "s--", "^:", "D-.")  # told apart where they lie on one another, and without colour


def loss_curves(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel per quantity, one line per method; history is {method: {quantity: epoch means}}.

    None (an epoch without a step, as in the warm-up) leaves a gap; a quantity that nobody has
    leaves no panel.
    """
    titles = {method: method_title(method) for method in history}
    looks = dict(zip(titles.values(), LOOKS * len(history)))
    panels = {}
    for quantity in QUANTITIES:
        values = {titles[m]: pd.Series(history[m].get(quantity), dtype=float) for m in history}
        panels[quantity] = pd.DataFrame(values).dropna(axis=1, how="all")
    panels = {quantity: frame for quantity, frame in panels.items() if frame.size}
    fig, axes = figure(1, len(panels), (3.4 * len(panels), 3.2), sharex=True)
    for ax, (quantity, frame) in zip(axes[0], panels.items()):
        heading, unit = QUANTITIES[quantity]
        frame.index += 1
        styles = [looks[name] for name in frame]
        frame.plot(ax=ax, style=styles, color=method_colours(frame), ms=5)
        ax.set(title=heading, xlabel="epoch", ylabel=unit)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if quantity == "q":
            ax.set_ylim(bottom=0)
    legend(fig)
    return fig


def per_class_iou(methods: Mapping[str, Mapping[str, float]], unseen: Sequence[str]) -> Figure:
    """IoU per class in percent, a bar per method; `methods` is {method: {class: percent}}.

    The first panel holds the unseen classes, starred; the seen ones follow, at most 20 to a panel.
    """
    frame = pd.DataFrame(methods).rename(columns=method_title)
    seen = frame.drop(list(unseen))
    panels = [frame.loc[list(unseen)].rename(lambda name: f"★ {name}")]
    panels += [seen[i : i + 20] for i in range(0, len(seen), 20)]
    rows = max(map(len, panels))
    height = max(3.0, 0.13 * (len(methods) + 0.8) * rows + 1.2)
    fig, axes = figure(1, len(panels), (3.8 * len(panels), height), sharex=True)
    for ax, part in zip(axes[0], panels):
        part.plot.barh(ax=ax, color=method_colours(frame), width=0.8, xlabel="IoU (%)")
        ax.set(title="Seen classes", ylim=(rows - 0.5, -0.5))  # bars of one height everywhere
    axes[0, 0].set_title("Unseen classes")
    legend(fig)
    return fig


def hiou_over_k(frame: pd.DataFrame) -> Figure:
    """hIoU over K, a panel per dataset; bars: standard deviation over seeds.

    frame: columns "dataset", "k", "model", "source" ("measured" or "published") and "hiou".
    """
    what = {"x": "k", "y": "hiou", "hue": "model", "style": "source", "col": "dataset"}
    look = {"style_order": ["measured", "published"], "markers": True, "height": 3.6}
    bars = {"errorbar": "sd", "err_style": "bars", "err_kws": {"capsize": 3}}
    frame = frame.assign(dataset=[DATASETS[name].title for name in frame["dataset"]])
    palette = method_colours(frame["model"].unique())
    with sns.axes_style("whitegrid"):
        grid = sns.relplot(frame, kind="line", palette=palette, **what, **look, **bars)
    grid.set_titles("{col_name}").set_axis_labels("K, number of unseen classes", "hIoU (%)")
    grid.set(ylim=(0, None), xticks=sorted(set(frame["k"])))
    plt.close(grid.figure)
    return grid.figure


def operating_curves(frame: pd.DataFrame) -> Figure:
    """Unseen over seen mIoU as an offset of the unseen logits grows, a panel for each K.

    Mean over seeds; crosses are the standard deviation of both, where there are several. A dot
    marks where the training left a method, at offset 0. Lines grow thinner from method to method,
    so that equal ones show below each other.

    Arguments:
        frame: columns dataset, k, seed, method, offset, seen_miou, unseen_miou (percent); the
            offsets of a method in the order of its curve.
    """
    datasets = list(frame["dataset"].unique())
    methods = list(frame["method"].unique())
    ks = sorted(frame["k"].unique())
    size = (2.6 * max(len(ks), 2), 2.7 * len(datasets) + 0.5)
    fig, axes = figure(len(datasets), len(ks), size, sharex="row", sharey="row")
    colours = method_colours(methods)
    # the ends have no offset, but a place
    place = frame.groupby(["dataset", "k", "method", "seed"]).cumcount()
    lines = frame.assign(place=place).groupby(["dataset", "k", "method"], sort=False)
    for (dataset, k, method), line in lines:
        ax = axes[datasets.index(dataset), ks.index(k)]
        points = line.groupby("place")[["offset", "seen_miou", "unseen_miou"]]
        mean = points.mean()
        x = mean["seen_miou"]
        y = mean["unseen_miou"]
        look = {"color": colours[method], "lw": 4 * 0.6 ** methods.index(method)}
        ax.plot(x, y, label=method_title(method), **look)
        if line["seed"].nunique() > 1:
            spread = points.std()
            look = {"fmt": "none", "ecolor": colours[method], "elinewidth": 0.8}
            ax.errorbar(x, y, spread["unseen_miou"], spread["seen_miou"], **look)
        trained = mean["offset"] == 0
        ax.plot(x[trained], y[trained], "o", ms=5, color=colours[method])
        ax.set(title=f"{dataset}, K = {k}", xlabel="seen mIoU (%)")
    plt.setp(axes[:, 0], ylabel="unseen mIoU (%)")
    legend(fig)
    return fig
