"""What a dataset is made of: class frequencies, sizes, what K takes away, which words are alike."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from .base import SEEN_COLOUR, UNSEEN_COLOUR, figure, legend, mark


def _k_colours(unseen_from: pd.Series) -> dict[int, object]:
    """Blue for what is always seen; the sooner a class is unseen, the darker its red."""
    ks = sorted(set(unseen_from) - {0})
    return {0: SEEN_COLOUR} | dict(zip(ks, sns.color_palette("OrRd_r", len(ks) + 2)))


def _k_legend(fig: Figure, colours: dict[int, object], **place) -> None:
    texts = {k: f"★ unseen from K = {k} on" if k else "seen at every K" for k in colours}
    patches = [Patch(fc=colours[k], ec="0.3", lw=0.5, label=texts[k]) for k in colours]
    fig.legend(handles=patches, ncols=3, frameon=False, fontsize=9, **place)


def class_frequencies(train: pd.DataFrame, val: pd.DataFrame) -> Figure:
    """Images and pixels of every class, bars for train, diamonds for val.

    Frames of `statistics.class_frequency`. Coloured by the K from which on the class is unseen.
    Background, in nearly every image, is told in the heading.
    """
    ground = train.iloc[0]
    objects = train.iloc[1:].sort_values("pixels (%)")
    colours = _k_colours(train["unseen from K"])
    unseen = objects.index[objects["unseen from K"] > 0]
    stars = [mark(name, unseen) for name in objects.index]
    fig, axes = figure(1, 2, (9.5, 0.2 * len(objects) + 2.2), sharey=True)
    for ax, column in zip(axes[0], ("images (%)", "pixels (%)")):
        fill = objects["unseen from K"].map(colours)
        ax.barh(stars, objects[column], color=fill, ec="0.3", lw=0.5)
        ax.plot(val[column][objects.index], stars, "D", ms=4, mfc="white", mec="black")
        ax.margins(y=0.01)
    count = f"of {train.attrs['total']} in train, {val.attrs['total']} in val"
    axes[0, 0].set_xlabel(f"images that hold the class (%)\n{count}")
    axes[0, 1].set_xlabel("pixels of the class (% of all labelled ones)")
    told = f"{ground['images (%)']:.0f} % of the train images, {ground['pixels (%)']:.0f} % of the"
    title = "How often each class occurs (bars: train, diamonds: val)"
    fig.suptitle(f"{title}\nnot drawn: {ground.name}, in {told} pixels", fontsize=11)
    _k_legend(fig, colours, loc="outside lower center")
    return fig


def seen_and_unseen(left: pd.DataFrame) -> Figure:
    """For every K, how train's object pixels divide into seen and unseen, and what stage 1 keeps.

    left: the first frame of `statistics.left_for_stage1`.
    """
    fig, axes = figure(1, 2, (9.5, 3.8))
    bars, lines = axes[0]
    columns = {"object pixels seen (%)": "seen", "object pixels unseen (%)": "★ unseen"}
    look = {"stacked": True, "color": [SEEN_COLOUR, UNSEEN_COLOUR], "width": 0.7, "rot": 0}
    left[list(columns)].rename(columns=columns).plot.bar(ax=bars, **look)
    for drawn in bars.containers:
        bars.bar_label(drawn, fmt="%.0f %%", label_type="center", color="white")
    bars.set(title="Object pixels of train", ylabel="pixels besides background (%)")
    columns = ["images (%)", "pixels (%)", "object pixels left (%)"]
    left[columns].plot(ax=lines, style=["o-", "s--", "^:"], ylim=(0, 110), xticks=left.index)
    for k, row in left.iterrows():
        lines.text(k, row["images (%)"] + 3, f"{row['images']:.0f}", ha="center", fontsize=9)
    lines.set(title="Left for stage 1 (numbers: images)", ylabel="share of train (%)")
    for ax in axes[0]:
        ax.set_xlabel("K, number of unseen classes")
    legend(fig)
    return fig


def images_left(per_class: pd.DataFrame, total: pd.Series) -> Figure:
    """Images left to stage 1 that hold each class, by K; an empty cell: unseen.

    Arguments:
        per_class: the second frame of `statistics.left_for_stage1`.
        total: images that hold each class in all of train; the colour is the share of these.
    """
    share = (100 * per_class.div(total, axis=0)).fillna(0).mask(per_class.isna())
    unseen = per_class.index[per_class.isna().any(axis=1)]
    names = [f"{mark(name, unseen)} ({total[name]})" for name in per_class.index]
    fig, axes = figure(1, 1, (6.5, 0.23 * len(per_class) + 1.8), "white")
    ax = axes[0, 0]
    scale = {"label": "share of all images with this class (%)", "shrink": 0.7}
    look = {"vmin": 0, "vmax": 100, "cmap": "cividis", "linewidths": 0.5, "cbar_kws": scale}
    sns.heatmap(share, annot=per_class, fmt=".0f", yticklabels=names, ax=ax, **look)
    ax.set_facecolor("0.9")
    ax.set(xlabel="K, number of unseen classes", ylabel="")
    title = "Training images left to stage 1 that hold the class"
    ax.set_title(f"{title}\n(empty: unseen; in parentheses: in all of train)", fontsize=11)
    return fig


def image_sizes(sizes: dict[str, pd.DataFrame]) -> Figure:
    """Histograms of width, height and aspect ratio; {split: `statistics.image_sizes`}."""
    frame = pd.concat(sizes, names=["split", "id"]).reset_index()
    labels = {"width": "width (pixels)", "height": "height (pixels)", "aspect": "width / height"}
    look = {"bins": 24, "stat": "percent", "common_norm": False, "element": "step", "alpha": 0.3}
    fig, axes = figure(1, 3, (11, 3.2))
    for ax, (column, label) in zip(axes[0], labels.items()):
        sns.histplot(frame, x=column, hue="split", palette="colorblind", ax=ax, **look)
        ax.set(xlabel=label, ylabel="images (% of its split)")
    return fig


def similarity_clusters(similarity: pd.DataFrame, unseen_from: pd.Series) -> Figure:
    """Cosine similarities of the class words, (C, C), in average-linkage clusters.

    Unseen classes are starred; the strip tells from which K on (`statistics.unseen_from`).
    """
    unseen = unseen_from.index[unseen_from > 0]
    colours = _k_colours(unseen_from)
    names = [mark(name, unseen) for name in similarity.index]
    values = pd.DataFrame(similarity.to_numpy(), names, names)
    distance = np.clip(1 - (values + values.T) / 2, 0, None)
    tree = linkage(squareform(distance, checks=False), "average")
    strip = pd.Series([colours[k] for k in unseen_from], names, name="")
    size = max(6.5, 0.21 * len(names) + 2.5)
    order = {"row_linkage": tree, "col_linkage": tree, "row_colors": strip, "col_colors": strip}
    look = {"cmap": "vlag", "vmin": -1, "vmax": 1, "xticklabels": True, "yticklabels": True}
    room = {"dendrogram_ratio": 0.12, "colors_ratio": 0.02, "cbar_pos": (0.015, 0.88, 0.025, 0.1)}
    grid = sns.clustermap(values, figsize=(size, size), **order, **look, **room)
    grid.ax_cbar.set_title("cosine\nsimilarity", fontsize=9)
    _k_legend(grid.figure, colours, loc="upper center", bbox_to_anchor=(0.5, 0))
    plt.close(grid.figure)
    return grid.figure
