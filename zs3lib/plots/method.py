"""Figures of method.ipynb: clouds of points in the plane, with arrows, heights and regions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from .base import figure, legend


@dataclass(frozen=True)
class Cloud:
    """Points of one kind, (N, 2), with a label for the legend and a look."""

    points: np.ndarray
    label: str
    colour: str
    marker: str = "o"
    size: float = 22
    hollow: bool = False


@dataclass(frozen=True)
class Panel:
    """One drawing of the plane.

    Attributes:
        clouds: what is drawn, in order.
        arrows: (where, (N, 2), and which way, (N, 2)); to one scale in all panels of a figure.
        height: (M, 2) -> (M,), shown in colour around 0 (purple below, green above).
        regions: (M, 2) -> (M,) class numbers, shown in pale `region_colours`.
    """

    title: str
    clouds: Sequence[Cloud]
    arrows: tuple[np.ndarray, np.ndarray] | None = None
    height: Callable[[np.ndarray], np.ndarray] | None = None
    regions: Callable[[np.ndarray], np.ndarray] | None = None
    region_colours: Sequence[str] = ()


def plane(
    panels: Sequence[Panel],
    *,
    limits: tuple[float, float, float, float],
    columns: int = 4,
    title: str = "",
    arrow: float = 1.0,
) -> Figure:
    """Panels of the same part of the plane, with one legend.

    Arguments:
        limits: left, right, bottom, top.
        arrow: length of the longest arrow of all, in the plane's units.
    """
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    width = (5.0, 3.9, 3.3, 2.7)[columns - 1]
    height = width * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.2
    size = (width * columns + 0.3, height * lines + 1)
    fig, axes = figure(lines, columns, size, sharex=True, sharey=True)
    lengths = [np.linalg.norm(p.arrows[1], axis=1).max() for p in panels if p.arrows]
    for ax, panel in zip(axes.flat, panels):
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        ax.set_title(panel.title, fontsize=10)
        _draw(ax, panel, arrow / max(lengths, default=1))
    plt.setp(axes[-1], xlabel="feature 1")
    plt.setp(axes[:, 0], ylabel="feature 2")
    fig.suptitle(title, fontsize=12)
    legend(fig)
    return fig


def _draw(ax, panel: Panel, scale: float) -> None:
    x, y = np.meshgrid(np.linspace(*ax.get_xlim(), 81), np.linspace(*ax.get_ylim(), 81))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    if panel.height:
        z = np.asarray(panel.height(grid)).reshape(x.shape)
        levels = np.linspace(-1, 1, 16) * np.abs(z).max()
        ax.contourf(x, y, z, levels=levels, cmap="PRGn", alpha=0.6, zorder=0)
    if panel.regions:
        z = np.asarray(panel.regions(grid)).reshape(x.shape)
        colours = ListedColormap([sns.light_palette(c, 8)[2] for c in panel.region_colours])
        ax.pcolormesh(x, y, z, cmap=colours, vmin=-0.5, vmax=colours.N - 0.5, zorder=0)
    for cloud in panel.clouds:
        look = {"facecolor": cloud.colour, "edgecolor": "white", "linewidth": 0.4}
        if cloud.hollow:
            look = {"facecolor": "none", "edgecolor": cloud.colour, "linewidth": 1.2}
        look |= {"s": cloud.size, "marker": cloud.marker, "label": cloud.label}
        ax.scatter(*np.transpose(cloud.points), zorder=2, **look)
    if panel.arrows:
        where, way = np.transpose(panel.arrows, (0, 2, 1))
        look = {"angles": "xy", "scale_units": "xy", "width": 0.006, "color": "0.15"}
        ax.quiver(*where, *(scale * way), scale=1, zorder=3, **look)
