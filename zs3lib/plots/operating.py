"""Curves between seen and unseen mIoU."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .base import figure, legend, method_colours, method_title


def operating_curves(frame: pd.DataFrame) -> Figure:
    """Unseen over seen mIoU as an offset of the unseen logits grows, a panel for each K.

    Mean over seeds; crosses are the standard deviation of both, where there are several. A dot
    marks where the training left a method, at offset 0. Lines grow thinner from method to method,
    so that equal ones show below each other.

    Arguments:
        frame: columns dataset, k, seed, method, offset, seen_miou, unseen_miou (percent); the
            offsets of a method in the order of its curve.
    """
    datasets = frame["dataset"].unique()
    methods = list(frame["method"].unique())
    ks = sorted(frame["k"].unique())
    size = (2.6 * max(len(ks), 2), 2.7 * len(datasets) + 0.5)
    fig, axes = figure(len(datasets), len(ks), size, sharex="row", sharey="row")
    colours = method_colours(methods)
    # the ends have no offset, but a place
    place = frame.groupby(["dataset", "k", "method", "seed"]).cumcount()
    lines = frame.assign(place=place).groupby(["dataset", "k", "method"], sort=False)
    for (dataset, k, method), line in lines:
        ax = axes[list(datasets).index(dataset), ks.index(k)]
        points = line.groupby("place")[["offset", "seen_miou", "unseen_miou"]]
        mean = points.mean()
        x, y = mean["seen_miou"], mean["unseen_miou"]
        look = {"color": colours[method], "lw": 4 * 0.6 ** methods.index(method)}
        ax.plot(x, y, label=method_title(method), **look)
        if line["seed"].nunique() > 1:
            spread = points.std()
            look = {"fmt": "none", "ecolor": colours[method], "elinewidth": 0.8}
            ax.errorbar(x, y, spread["unseen_miou"], spread["seen_miou"], **look)
        trained = mean["offset"] == 0
        ax.plot(x[trained], y[trained], "o", ms=5, color=colours[method])
        ax.set_title(f"{dataset}, K = {k}")
        ax.set_xlabel("seen mIoU (%)")
    for row in axes:
        row[0].set_ylabel("unseen mIoU (%)")
    legend(fig)
    return fig
