"""Figures of new_class.ipynb: what a network with classes added by name sees in one picture, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..classes import VOID
from ..new_classes import Prediction
from .base import figure
from .pictures import _picture, colorize

CERTAINTY = "cividis"  # a map of one hue for every kind of sight


def _overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A label map laid over its picture; the background stays as it is."""
    cover = np.where(labels == 0, 0, 0.7)[..., None]
    return ((1 - cover) * image + cover * colorize(labels)).astype(np.uint8)


def _outline(ax, labels: np.ndarray, new: Sequence[int]) -> None:
    for label in new:
        if (labels == label).any() and (labels != label).any():
            ax.contour(labels == label, levels=[0.5], colors="black", linewidths=2.2)
            ax.contour(labels == label, levels=[0.5], colors="white", linewidths=1)


def _grid(image: np.ndarray, count: int, columns: int):
    """A figure of `count` panels for pictures shaped like `image`; panels left over are not drawn."""
    columns = min(columns, count)
    rows = -(-count // columns)
    height = 3.3 * float(np.clip(image.shape[0] / image.shape[1], 0.5, 1.6))
    fig, axes = figure(rows, columns, 3.3 * columns + 0.6, (height + 0.35) * rows + 0.7, "white")
    for ax in axes.flat:
        ax.axis("off")
    return fig, list(axes.flat)


def _colourbar(fig: Figure, drawn, axes, label: str) -> None:
    fig.colorbar(drawn, ax=axes, label=label, fraction=0.05, pad=0.02, shrink=0.85)


def segmentation(prediction: Prediction, new: Sequence[str], truth: np.ndarray | None = None) -> Figure:
    """The picture, its classes laid over it (new ones outlined, ★ in the legend), the truth where known, the confidence.

    `truth` is a label map (H, W) uint8 over `prediction.names`, 255 void.
    """
    names, marked = prediction.names, [prediction.names.index(name) for name in new]
    maps = {"Predicted": prediction.labels} | ({} if truth is None else {"Ground truth": truth})
    fig, axes = _grid(prediction.image, 2 + len(maps), 4)
    _picture(axes[0], prediction.image)
    axes[0].set_title("Picture")
    for ax, (title, labels) in zip(axes[1:], maps.items()):
        _picture(ax, _overlay(prediction.image, labels))
        _outline(ax, labels, marked)
        ax.set_title(title)
    last = axes[1 + len(maps)]
    drawn = last.imshow(prediction.confidence, cmap=CERTAINTY, vmin=0, vmax=1, interpolation="nearest")
    last.set_title("Confidence of the predicted class")
    _colourbar(fig, drawn, last, "softmax probability")
    present = np.unique(np.concatenate([labels.ravel() for labels in maps.values()])).tolist()
    order = sorted(present, key=lambda label: (label == VOID, label not in marked, label))
    texts = {
        label: "void" if label == VOID else f"★ {names[label]}" * (label in marked) or names[label] for label in order
    }
    patches = [
        Patch(facecolor=colorize(np.array([[label]]))[0, 0] / 255, edgecolor="0.4", label=texts[label])
        for label in order
        if label
    ]
    title = "★ new class, outlined; background is left as it is"
    columns = max(1, min(len(patches), int(fig.get_figwidth() / 1.35)))
    fig.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False, title=title)
    return fig


def class_confidence(prediction: Prediction, names: Sequence[str]) -> Figure:
    """One panel per class of `names`: its softmax probability at every pixel, 0 to 1."""
    fig, axes = _grid(prediction.image, len(names), 4)
    for ax, name in zip(axes, names):
        probability = prediction.of(name)
        drawn = ax.imshow(probability, cmap=CERTAINTY, vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(f"{name}: up to {probability.max():.2f}")
    _colourbar(fig, drawn, axes, "softmax probability")
    return fig
