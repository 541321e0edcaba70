"""The outline and parts of a thing, drawn from its attribute vector alone.

Every part's size is a continuous function of attributes and goes to nothing as its attribute does: the same functions
for every vector. Lengths are in units of the thing's height; x runs over [0, aspect], y over [0, 1] from the top.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .canvas import Sketch
from .texture import base_colour, named

SKIN, BROWN, TYRE, HUB, GLASS = (np.array(c) for c in (
    (0.86, 0.66, 0.53), (0.50, 0.33, 0.20), (0.10, 0.10, 0.11), (0.62, 0.62, 0.65), (0.62, 0.76, 0.86)))  # fmt: skip


def lerp(p, q, t):
    return p + (q - p) * t


def extent(vector: np.ndarray) -> tuple[float, float]:
    """(height, width) of the thing, as shares of the picture's short side, before jitter."""
    a = named(vector)
    aspect = np.exp(0.10 + 0.75 * a.elongated - 1.05 * a.tall - 0.15 * a.backrest + 0.1 * a.vehicle)
    area = (0.33 + 0.20 * a.big + 0.06 * a.tall + 0.05 * a.hollow) ** 2
    return float(np.sqrt(area / aspect)), float(np.sqrt(area * aspect))


def _plan(a: SimpleNamespace, aspect: float) -> SimpleNamespace:
    """Where the body sits between what stands on it and what carries it (shares of the height that sum to 1)."""
    beast = a.animal * (1 - a.human)
    top = (0.8 * a.backrest + 0.5 * a.neck + 0.3 * beast + 0.5 * a.human + 0.9 * a.floats + 1.2 * a.plant
           + 0.7 * a.vehicle * a.windows * (1 - a.boxy) + 0.5 * a.winged + 0.35 * a.hollow * a.wheels)  # fmt: skip
    body = 1.0 - 0.75 * a.hollow * (1 - 0.2 * a.wheels)
    legs = 0.75 * a.legs * (1 + 0.5 * a.hollow) + 0.35 * a.human * a.legs + 0.15 * a.screen
    frame = 0.75 * a.hollow * a.wheels + 0.35 * a.winged * (1 - beast)
    total = top + body + legs + frame
    radius = a.wheels * (0.22 + 0.10 * a.hollow)
    room = (1 - 0.9 * radius) / total  # height per share, once the wheels stand on the ground
    y0, y1 = top * room, (top + body) * room
    half = (
        0.5
        * aspect
        * (0.97 - 0.2 * beast - 0.22 * a.human - (0.35 + 0.6 * a.wooden) * a.plant - 0.48 * a.hollow * a.wheels)
    )
    mid = 0.5 * aspect - 0.09 * beast * aspect
    return SimpleNamespace(beast=beast, y0=y0, y1=y1, radius=radius, half=half, mid=mid, aspect=aspect, high=y1 - y0)


def _outline(a: SimpleNamespace, p: SimpleNamespace, n: int = 48) -> np.ndarray:
    """The body's outline, (2n, 2): a superellipse, narrowed upwards when pointed and downwards when it floats."""
    t = np.linspace(0, 1, n)
    power = 2 + 10 * a.boxy**2 + 1.5 * a.furniture + 1.5 * a.human + 2 * a.plant + 3 * a.neck
    half = p.half * np.clip(1 - np.abs(2 * t - 1) ** power, 0, 1) ** (1 / power)
    half = half * (1 - 0.9 * a.pointed * (1 - t)) * (1 - 0.25 * a.plant * t)
    hull = p.half * (1 - 0.45 * t**2)
    half = lerp(half, hull, a.floats)
    y = lerp(p.y0, p.y1, t)
    return np.concatenate([np.stack([p.mid - half, y], 1), np.stack([p.mid + half, y], 1)[::-1]])


