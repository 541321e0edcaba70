"""What stands where: plausible scenes for the two datasets, as lists of items for `drawing`.

Composition is by name (cows stand on grass, bottles near tables); the looks come from the table
of attributes alone. A scene is a list of items, back to front; the first covers the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..classes import CONTEXT_CLASSES, VOC_CLASSES, VOID
from .attributes import TABLE, having
from .drawing import Item, named, render
from .shape import extent

OBJECTS = VOC_CLASSES[1:]
# Where VOC's objects meet (named twice: met more often, so that all come about equally often), and
# the surfaces they are seen against: above and below the horizon.
SETTINGS = {
    "street": ("bicycle bicycle bus car dog person", "sky building wall", "road sidewalk ground"),
    "depot": ("motorbike train train bus person", "sky wall", "road platform ground"),
    "farm": ("cow dog horse horse person sheep bird", "sky mountain grass", "grass ground"),
    "shore": ("boat boat boat bird person", "sky mountain", "water"),
    "field": ("aeroplane aeroplane aeroplane bird person", "sky", "road grass snow"),
    "kitchen": ("bottle chair diningtable diningtable person", "wall", "floor"),
    "parlour": (
        "bottle cat cat chair pottedplant sofa sofa tvmonitor dog",
        "wall curtain",
        "floor bedcloth",
    ),
}
INDOORS = ("kitchen", "parlour")
# Context's stuff and things: on the horizon, on the ground, standing about.
OUTDOOR = {
    "far": "building mountain tree fence",
    "near": "grass road sidewalk ground water snow track platform",
    "things": "bench sign truck rock flower tree wood light",
}
INDOOR = {
    "far": "window door curtain cabinet shelves",
    "near": "floor",
    "things": "bag bed book clothes computer cup food keyboard light mouse plate bedcloth flower "
    "sign",
}
EITHER = ("light", "sign", "flower")  # indoors and out
SMALL = "book cup mouse plate food keyboard light bag".split()
SMALLER = "bottle flower sign clothes bedcloth computer bird".split()
ALOFT = ("aeroplane", "bird", "light", "sign")  # may hang above the ground


def start(
    seed: int, kind: int, index: int, short_side: int
) -> tuple[np.random.Generator, tuple[int, int]]:
    """The random generator of one picture, which no other picture touches, and its (H, W)."""
    rng = np.random.default_rng([seed, kind, index])
    long_side = round(short_side * rng.choice([1.0, 1.2, 1.33]))
    wide = rng.random() < 0.65
    return rng, (short_side, long_side) if wide else (long_side, short_side)


def _pick(rng: np.random.Generator, options: str) -> str:
    return str(rng.choice(options.split()))


def everywhere(label: int, looks: np.ndarray) -> Item:
    """A surface that covers the whole picture."""
    return Item(label, looks, (0, 0, 1, 1), np.array([(-1, -1), (9, -1), (9, 2), (-1, 2)]))


def band(label: int, looks: np.ndarray, top: float, wave: float, rng: np.random.Generator) -> Item:
    """A surface from a wavy edge at `top` (share of the height) down to the lower edge."""
    x = np.linspace(-0.1, 1.1, 13)
    y = wave * (1 + np.sin(rng.uniform(0, 6) + rng.uniform(3, 8) * x))
    outline = [*zip(x, y), (1.1, 1.1), (-0.1, 1.1)]
    return Item(label, looks, (0, top, 1, 1), np.array(outline))


def standing(
    label: int,
    looks: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    scale: float = 1.0,
    x: float | None = None,
    foot: float | None = None,
) -> Item:
    """A thing at its natural size times `scale`, jittered by 15 %.

    x: its centre; foot: its lower edge (shares of the picture; drawn from `rng` when None).
    """
    h, w = size
    sides = np.array(extent(named(looks))) * scale * rng.uniform(0.85, 1.15, 2)
    dy, dx = np.minimum(sides, 0.95) * min(size) / (h, w)
    if x is None:
        x = rng.uniform(0.45 * dx, 1 - 0.45 * dx)
    if foot is None:
        foot = rng.uniform(min(0.95, dy + 0.02), 0.99)
    foot = max(foot, min(dy, 0.98))  # a tall thing keeps its head in the picture
    return Item(label, looks, (x - dx / 2, foot - dy, x + dx / 2, foot))


def _overlap(p: Item, q: Item) -> float:
    wide = min(p.box[2], q.box[2]) - max(p.box[0], q.box[0])
    high = min(p.box[3], q.box[3]) - max(p.box[1], q.box[1])
    return max(wide, 0) * max(high, 0)


def _things(words, names, size, rng, horizon: float, scale: float) -> list[Item]:
    """Things on the ground that overlap little: each is tried at eight places, the freest kept."""
    items = []
    for word in words:
        smaller = 0.6 if word in SMALL else 0.85 if word in SMALLER else 1.0
        tries = []
        for _ in range(8):
            aloft = word in ALOFT and rng.random() < 0.6
            foot = rng.uniform(0.35, 0.7) if aloft else rng.uniform(max(0.55, horizon + 0.12), 0.98)
            look = {"scale": scale * smaller, "foot": foot}
            tries.append(standing(names.index(word), TABLE[word], size, rng, **look))
        items.append(min(tries, key=lambda item: sum(_overlap(item, other) for other in items)))
    return sorted(items, key=lambda item: item.box[3])


def kin(word: str) -> str:
    """The VOC object whose looks are most like those of `word` (cosine); an object's is itself."""
    looks = TABLE[word]
    return max(OBJECTS, key=lambda name: looks @ TABLE[name] / np.linalg.norm(TABLE[name]))


