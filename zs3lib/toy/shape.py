"""The parts of a thing, drawn from its attributes alone.

Every part's size is a continuous function of attributes and goes to nothing as its attribute does:
the same functions for whatever is drawn. Lengths are in units of the thing's height; x runs over
[0, aspect], y over [0, 1] from the top; things face right. `s` is a `drawing.Sketch`, `a` the
attributes by name, `b` the body, `c` the base colour (RGB).
"""

from types import SimpleNamespace

import numpy as np

from .attributes import colours

PAINTS = SimpleNamespace(**colours("paints"))


def lerp(p, q, t):
    return p + (q - p) * t


def extent(a: SimpleNamespace) -> tuple[float, float]:
    """(height, width) of a thing, as shares of a picture's short side."""
    aspect = 0.10 + 0.75 * a.elongated - 1.05 * a.tall - 0.15 * a.backrest + 0.1 * a.vehicle
    side = 0.33 + 0.20 * a.big + 0.06 * a.tall + 0.05 * a.hollow
    return side * np.exp(-aspect / 2), side * np.exp(aspect / 2)


class Body:
    """Where the body sits between what stands on it and what carries it."""

    def __init__(self, a: SimpleNamespace, aspect: float):
        self.aspect = aspect
        self.beast = a.animal * (1 - a.human)
        self.soft = a.furniture * a.fabric * a.backrest
        top = 0.8 * a.backrest + 0.5 * a.neck + 0.3 * self.beast + 0.5 * a.human + 0.9 * a.floats
        top += 1.2 * a.plant + 0.5 * a.winged + 0.35 * a.hollow * a.wheels
        top += 0.7 * a.vehicle * a.windows * (1 - a.boxy)
        high = 1.0 - 0.75 * a.hollow * (1 - 0.2 * a.wheels)
        low = 0.75 * a.legs * (1 + 0.5 * a.hollow) + 0.35 * a.human * a.legs + 0.15 * a.screen
        low += 0.75 * a.hollow * a.wheels + 0.35 * a.winged * (1 - self.beast)
        self.radius = a.wheels * (0.22 + 0.10 * a.hollow)
        room = (1 - 0.9 * self.radius) / (top + high + low)  # the wheels stand on the ground
        self.y0 = top * room
        self.y1 = (top + high) * room
        self.high = high * room
        narrow = 0.03 + 0.2 * self.beast + 0.22 * a.human + (0.35 + 0.6 * a.wooden) * a.plant
        self.half = 0.5 * aspect * (1 - narrow - 0.48 * a.hollow * a.wheels)
        self.mid = (0.5 - 0.09 * self.beast) * aspect

    def at(self, u: float, v: float) -> tuple[float, float]:
        """The point at u in [-1, 1] across the body and v in [0, 1] down it."""
        return self.mid + u * self.half, self.y0 + v * self.high

    def outline(self, a: SimpleNamespace) -> np.ndarray:
        """(96, 2): a superellipse, narrowed upwards when pointed, downwards when it floats."""
        t = np.linspace(0, 1, 48)
        power = 2 + 10 * a.boxy**2 + 1.5 * a.furniture + 1.5 * a.human + 2 * a.plant + 3 * a.neck
        half = np.clip(1 - np.abs(2 * t - 1) ** power, 0, 1) ** (1 / power)
        half = half * (1 - 0.9 * a.pointed * (1 - t)) * (1 - 0.25 * a.plant * t)
        half = lerp(half, 1 - 0.45 * t**2, a.floats)
        right = np.stack(self.at(half, t), axis=1)
        left = right * (-1, 1) + (2 * self.mid, 0)
        return np.concatenate([right, left[::-1]])


