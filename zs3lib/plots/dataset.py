"""What a dataset is made of: class frequencies, sizes, what K takes away, which words are alike."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .base import SEEN_COLOUR, UNSEEN_COLOUR, figure, legend, mark


def _kinds(unseen_from: pd.Series) -> tuple[pd.Series, dict[str, tuple]]:
    """In words from which K on each class is unseen; and colours: the sooner, the darker red."""
    ks = sorted(set(unseen_from) - {0})
    words = {0: "seen at every K"} | {k: f"★ unseen from K = {k} on" for k in ks}
    if len(ks) == 1:
        words = {0: "seen", ks[0]: "★ unseen"}
    colours = [SEEN_COLOUR, *sns.color_palette("OrRd_r", len(words) + 1)]
    return unseen_from.map(words), dict(zip(words.values(), colours))


def class_frequencies(train: pd.DataFrame, val: pd.DataFrame) -> Figure:
    """Images and pixels of classes besides background, bars for train, diamonds for val.

    Frames of `statistics.class_frequency`. Coloured by the K from which on the class is unseen.
    """
    kinds, colours = _kinds(train["unseen from K"])
    objects = train[train["images"] + val["images"] > 0].drop("background", errors="ignore")
    objects = objects.sort_values("pixels (%)", ascending=False).assign(kind=kinds)
    stars = [mark(name, objects.index[objects["unseen from K"] > 0]) for name in objects.index]
    fig, axes = figure(1, 2, (9.5, 0.2 * len(objects) + 2.2), sharey=True)
    look = {"hue": "kind", "hue_order": list(colours), "palette": colours, "edgecolor": "0.3"}
    for ax, column in zip(axes[0], ("images (%)", "pixels (%)")):
        sns.barplot(objects, x=column, y=stars, saturation=1, ax=ax, **look)
        ax.plot(val[column][objects.index], stars, "D", ms=4, mfc="white", mec="black")
        ax.set_ylabel("")
        ax.margins(y=0.01)
    axes[0, 0].set_xlabel("images that hold the class (%)")
    axes[0, 1].set_xlabel("pixels of the class (% of all labelled ones)")
    title = "How often each class occurs (bars: train, diamonds: val)"
    if "background" in train.index:
        share = train.loc["background", "pixels (%)"]
        title += f"\nnot drawn: background, {share:.0f} % of the pixels"
    if none := (train["images"] + val["images"] == 0).sum():
        title += f"\nnot drawn: {none} classes without a pixel"
    fig.suptitle(title, fontsize=11)
    legend(fig)
    return fig


def object_pixels(left: pd.DataFrame) -> Figure:
    """For every K, how train's object pixels divide: what stage 1 keeps, what it loses and why.

    left: the first frame of `statistics.left_for_stage1`.
    """
    kept = left["object pixels left (%)"]
    unseen = left["object pixels unseen (%)"]
    lost = 100 - kept - unseen
    parts = {"left for stage 1": kept, "seen, lost with their images": lost, "★ unseen": unseen}
    colours = [SEEN_COLOUR, "0.6", UNSEEN_COLOUR]
    fig, axes = figure(1, 1, (6.5, 3.8))
    ax = axes[0, 0]
    pd.DataFrame(parts).plot.bar(stacked=True, color=colours, width=0.7, rot=0, ax=ax)
    for drawn in ax.containers:
        ax.bar_label(drawn, fmt="%.0f %%", label_type="center", color="white")
    ax.set(xlabel="K, number of unseen classes", ylabel="pixels of train besides background (%)")
    legend(fig)
    return fig


def similarity_clusters(similarity: pd.DataFrame, unseen_from: pd.Series) -> Figure:
    """Cosine similarities of the class words, (C, C), in average-linkage clusters.

    Unseen classes are starred; the strip tells from which K on (`statistics.unseen_from`).
    """
    kinds, colours = _kinds(unseen_from)
    unseen = unseen_from.index[unseen_from > 0]
    names = [mark(name, unseen) for name in similarity.index]
    values = pd.DataFrame(similarity.to_numpy(), names, names)
    strip = pd.Series([colours[kind] for kind in kinds], names, name="")
    size = max(6.5, 0.21 * len(names) + 2.5)
    look = {"cmap": "vlag", "vmin": -1, "vmax": 1, "xticklabels": True, "yticklabels": True}
    room = {"dendrogram_ratio": 0.12, "colors_ratio": 0.02, "cbar_pos": (0.015, 0.88, 0.025, 0.1)}
    strips = {"row_colors": strip, "col_colors": strip, "figsize": (size, size)}
    grid = sns.clustermap(values, **strips, **look, **room)
    grid.ax_cbar.set_title("cosine\nsimilarity", fontsize=9)
    patches = [plt.Rectangle((0, 0), 1, 1, color=colours[kind], label=kind) for kind in colours]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "frameon": False, "ncols": 3}
    grid.figure.legend(handles=patches, **place)
    plt.close(grid.figure)
    return grid.figure
