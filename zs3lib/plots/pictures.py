"""Pictures and label maps: samples of the data, Fig. 3, and what a network sees in one picture."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from ..classes import VOID, voc_palette
from ..errors import ZS3Error
from .base import figure, mark


def colorize(labels: np.ndarray) -> np.ndarray:
    """Label map (H, W), 0 to 255 -> picture (H, W, 3) uint8 in VOC's colours; void light grey."""
    palette = voc_palette()
    palette[VOID] = 232
    return palette[labels]


def qualitative(
    rows: Sequence[Mapping[str, np.ndarray]],
    names: Sequence[str],
    unseen: Iterable[str],
    *,
    width: float = 1.8,
    star: str = "unseen class",
) -> Figure:
    """Fig. 3: a line per example, a column per picture, regions of unseen classes carry a ★.

    Arguments:
        rows: {column: picture (H, W, 3) uint8, label map (H, W) uint8 or probabilities (H, W)
            float in [0, 1]}; an "id" is not shown.
        width: of a column, in inches; star: what the ★ means.

    Raises ZS3Error when there is no row.
    """
    if not rows:
        raise ZS3Error("there is no image to show: name one, or look whether the data is there")
    columns = [column for column in rows[0] if column != "id"]
    lines = [[row[column] for column in columns] for row in rows]
    fig, axes = _grid(lines, names, unseen, width, star)
    for ax, column in zip(axes[0], columns):
        ax.set_title(column, fontsize=11)
    return fig


def show_samples(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    unseen: Iterable[str],
    *,
    titles: Sequence[str],
) -> Figure:
    """Pictures (H, W, 3) uint8, below each its label map (H, W) uint8, and the classes' colours."""
    columns = 3 if len(images) % 3 == 0 else 4
    starts = range(0, len(images), columns)
    lines = [part[i : i + columns] for i in starts for part in (images, masks)]
    fig, axes = _grid(lines, names, unseen, 2.3)
    for ax, title in zip(axes[::2].flat, titles):
        ax.set_title(title, fontsize=10)
    return fig


def _grid(lines: Sequence[Sequence], names, unseen, width: float, star="unseen class"):
    """A Figure of lines of pictures, `width` inches wide each, with its classes; and its axes."""
    shape = np.median([len(x) / x.shape[1] for x in lines[0]]).clip(0.6, 1.2)
    columns = len(lines[0])
    size = (width * columns, width * shape * len(lines) + 1.3)
    fig, axes = figure(len(lines), columns, size, "white")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for ax in axes.flat:
        ax.axis("off")
        ax.set_box_aspect(shape)  # cells of one size; a picture stands amid its cell
    for drawn, line in zip(axes, lines):
        for ax, shown in zip(drawn, line):
            _show(ax, shown, names, unseen)
    maps = [x for line in lines for x in line if x.ndim == 2 and x.dtype == np.uint8]
    present = set().union(*map(np.unique, maps))
    texts = {label: mark(name, unseen) for label, name in enumerate(names)} | {VOID: "void"}
    order = sorted(present, key=lambda label: (label == VOID, "★" in texts[label], label))
    colours = colorize(np.arange(256)) / 255
    patches = [Patch(facecolor=colours[i], edgecolor="0.4", label=texts[i]) for i in order]
    title = f"★ {star}" if any("★" in texts[label] for label in present) else None
    look = {"ncols": max(1, int(fig.get_figwidth() / 1.35)), "frameon": False, "fontsize": 9}
    if patches:
        fig.legend(handles=patches, loc="outside lower center", title=title, **look)
    return fig, axes


def _show(ax, shown: np.ndarray, names: Sequence[str], unseen: Iterable[str]) -> None:
    """Draw a picture, a label map (light lines between its classes, ★) or probabilities."""
    if shown.ndim == 3:
        ax.imshow(shown)
    elif shown.dtype != np.uint8:
        drawn = ax.imshow(shown, cmap="cividis", vmin=0, vmax=1)
        bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7, ticks=[0, 1])
        bar.set_label("probability", labelpad=-8)
    else:
        ax.imshow(colorize(shown))
        for label in (i for i in set(np.unique(shown)) - {VOID} if names[i] != "background"):
            region = shown == label
            if not region.all():
                ax.contour(region, levels=[0.5], colors="white", linewidths=0.5)
            if names[label] in unseen:
                _stars(ax, region)


def _stars(ax, where: np.ndarray) -> None:
    """A star at the deepest point of each region that has room for one."""
    depth = ndimage.distance_transform_edt(np.pad(where, 1))[1:-1, 1:-1]
    regions, count = ndimage.label(where)
    for y, x in ndimage.maximum_position(depth, regions, range(1, count + 1)):
        if depth[y, x] >= 0.03 * min(depth.shape):
            ax.plot(x, y, "*", ms=9, mfc="white", mec="black", mew=0.6)
