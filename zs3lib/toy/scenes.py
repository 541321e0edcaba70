"""What stands where: plausible scenes for the two datasets, as lists of items for the renderer.

Composition is by name (cows stand on grass, bottles near tables); the looks come from the attribute table alone.
"""

from __future__ import annotations

import numpy as np

from ..classes import CONTEXT_CLASSES, VOC_CLASSES
from .attributes import ATTRIBUTES, TABLE
from .render import Item, place
from .texture import PATTERN

OBJECTS = VOC_CLASSES[1:]
# Groups in which the VOC objects meet (named twice: met more often, so that all classes come about equally often),
# with the surfaces they are seen against in a VOC style picture (all class 0).
SETTINGS = {
    "street": ("bicycle bicycle bus car dog person", ("sky", "building", "wall"), ("road", "sidewalk", "ground")),
    "depot": ("motorbike train train bus person", ("sky", "wall"), ("road", "platform", "ground")),
    "farm": ("cow dog horse horse person sheep bird", ("sky", "mountain", "grass"), ("grass", "ground")),
    "kitchen": ("bottle chair diningtable diningtable person", ("wall", "wall"), ("floor", "floor")),
    "parlour": ("bottle cat cat chair pottedplant sofa sofa tvmonitor dog", ("wall", "curtain"), ("floor", "bedcloth")),
    "shore": ("boat boat boat bird person", ("sky", "mountain"), ("water",)),
    "field": ("aeroplane aeroplane aeroplane bird person", ("sky", "sky"), ("road", "grass", "snow")),
}  # fmt: skip
SETTINGS = {name: (tuple(objects.split()), above, below) for name, (objects, above, below) in SETTINGS.items()}

# Context: stuff on the horizon, on the ground and small things, indoors and out (tiled so that all are seen).
OUTDOOR = {
    "far": ("building", "mountain", "tree", "fence"),
    "near": ("grass", "road", "sidewalk", "ground", "water", "snow", "track", "platform"),
    "things": ("bench", "sign", "truck", "rock", "flower", "tree", "wood", "light"),
}
INDOOR = {
    "far": ("window", "door", "curtain", "cabinet", "shelves"),
    "near": ("floor",),
    "things": (
        "bag",
        "bed",
        "book",
        "clothes",
        "computer",
        "cup",
        "food",
        "keyboard",
        "light",
        "mouse",
        "plate",
        "bedcloth",
        "flower",
        "sign",
    ),
}
SMALL = {"book": 0.7, "cup": 0.5, "mouse": 0.45, "plate": 0.6, "food": 0.55, "keyboard": 0.7, "light": 0.55, "bag": 0.7,
         "bottle": 0.85, "flower": 0.8, "sign": 0.8, "clothes": 0.8, "bedcloth": 0.9, "computer": 0.8,
         "bird": 0.9}  # fmt: skip
IS_MATERIAL = np.isin(ATTRIBUTES, tuple(PATTERN))
ALOFT = ("aeroplane", "bird", "light", "sign")  # may hang above the ground


def _pick(rng: np.random.Generator, options):
    return options[rng.integers(len(options))]


def _mild(name: str, share: float) -> np.ndarray:
    """The attributes of a VOC style backdrop: the surface `name`, toned down towards "background"."""
    mixed = (1 - share) * TABLE[name] + share * TABLE["background"]
    return np.where(IS_MATERIAL, 0.6 * mixed, mixed)


def _band(rng: np.random.Generator, top: float, bottom: float, wave: float = 0.03) -> tuple[tuple[float, float], ...]:
    """A region across the whole picture with a wavy upper edge."""
    x = np.linspace(-0.02, 1.02, 9)
    y = top + wave * np.sin(rng.uniform(0, 6) + rng.uniform(3, 8) * x) + rng.uniform(-1, 1) * wave * (x - 0.5)
    return tuple(zip(x.tolist(), y.tolist(), strict=True)) + ((1.02, bottom), (-0.02, bottom))


def _object(name: str, label: int, size, rng: np.random.Generator, horizon: float, scale: float = 1.0) -> Item:
    """A thing standing on the ground below the horizon (or anywhere, if it can hang above it)."""
    foot = rng.uniform(max(0.55, horizon + 0.12), 0.98)
    if name in ALOFT and rng.random() < 0.6:
        foot = rng.uniform(0.35, 0.7)
    vector = TABLE[name]
    return Item(label, vector, box=place(vector, size, rng, scale=scale * SMALL.get(name, 1.0), foot=foot))


def companions(first: str, rng: np.random.Generator, more: tuple[float, float] = (0.6, 0.4)) -> tuple[str, list[str]]:
    """(setting, names of 1-3 VOC objects that meet there), the first given."""
    setting = _pick(rng, [name for name, (objects, _, _) in SETTINGS.items() if first in objects])
    names = [first]
    for chance in more:
        if rng.random() >= chance:
            break
        # like meets like: real photographs show a second chair or another sheep more often than chance
        names.append(first if rng.random() < 0.12 else _pick(rng, SETTINGS[setting][0]))
    return setting, names