def company(words: Sequence[str], rng, chances: Sequence[float]) -> tuple[str, list[str]]:
    """(setting, `words` and perhaps VOC objects met where the first is); a chance for each more."""
    first = kin(words[0])
    setting = str(rng.choice([name for name in SETTINGS if first in SETTINGS[name][0].split()]))
    met = list(words)
    for chance in chances:
        if rng.random() >= chance:
            break
        # Like meets like: photographs show a second chair or sheep more often than chance would.
        met.append(words[0] if rng.random() < 0.12 else _pick(rng, SETTINGS[setting][0]))
    return setting, met


def _mild(name: str) -> np.ndarray:
    """Looks of a VOC style backdrop: a surface toned down towards "background"."""
    mixed = (TABLE[name] + TABLE["background"]) / 2
    return np.where(having("materials"), 0.6 * mixed, mixed)


def voc_scene(words: Sequence[str], names: Sequence[str], size, rng) -> list[Item]:
    """A VOC style scene that shows every one of `words`, one or two, and up to three things.

    names: the class of each label, VOC's 21 and `words` among them. All backdrop is label 0.
    """
    setting, met = company(words, rng, (0.6, 0.4)[len(words) - 1 :])
    _, above, below = SETTINGS[setting]
    horizon = rng.uniform(0.25, 0.65)
    ground = band(0, _mild(_pick(rng, below)), horizon, 0.05, rng)
    scale = (1.4, 1.15, 1.0)[min(len(met), 3) - 1] * rng.uniform(0.9, 1.1)
    things = _things(met, names, size, rng, horizon, scale)
    return [everywhere(0, _mild(_pick(rng, above))), ground, *things]


def context_scene(first: str, size, rng) -> list[Item]:
    """A Context style scene, cut into labelled stuff, with the class `first` in it."""
    names = CONTEXT_CLASSES
    inside = first in ("ceiling", "wall", *" ".join(INDOOR.values()).split())
    if first in EITHER:
        inside = rng.random() < 0.5
    objects = []
    if first in OBJECTS:
        setting, objects = company([first], rng, (0.55, 0.3))
        inside = setting in INDOORS
    elif rng.random() < 0.7:
        settings = [name for name in SETTINGS if (name in INDOORS) == inside]
        objects = [_pick(rng, SETTINGS[str(rng.choice(settings))][0])]
    kinds = INDOOR if inside else OUTDOOR
    wanted = {k: first if first in kinds[k].split() else _pick(rng, kinds[k]) for k in kinds}
    horizon = rng.uniform(0.38, 0.6)
    upper = "wall" if inside else "sky"
    items = [everywhere(names.index(upper), TABLE[upper])]
    if inside and (first == "ceiling" or rng.random() < 0.4):
        depth = rng.uniform(0.12, 0.22)
        flat = everywhere(names.index("ceiling"), TABLE["ceiling"])
        items.append(Item(flat.label, flat.looks, (0, 0, 1, depth), flat.outline))
    items += _horizon(wanted["far"], kinds["far"], size, rng, horizon)
    items.append(band(names.index(wanted["near"]), TABLE[wanted["near"]], horizon, 0.03, rng))
    if not inside and rng.random() < 0.5:
        second = _pick(rng, kinds["near"])
        top = horizon + rng.uniform(0.15, 0.3)
        items.append(band(names.index(second), TABLE[second], top, 0.12, rng))
    if first == "background" or rng.random() < 0.12:
        items.append(_gap(rng))
    more = [wanted["things"]]
    if rng.random() < 0.6:
        more.append(_pick(rng, kinds["things"]))
    return items + _things(objects + more, names, size, rng, horizon, 1.0)


def _horizon(first: str, others: str, size, rng, horizon: float) -> list[Item]:
    """One or two of what stands far off (or at the wall), its foot behind the ground's edge."""
    items = []
    for k, word in enumerate([first, _pick(rng, others)][: rng.integers(1, 3)]):
        x = (0.05 + 0.45 * k + rng.uniform(0.05, 0.4)) % 1.0
        foot = horizon + (rng.uniform(-0.05, 0.02) if word == "window" else 0.08)
        look = {"scale": rng.uniform(0.95, 1.25), "x": x, "foot": foot}
        items.append(standing(CONTEXT_CLASSES.index(word), TABLE[word], size, rng, **look))
    return items


def _gap(rng) -> Item:
    """A corner that nobody labelled: the little true background that Context has."""
    wide = rng.uniform(0.2, 0.4)
    left = rng.choice([0.0, 1 - wide])
    top = rng.uniform(0.1, 0.4)
    outline = np.array([(-1, -1), (9, -1), (9, 2), (-1, 2)])
    box = (left, top, left + wide, top + rng.uniform(0.25, 0.5))
    return Item(0, TABLE["background"], box, outline)


def picture(items: Sequence[Item], size, rng, *, border: bool) -> tuple[np.ndarray, np.ndarray]:
    """The picture of a scene, (H, W, 3) uint8 RGB, and its label map, (H, W) uint8.

    size: (H, W). border: put VOID, two pixels wide, around everything that is not label 0.
    """
    image, owner = render(items, size, rng)
    mask = np.array([item.label for item in items], np.uint8)[owner]
    if border:
        owner = np.where(mask == 0, -1, owner)
        mask[ndimage.maximum_filter(owner, 3) != ndimage.minimum_filter(owner, 3)] = VOID
    return image, mask
