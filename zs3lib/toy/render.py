"""Pictures of attribute vectors: things on a backdrop, or a whole picture cut into labelled regions.

Nothing here knows a class: an item carries a number (its label) and an attribute vector, and only the vector is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ..classes import VOID
from .attributes import ATTRIBUTES, vector
from .shape import extent, sketch
from .texture import base_colour, gloss, pattern


@dataclass(frozen=True)
class Item:
    """One thing or region to paint.

    label: 0..254, written to the label map; vector: attributes; box: (x0, y0, x1, y1) of a thing, shares of the
    picture's width and height (may reach over the edge); outline: ((x, y), ...) of a region, in the same shares,
    painted as a flat surface instead of a thing. Exactly one of box and outline is given.
    """

    label: int
    vector: np.ndarray
    box: tuple[float, float, float, float] | None = None
    outline: tuple[tuple[float, float], ...] | None = None


def _jitter(colour: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """The same colour under a slightly different light: brightness and hue both move within a class."""
    return np.clip(colour * (1 + amount * rng.uniform(-1, 1)) + amount * 0.4 * rng.uniform(-1, 1, 3), 0.02, 0.98)


def surface(
    item_vector: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, jitter: float = 0.12
) -> np.ndarray:
    """A flat surface with the vector's colour and texture, (h, w, 3) float32, about [0, 1]."""
    colour = _jitter(base_colour(item_vector), rng, jitter).astype(np.float32)
    tone = 1 + pattern(item_vector, shape, rng)
    return tone[..., None] * colour + 0.6 * gloss(item_vector, shape)[..., None]


def _paint_region(image: np.ndarray, owner: np.ndarray, index: int, item: Item, rng: np.random.Generator) -> None:
    h, w = owner.shape
    xy = np.array(item.outline) * (w, h)
    (x0, y0), (x1, y1) = xy.min(0).astype(int), np.ceil(xy.max(0)).astype(int)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, w), min(y1, h)
    if x1 <= x0 or y1 <= y0:
        return
    mask = Image.new("L", (2 * (x1 - x0), 2 * (y1 - y0)))
    ImageDraw.Draw(mask).polygon([(2 * (x - x0), 2 * (y - y0)) for x, y in xy], fill=255)
    alpha = np.asarray(mask.reduce(2), np.float32)[..., None] / 255
    view = image[y0:y1, x0:x1]
    view += alpha * (surface(item.vector, view.shape[:2], rng) - view)
    owner[y0:y1, x0:x1][alpha[..., 0] >= 0.5] = index


def _paint_thing(image: np.ndarray, owner: np.ndarray, index: int, item: Item, rng: np.random.Generator) -> None:
    h, w = owner.shape
    x0, y0, x1, y1 = (round(v * side) for v, side in zip(item.box, (w, h, w, h), strict=True))
    height, width = max(y1 - y0, 3), max(x1 - x0, 3)
    colour, flip = _jitter(base_colour(item.vector), rng, 0.14), rng.random() < 0.5
    flat, cover = sketch(item.vector, height, width, colour)
    if flip:
        flat, cover = flat[:, ::-1], cover[:, ::-1]
    alpha = cover[..., :1]
    lit = flat * (1 + cover[..., 1:2] * pattern(item.vector, (height, width), rng)[..., None])
    lit = lit + (cover[..., 2] * gloss(item.vector, (height, width)))[..., None]
    rows, cols = slice(max(y0, 0), min(y0 + height, h)), slice(max(x0, 0), min(x0 + width, w))
    inner = slice(rows.start - y0, rows.stop - y0), slice(cols.start - x0, cols.stop - x0)
    if rows.stop <= rows.start or cols.stop <= cols.start:
        return
    image[rows, cols] = image[rows, cols] * (1 - alpha[inner]) + lit[inner]
    owner[rows, cols][alpha[inner][..., 0] >= 0.5] = index


