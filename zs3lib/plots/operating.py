"""Curves between seen and unseen mIoU."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from .base import figure, legend, method_colours, method_title


def operating_curves(frame: pd.DataFrame) -> Figure:
    """Unseen over seen mIoU as an offset of the unseen logits grows, a panel for each K.

    A line for each seed; a dot marks where the training left it, at offset 0.

    Arguments:
        frame: columns dataset, k, seed, method, offset, seen_miou, unseen_miou (percent).
    """
    datasets = frame["dataset"].unique()
    ks = sorted(frame["k"].unique())
    size = (2.6 * max(len(ks), 2), 2.7 * len(datasets) + 0.5)
    fig, axes = figure(len(datasets), len(ks), size, sharex="row", sharey="row")
    colours = method_colours(frame["method"].unique())
    for (dataset, k), panel in frame.groupby(["dataset", "k"], sort=False):
        ax = axes[list(datasets).index(dataset), ks.index(k)]
        for (method, _), line in panel.groupby(["method", "seed"], sort=False):
            look = {"color": colours[method], "lw": 1.2, "alpha": 0.8}
            ax.plot("seen_miou", "unseen_miou", data=line, label=method_title(method), **look)
            trained = line[line["offset"] == 0]
            ax.plot("seen_miou", "unseen_miou", "o", data=trained, ms=5, label="", **look)
        ax.set_title(f"{dataset}, K = {k}")
        ax.set_xlabel("seen mIoU (%)")
    for row in axes:
        row[0].set_ylabel("unseen mIoU (%)")
    legend(fig)
    return fig