def _behind(s, a, b, c) -> None:
    """Shadow, far wing, fin, sail, tail, legs, backrest and the frame between wheels."""
    s.ellipse(b.mid, 0.975, 0.45 * b.aspect, 0.025, 0 * c, cover=0.35 * (1 - a.high))
    tip = (b.mid - 0.7 * a.winged * b.half, lerp(b.y0 + 0.5 * b.high, 0.02, a.winged))
    s.polygon([b.at(0.15 * a.winged, 0.5), b.at(-0.35 * a.winged, 0.5), tip], c * 0.72)
    rise = 0.5 - 0.6 * a.winged
    fin = [b.at(-0.75, 0.5), b.at(-1, 0.5), b.at(-1 - 0.1 * a.winged, rise), b.at(-0.88, rise)]
    s.polygon(fin, c * 0.8)
    s.line([b.at(0, 0.05), (b.mid, b.y0 * (1 - a.floats))], 0.025 * a.floats, PAINTS.brown, own=0.3)
    foot = 0.92 * b.y0
    luff = [(b.mid + 0.03, foot), (b.mid + 0.03, lerp(foot, 0.03 * b.y0, a.floats))]
    s.polygon([*luff, (b.mid + 0.8 * a.floats * b.half, foot)], lerp(c, 1, 0.5), own=0.25)
    tail = b.beast * (0.03 + 0.05 * a.furry) * (1 - 0.6 * a.winged)
    s.line([b.at(-0.9, 0.3), b.at(-1.17, 0.5), b.at(-1.2, 0.95)], tail, c * 0.8)
    thick = a.legs * (0.045 + 0.06 * b.beast + 0.085 * a.human) * (1 - 0.35 * a.winged)
    spread = lerp(0.86 - 0.08 * b.beast, 0.42, a.human)  # two legs under an upright body
    for side, light in ((-0.62, 0.75), (0.62, 0.75), (-1, 1), (1, 1)):
        x, y = b.at(side * spread, 0.65)
        s.line([(x, y), (x + 0.02 * side, 1)], thick, c * lerp(0.82, 0.45, a.human) * light)
    rise = b.y0 * (1 - a.backrest)
    back = 0.5 * (b.y1 - 0.2 * b.high - rise) * (a.backrest > 0)
    s.box(b.mid, rise + back, 0.92 * b.half, back, c * 0.85)
    pedals = (b.mid, 1 - b.radius)
    rear = (0.22 * b.aspect, 1 - b.radius)
    front = (0.78 * b.aspect, 1 - b.radius)
    saddle = b.at(-1, 0)
    head = b.at(1, 0)
    bars = (head[0] - 0.06, head[1] - 0.13)
    tubes = [(saddle, rear), (head, front), (pedals, head), (pedals, rear), (pedals, saddle)]
    for tube in [*tubes, (head, bars)]:
        s.line(tube, 0.075 * a.hollow * a.wheels, c)


def _middle(s, a, b, c) -> None:
    """The body with its roof, neck, slats, cushions, windows and screen."""
    cab = a.vehicle * a.windows * (1 - a.boxy) * (1 - a.floats)
    top = b.y0 - b.y0 * cab
    foot = 0.3 * min(1, 4 * cab)
    gable = [(b.mid - 0.5 * b.half, top), (b.mid + 0.3 * b.half, top)]
    s.polygon([b.at(-0.72, foot), *gable, b.at(0.62, foot)], c * 0.9)
    stem = a.neck * (1 - a.animal) * (1 - a.human)
    neck = 0.5 * (b.y0 * stem + 0.3 * b.high * (stem > 0))
    s.box(b.mid, b.y0 * (1 - stem) + neck, 0.36 * b.half, neck, c * 0.9)
    bark = lerp(c, lerp(PAINTS.brown, c, 0.3), 0.85 * a.plant)
    s.polygon(b.outline(a), bark, own=1 - 0.5 * a.plant)
    slat = a.hollow * a.boxy * (1 - a.wheels) * (1 - a.legs)
    for u in np.arange(-3, 4) / 3.5:  # shade, not holes: the label stays in one piece
        s.box(*b.at(u, 0.56), 0.05 * slat * b.half, 0.44 * b.high, c * 0.35, own=0.3)
    s.box(*b.at(0, 1 - 0.46 * b.soft), 0.7 * b.half, 0.16 * b.high * b.soft, c * 1.15)
    s.line([(b.mid, 0.6 * b.y0), b.at(0, 0.7)], 0.03 * b.soft, c * 0.5)
    tall = b.y1 - top
    wide = b.half * lerp(0.50, 0.9, max(a.boxy, 1 - a.vehicle))
    for row in range(3):  # a vehicle keeps the upper
        share = 1 - a.vehicle * (row > 0)
        y = top + tall * (0.22 + 0.05 * a.vehicle + 0.27 * row)
        ry = 0.105 * tall * a.windows * share * (1 + 0.45 * a.vehicle)
        for u in (-0.75, -0.25, 0.25, 0.75):
            x = b.mid - 0.06 * b.half * a.vehicle + wide * u
            rx = 0.19 * wide * a.windows * share
            s.box(x, y, rx, ry, lerp(c, PAINTS.glass, 0.9), own=0.3)
    sill = 0.05 * a.vehicle * (1 - a.hollow) * (1 - a.winged) * (1 - a.floats)
    s.box(*b.at(0, 1 - 2 * sill), 0.95 * b.half, sill * b.high, c * 0.55, own=0.4)
    s.line([b.at(0, 0.95), (b.mid, 0.98)], 0.12 * a.screen, c * 0.6, own=0.3)
    s.box(b.mid, 0.975, 0.3 * b.half, 0.025 * a.screen, c * 0.6, own=0.3)
    size = (0.86 * b.half * a.screen, 0.40 * b.high * a.screen)
    s.box(*b.at(0, 0.48), *size, lerp(c, PAINTS.display, 0.9))


