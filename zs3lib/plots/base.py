"""What all figures share: how they are made and saved, one legend, the star of unseen classes."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from ..method.methods import METHODS, title
from ..storage import atomic_write

SEEN_COLOUR = sns.color_palette("colorblind")[0]
UNSEEN_COLOUR = sns.color_palette("colorblind")[3]
method_title = title  # as the tables print it


def figure(rows: int, columns: int, size: tuple[float, float], style="whitegrid", **options):
    """A Figure of `size` (width, height) in inches and its axes, (rows, columns)."""
    options |= {"figsize": size, "layout": "constrained", "squeeze": False}
    with sns.axes_style(style):
        fig, axes = plt.subplots(rows, columns, **options)
    plt.close(fig)  # a notebook shows the figure that a cell ends with: once is enough
    return fig, axes


def legend(fig: Figure) -> None:
    """One legend below all axes in place of their own, each label once."""
    entries = {}
    for ax in fig.axes:
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles))
        if ax.get_legend():
            ax.get_legend().remove()
    width = 0.5 + 0.085 * max(map(len, entries))  # of an entry, in inches
    columns = max(1, int(fig.get_figwidth() / width))
    place = {"loc": "outside lower center", "frameon": False, "ncols": columns}
    fig.legend(entries.values(), entries, **place)


def mark(name: str, unseen: Iterable[str]) -> str:
    """A class name as the figures print it: unseen ones carry a star."""
    return f"★ {name}" if name in unseen else name


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """The colour of each method, given by name or title; the same in every figure."""
    known = {name: m.colour for m in METHODS.values() for name in (m.name, m.title)}
    return {method: known.get(method, "0.5") for method in methods}


def save(fig: Figure, path: Path | str) -> list[Path]:
    """Write `<path>.png` and `<path>.pdf`, whole or not at all; equal figures are equal files."""
    files = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        files.append(Path(f"{path}.{kind}"))
        with atomic_write(files[-1]) as file:
            fig.savefig(file, format=kind, dpi=150, metadata=metadata)
    return files
