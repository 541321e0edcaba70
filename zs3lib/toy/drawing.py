"""Pictures of looks: items on a backdrop, painted back to front.

Nothing here knows a class: an item carries a number (its label) and its looks, and only the looks
are drawn, by the same smooth functions for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from . import shape
from .attributes import colours, named

BANK = 256  # side of the stored patterns, which tile
TINTS = colours("tints")


@dataclass(frozen=True)
class Item:
    """One thing or region to paint.

    label: 0..254; looks: (len(ATTRIBUTES),); box: (x0, y0, x1, y1) in shares of the picture's width
    and height, may reach over its edge; outline: (n, 2) in shares of the box, of a region painted
    as a flat surface, or None for a thing.
    """

    label: int
    looks: np.ndarray
    box: tuple[float, float, float, float]
    outline: np.ndarray | None = None


class Sketch:
    """A canvas of parts in units of its height, later ones in front.

    Each part has a colour and the share of the thing's `own` pattern and gloss; one of little
    `cover` lets through what is behind. Drawn at twice the size and averaged, for soft edges;
    parts below half a (fine) pixel are left out.
    """

    def __init__(self, height: int, width: int):
        self.unit = 2 * height
        self.canvas = Image.new("L", (2 * width, 2 * height))  # the part seen at each pixel
        self.pen = ImageDraw.Draw(self.canvas)
        self.paints = [(0.0,) * 5]

    def _part(self, draw, points, colour, own=1.0, cover=1.0, **how) -> None:
        pixels = (np.array(points, float) * self.unit).ravel().tolist()
        draw(pixels, len(self.paints), **how)
        self.paints.append((*np.clip(colour, 0, 1) * cover, cover, own * cover))

    def polygon(self, points, colour, **shares) -> None:
        x, y = np.array(points, float).T * self.unit
        if abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) > 1:  # twice the area
            self._part(self.pen.polygon, points, colour, **shares)

    def ellipse(self, x, y, rx, ry, colour, **shares) -> None:
        if min(rx, ry) * self.unit > 0.5:
            corners = [(x - rx, y - ry), (x + rx, y + ry)]
            self._part(self.pen.ellipse, corners, colour, **shares)

    def box(self, x, y, rx, ry, colour, **shares) -> None:
        if min(rx, ry) * self.unit > 0.25:
            corners = [(x - rx, y - ry), (x + rx, y + ry)]
            self._part(self.pen.rectangle, corners, colour, **shares)

    def line(self, points, width, colour, **shares) -> None:
        width = width * self.unit
        if width > 0.5:
            how = {"width": round(width), "joint": "curve"}
            self._part(self.pen.line, points, colour, **shares, **how)

    def layers(self) -> np.ndarray:
        """Colour (3), cover and own share of each pixel, times its cover.

        (height, width, 5) float32 in [0, 1].
        """
        fine = np.array(self.paints, np.float32)[np.asarray(self.canvas)]
        rows = fine[::2] + fine[1::2]
        return (rows[:, ::2] + rows[:, 1::2]) / 4


@lru_cache(maxsize=1)
def _materials() -> dict[str, np.ndarray]:
    """One (BANK, BANK) float32 pattern per material: the share by which brightness varies."""
    rng = np.random.default_rng(20210)
    y, x = np.mgrid[:BANK, :BANK] * 2 * np.pi / BANK

    def noise(rows: float, columns: float) -> np.ndarray:
        """Tiling Gaussian noise of unit variance, blurred by so many pixels down and across."""
        field = rng.normal(size=(BANK, BANK))
        field = ndimage.gaussian_filter(field, (rows, columns), mode="wrap")
        return (field - field.mean()) / field.std()

    fur = [np.roll(row, i // 2) for i, row in enumerate(noise(4, 0.5))]  # combed to a slant
    curls = np.abs(noise(2.2, 2.2))
    lines = (np.arange(BANK)[:, None] % 6 < 3) * (noise(0.1, 2) > -0.2)
    fields = {
        "furry": 0.24 * np.array(fur),
        "woolly": 0.34 * (curls - curls.mean()) / curls.std(),
        "metal": 0.13 * noise(1.5, 30),
        "wooden": 0.17 * noise(0.7, 16) + 0.12 * noise(2.5, 30),
        "fabric": 0.34 * (np.sin(58 * (x + y)) * np.sin(58 * (x - y))),
        "stony": 0.17 * noise(0.7, 0.7) + 0.13 * noise(4, 4),
        "plant": 0.36 * np.tanh(1.5 * noise(1.5, 1.5)) + 0.14 * noise(5, 5),
        "spotted": -0.5 * np.tanh(5 * (noise(5, 6) - 0.45)) - 0.2,
        "striped": 0.42 * np.tanh(2.5 * np.sin(30 * x + 2.2 * noise(14, 14))),
        "lettered": 0.16 - 0.63 * lines,
    }
    return {name: field.astype(np.float32) for name, field in fields.items()}


def _pattern(a, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """How brightness varies over a surface, (height, width) float32 around 0; linear in the looks.

    An offset is drawn for every material, present or not: a change of looks alone moves no pattern.
    """
    total = np.zeros((height, width), np.float32)
    for (name, field), (top, left) in zip(_materials().items(), rng.integers(BANK, size=(10, 2))):
        if strength := getattr(a, name):
            rows = field.take(np.arange(top, top + height), 0, mode="wrap")
            total += strength * rows.take(np.arange(left, left + width), 1, mode="wrap")
    return total * (1 - 0.35 * a.smooth)


def _gloss(a, height: int, width: int) -> np.ndarray:
    """Light added by form and shine, (height, width) float32: brighter on top, and a soft glint."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)
    glint = np.exp(-(((x - 0.3 - 0.25 * y) / 0.07) ** 2)) + 0.7 * np.exp(-(((y - 0.3) / 0.07) ** 2))
    return (0.10 - 0.05 * a.smooth) * (0.45 - y) + 0.24 * a.shiny * glint