def _front(s, a, b, c) -> None:
    """Near wing, arms, armrests, wheels, and a crown of leaf clumps around the top of the body."""
    tip = lerp(b.y0 + 0.5 * b.high, lerp(0.98, 0, b.beast), a.winged)
    ends = [(b.mid - u * a.winged * b.half, tip) for u in (0.75, 0.6)]
    s.polygon([b.at(0.3 * a.winged, 0.5), b.at(-0.25 * a.winged, 0.6), *ends], c * 0.88)
    rest = 0.5 * (b.high + 0.1 * b.soft) * (b.soft > 0)
    r = b.radius
    hub = r * (0.5 + 0.3 * a.hollow)
    for side in (-1, 1):
        s.line([b.at(0.9 * side, 0.12), b.at(1.12 * side, 1)], 0.06 * a.human, c * 0.85)
        s.box(b.at(0.86 * side, 0)[0], b.y1 - rest, 0.16 * b.half * b.soft, rest, c * 1.25)
        x = (0.5 + side * (0.28 + 0.02 * a.boxy)) * b.aspect
        strut = [(x, b.at(0, 0.7)[1]), (x, 1 - r)]
        s.line(strut, 0.12 * a.wheels * a.winged, PAINTS.hub * 0.7, own=0.2)
        s.ellipse(x, 1 - r, r, r, PAINTS.tyre, own=0.2)
        s.ellipse(x, 1 - r, hub, hub, lerp(PAINTS.hub, PAINTS.spoked, a.hollow), own=0.3)
        for angle in np.arange(4) * np.pi / 4:
            spoke = np.outer([-0.75 * r, 0.75 * r], [np.cos(angle), np.sin(angle)]) + (x, 1 - r)
            s.line(spoke, 0.018 * a.hollow * a.wheels, PAINTS.tyre * 2, own=0.2)
    middle = b.y0 * lerp(1.0, 0.56, a.plant)
    trunk = [(0.5 * b.aspect, b.y0 + 0.05), (0.5 * b.aspect, middle)]
    s.line(trunk, 0.1 * a.plant, PAINTS.brown, own=0.6)
    for k in range(13):
        far = lerp(0.2, 1.0, a.plant) * np.sqrt((12 - k) / 13)
        x = b.aspect * (0.5 + 0.34 * far * np.cos(2.4 * k))
        y = middle + 0.375 * b.y0 * far * np.sin(2.4 * k)
        size = a.plant * (0.125 + 0.035 * np.cos(5.0 * k))
        s.ellipse(x, y, size * (1 + 0.3 * a.tall), size, c * (0.85 + 0.3 * (k * 7 % 13) / 13))


def _head(s, a, b, c) -> None:
    """Neck, ears, horns, face, snout or beak, hair and eyes."""
    r = lerp(b.beast * 0.34 * b.high * (1 - 0.2 * a.neck), 0.105 * a.human, a.human)
    x = lerp(b.aspect - 1.45 * r, b.mid, a.human)
    y = r * 1.35 + 0.03 * b.beast
    y = lerp(y, max(y, b.at(0, 0.15)[1]), b.beast * a.winged * 0.8)
    tone = lerp(c, PAINTS.skin, 0.95 * a.human)
    shoulder = (lerp(b.at(0.62, 0)[0], b.mid, a.human), b.y0 + lerp(0.35 * b.high, 0.1, a.human))
    throat = r * lerp(1.25, 0.8, a.human) * max(b.beast, a.human)
    s.line([shoulder, (x, y)], throat, tone * 0.95)
    ear = 0.75 * a.furry * b.beast
    horn = 0.9 * a.horned
    for side in (-0.55, 0.35):
        sides = [(x + (side + d * ear) * r, y - 0.6 * r) for d in (-0.4, 0.4)]
        s.polygon([*sides, (x + side * r * 1.3, y - (0.7 + ear) * r)], c * 0.7)
        bend = [(1, 0.7), (1.9, 0.8 + 0.6 * horn), (1.7, 0.8 + horn)]
        points = [(x + side * u * r, y - v * r) for u, v in bend]
        s.line(points, 0.04 * a.horned, PAINTS.horn, own=0.1)
    s.ellipse(x, y, r, r * lerp(1, 1.2, a.human), tone, own=lerp(1, 0.15, a.human))
    snout = b.beast * (1 - 0.7 * a.winged) * r
    s.ellipse(x + 0.75 * r, y + 0.3 * r, 0.72 * snout, 0.48 * snout, tone * 0.9)
    beak = b.beast * a.winged * r
    gape = [(x + 0.7 * r, y - 0.3 * beak), (x + 0.7 * r, y + 0.3 * beak)]
    s.polygon([*gape, (x + 0.7 * r + 0.75 * beak, y)], PAINTS.beak, own=0.1)
    s.ellipse(x, y - 0.7 * r, 0.95 * r * a.human, 0.6 * r * a.human, PAINTS.hair, own=0.5)
    for side in (-0.35, 0.35):  # a beast is seen from the side: its eyes are at one place
        eye = (x + (0.25 * b.beast + side * a.human) * r, y + lerp(-0.2, 0.15, a.human) * r)
        s.ellipse(*eye, 0.13 * r, 0.13 * r, PAINTS.tyre, own=0)


def draw(s, a: SimpleNamespace, aspect: float, colour: np.ndarray) -> None:
    """Draw a thing of attributes `a` and base colour (3,) on a canvas of width `aspect`."""
    body = Body(a, aspect)
    for parts in (_behind, _middle, _front, _head):
        parts(s, a, body, colour)
