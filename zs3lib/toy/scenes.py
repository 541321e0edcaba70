"""What stands where: plausible scenes for the two datasets, as lists of items for `drawing`.

Composition is by name (cows stand on grass, bottles near tables); the looks come from the table
of attributes alone. A scene is a list of items, back to front; the first covers the picture.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..classes import CONTEXT_CLASSES, VOC_CLASSES, VOID
from ..errors import ZS3Error
from .attributes import INI, TABLE, having, named
from .drawing import Item, render
from .shape import extent

OBJECTS = VOC_CLASSES[1:]


def _places(section: str) -> dict[str, list[list[str]]]:
    kinds = {name: text.split("|") for name, text in INI[section].items()}
    return {name: [words.split() for words in lists] for name, lists in kinds.items()}


SETTINGS = _places("settings")  # the objects met there, and what is above and below the horizon
SURROUNDINGS = _places("surroundings")  # what is far off, on the ground, and stands about
INDOORS = ("kitchen", "den")
SMALL = "book cup mouse plate food keyboard light bag".split()
SMALLER = "bottle flower sign clothes bedcloth computer bird".split()
ALOFT = ("aeroplane", "bird", "light", "sign")  # may hang above the ground


def start(seed: int, kind: int, index: int, short_side: int):
    """The random generator of one picture, which no other picture touches, and its (H, W)."""
    rng = np.random.default_rng([seed, kind, index])
    long_side = round(short_side * rng.choice([1.0, 1.2, 1.33]))
    wide = rng.random() < 0.65
    return rng, (short_side, long_side) if wide else (long_side, short_side)


def region(label: int, looks: np.ndarray, box=(0, 0, 1, 1)) -> Item:
    """A surface that fills a box, by default the whole picture."""
    return Item(label, looks, box, np.array([(-9, -1), (9, -1), (9, 2), (-9, 2)]))


def band(label: int, looks: np.ndarray, top: float, wave: float, rng: np.random.Generator) -> Item:
    """A surface from a wavy edge at `top` (share of the height) down to the lower edge."""
    x = np.linspace(-0.1, 1.1, 13)
    y = wave * (1 + np.sin(rng.uniform(0, 6) + rng.uniform(3, 8) * x))
    outline = [*zip(x, y), (1.1, 1.1), (-0.1, 1.1)]
    return Item(label, looks, (0, top, 1, 1), np.array(outline))


def standing(label: int, looks: np.ndarray, size, rng, *, scale=1.0, x=None, foot=None) -> Item:
    """A thing at its natural size times `scale`, jittered by 15 %.

    x: its centre; foot: its lower edge (shares of the picture; drawn from `rng` when None).
    """
    sides = np.array(extent(named(looks))) * scale * rng.uniform(0.85, 1.15, 2)
    dy, dx = np.minimum(sides, 0.95) * min(size) / size
    if x is None:
        x = rng.uniform(0.45 * dx, 1 - 0.45 * dx)
    if foot is None:
        foot = rng.uniform(min(0.95, dy + 0.02), 0.99)
    foot = max(foot, min(dy, 0.98))  # a tall thing keeps its head in the picture
    return Item(label, looks, (x - dx / 2, foot - dy, x + dx / 2, foot))


def _overlap(p: Item, q: Item) -> float:
    sides = np.minimum(p.box[2:], q.box[2:]) - np.maximum(p.box[:2], q.box[:2])
    return sides.clip(0).prod()


def _things(words, names, size, rng, horizon: float, scale: float) -> list[Item]:
    """Things on the ground that overlap little: each is tried at eight places, the freest kept."""
    items = []
    for word in words:
        smaller = 0.6 if word in SMALL else 0.85 if word in SMALLER else 1.0
        tries = []
        for _ in range(8):
            aloft = word in ALOFT and rng.random() < 0.6
            low, high = (0.35, 0.7) if aloft else (max(0.55, horizon + 0.12), 0.98)
            place = {"scale": scale * smaller, "foot": rng.uniform(low, high)}
            tries.append(standing(names.index(word), TABLE[word], size, rng, **place))
        items.append(min(tries, key=lambda item: sum(_overlap(item, other) for other in items)))
    return sorted(items, key=lambda item: item.box[3])


def _company(words: Sequence[str], rng, chances: Sequence[float]) -> tuple[str, list[str]]:
    """(setting, `words` and perhaps VOC objects met where the first is); a chance for each more."""
    looks = TABLE[words[0]]  # a word of no setting is met where the object most like it is (cosine)
    kin = max(OBJECTS, key=lambda name: looks @ TABLE[name] / np.linalg.norm(TABLE[name]))
    setting = rng.choice([name for name in SETTINGS if kin in SETTINGS[name][0]])
    met = list(words)
    for chance in chances:
        if rng.random() >= chance:
            break
        # Like meets like: photographs show a second chair or sheep more often than chance would.
        met.append(words[0] if rng.random() < 0.12 else rng.choice(SETTINGS[setting][0]))
    return setting, met


def voc_scene(words: Sequence[str], names: Sequence[str], size, rng) -> list[Item]:
    """A VOC style scene that shows every one of `words`, one or two, and up to three things.

    names: the class of each label, VOC's 21 and `words` among them. All backdrop is label 0, in
    looks toned down towards "background".
    """
    setting, met = _company(words, rng, (0.6, 0.4)[len(words) - 1 :])
    surfaces = np.stack([TABLE[rng.choice(options)] for options in SETTINGS[setting][1:]])
    surfaces = (surfaces + TABLE["background"]) / 2
    surfaces[:, having("materials")] *= 0.6
    horizon = rng.uniform(0.25, 0.65)
    scale = (1.4, 1.15, 1.0)[min(len(met), 3) - 1] * rng.uniform(0.9, 1.1)
    things = _things(met, names, size, rng, horizon, scale)
    return [region(0, surfaces[0]), band(0, surfaces[1], horizon, 0.05, rng), *things]


def context_scene(first: str, size, rng) -> list[Item]:
    """A Context style scene, cut into labelled stuff, with the class `first` in it."""
    inside = first in ("ceiling", "wall", *sum(SURROUNDINGS["indoors"], []))
    if inside and first in sum(SURROUNDINGS["outdoors"], []):
        inside = rng.random() < 0.5
    objects = []
    if first in OBJECTS:
        setting, objects = _company([first], rng, (0.55, 0.3))
        inside = setting in INDOORS
    elif rng.random() < 0.7:
        settings = [name for name in SETTINGS if (name in INDOORS) == inside]
        objects = [rng.choice(SETTINGS[rng.choice(settings)][0])]
    kinds = SURROUNDINGS["indoors" if inside else "outdoors"]
    far, near, thing = (first if first in kind else rng.choice(kind) for kind in kinds)
    things = [*objects, thing, rng.choice(kinds[2])][: len(objects) + rng.integers(1, 3)]
    horizon = rng.uniform(0.38, 0.6)
    items = _far_off(first, inside, [far, rng.choice(kinds[0])], size, rng, horizon)
    items.append(band(*_named(near), horizon, 0.03, rng))
    if not inside and rng.random() < 0.5:
        second = _named(rng.choice(kinds[1]))
        items.append(band(*second, horizon + rng.uniform(0.15, 0.3), 0.12, rng))
    if first == "background" or rng.random() < 0.12:  # a corner that nobody labelled
        left = rng.choice([-0.7, 0.7])
        top = rng.uniform(0.1, 0.4)
        items.append(region(*_named("background"), (left, top, left + 1, top + 0.4)))
    return items + _things(things, CONTEXT_CLASSES, size, rng, horizon, 1.0)


def _named(word: str) -> tuple[int, np.ndarray]:
    return CONTEXT_CLASSES.index(word), TABLE[word]


def _far_off(first: str, inside: bool, far: list[str], size, rng, horizon: float) -> list[Item]:
    """Sky or wall, perhaps a ceiling, and one or two things behind the ground."""
    items = [region(*_named("wall" if inside else "sky"))]
    if inside and (first == "ceiling" or rng.random() < 0.4):
        items.append(region(*_named("ceiling"), (0, 0, 1, rng.uniform(0.12, 0.22))))
    for k, word in enumerate(far[: rng.integers(1, 3)]):
        x = (0.05 + 0.45 * k + rng.uniform(0.05, 0.4)) % 1.0
        foot = horizon + (rng.uniform(-0.05, 0.02) if word == "window" else 0.08)
        place = {"scale": rng.uniform(0.95, 1.25), "x": x, "foot": foot}
        items.append(standing(*_named(word), size, rng, **place))
    return items


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


def drawable(words: Sequence[str]) -> list[str]:
    """Those of `words`, each once, that the toy world can draw and that VOC does not list."""
    once = dict.fromkeys(word.strip() for word in words)
    return [word for word in once if word in TABLE and word not in VOC_CLASSES]


def stranger(
    words: Sequence[str], names: Sequence[str], index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, VOC style, of words that no dataset lists ("zebra"), and its label map.

    It shows every one of `words` besides up to two VOC objects, and is of no toy world on disk.
    names: the class of each label; VOC's 21 and `words` must be among them.

    Raises ZS3Error on a word that the toy world cannot draw.
    """
    unknown = [f"'{word}'" for word in words if word not in TABLE]
    if unknown or not words:
        what = ", ".join(unknown) or "these words"
        remedy = "give a picture of your own with -p image FILE"
        raise ZS3Error(f"the toy world cannot draw {what}: {remedy}")
    kind = 2 + zlib.crc32(" ".join(words).encode())  # 0 and 1 are VOC's and Context's pictures
    rng, size = start(0, kind, index, 128)
    return picture(voc_scene(words, names, size, rng), size, rng, border=True)