def _behind(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, c: np.ndarray) -> None:
    """Parts seen behind the body: far wing, tail, sail, backrest, legs, wheels' frame."""
    x0, x1, cy = p.mid - p.half, p.mid + p.half, (p.y0 + p.y1) / 2
    if a.winged > 0:
        tip = lerp(cy - 0.1, 0.02, a.winged)
        s.polygon([(p.mid + 0.15 * p.half, cy), (p.mid - 0.35 * p.half, cy),
                   (p.mid - (0.3 + 0.4 * a.winged) * p.half, tip)],
                  c * 0.72, shine=0.3)  # fmt: skip
        s.polygon([(x0 + 0.25 * p.half, cy), (x0, cy + 0.02),
                   (x0 - 0.1 * p.half * a.winged, cy - 0.6 * p.high * a.winged),
                   (x0 + 0.12 * p.half, cy - 0.6 * p.high * a.winged)], c * 0.8)  # fmt: skip
    if a.floats > 0:
        s.line([(p.mid, p.y0 + 0.02), (p.mid, p.y0 * (1 - a.floats))], 0.025 * a.floats, BROWN, 0.3)
        s.polygon([(p.mid + 0.03, p.y0 * 0.92), (p.mid + 0.03, p.y0 * (1 - 0.97 * a.floats)),
                   (p.mid + (0.05 + 0.75 * a.floats) * p.half, p.y0 * 0.92)],
                  lerp(c, np.ones(3), 0.5), 0.25)  # fmt: skip
    s.line([(x0 + 0.1 * p.half, cy - 0.2 * p.high), (x0 - 0.17 * p.half, cy), (x0 - 0.2 * p.half, cy + 0.45 * p.high)],
           p.beast * (0.03 + 0.05 * a.furry) * (1 - 0.6 * a.winged), c * 0.8)  # fmt: skip
    _legs(s, a, p, c)
    back = a.backrest
    if back > 0:
        rise, wide = p.y0 * (1 - back), 0.92 * p.half
        s.box(p.mid - wide, rise, p.mid + wide, p.y1 - 0.2 * p.high, c * 0.85, shine=0.4)
    hubs = [(p.aspect * f, 1 - p.radius) for f in (0.22, 0.78)]
    tube = 0.075 * a.hollow * a.wheels
    for start, end in (((x0, p.y0), hubs[0]), ((x1, p.y0), hubs[1]), ((p.mid, 1 - p.radius), (x1, p.y0)),
                       ((p.mid, 1 - p.radius), hubs[0]), ((p.mid, 1 - p.radius), (x0, p.y0)),
                       ((x1, p.y0), (x1 - 0.06, p.y0 - 0.13))):  # fmt: skip
        s.line([start, end], tube, c)


def _legs(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, c: np.ndarray) -> None:
    """Four legs under the body's ends, drawing together to two under an upright body."""
    thick = a.legs * (0.045 + 0.06 * p.beast + 0.085 * a.human) * (1 - 0.35 * a.winged)
    spread = p.half * lerp(0.86 - 0.08 * p.beast, 0.42, a.human)
    colour = lerp(c * 0.82, c * 0.45, a.human)
    for side, dark in ((-0.62, 0.75), (0.62, 0.75), (-1, 1.0), (1, 1.0)):
        x = p.mid + side * spread
        s.line([(x, p.y1 - 0.35 * p.high), (x + 0.02 * side, 1.0)], thick, colour * dark, shine=0.3)


def _body(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, c: np.ndarray) -> None:
    """The body itself with its roof, neck, slats, windows and screen."""
    roof = p.y0 * a.vehicle * a.windows * (1 - a.boxy) * (1 - a.floats)
    if roof > 0:
        s.polygon([(p.mid - 0.72 * p.half, p.y0 + 0.3 * p.high), (p.mid - 0.5 * p.half, p.y0 - roof),
                   (p.mid + 0.3 * p.half, p.y0 - roof), (p.mid + 0.62 * p.half, p.y0 + 0.3 * p.high)],
                  c * 0.9)  # fmt: skip
    stem = a.neck * (1 - a.animal) * (1 - a.human)
    s.box(p.mid - 0.36 * p.half, p.y0 * (1 - stem), p.mid + 0.36 * p.half, p.y0 + 0.3 * p.high * (stem > 0), c * 0.9)
    s.polygon(_outline(a, p), lerp(c, lerp(BROWN, c, 0.3), 0.85 * min(1, a.plant)), lerp(1, 0.5, a.plant))
    slat = a.hollow * a.boxy * (1 - a.wheels) * (1 - a.legs)
    for k in range(7):  # gaps between slats: shade, not holes, so that the label stays in one piece
        x = p.mid + p.half * (k - 3) / 3.5
        s.box(x - 0.05 * slat * p.half, p.y0 + 0.12 * p.high, x + 0.05 * slat * p.half, p.y1, c * 0.35, 0.3, 0)
    cushion = a.furniture * a.fabric * a.backrest
    s.box(
        p.mid - 0.7 * p.half,
        p.y1 - 0.62 * p.high * cushion,
        p.mid + 0.7 * p.half,
        p.y1 - 0.3 * p.high * cushion,
        c * 1.15,
    )
    s.line([(p.mid, p.y0 * 0.6), (p.mid, p.y1 - 0.3 * p.high)], 0.03 * cushion, c * 0.5)
    _windows(s, a, p, p.y0 - roof, c)
    if a.screen > 0:
        s.line([(p.mid, p.y1 - 0.05), (p.mid, 0.98)], 0.12 * a.screen, c * 0.6, 0.3)
        s.line([(p.mid - 0.3 * p.half, 0.975), (p.mid + 0.3 * p.half, 0.975)], 0.05 * a.screen, c * 0.6, 0.3)
        w, h = 0.86 * p.half * a.screen, 0.40 * p.high * a.screen
        cy = (p.y0 + p.y1) / 2 - 0.02
        s.box(p.mid - w, cy - h, p.mid + w, cy + h, lerp(c, np.array([0.16, 0.22, 0.34]), 0.9), 0.2, 0.9)


