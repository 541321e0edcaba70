"""Figures of notebooks/method.ipynb: kernels, clouds of points in the plane with arrows and regions, the loop of Fig. 2."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from .base import SEEN_COLOUR, UNSEEN_COLOUR, figure, png


@dataclass(frozen=True)
class Cloud:
    """Points of one kind: (N, 2), with a label for the legend and a look."""

    points: np.ndarray
    label: str
    colour: object = SEEN_COLOUR
    marker: str = "o"
    size: float | np.ndarray = 22
    hollow: bool = False


@dataclass(frozen=True)
class Panel:
    """One drawing of the plane.

    Attributes:
        clouds: what is drawn, in order.
        arrows: (where, (N, 2), and which way, (N, 2)); drawn to one scale in all panels of a figure.
        height: (M, 2) -> (M,), shown in colour around 0 (purple below, green above).
        regions: (M, 2) -> (M,) class numbers, shown in pale `region_colours`.
    """

    title: str
    clouds: Sequence[Cloud]
    arrows: tuple[np.ndarray, np.ndarray] | None = None
    height: Callable[[np.ndarray], np.ndarray] | None = None
    regions: Callable[[np.ndarray], np.ndarray] | None = None
    region_colours: Sequence = field(default_factory=list)


def _draw(ax, panel: Panel, limits: tuple[float, float, float, float], scale: float) -> None:
    x0, x1, y0, y1 = limits
    x, y = np.meshgrid(np.linspace(x0, x1, 81), np.linspace(y0, y1, 81))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    if panel.height is not None:
        z = np.asarray(panel.height(grid)).reshape(x.shape)
        top = np.abs(z).max() or 1
        ax.contourf(x, y, z, levels=np.linspace(-top, top, 16), cmap="PRGn", alpha=0.6, zorder=0)
    if panel.regions is not None:
        z = np.asarray(panel.regions(grid)).reshape(x.shape)
        colours = ListedColormap([sns.light_palette(c, 8)[2] for c in panel.region_colours])
        ax.imshow(
            z, origin="lower", extent=limits, cmap=colours, vmin=-0.5, vmax=colours.N - 0.5, aspect="auto", zorder=0
        )
    for cloud in panel.clouds:
        look = {"facecolors": "none", "edgecolors": [cloud.colour]} if cloud.hollow else {"color": [cloud.colour]}
        lines = {"linewidths": 1.2 if cloud.hollow else 0.4} | ({} if cloud.hollow else {"edgecolors": "white"})
        ax.scatter(*np.asarray(cloud.points).T, s=cloud.size, marker=cloud.marker, zorder=2, **look, **lines)
    if panel.arrows is not None:
        where, way = (np.asarray(v) for v in panel.arrows)
        ax.quiver(
            *where.T, *(scale * way).T, angles="xy", scale_units="xy", scale=1, width=0.006, color="0.15", zorder=3
        )
    ax.set(title=panel.title, xlim=(x0, x1), ylim=(y0, y1), aspect="equal")
    ax.title.set_fontsize(10)
    ax.grid(alpha=0.3)


def plane(
    panels: Sequence[Panel], *, limits: tuple[float, float, float, float], columns: int = 4, title: str = "",
    arrow: float = 1.0, axis: str = "feature {}",
) -> Figure:  # fmt: skip
    """Panels of the same part of the plane, with one legend.

    Arguments:
        limits: left, right, bottom, top.
        arrow: length of the longest arrow of all, in the plane's units.
        axis: the axes' labels, {} being 1 and 2.
    """
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    width = {1: 5.0, 2: 3.9, 3: 3.3}.get(columns, 2.7)
    tall = (width - 0.25) * (limits[3] - limits[2]) / (limits[1] - limits[0])
    below = 1 + len({c.label for p in panels for c in p.clouds}) // (2 * columns + 1)  # lines of the legend
    above = 0.2 * (1 + max(p.title.count("\n") for p in panels))
    height = (tall + above) * lines + 0.6 + 0.25 * below + 0.3 * (title.count("\n") + bool(title))
    fig, axes = figure(lines, columns, width * columns + 0.3, height, sharex=True, sharey=True)
    fig.get_layout_engine().set(h_pad=0.06, w_pad=0.03, hspace=0.02, wspace=0.02)
    lengths = [np.linalg.norm(p.arrows[1], axis=1).max() for p in panels if p.arrows is not None]
    scale = arrow / max(lengths) if lengths and max(lengths) > 0 else 1.0
    for ax, panel in zip(axes.flat, panels):
        _draw(ax, panel, limits, scale)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel(axis.format(1))
    for ax in axes[:, 0]:
        ax.set_ylabel(axis.format(2))
    handles = {}
    for cloud in (c for panel in panels for c in panel.clouds):
        look = {"mfc": "none", "mec": cloud.colour} if cloud.hollow else {"mfc": cloud.colour, "mec": "white"}
        handles.setdefault(
            cloud.label,
            Line2D([], [], ls="", marker=cloud.marker, ms=8 + 4 * (cloud.marker == "*"), label=cloud.label, **look),
        )
    handles.pop("", None)
    room = int(fig.get_figwidth() / (0.5 + 0.085 * max(map(len, handles), default=0)))
    entries = {"handles": list(handles.values()), "ncols": max(1, min(len(handles), room))}
    fig.legend(loc="outside lower center", frameon=False, **entries)
    fig.suptitle(title, fontsize=12)
    return fig


def animate(panels: Sequence[Panel], *, seconds: float = 0.25, text: str = "", **options) -> str:
    """One panel after the other as a looping picture: an HTML <img> that needs no script and no network.

    `text` is the description for those who do not see it; `options` as in `plane`.
    """
    frames = []
    for panel in panels:
        shot = png(plane([panel], columns=1, **options), dpi=72)
        frames.append(Image.open(io.BytesIO(shot)).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
    buffer, pause = io.BytesIO(), round(1000 * seconds)
    times = [pause] * (len(frames) - 1) + [6 * pause]
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return f'<img alt="{text}" src="data:image/gif;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def kernel_curves(bandwidths: Sequence[float]) -> Figure:
    """The Gaussians exp(-d^2 / (2 s)) and their slopes over the distance d, and the sums that the kernel is."""
    d = np.linspace(0, 30, 301)
    fig, axes = figure(1, 2, 10, 3.6)
    value, slope = axes[0]
    colours = sns.color_palette("viridis", len(bandwidths))
    for s, colour in zip(bandwidths, colours):
        value.plot(d, np.exp(-(d**2) / (2 * s)), color=colour, label=f"s = {s:g}")
        slope.plot(d, d / s * np.exp(-(d**2) / (2 * s)), color=colour)
    total = sum(np.exp(-(d**2) / (2 * s)) for s in bandwidths)
    pull = sum(d / s * np.exp(-(d**2) / (2 * s)) for s in bandwidths)
    value.plot(d, total, "k--", lw=2, label="sum: k")
    slope.plot(d, pull, "k--", lw=2)
    value.set(title="How alike two points are", xlabel="distance |x - y| (feature units)", ylabel="kernel")
    slope.set(
        title="How hard they pull: the slope", xlabel="distance |x - y| (feature units)", ylabel="-dk / d distance"
    )
    value.legend(frameon=False, fontsize=9)
    return fig


def lines(
    series: dict[str, tuple[Sequence[float], Sequence[float]]], *, title: str, x: str, y: str, log: str = "",
    width: float = 5.5, mark: float | None = None,
) -> Figure:  # fmt: skip
    """Labelled curves {label: (x, y)}; `log` names the logarithmic axes ("x", "y" or "xy"), `mark` draws an upright."""
    fig, axes = figure(1, 1, width, 3.4)
    ax = axes[0, 0]
    looks = ("-", "--", ":", "-.")
    for number, (label, (xs, ys)) in enumerate(series.items()):
        ax.plot(xs, ys, looks[number % 4], lw=2, color=sns.color_palette("colorblind")[number % 10], label=label)
    if mark is not None:
        ax.axvline(mark, color="0.4", lw=1)
    ax.set(title=title, xlabel=x, ylabel=y)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend(frameon=False, fontsize=9)
    return fig


def recursion_loop() -> Figure:
    """The loop of Fig. 2: what goes where on an image without, and on one with unseen classes."""
    fig, axes = figure(1, 2, 11.5, 4.6, "white")
    for ax, heading in zip(axes[0], ("(a) seen classes: Eq. 1", "(b) unseen classes: Eq. 2, the recursion")):
        ax.set(xlim=(-0.5, 10.2), ylim=(0, 7.2))
        ax.axis("off")
        ax.set_title(heading, fontsize=12, fontweight="bold")
    _boxes(axes[0, 0], {
        "image": (1.3, 6.1, "image", "0.92"), "backbone": (4.6, 6.1, "frozen\nbackbone", "0.92"),
        "real": (8.4, 6.1, "real features x", "#cfe3f3"), "word": (1.3, 2.1, "word vector\n+ noise", "0.92"),
        "generator": (4.6, 2.1, "generator", "#fde3c3"), "fake": (8.4, 2.1, "generated\nfeatures y", "#fde3c3"),
        "loss": (8.4, 4.1, "MMD(x, y)", "#f4d0d8"),
    }, [("image", "backbone"), ("backbone", "real"), ("word", "generator"), ("generator", "fake"), ("real", "loss"),
        ("fake", "loss")], ("loss", "generator", "one Adam step", 0.25, (5.0, 4.2)))  # fmt: skip
    _boxes(axes[0, 1], {
        "word": (1.3, 6.1, "word vector\n+ noise", "0.92"), "generator": (4.6, 6.1, "generator", "#fde3c3"),
        "fake": (8.4, 6.1, "generated\nfeatures b", "#fde3c3"),
        "classify": (1.1, 2.1, "classifier:\nclass, confidence c", "#cfe3f3"),
        "keep": (4.75, 2.1, "keep a where right\nand c > τ", "#d5ead9"), "loss": (8.5, 2.1, "γ · ZS-MMD(a, b; c)", "#f4d0d8"),
    }, [("word", "generator"), ("generator", "fake"), ("generator", "classify"), ("classify", "keep"), ("keep", "loss"),
        ("fake", "loss")], ("loss", "generator", "one Adam step", -0.2, (4.7, 3.7)))  # fmt: skip
    notes = (
        "the classifier learns from x, with its true classes",
        "the classifier learns from b, at every pixel of the label map",
    )
    for ax, note in zip(axes[0], notes):
        ax.text(4.85, 0.7, note, ha="center", fontsize=10, color="0.3")
    return fig


def _boxes(
    ax, boxes: dict, arrows: list[tuple[str, str]], back: tuple[str, str, str, float, tuple[float, float]]
) -> None:
    drawn = {}
    for name, (x, y, text, colour) in boxes.items():
        half = 1.25 if "\n" not in text and len(text) < 12 else 1.45
        box = FancyBboxPatch((x - half, y - 0.55), 2 * half, 1.1, boxstyle="round,pad=0.08", fc=colour, ec="0.3")
        drawn[name] = ax.add_patch(box)
        ax.text(x, y, text, ha="center", va="center", fontsize=10)
    look = {"arrowstyle": "-|>", "lw": 1.4, "color": "0.25", "shrinkA": 2, "shrinkB": 2}
    for start, end in arrows:
        ax.annotate("", boxes[end][:2], boxes[start][:2],
                    arrowprops=look | {"patchA": drawn[start], "patchB": drawn[end]})  # fmt: skip
    start, end, text, bend, place = back
    look |= {"color": UNSEEN_COLOUR, "ls": "--", "lw": 2, "connectionstyle": f"arc3,rad={bend}"}
    ax.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=look | {"patchA": drawn[start], "patchB": drawn[end]})
    ax.text(*place, text, ha="center", va="center", fontsize=10, color=UNSEEN_COLOUR, style="italic")
