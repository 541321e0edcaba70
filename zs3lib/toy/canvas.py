"""The canvas a thing is drawn on: polygons, ellipses and lines in units of the thing's height."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 2  # drawn this much larger and averaged down, for soft edges


class Sketch:
    """A canvas at twice the size, in two layers: flat colours, and (coverage, texture share, gloss share)."""

    def __init__(self, height: int, width: int) -> None:
        self.unit, self.aspect = height * SUPERSAMPLE, width / height
        size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
        self.colour, self.cover = Image.new("RGB", size), Image.new("RGB", size)
        self._pens = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.cover)

    def _draw(self, how: str, points, colour, texture: float, shine: float, **options) -> None:
        flat = [(float(x) * self.unit, float(y) * self.unit) for x, y in points]
        fills = (np.clip(np.asarray(colour) * 255, 1, 255), (255, 255 * texture, 255 * shine))
        for pen, fill in zip(self._pens, fills, strict=True):
            getattr(pen, how)(flat, fill=tuple(int(c + 0.5) for c in fill), **options)

    def polygon(self, points, colour, texture: float = 1.0, shine: float = 1.0) -> None:
        self._draw("polygon", points, colour, texture, shine)

    def ellipse(self, x, y, rx, ry, colour, texture: float = 1.0, shine: float = 1.0) -> None:
        if min(rx, ry) * self.unit >= 0.5:
            self._draw("ellipse", [(x - rx, y - ry), (x + rx, y + ry)], colour, texture, shine)

    def box(self, x0, y0, x1, y1, colour, texture: float = 1.0, shine: float = 1.0) -> None:
        if min(x1 - x0, y1 - y0) * self.unit >= 0.5:
            self._draw("rectangle", [(x0, y0), (x1, y1)], colour, texture, shine)

    def line(self, points, thickness, colour, texture: float = 1.0, shine: float = 1.0) -> None:
        """A line `thickness` wide, with round joints; nothing below half a (fine) pixel."""
        if thickness * self.unit >= 0.5:
            self._draw(
                "line", points, colour, texture, shine, width=max(1, round(thickness * self.unit)), joint="curve"
            )

    def layers(self) -> tuple[np.ndarray, np.ndarray]:
        """(colour premultiplied by coverage (h, w, 3), (coverage, texture, shine) (h, w, 3)), float32 in [0, 1]."""
        return tuple(np.asarray(layer.reduce(SUPERSAMPLE), np.float32) / 255 for layer in (self.colour, self.cover))