def _windows(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, top: float, c: np.ndarray) -> None:
    """Up to three rows of panes; the lower rows open as a thing is less of a vehicle. Below: a dark sill."""
    pane = lerp(c, GLASS, 0.9)
    tall = p.y1 - top
    wide = p.half * lerp(0.50, 0.9, max(a.boxy, 1 - a.vehicle))
    for row in range(3):
        size = a.windows * (1.0 if row == 0 else 1 - a.vehicle)
        h, y = 0.105 * tall * size * (1 + 0.45 * a.vehicle), top + tall * (0.22 + 0.05 * a.vehicle + 0.27 * row)
        for col in range(4):
            x, w = p.mid - 0.06 * p.half * a.vehicle + wide * (col - 1.5) / 2, 0.19 * wide * size
            s.box(x - w, y - h, x + w, y + h, pane, 0.15, 1)
    sill = 0.05 * p.high * a.vehicle * (1 - a.hollow) * (1 - a.winged) * (1 - a.floats)
    s.box(p.mid - 0.95 * p.half, p.y1 - 3 * sill, p.mid + 0.95 * p.half, p.y1 - sill, c * 0.55, 0.4, 0.3)


def _front(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, c: np.ndarray) -> None:
    """Parts in front of the body: near wing, arms, wheels, foliage, head."""
    cy = (p.y0 + p.y1) / 2
    if a.winged > 0:
        tip = lerp(lerp(cy + 0.1, 0.98, a.winged), 0.0, p.beast)
        s.polygon([(p.mid + 0.3 * p.half, cy), (p.mid - 0.25 * p.half, cy + 0.1 * p.high),
                   (p.mid - (0.35 + 0.4 * a.winged) * p.half, tip), (p.mid - (0.2 + 0.4 * a.winged) * p.half, tip)],
                  c * 0.88, shine=0.4)  # fmt: skip
    for side in (-1, 1):
        s.line([(p.mid + side * p.half * 0.9, p.y0 + 0.12 * p.high), (p.mid + side * p.half * 1.12, p.y1)],
               0.06 * a.human, c * 0.85)  # fmt: skip
        arm = a.furniture * a.fabric * a.backrest
        x = p.mid + side * p.half * 0.86
        s.box(x - 0.16 * p.half * arm, p.y0 - 0.1 * arm, x + 0.16 * p.half * arm, p.y1, c * 1.25, shine=0.4)
    for x in (0.22 * p.aspect, 0.78 * p.aspect):
        x = lerp(x, x - np.copysign(0.02, x - p.mid), a.boxy)
        _wheel(s, a, p, x)
    _foliage(s, a, p, c)
    _head(s, a, p, c)


def _wheel(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, x: float) -> None:
    r, y = p.radius, 1 - p.radius
    s.line([(x, p.y1 - 0.3 * p.high), (x, y)], 0.12 * a.wheels * a.winged, HUB * 0.7, 0.2)  # landing gear
    s.ellipse(x, y, r, r, TYRE, 0.2, 0.1)
    inner = r * (0.5 + 0.3 * a.hollow)
    s.ellipse(x, y, inner, inner, lerp(HUB, np.array([0.75, 0.77, 0.78]), a.hollow),
              0.3, 0.5)  # fmt: skip
    for angle in np.arange(0, np.pi, np.pi / 4):
        dx, dy = 0.75 * r * np.cos(angle), 0.75 * r * np.sin(angle)
        s.line([(x - dx, y - dy), (x + dx, y + dy)], 0.018 * a.hollow * a.wheels, TYRE * 2, 0.2)