def _spread(names: list[str], first: list[Item], label_of, size, rng, horizon: float, scale: float) -> list[Item]:
    """Things at places that overlap little: each is drawn up to eight times and the freest place is kept."""
    items = list(first)
    for name in names:
        tries = [_object(name, label_of(name), size, rng, horizon, scale) for _ in range(8)]
        items.append(min(tries, key=lambda t: sum(_overlap(t.box, other.box) for other in items)))
    return sorted(items, key=lambda item: item.box[3])


def _overlap(p, q) -> float:
    wide, high = min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1])
    return max(wide, 0) * max(high, 0)


def voc_scene(first: str, size: tuple[int, int], rng: np.random.Generator) -> tuple[list[Item], np.ndarray, int]:
    """A VOC style scene with the object `first` in it.

    Returns (items back to front, backdrop vector, number of leading items that are backdrop). All backdrop is label 0.
    """
    setting, names = companions(first, rng)
    _, above, below = SETTINGS[setting]
    horizon = float(rng.uniform(0.25, 0.65))
    ground = Item(0, _mild(_pick(rng, below), 0.5), outline=_band(rng, horizon, 1.02))
    upper = _mild(_pick(rng, above), 0.5)
    scale = {1: 1.4, 2: 1.15, 3: 1.0}[len(names)] * rng.uniform(0.9, 1.1)
    items = _spread(names, [], VOC_CLASSES.index, size, rng, horizon, scale)
    return [ground, *items], upper, 1


def context_scene(first: str, size: tuple[int, int], rng: np.random.Generator) -> tuple[list[Item], np.ndarray]:
    """A Context style scene, cut into labelled stuff, with the class `first` in it.

    Returns (items back to front, backdrop vector); what no item covers is background, label 0.
    """
    inside = first in INDOOR["far"] + INDOOR["near"] + INDOOR["things"] + ("ceiling", "wall")
    if first in ("light", "sign", "flower"):
        inside = bool(rng.random() < 0.5)
    objects = [first] if first in OBJECTS else []
    if objects:
        setting, objects = companions(first, rng, more=(0.55, 0.3))
        inside = setting in ("kitchen", "parlour")
    elif rng.random() < 0.7:
        setting = _pick(rng, ("kitchen", "parlour") if inside else ("street", "depot", "farm", "shore", "field"))
        objects = [_pick(rng, SETTINGS[setting][0])]
    place_of = INDOOR if inside else OUTDOOR
    label = CONTEXT_CLASSES.index

    def wanted(kind: str) -> str:
        return first if first in place_of[kind] else _pick(rng, place_of[kind])

    horizon = float(rng.uniform(0.38, 0.6))
    upper = "wall" if inside else "sky"
    items = [Item(label(upper), TABLE[upper], outline=((-0.02, -0.02), (1.02, -0.02), (1.02, 1.02), (-0.02, 1.02)))]
    if inside and (first == "ceiling" or rng.random() < 0.4):
        depth = float(rng.uniform(0.12, 0.22))
        items.append(Item(label("ceiling"), TABLE["ceiling"],
                          outline=((-0.02, -0.02), (1.02, -0.02), (1.02, depth), (-0.02, depth))))  # fmt: skip
    far = [wanted("far")] + ([_pick(rng, place_of["far"])] if rng.random() < 0.5 else [])
    for k, name in enumerate(far):
        x = (0.05 + 0.45 * k + rng.uniform(0.05, 0.4)) % 1.0
        foot = horizon + (rng.uniform(-0.05, 0.02) if name == "window" else 0.06)
        box = place(TABLE[name], size, rng, scale=float(rng.uniform(0.95, 1.25)), x=float(x), foot=float(foot))
        items.append(Item(label(name), TABLE[name], box=box))
    ground = wanted("near")
    items.append(Item(label(ground), TABLE[ground], outline=_band(rng, horizon, 1.02, 0.0 if inside else 0.025)))
    if not inside and rng.random() < 0.5:
        second = _pick(rng, place_of["near"])
        items.append(
            Item(label(second), TABLE[second], outline=_band(rng, horizon + rng.uniform(0.2, 0.35), 1.02, 0.05))
        )
    if first == "background" or rng.random() < 0.12:
        items.append(_gap(rng))
    names = objects + [wanted("things")] + ([_pick(rng, place_of["things"])] if rng.random() < 0.6 else [])
    things = _spread(names, [], label, size, rng, horizon, 1.0)
    return items + things, TABLE["background"]


def _gap(rng: np.random.Generator) -> Item:
    """A corner that nobody labelled: the little true background that Context has."""
    x, wide, high = float(rng.choice([0.0, 1.0])), float(rng.uniform(0.2, 0.4)), float(rng.uniform(0.25, 0.5))
    inner = wide if x == 0 else 1 - wide
    edge = -0.02 if x == 0 else 1.02
    y = float(rng.uniform(0.1, 0.4))
    return Item(0, TABLE["background"], outline=((edge, y), (inner, y + 0.06), (inner, y + high), (edge, y + high)))
