"""What a dataset is made of: class frequencies, image sizes, what K takes away, how near the class words are."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from .base import SEEN_COLOUR, UNSEEN_COLOUR, figure, mark


def _k_colours(ks: Iterable[int]) -> dict[int, object]:
    """Blue for what is always seen; the sooner a class is unseen, the darker its red."""
    ks = sorted(set(ks) - {0})
    return {0: SEEN_COLOUR} | dict(zip(ks, sns.color_palette("OrRd_r", len(ks) + 2)))


def _k_legend(colours: dict[int, object]) -> list[Patch]:
    texts = {k: f"★ unseen from K = {k} on" if k else "seen at every K" for k in colours}
    return [Patch(facecolor=colour, edgecolor="0.3", lw=0.5, label=texts[k]) for k, colour in colours.items()]


def class_frequencies(train: pd.DataFrame, val: pd.DataFrame) -> Figure:
    """Images and pixels of every class, bars for train, diamonds for val; frames of `statistics.class_frequency`.

    Coloured by the K from which on the class is unseen. Background, in nearly every image, is told in the heading.
    """
    ground, objects = train.iloc[0], train.iloc[1:].sort_values("pixels (%)", ascending=False)
    colours = _k_colours(train["unseen from K"])
    stars = [mark(name, objects.index[objects["unseen from K"] > 0]) for name in objects.index]
    fig, axes = figure(1, 2, 9.5, 0.2 * len(objects) + 2.2, sharey=True)
    for ax, column in zip(axes[0], ("images (%)", "pixels (%)")):
        ax.barh(stars, objects[column], color=[colours[k] for k in objects["unseen from K"]], ec="0.3", lw=0.5)
        ax.plot(val[column][objects.index], stars, "D", ms=4, mfc="white", mec="black", label="val")
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_xlabel(
        f"images that hold the class (%)\nof {train.attrs['total']} in train, {val.attrs['total']} in val"
    )
    axes[0, 1].set_xlabel("pixels of the class (% of all labelled ones)")
    axes[0, 0].set_ylim(len(objects) - 0.4, -0.6)
    for text in axes[0, 0].get_yticklabels():
        text.set(fontsize=9, fontweight="bold" if text.get_text().startswith("★") else "normal")
    fig.suptitle(
        "How often each class occurs (bars: train, diamonds: val)\n"
        f"not drawn: {ground.name}, in {ground['images (%)']:.0f} % of the train images,"
        f" {ground['pixels (%)']:.0f} % of the pixels",
        fontsize=11,
    )  # fmt: skip
    fig.legend(handles=_k_legend(colours), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return fig


def seen_and_unseen(left: pd.DataFrame) -> Figure:
    """For every K, how the object pixels of train divide into seen and unseen, and what is left to stage 1.

    `left` is the first frame of `statistics.left_for_stage1`.
    """
    fig, axes = figure(1, 2, 9.5, 3.8)
    ks = [str(k) for k in left.index]
    bars, lines = axes[0]
    base = np.zeros(len(left))
    for column, colour, name in (("object pixels seen (%)", SEEN_COLOUR, "seen"),
                                 ("object pixels unseen (%)", UNSEEN_COLOUR, "★ unseen")):  # fmt: skip
        drawn = bars.bar(ks, left[column], bottom=base, color=colour, ec="white", label=name, width=0.7)
        bars.bar_label(drawn, fmt="%.0f %%", label_type="center", color="white", fontsize=10, fontweight="bold")
        base += left[column].to_numpy()
    bars.set(title="Object pixels of train", ylabel="pixels besides background (%)")
    bars.grid(axis="x", visible=False)
    looks = {"images (%)": ("o-", "images"), "pixels (%)": ("s--", "labelled pixels"),
             "object pixels left (%)": ("^:", "object pixels (no background)")}  # fmt: skip
    for (column, (look, name)), colour in zip(looks.items(), sns.color_palette("colorblind")):
        lines.plot(ks, left[column], look, color=colour, label=name)
    for k, images, height in zip(ks, left["images"], left["images (%)"]):
        lines.annotate(f"{images:.0f}", (k, height), (0, 8), textcoords="offset points", ha="center", fontsize=9)
    lines.set(title="Left for stage 1 (numbers: images)", ylabel="share of train (%)", ylim=(0, 110))
    for ax in axes[0]:
        ax.set_xlabel("K, number of unseen classes")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize=9)
    return fig


def images_left(per_class: pd.DataFrame, total: pd.Series) -> Figure:
    """Images left to stage 1 that hold each class, by K; `per_class` is the second frame of `left_for_stage1`.

    Colour: the share of the images of `total`, those that hold the class in all of train. An empty cell: unseen.
    """
    share = 100 * per_class.div(total.replace(0, np.nan), axis=0)
    fig, axes = figure(1, 1, 6.5, 0.23 * len(per_class) + 1.8, "white")
    ax, unseen = axes[0, 0], per_class.index[per_class.isna().any(axis=1)]
    texts = per_class.map(lambda n: "★" if np.isnan(n) else f"{n:.0f}")
    sns.heatmap(
        share, vmin=0, vmax=100, cmap="cividis", ax=ax, annot=texts, fmt="", annot_kws={"fontsize": 9}, linewidths=0.5,
        yticklabels=[f"{mark(name, unseen)} ({total[name]})" for name in per_class.index],
        cbar_kws={"label": "share of all images with this class (%)", "shrink": 0.7}, mask=share.isna(),
    )  # fmt: skip
    ax.set_facecolor("0.9")
    for row, name in enumerate(per_class.index):
        for column, k in enumerate(per_class.columns):
            if np.isnan(per_class.loc[name, k]):
                ax.text(column + 0.5, row + 0.5, "★", ha="center", va="center", fontsize=9, color="0.3")
    ax.set(title="Training images left to stage 1 that hold the class\n(★ unseen; in parentheses: in all of train)")
    ax.title.set_fontsize(11)
    ax.set(xlabel="K, number of unseen classes", ylabel="")
    ax.tick_params(axis="y", labelsize=9, rotation=0)
    return fig


def image_sizes(sizes: dict[str, pd.DataFrame]) -> Figure:
    """Histograms of width, height and aspect ratio, one colour per split; frames of `statistics.image_sizes`."""
    frame = pd.concat({name: part for name, part in sizes.items()}, names=["split", "id"]).reset_index()
    fig, axes = figure(1, 3, 11, 3.2)
    for ax, (column, label) in zip(
        axes[0], (("width", "width (pixels)"), ("height", "height (pixels)"), ("aspect", "width / height"))
    ):
        sns.histplot(
            frame, x=column, hue="split", bins=24, stat="percent", common_norm=False, element="step", alpha=0.3,
            palette="colorblind", legend=ax is axes[0, 2], ax=ax,
        )  # fmt: skip
        ax.set(xlabel=label, ylabel="images (% of its split)" if column == "width" else "")
    sns.move_legend(axes[0, 2], "upper right", frameon=False, title=None)
    fig.suptitle("Image sizes", fontsize=12)
    return fig


def similarity_clusters(similarity: pd.DataFrame, unseen_from: pd.Series) -> Figure:
    """Cosine similarities of the class words, (C, C), ordered by average-linkage clusters of 1 - similarity.

    Unseen classes are starred; the coloured strip tells from which K on (`statistics.unseen_from`).
    """
    unseen, colours = unseen_from.index[unseen_from > 0], _k_colours(unseen_from)
    labels = [mark(name, unseen) for name in similarity.index]
    distance = np.clip(1 - (similarity.to_numpy() + similarity.to_numpy().T) / 2, 0, None)
    tree = linkage(squareform(distance, checks=False), "average")
    strip = pd.Series([colours[k] for k in unseen_from], index=labels, name="")
    size = max(6.5, 0.21 * len(labels) + 2.5)
    with sns.axes_style("white"):
        grid = sns.clustermap(
            similarity.set_axis(labels, axis=0).set_axis(labels, axis=1), row_linkage=tree, col_linkage=tree,
            row_colors=strip, col_colors=strip, vmin=-1, vmax=1, cmap="vlag", figsize=(size, size),
            xticklabels=True, yticklabels=True, dendrogram_ratio=0.12, colors_ratio=0.02,
            cbar_pos=(0.015, 0.88, 0.025, 0.1), tree_kws={"linewidths": 1},
        )  # fmt: skip
    ax = grid.ax_heatmap
    for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]:
        text.set(fontsize=9, fontweight="bold" if text.get_text().startswith("★") else "normal")
    grid.ax_cbar.set_title("cosine\nsimilarity", fontsize=9)
    grid.figure.suptitle("Which class words are alike", y=1.02, fontsize=12)
    grid.figure.legend(
        handles=_k_legend(colours), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False, fontsize=9
    )  # fmt: skip
    plt.close(grid.figure)
    return grid.figure
