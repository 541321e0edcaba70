"""What all figures share: one way to make and to save them, the star of unseen classes, the colours of the methods."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from ..paths import atomic_write
from ..records import MODELS

VOID_COLOUR = (232, 232, 232)
# One colour per method in every figure; seaborn's "colorblind" palette, and grey for the floor.
_COLOURS = dict(zip(("zs3net", "ours", "equal_weight"), sns.color_palette("colorblind"))) | {"no_generator": "0.55"}
SEEN_COLOUR, UNSEEN_COLOUR = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[3]


def figure(rows: int, columns: int, width: float, height: float, style: str = "whitegrid", **options):
    """A Figure of width x height inches and its axes, (rows, columns), at once closed to pyplot.

    A notebook then shows the figure that a cell ends with, and pyplot does not show it a second time.
    """
    with sns.axes_style(style):
        fig, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)
    plt.close(fig)
    return fig, axes


def mark(name: str, unseen: Iterable[str]) -> str:
    """A class name as the figures print it: unseen ones carry a star."""
    return f"★ {name}" if name in set(unseen) else name


def method_name(method: str) -> str:
    """A method as the tables print it: "zs3net" is ZS3Net; what is no method stays as it is."""
    return MODELS.get(method, method)


def method_colours(methods: Iterable[str]) -> dict[str, object]:
    """The colour of each method, the same in every figure; others get what the palette has left."""
    methods = list(methods)
    spare = iter(sns.color_palette("colorblind")[3:] * (1 + len(methods)))
    return {method: _COLOURS.get(method) or next(spare) for method in methods}


def class_colours(n: int) -> list:
    """n colours for classes drawn as points, the last (the unseen one) vermillion; colour-blind safe up to eight."""
    palette = sns.color_palette("colorblind")
    rest = ["0.45", palette[0], palette[1], palette[2], palette[4], palette[9], palette[8]]
    return (rest * n)[: n - 1] + [UNSEEN_COLOUR]


def png(fig: Figure, dpi: int = 80) -> bytes:
    """A figure as the bytes of a PNG file, for an image widget or a page."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save(fig: Figure, path: Path | str) -> list[Path]:
    """Write `<path>.png` and `<path>.pdf`, whole or not at all, and without dates: equal figures are equal files."""
    files = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        files.append(Path(f"{path}.{kind}"))
        with atomic_write(files[-1]) as file:
            fig.savefig(file, format=kind, dpi=150, metadata=metadata)
    return files
