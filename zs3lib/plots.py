"""Figures of the notebooks: label maps, Fig. 3, losses and scores. Every function returns a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from .classes import VOID
from .errors import ZS3Error
from .paths import atomic_write

VOID_COLOUR = (232, 232, 232)
DATASET_TITLES = {"voc": "Pascal-VOC 2012", "context": "Pascal-Context"}
QUANTITIES = {  # what a training history may hold, with the panel's title and unit
    "generator": ("Generator, MMD on seen classes", "loss"),
    "classifier": ("Classifier, cross-entropy", "loss"),
    "recursion": ("Recursion, ZS-MMD on unseen classes", "loss"),
    "q": ("Q, vectors kept per recursive step", "vectors"),
}


def _figure(rows: int, columns: int, width: float, height: float, style: str = "whitegrid", **options):
    # Closed at once: a notebook then shows the returned figure, and pyplot does not show it a second time.
    with sns.axes_style(style):
        fig, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    plt.close(fig)
    return fig, axes


def mark(name: str, unseen: Iterable[str]) -> str:
    """A class name as the figures print it: unseen ones carry a star."""
    return f"★ {name}" if name in set(unseen) else name


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


def _class_legend(fig: Figure, label_maps: Iterable[np.ndarray], names: Sequence[str], unseen: Iterable[str]) -> None:
    present = set().union(*(np.unique(labels).tolist() for labels in label_maps))
    unknown = sorted(label for label in present if label >= len(names) and label != VOID)
    if unknown:
        raise ZS3Error(f"labels {unknown} have no name: there are {len(names)} classes and void ({VOID})")
    texts = {label: "void" if label == VOID else mark(names[label], unseen) for label in present}
    order = sorted(present, key=lambda label: (label == VOID, texts[label].startswith("★"), label))  # seen, ★, void
    colours = [colorize(np.array([[label]]))[0, 0] / 255 for label in order]
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
    for label in unseen:
        regions, count = ndimage.label(labels == label)
        sizes = np.bincount(regions.ravel(), minlength=count + 1)
        for region in np.flatnonzero(sizes[1:] >= 0.01 * labels.size) + 1:
            depth = ndimage.distance_transform_edt(np.pad(regions == region, 1))[1:-1, 1:-1]
            if depth.max() >= 0.02 * min(labels.shape):  # a sliver has no room for a star
                y, x = np.unravel_index(np.argmax(depth), depth.shape)
                ax.plot(x, y, "*", ms=9, mfc="white", mec="black", mew=0.6)


def show_samples(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], names: Sequence[str], unseen: Iterable[str] = ()
) -> Figure:
    """Pictures (H, W, 3) uint8 above their label maps (H, W) laid over them, with a legend of the classes present."""
    columns = min(len(images), 4)
    lines = -(-len(images) // columns)
    fig, axes = _figure(2 * lines, columns, 2.3 * columns, 3.9 * lines + 0.6, "white")
    for ax in axes.flat:
        ax.axis("off")
    for i, (image, labels) in enumerate(zip(images, masks, strict=True)):
        top, column = 2 * (i // columns), i % columns
        _picture(axes[top, column], image)
        cover = np.where(labels == 0, 0, 0.65)[..., None]  # the background stays as it is
        _picture(axes[top + 1, column], ((1 - cover) * image + cover * colorize(labels)).astype(np.uint8))
    _class_legend(fig, masks, names, unseen)
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
    fig, axes = _figure(len(rows), len(columns), 1.8 * len(columns), 1.8 * height * len(rows) + 1.3, "white")
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


def loss_curves(history: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """One panel per quantity, one line per method; history is {method: {quantity: per-epoch means}}.

    NaN or None (an epoch without a step, as in the warm-up) leaves a gap; a quantity nobody has leaves no panel.
    """
    series = {(m, q): np.array(v, dtype=float) for m, qs in history.items() for q, v in qs.items()}
    found = {q for (_, q), v in series.items() if np.isfinite(v).any()}
    shown = [q for q in QUANTITIES if q in found] + sorted(found - set(QUANTITIES))
    if not shown:
        raise ZS3Error("the training history holds no finite number to draw")
    colours = dict(zip(history, sns.color_palette("colorblind")))
    fig, axes = _figure(1, len(shown), 3.6 * len(shown), 3.2)
    fig.get_layout_engine().set(w_pad=0.12)
    for ax, quantity in zip(axes[0], shown):
        for method in history:
            values = series.get((method, quantity), np.array([]))
            if np.isfinite(values).any():
                ax.plot(np.arange(1, len(values) + 1), values, "o-", ms=4, color=colours[method], label=method)
        heading, unit = QUANTITIES.get(quantity, (quantity, ""))
        ax.set(title=heading, xlabel="epoch", ylabel=unit)
        ax.title.set_fontsize(10)
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
    rows = max(len(names) for _, names in panels)
    height = max(3.0, 0.13 * (len(methods) + 0.8) * rows + 1.2)
    fig, axes = _figure(1, len(panels), 3.8 * len(panels), height, sharex=True)
    for ax, (heading, names) in zip(axes[0], panels):
        part = frame[frame["class"].isin(names)]
        sns.barplot(part, y="class", x="IoU", hue="method", order=names, palette="colorblind", ax=ax)
        ax.set(title=heading, xlabel="IoU (%)", ylabel="", ylim=(rows - 0.5, -0.5))  # bars of one height in all panels
        ax.set_yticks(
            range(len(names)), [mark(c, unseen) for c in names], fontweight="bold" if names is hidden else None
        )
    handles, labels = axes[0, -1].get_legend_handles_labels()
    for ax in axes[0]:
        if ax.get_legend():
            ax.get_legend().remove()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return fig


def hiou_over_k(frame: pd.DataFrame) -> Figure:
    """hIoU over K, one panel per dataset; `frame` is `records.hiou_frame`. Bars: standard deviation over seeds."""
    datasets = list(dict.fromkeys(frame["dataset"]))
    fig, axes = _figure(1, len(datasets), 4.2 * len(datasets), 3.6)
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


def similarity_heatmap(matrix: np.ndarray, names: Sequence[str], unseen: Iterable[str] = ()) -> Figure:
    """Cosine similarities (C, C) of the classes' word vectors; unseen classes are starred."""
    size = max(4.0, 0.24 * len(names) + 2)
    fig, axes = _figure(1, 1, size + 0.8, size, "white")
    labels = [mark(name, unseen) for name in names]
    sns.heatmap(
        matrix, vmin=-1, vmax=1, cmap="vlag", square=True, xticklabels=labels, yticklabels=labels, ax=axes[0, 0],
        cbar_kws={"label": "cosine similarity", "shrink": 0.7}, annot=len(names) <= 10, fmt=".1f",
    )  # fmt: skip
    axes[0, 0].set_title("Similarity of the class words (★ unseen)")
    for text in [*axes[0, 0].get_xticklabels(), *axes[0, 0].get_yticklabels()]:
        text.set(fontsize=8, fontweight="bold" if text.get_text().startswith("★") else "normal")
    return fig


def save(fig: Figure, path: Path | str) -> list[Path]:
    """Write `<path>.png` and `<path>.pdf`, whole or not at all, and without dates: equal figures are equal files."""
    files = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        files.append(Path(f"{path}.{kind}"))
        with atomic_write(files[-1]) as file:
            fig.savefig(file, format=kind, dpi=150, metadata=metadata)
    return files
