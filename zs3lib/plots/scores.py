"""Losses while training, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..classes import DATASETS
from ..errors import ZS3Error
from .base import figure, legend, mark, method_colours, method_title

QUANTITIES = {  # what a training history may hold, with the panel's title and unit
    "generator": ("Generator on seen classes", "MMD (Eq. 1)"),
    "classifier": ("Classifier", "cross-entropy (nats)"),
    "recursion": ("Recursion on unseen classes", "ZS-MMD (Eq. 2)"),
    "q": ("Q, kept in a recursive step", "feature vectors"),
}
LOOKS = ("o-", "s--", "^:", "D-.")  # told apart where they lie on one another, and without colour


def loss_curves(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel per quantity, one line per method; history is {method: {quantity: epoch means}}.

    NaN or None (an epoch without a step, as in the warm-up) leaves a gap; a quantity that nobody
    has leaves no panel.
    """
    series = {}
    for method, quantities in history.items():
        for quantity, values in quantities.items():
            values = pd.Series(values, range(1, len(values) + 1), dtype=float)
            if values.notna().any():
                series.setdefault(quantity, {})[method_title(method)] = values
    if not series:
        raise ZS3Error("the training history holds no finite number to draw")
    looks = dict(zip(map(method_title, history), LOOKS * len(history)))
    fig, axes = figure(1, len(series), (3.4 * len(series), 3.2), sharex=True)
    shown = sorted(series, key=[*QUANTITIES, *series].index)
    for ax, quantity in zip(axes[0], shown):
        heading, unit = QUANTITIES.get(quantity, (quantity, ""))
        frame = pd.DataFrame(series[quantity])
        frame.plot(ax=ax, style=looks, color=method_colours(frame), ms=5)
        ax.set(title=heading, xlabel="epoch", ylabel=unit)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if quantity == "q":
            ax.set_ylim(0, 1.1 * frame.max(axis=None))
    legend(fig)
    return fig


def per_class_iou(methods: Mapping[str, Mapping[str, float]], unseen: Sequence[str]) -> Figure:
    """IoU per class in percent, a bar per method; `methods` is {method: {class: percent}}.

    The first panel holds the unseen classes, starred; the seen ones follow, at most 20 to a panel.
    """
    frame = pd.DataFrame(methods).rename(columns=method_title).rename_axis("class")
    hidden = frame.index.isin(list(unseen))
    seen = np.array_split(frame.index[~hidden], -(-(~hidden).sum() // 20))
    panels = [("Unseen classes", frame.index[hidden]), *(("Seen classes", part) for part in seen)]
    rows = max(len(names) for _, names in panels)
    height = max(3.0, 0.13 * (len(methods) + 0.8) * rows + 1.2)
    fig, axes = figure(1, len(panels), (3.8 * len(panels), height), sharex=True)
    look = {"palette": method_colours(frame), "saturation": 1}
    for ax, (heading, names) in zip(axes[0], panels):
        part = frame.loc[names].rename(lambda name: mark(name, unseen)).reset_index()
        part = part.melt("class", var_name="method", value_name="IoU (%)")
        sns.barplot(part, y="class", x="IoU (%)", hue="method", ax=ax, **look)
        ax.set(title=heading, ylabel="", ylim=(rows - 0.5, -0.5))  # bars of one height everywhere
    legend(fig)
    return fig


def hiou_over_k(frame: pd.DataFrame) -> Figure:
    """hIoU over K, a panel per dataset; bars: standard deviation over seeds.

    frame: columns "dataset", "k", "model", "source" ("measured" or "published") and "hiou".
    """
    datasets = list(dict.fromkeys(frame["dataset"]))
    models = list(dict.fromkeys(frame["model"]))
    fig, axes = figure(1, len(datasets), (4.2 * len(datasets), 3.6))
    what = {"x": "k", "y": "hiou", "hue": "model", "style": "source", "hue_order": models}
    what |= {"style_order": ["measured", "published"], "markers": ["o", "s"]}
    bars = {"errorbar": "sd", "err_style": "bars", "err_kws": {"capsize": 3}}
    for ax, dataset in zip(axes[0], datasets):
        part = frame[frame["dataset"] == dataset]
        last = dataset == datasets[-1]
        sns.lineplot(part, palette=method_colours(models), ax=ax, legend=last, **what, **bars)
        title = DATASETS[dataset].title if dataset in DATASETS else dataset
        ax.set(title=title, xlabel="K, number of unseen classes", ylabel="hIoU (%)")
        ax.set(xticks=sorted(set(frame["k"])))
        ax.set_ylim(bottom=0)
    sns.move_legend(axes[0, -1], "upper left", bbox_to_anchor=(1, 1), frameon=False)
    return fig
