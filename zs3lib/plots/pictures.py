"""Pictures and label maps: samples of the data, Fig. 3, and what a network sees in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from ..classes import VOID, voc_palette
from ..errors import ZS3Error
from .base import figure, mark

VOID_COLOUR = (232, 232, 232)


def colorize(labels: np.ndarray) -> np.ndarray:
    """Label map (H, W), 0 to 255 -> picture (H, W, 3) uint8 in VOC's colours; void light grey."""
    palette = voc_palette()
    palette[VOID] = VOID_COLOUR
    return palette[np.asarray(labels, dtype=np.uint8)]


def qualitative(
    rows: Sequence[Mapping[str, np.ndarray]],
    names: Sequence[str],
    unseen: Iterable[str],
    columns: Sequence[str] = ("Input", "Ground truth", "ZS3Net", "Ours"),
    *,
    width: float = 1.8,
    star: str = "unseen class",
) -> Figure:
    """Fig. 3: a line per example, a column per picture, regions of unseen classes carry a ★.

    Arguments:
        rows: {column: picture (H, W, 3) uint8, label map (H, W) uint8 or probabilities (H, W)
            float in [0, 1]}, all of one H, W.
        columns: what to show; width: of each, in inches; star: what the ★ means.

    Raises ZS3Error when there is no row, a row lacks a column or its sizes differ.
    """
    if not rows:
        raise ZS3Error("there is no image to show: name one, or look whether the data is there")
    for number, row in enumerate(rows, 1):
        missing = [column for column in columns if column not in row]
        if missing or len({row[column].shape[:2] for column in columns}) > 1:
            what = f"no {missing}" if missing else "sizes differ"
            raise ZS3Error(f"row {number} of the figure: {what}")
    shape = float(np.median([np.divide(*row[columns[0]].shape[:2]) for row in rows]).clip(0.6, 1.2))
    size = (width * len(columns), width * shape * len(rows) + 1.3)
    fig, axes = figure(len(rows), len(columns), size, "white")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, row in zip(axes, rows):
        for ax, column in zip(line, columns):
            _show(ax, row[column], names, unseen)
            ax.set_box_aspect(shape)  # cells of one size; a picture stands amid its cell
    for ax, column in zip(axes[0], columns):
        ax.set_title(column, fontsize=11)
    _class_legend(fig, [row[column] for row in rows for column in columns], names, unseen, star)
    return fig


def show_samples(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    unseen: Iterable[str] = (),
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Pictures (H, W, 3) uint8, below each its label map (H, W) uint8, and the classes' colours."""
    columns = next((n for n in (4, 3) if len(images) % n == 0), min(len(images), 4))
    lines = -(-len(images) // columns)
    shape = np.median([image.shape[0] / image.shape[1] for image in images])
    fig, axes = figure(2 * lines, columns, (2.3 * columns, 4.6 * shape * lines + 1.2), "white")
    for ax in axes.flat:
        ax.axis("off")
    for i, (image, labels) in enumerate(zip(images, masks, strict=True)):
        line, column = divmod(i, columns)
        _show(axes[2 * line, column], image, names, unseen)
        _show(axes[2 * line + 1, column], labels, names, unseen)
        axes[2 * line, column].set_title(titles[i] if i < len(titles) else "", fontsize=10)
    _class_legend(fig, masks, names, unseen)
    return fig


def _show(ax, shown: np.ndarray, names: Sequence[str], unseen: Iterable[str]) -> None:
    """Draw a picture, a label map (light lines between its classes, ★) or probabilities."""
    ax.set(xticks=[], yticks=[], frame_on=False)
    if shown.ndim == 3:
        ax.imshow(shown)
    elif shown.dtype.kind == "f":
        drawn = ax.imshow(shown, cmap="cividis", vmin=0, vmax=1)
        bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7, ticks=[0, 1])
        bar.set_label("probability", labelpad=-8)
    else:
        ax.imshow(colorize(shown))
        for region in (shown == label for label in set(np.unique(shown)) - {0, VOID}):
            if not region.all():
                ax.contour(region, levels=[0.5], colors="white", linewidths=0.5)
        for name in unseen:
            _stars(ax, shown == names.index(name))


def _stars(ax, where: np.ndarray) -> None:
    """A star at the deepest point of each larger region."""
    regions, _ = ndimage.label(where)
    sizes = np.bincount(regions.ravel())[1:]
    for region in 1 + np.flatnonzero(sizes >= 0.01 * where.size):
        inside = np.pad(regions == region, 1)
        depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
        if depth.max() >= 0.02 * min(where.shape):  # a sliver has no room for a star
            y, x = np.unravel_index(np.argmax(depth), depth.shape)
            ax.plot(x, y, "*", ms=9, mfc="white", mec="black", mew=0.6)


def _class_legend(
    fig: Figure, shown: Iterable, names: Sequence[str], unseen: Iterable[str], star="unseen class"
) -> None:
    """The classes of the label maps among what is shown, below the figure: seen, ★, void."""
    maps = [labels for labels in shown if labels.ndim == 2 and labels.dtype.kind != "f"]
    present = set().union(*(np.unique(labels).tolist() for labels in maps))
    texts = {label: mark(names[label], unseen) for label in sorted(present) if label < len(names)}
    order = sorted(texts, key=lambda label: texts[label].startswith("★"))
    if VOID in present:
        texts[VOID] = "void"
        order.append(VOID)
    if unknown := sorted(present.difference(texts)):
        count = f"there are {len(names)} classes and void ({VOID})"
        raise ZS3Error(f"labels {unknown} have no name: {count}")
    colours = {label: colorize([[label]])[0, 0] / 255 for label in order}
    patches = [Patch(facecolor=colours[i], edgecolor="0.4", label=texts[i]) for i in order]
    columns = max(1, min(len(patches), int(fig.get_figwidth() / 1.35)))
    title = f"★ {star}" if any(text.startswith("★") for text in texts.values()) else None
    look = {"ncols": columns, "frameon": False, "fontsize": 9, "title_fontsize": 9}
    if patches:
        fig.legend(handles=patches, loc="outside lower center", title=title, **look)