def _paint(image: np.ndarray, owner: np.ndarray, index: int, item: Item, seed: int) -> None:
    """Paint one item over `image`, (H, W, 3), and mark where it is seen in `owner`, (H, W)."""
    rng = np.random.default_rng(seed)
    a = named(item.looks)
    h, w = owner.shape
    x0, y0, x1, y1 = (np.array(item.box) * (w, h, w, h)).round().astype(int)
    height = max(y1 - y0, 3)
    width = max(x1 - x0, 3)
    moved = [getattr(a, name) * tint for name, tint in TINTS.items()]
    colour = np.clip(0.47 + np.sum(moved, 0), 0.03, 0.97)  # linear in the looks until it clips
    colour = colour * (1 + 0.13 * rng.uniform(-1, 1)) + 0.05 * rng.uniform(-1, 1, 3)
    drawing = Sketch(height, width)
    if item.outline is None:
        shape.draw(drawing, a, width / height, colour)
    else:
        drawing.polygon(item.outline * (width / height, 1), colour)
    layers = drawing.layers()
    if rng.random() < 0.5:
        layers = layers[:, ::-1]
    lit, cover, own = np.split(layers, (3, 4), axis=2)
    lit = lit * (1 + own * _pattern(a, height, width, rng)[..., None])
    lit += own * _gloss(a, height, width)[..., None]
    rows = slice(max(-y0, 0), max(h - y0, 0))  # the part of the box that is in the picture
    columns = slice(max(-x0, 0), max(w - x0, 0))
    there = (slice(max(y0, 0), max(y0 + height, 0)), slice(max(x0, 0), max(x0 + width, 0)))
    cover = cover[rows, columns]
    image[there] = image[there] * (1 - cover) + lit[rows, columns]
    owner[there][cover[..., 0] >= 0.5] = index


def render(
    items: Sequence[Item], size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint `items` back to front; the first covers the picture.

    size: (H, W) in pixels. Returns the picture, (H, W, 3) uint8 RGB, and the owner of each pixel,
    (H, W) int16: the index in `items` of the item seen there.
    """
    image = np.zeros((*size, 3), np.float32)
    owner = np.zeros(size, np.int16)
    for index, item in enumerate(items):
        _paint(image, owner, index, item, rng.integers(2**32))
    lamp = 1 + 0.07 * rng.uniform(-1, 1) + 0.03 * rng.uniform(-1, 1, 3)  # exposure, white balance
    image = image * lamp + 0.012 * rng.standard_normal((*size, 1))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), owner
