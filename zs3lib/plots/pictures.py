"""Pictures and label maps: samples of the data, and Fig. 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from ..classes import VOID
from ..errors import ZS3Error
from .base import VOID_COLOUR, figure, mark


def voc_palette(n: int = 256) -> np.ndarray:
    """The official Pascal VOC colour map: (n, 3) uint8, made by spreading the bits of the label over R, G and B."""
    labels = np.arange(n)[:, None] >> (3 * np.arange(8))  # (n, 8): three bits of the label per bit plane
    planes = (labels[:, :, None] >> np.arange(3)) & 1  # (n, 8, 3)
    return (planes << np.arange(7, -1, -1)[:, None]).sum(1).astype(np.uint8)


def colorize(labels: np.ndarray) -> np.ndarray:
    """Label map (H, W) with values 0..255 -> picture (H, W, 3) uint8 in VOC's colours; void (255) is light grey."""
    palette = voc_palette(256)
    palette[VOID] = VOID_COLOUR
    return palette[np.asarray(labels, dtype=np.uint8)]


def _class_legend(
    fig: Figure, label_maps: Iterable[np.ndarray], names: Sequence[str], unseen: Iterable[str], *, clear: bool = False
) -> None:
    """The classes present, below the figure; `clear`: the background is not painted over."""
    present = set().union(*(np.unique(labels).tolist() for labels in label_maps))
    unknown = sorted(label for label in present if label >= len(names) and label != VOID)
    if unknown:
        raise ZS3Error(f"labels {unknown} have no name: there are {len(names)} classes and void ({VOID})")
    texts = {label: "void" if label == VOID else mark(names[label], unseen) for label in present}
    order = sorted(present, key=lambda label: (label == VOID, texts[label].startswith("★"), label))  # seen, ★, void
    colours = [colorize(np.array([[label]]))[0, 0] / 255 for label in order]
    if clear and 0 in texts:
        colours[order.index(0)], texts[0] = "none", f"{texts[0]} (not coloured)"
    patches = [Patch(facecolor=c, edgecolor="0.4", label=texts[label]) for c, label in zip(colours, order)]
    columns = max(1, min(len(patches), int(fig.get_figwidth() / 1.35)))
    title = "★ unseen class" if any(text.startswith("★") for text in texts.values()) else None
    look = {"ncols": columns, "frameon": False, "fontsize": 9, "title_fontsize": 9}
    legend = fig.legend(handles=patches, loc="outside lower center", title=title, **look)
    for text in legend.get_texts():
        text.set_fontweight("bold" if text.get_text().startswith("★") else "normal")


def _picture(ax, picture: np.ndarray) -> None:
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[])


def _label_map(ax, labels: np.ndarray, unseen: Iterable[int]) -> None:
    """A label map with thin light lines between its classes and a star inside each larger region of an unseen one."""
    _picture(ax, colorize(labels))
    for label in np.unique(labels[labels != VOID]):
        if label and (labels != label).any():
            ax.contour(labels == label, levels=[0.5], colors="white", linewidths=0.5)
    _stars(ax, labels, unseen)


def _stars(ax, labels: np.ndarray, unseen: Iterable[int]) -> None:
    """A star inside each larger region of an unseen class."""
    for label in unseen:
        regions, count = ndimage.label(labels == label)
        sizes = np.bincount(regions.ravel(), minlength=count + 1)
        for region in np.flatnonzero(sizes[1:] >= 0.01 * labels.size) + 1:
            depth = ndimage.distance_transform_edt(np.pad(regions == region, 1))[1:-1, 1:-1]
            if depth.max() >= 0.02 * min(labels.shape):  # a sliver has no room for a star
                y, x = np.unravel_index(np.argmax(depth), depth.shape)
                ax.plot(x, y, "*", ms=9, mfc="white", mec="black", mew=0.6)


def show_samples(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    unseen: Iterable[str] = (),
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Pictures (H, W, 3) uint8 above their label maps (H, W) laid over them, with a legend of the classes present."""
    columns = next((n for n in (4, 3) if len(images) % n == 0), min(len(images), 4))
    lines = -(-len(images) // columns)
    tall = float(np.median([image.shape[0] / image.shape[1] for image in images]).clip(0.6, 1.2))
    fig, axes = figure(2 * lines, columns, 2.3 * columns, 4.6 * tall * lines + 1.2, "white")
    fig.suptitle("Pictures, and below each its labels", fontsize=12)
    hidden = [label for label, name in enumerate(names) if name in set(unseen)]
    for ax in axes.flat:
        ax.axis("off")
    for i, (image, labels) in enumerate(zip(images, masks, strict=True)):
        top, column = 2 * (i // columns), i % columns
        _picture(axes[top, column], image)
        axes[top, column].set_title(titles[i] if i < len(titles) else "", fontsize=10)
        cover = np.where(labels == 0, 0, 0.65)[..., None]  # the background stays as it is
        _picture(axes[top + 1, column], ((1 - cover) * image + cover * colorize(labels)).astype(np.uint8))
        _stars(axes[top + 1, column], labels, hidden)
    _class_legend(fig, masks, names, unseen, clear=True)
    return fig


def qualitative(
    rows: Sequence[Mapping[str, np.ndarray]],
    names: Sequence[str],
    unseen: Iterable[str],
    columns: Sequence[str] = ("Input", "Ground truth", "ZS3Net", "Ours"),
) -> Figure:
    """Fig. 3: one line per example, one column per picture or label map, unseen classes starred, the classes below.

    Each row maps every column's title to a picture (H, W, 3) uint8 or a label map (H, W) uint8 of the same H, W.
    Raises ZS3Error when a row lacks a column or its sizes differ.
    """
    for number, row in enumerate(rows, 1):
        missing = [column for column in columns if column not in row]
        if missing or len({row[column].shape[:2] for column in columns}) != 1:
            raise ZS3Error(f"row {number} of the figure: " + (f"no {missing}" if missing else "sizes differ"))
    height = float(np.median([row[columns[0]].shape[0] / row[columns[0]].shape[1] for row in rows]).clip(0.6, 1.2))
    fig, axes = figure(len(rows), len(columns), 1.8 * len(columns), 1.8 * height * len(rows) + 1.3, "white")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, row in zip(axes, rows):
        for ax, column in zip(line, columns):
            if row[column].ndim == 2:
                _label_map(ax, row[column], [label for label, name in enumerate(names) if name in set(unseen)])
            else:
                _picture(ax, row[column])
            ax.set_box_aspect(height)  # cells of one size, so that the lines align; a picture stands amid its cell
            ax.set_frame_on(False)
    for ax, column in zip(axes[0], columns):
        ax.set_title(column, fontsize=11)
    _class_legend(fig, [row[c] for row in rows for c in columns if row[c].ndim == 2], names, unseen)
    return fig