def render_scene(
    items: Sequence[Item], size: tuple[int, int], rng: np.random.Generator, *, backdrop: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Paint `items` back to front.

    size: (H, W) in pixels. backdrop: attribute vector of what shows where no item is (default: drawn from `rng`).
    Returns the picture, (H, W, 3) uint8 RGB, and the owner map, (H, W) int16: for every pixel the index in `items` of
    the item seen there, -1 for the backdrop. `labels` turns owners into labels.
    """
    h, w = size
    image = surface(any_backdrop(rng) if backdrop is None else backdrop, (h, w), rng).astype(np.float32)
    owner = np.full((h, w), -1, np.int16)
    for index, item in enumerate(items):
        paint = _paint_region if item.outline is not None else _paint_thing
        paint(image, owner, index, item, np.random.default_rng(rng.integers(2**32)))
    lamp = 1 + 0.07 * rng.uniform(-1, 1) + 0.03 * rng.uniform(-1, 1, 3)  # exposure and white balance
    image = image * lamp.astype(np.float32) + 0.012 * rng.standard_normal((h, w, 1), np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), owner


def labels(owner: np.ndarray, items: Sequence[Item], *, rest: int = 0, border: int = 0) -> np.ndarray:
    """The label map, (H, W) uint8: each item's label, `rest` on the backdrop, VOID where two owners meet.

    border: width of that void band in pixels, both sides together (0: none).
    """
    table = np.array([item.label for item in items] + [rest], np.uint8)
    out = table[owner]  # owner -1 indexes the last entry
    if border:
        edge = np.zeros(owner.shape, bool)
        edge[:, 1:] |= owner[:, 1:] != owner[:, :-1]
        edge[1:] |= owner[1:] != owner[:-1]
        out[edge] = VOID
        for shift in range(1, border):
            out[:, :-shift][edge[:, shift:]] = VOID
            out[:-shift][edge[shift:]] = VOID
    return out


def any_backdrop(rng: np.random.Generator) -> np.ndarray:
    """A made-up plain surface to put things on: an attribute vector with a random colour and a faint texture."""
    tint = {name: rng.uniform(0, 0.6) * (rng.random() < 0.45) for name in ATTRIBUTES[ATTRIBUTES.index("pale") :]}
    rough = {name: rng.uniform(0, 0.5) * (rng.random() < 0.3) for name in ("stony", "plant", "wooden", "fabric")}
    return vector(**tint, **rough, smooth=float(rng.uniform(0.2, 1)))


def place(item_vector: np.ndarray, size: tuple[int, int], rng: np.random.Generator, *, scale: float = 1.0,
          x: float | None = None, foot: float | None = None) -> tuple[float, float, float, float]:  # fmt: skip
    """A box for a thing of this vector: its natural extent times `scale`, jittered by 15 %.

    x: its centre, foot: its lower edge (shares of the picture; drawn from `rng` when None).
    """
    h, w = size
    tall, wide = (min(side * scale * rng.uniform(0.85, 1.15), 0.95) * min(size) for side in extent(item_vector))
    dy, dx = tall / h, wide / w
    x = rng.uniform(0.45 * dx, 1 - 0.45 * dx) if x is None else x
    foot = rng.uniform(min(0.95, dy + 0.02), 0.99) if foot is None else foot
    foot = max(foot, min(dy, 0.98))  # a tall thing keeps its head in the picture
    return (x - dx / 2, foot - dy, x + dx / 2, foot)


def render_attributes(
    things: Sequence[tuple[int, np.ndarray]], size: tuple[int, int], rng: np.random.Generator, *,
    backdrop: np.ndarray | None = None, scale: float = 1.2, border: int = 0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """A picture of `things`, (label, attribute vector) pairs, at random places on a plain backdrop.

    Returns the picture, (H, W, 3) uint8 RGB, and its label map, (H, W) uint8: 0 is the backdrop, VOID (255) the band of
    `border` px between things. Meant for classes of no dataset (`attributes.made_up`), e.g. to pre-train a backbone.
    """
    items = [Item(label, v, box=place(v, size, rng, scale=scale)) for label, v in things]
    items.sort(key=lambda item: item.box[3])
    image, owner = render_scene(items, size, rng, backdrop=backdrop)
    return image, labels(owner, items, border=border)
