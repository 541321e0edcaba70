"""Losses while training, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..errors import ZS3Error
from .base import figure, mark, method_colours, method_name

DATASET_TITLES = {"voc": "Pascal-VOC 2012", "context": "Pascal-Context"}
QUANTITIES = {  # what a training history may hold, with the panel's title and unit
    "generator": ("Generator on seen classes", "MMD (Eq. 1)"),
    "classifier": ("Classifier", "cross-entropy (nats)"),
    "recursion": ("Recursion on unseen classes", "ZS-MMD (Eq. 2)"),
    "q": ("Q, kept in a recursive step", "feature vectors"),
}
LINES = ("o-", "s--", "^:", "D-.")  # told apart where they lie on one another, and without colour


def loss_curves(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel per quantity, one line per method; history is {method: {quantity: per-epoch means}}.

    NaN or None (an epoch without a step, as in the warm-up) leaves a gap; a quantity nobody has leaves no panel.
    """
    series = {(m, q): np.array(v, dtype=float) for m, qs in history.items() for q, v in qs.items()}
    found = {q for (_, q), v in series.items() if np.isfinite(v).any()}
    shown = [q for q in QUANTITIES if q in found] + sorted(found - set(QUANTITIES))
    if not shown:
        raise ZS3Error("the training history holds no finite number to draw")
    colours, lines = method_colours(history), dict(zip(history, LINES * len(history)))
    fig, axes = figure(1, len(shown), 3.4 * len(shown), 3.2)
    fig.get_layout_engine().set(w_pad=0.12)
    for ax, quantity in zip(axes[0], shown):
        for method in history:
            values = series.get((method, quantity), np.array([]))
            if np.isfinite(values).any():
                epochs = np.arange(1, len(values) + 1)
                ax.plot(epochs, values, lines[method], ms=5, color=colours[method], label=method_name(method))
        heading, unit = QUANTITIES.get(quantity, (quantity, ""))
        ax.set(title=heading, xlabel="epoch", ylabel=unit)
        ax.title.set_fontsize(11)
        if quantity == "q":
            ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles = {t: h for ax in axes[0] for h, t in zip(*ax.get_legend_handles_labels())}
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return fig


def per_class_iou(methods: Mapping[str, Mapping[str, float]], unseen: Sequence[str]) -> Figure:
    """IoU per class in percent, one bar per method; `methods` is {method: {class: percent}}.

    The first panel holds the unseen classes, starred; the seen ones follow, at most 20 to a panel.
    """
    frame = pd.DataFrame(methods).rename_axis("class").reset_index().melt("class", var_name="method", value_name="IoU")
    classes = list(dict.fromkeys(frame["class"]))
    hidden, seen = [c for c in classes if c in set(unseen)], [c for c in classes if c not in set(unseen)]
    chunks = [chunk.tolist() for chunk in np.array_split(seen, max(1, -(-len(seen) // 20)))]
    panels = [("Unseen classes", hidden), *(("Seen classes", chunk) for chunk in chunks)]
    rows, colours = max(len(names) for _, names in panels), method_colours(methods)
    height = max(3.0, 0.13 * (len(methods) + 0.8) * rows + 1.2)
    fig, axes = figure(1, len(panels), 3.8 * len(panels), height, sharex=True)
    for ax, (heading, names) in zip(axes[0], panels):
        part = frame[frame["class"].isin(names)]
        sns.barplot(part, y="class", x="IoU", hue="method", order=names, palette=colours, saturation=1, ax=ax)
        ax.set(title=heading, xlabel="IoU (%)", ylabel="", ylim=(rows - 0.5, -0.5))  # bars of one height in all panels
        ax.set_yticks(
            range(len(names)), [mark(c, unseen) for c in names], fontweight="bold" if names is hidden else None
        )
    handles, labels = axes[0, -1].get_legend_handles_labels()
    for ax in axes[0]:
        if ax.get_legend():
            ax.get_legend().remove()
    fig.legend(handles, map(method_name, labels), loc="outside lower center", ncols=len(labels), frameon=False)
    return fig


def hiou_over_k(frame: pd.DataFrame) -> Figure:
    """hIoU over K, one panel per dataset; `frame` is `records.hiou_frame`. Bars: standard deviation over seeds."""
    datasets = list(dict.fromkeys(frame["dataset"]))
    fig, axes = figure(1, len(datasets), 4.2 * len(datasets), 3.6)
    order = {"style_order": ["measured", "published"], "hue_order": list(dict.fromkeys(frame["model"]))}
    for ax, dataset in zip(axes[0], datasets):
        sns.lineplot(
            frame[frame["dataset"] == dataset], x="k", y="hiou", hue="model", style="source", palette="colorblind",
            markers=["o", "s"], errorbar="sd", err_style="bars", err_kws={"capsize": 3},
            legend=dataset == datasets[-1], ax=ax, **order,
        )  # fmt: skip
        ax.set(
            title=DATASET_TITLES.get(dataset, dataset),
            xlabel="K, number of unseen classes",
            ylabel="hIoU (%)",
            xticks=sorted(set(frame["k"])),
        )
        ax.set_ylim(bottom=0)
    sns.move_legend(axes[0, -1], "upper left", bbox_to_anchor=(1, 1), frameon=False)
    return fig