def _foliage(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, c: np.ndarray) -> None:
    """A crown of leaf clumps around the top of the body; warm, pale clumps among them read as blossom."""
    if a.plant <= 0:
        return
    reach, middle = lerp(0.2, 1.0, a.plant), p.y0 * lerp(1.0, 0.56, a.plant)
    s.line([(0.5 * p.aspect, p.y0 + 0.05), (0.5 * p.aspect, middle)], 0.1 * a.plant, BROWN, 0.6)
    rx, ry = 0.34 * p.aspect * reach, 0.5 * p.y0 * reach
    for k in range(13):
        angle, far = 2.4 * k, np.sqrt((12 - k) / 13)
        x, y = 0.5 * p.aspect + rx * far * np.cos(angle), middle + ry * 0.75 * far * np.sin(angle)
        size = a.plant * (0.125 + 0.035 * np.cos(5.0 * k))
        s.ellipse(x, y, size * (1 + 0.3 * a.tall), size, c * (0.85 + 0.3 * ((k * 7) % 13) / 13))


def _head(s: Sketch, a: SimpleNamespace, p: SimpleNamespace, c: np.ndarray) -> None:
    strength = max(p.beast, a.human)
    r = lerp(p.beast * 0.34 * (p.y1 - p.y0) * (1 - 0.2 * a.neck), 0.105 * a.human, a.human)
    if r * s.unit < 1:
        return
    x, y = lerp(p.aspect - 1.45 * r, p.mid, a.human), r * 1.35 + 0.03 * p.beast
    y = lerp(y, max(y, p.y0 + 0.15 * p.high), p.beast * a.winged * 0.8)
    tone = lerp(c, SKIN, 0.95 * a.human)
    shoulder = (lerp(p.mid + 0.62 * p.half, p.mid, a.human), p.y0 + lerp(0.35 * p.high, 0.1, a.human))
    s.line([shoulder, (x, y)], r * lerp(1.25, 0.8, a.human) * strength, tone * 0.95)
    for side in (-0.55, 0.35):
        ear = r * 0.75 * a.furry * p.beast
        s.polygon([(x + side * r - 0.4 * ear, y - 0.6 * r), (x + side * r + 0.4 * ear, y - 0.6 * r),
                   (x + side * r * 1.3, y - 0.7 * r - ear)], c * 0.7)  # fmt: skip
        horn = 0.9 * r * a.horned
        s.line([(x + side * r, y - 0.7 * r), (x + side * r * 1.9, y - 0.8 * r - 0.6 * horn),
                (x + side * r * 1.7, y - 0.8 * r - horn)], 0.04 * a.horned, (0.93, 0.9, 0.78), 0.1)  # fmt: skip
    s.ellipse(x, y, r, r * lerp(1.0, 1.2, a.human), tone, lerp(1, 0.15, a.human), 0.3)
    snout = p.beast * (1 - 0.7 * a.winged)
    s.ellipse(x + 0.75 * r, y + 0.3 * r, 0.72 * r * snout, 0.48 * r * snout, tone * 0.9)
    beak = p.beast * a.winged
    s.polygon([(x + 0.7 * r, y - 0.3 * r * beak), (x + 0.7 * r, y + 0.3 * r * beak), (x + (0.7 + 0.75 * beak) * r, y)],
              (0.92, 0.66, 0.2), 0.1)  # fmt: skip
    s.ellipse(x + 0.25 * r * p.beast, y - 0.2 * r, 0.14 * r, 0.14 * r, TYRE, 0, 0)
    s.ellipse(x, y - 0.62 * r, 0.95 * r * a.human, 0.7 * r * a.human, np.array([0.25, 0.17, 0.12]), 0.5, 0.3)  # hair


def sketch(
    vector: np.ndarray, height: int, width: int, colour: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one thing, facing right, into a (height, width) box.

    Returns its flat colours premultiplied by coverage, (h, w, 3), and its (coverage, texture share, gloss share),
    (h, w, 3); float32 in [0, 1]. `colour` replaces the vector's own base colour (used for jitter).
    """
    a, canvas = named(vector), Sketch(height, width)
    c = base_colour(vector) if colour is None else colour
    p = _plan(a, canvas.aspect)
    for part in (_behind, _body, _front):
        part(canvas, a, p, c)
    return canvas.layers()
