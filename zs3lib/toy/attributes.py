"""What every word of the toy world is like: one table that drives both the pictures and the corpus.

An attribute vector has one number in [0, 1] per name in ATTRIBUTES. The renderer (`render.py`) draws from that vector
alone and the corpus (`corpus.py`) mentions an attribute as often as it is strong, so words carry news about looks.
"""

# ruff: noqa: C408 (dict(animal=1, ...) keeps the table readable)

from __future__ import annotations

import numpy as np

ATTRIBUTES = (
    # what it is
    "animal", "human", "vehicle", "furniture", "plant", "indoor", "high",
    # what it is made of: textures
    "furry", "woolly", "metal", "wooden", "fabric", "stony", "smooth", "shiny", "spotted", "striped", "lettered",
    # its parts
    "wheels", "winged", "horned", "legs", "windows", "screen", "backrest", "neck", "floats", "hollow",
    # its outline
    "boxy", "elongated", "tall", "big", "pointed",
    # its colour
    "pale", "dark", "warm", "cool", "green", "yellow",
)  # fmt: skip

# Eleven of these words are seen at K = 10 and a word-to-look rule has to be learned from them: so every colour and every
# material is strong in at least one of them, and no colour goes with one kind of thing alone.
_VOC = {
    "background": dict(smooth=0.5, pale=0.3, cool=0.2, green=0.2, plant=0.1, stony=0.2, high=0.2),
    "aeroplane": dict(vehicle=0.8, metal=0.8, shiny=0.5, wheels=0.15, winged=1, windows=0.3, elongated=0.9, big=0.8,
                      high=0.6, pale=0.9),
    "bicycle": dict(vehicle=0.8, metal=0.6, wheels=1, hollow=0.9, elongated=0.45, warm=0.8, shiny=0.2),
    "bird": dict(animal=0.9, furry=0.5, winged=0.9, legs=0.25, high=0.6, elongated=0.35, cool=0.9, spotted=0.4),
    "boat": dict(vehicle=0.5, wooden=0.7, floats=1, elongated=0.6, big=0.5, pale=0.8, striped=0.5),
    "bottle": dict(indoor=0.5, smooth=0.3, shiny=0.9, neck=1, tall=0.9, green=0.9, dark=0.3),
    "bus": dict(vehicle=1, metal=0.5, wheels=0.5, windows=1, boxy=0.9, elongated=0.6, big=1, green=0.9),
    "car": dict(vehicle=1, metal=0.9, shiny=0.9, wheels=0.7, windows=0.5, boxy=0.3, elongated=0.6, big=0.4, dark=0.8),
    "cat": dict(animal=1, furry=0.9, legs=0.45, striped=0.9, indoor=0.5, warm=0.5, yellow=0.4, elongated=0.25),
    "chair": dict(furniture=1, wooden=0.9, legs=0.9, backrest=1, hollow=0.4, boxy=0.6, indoor=0.8, tall=0.35, warm=0.9),
    "cow": dict(animal=1, furry=0.6, horned=0.6, legs=0.7, spotted=0.9, big=0.8, elongated=0.5, dark=0.7),
    "diningtable": dict(furniture=1, wooden=0.9, fabric=0.4, legs=0.8, hollow=0.5, boxy=0.9, indoor=0.9, elongated=0.5, big=0.3,
                        yellow=0.8),
    "dog": dict(animal=1, furry=0.9, legs=0.6, spotted=0.8, indoor=0.4, elongated=0.35, yellow=0.6, dark=0.2),
    "horse": dict(animal=1, furry=0.6, legs=1, neck=0.6, big=0.9, elongated=0.45, warm=0.8, dark=0.4),
    "motorbike": dict(vehicle=1, metal=0.9, shiny=0.6, wheels=1, hollow=0.5, elongated=0.45, cool=0.8, dark=0.3),
    "person": dict(human=1, fabric=0.9, legs=0.7, tall=0.9, indoor=0.4, striped=0.6, cool=0.7),
    "pottedplant": dict(plant=0.8, green=0.9, tall=0.35, indoor=0.5, spotted=0.3),
    "sheep": dict(animal=1, woolly=0.7, furry=0.4, horned=0.3, legs=0.45, pale=0.9, elongated=0.35, big=0.3),
    "sofa": dict(furniture=1, fabric=0.9, backrest=0.8, legs=0.1, boxy=0.6, elongated=0.65, big=0.6, indoor=0.9,
                 green=0.8),
    "train": dict(vehicle=1, metal=0.8, wheels=0.3, windows=0.9, boxy=0.8, elongated=1, big=1, yellow=0.8),
    "tvmonitor": dict(screen=0.9, boxy=1, indoor=0.9, shiny=0.8, smooth=0.3, dark=1, elongated=0.25),
}  # fmt: skip
_CONTEXT = {
    "bag": dict(fabric=0.7, backrest=0.15, boxy=0.4, dark=0.5, warm=0.6, indoor=0.4, shiny=0.2),
    "bed": dict(furniture=1, fabric=0.5, wooden=0.4, legs=0.3, backrest=0.4, boxy=0.8, elongated=0.8, big=0.8, indoor=1,
                pale=0.4, warm=0.2),
    "bench": dict(furniture=0.8, wooden=0.8, legs=0.7, backrest=0.5, hollow=0.7, boxy=0.8, elongated=0.8, dark=0.2,
                  green=0.2, striped=0.2),
    "book": dict(lettered=0.9, boxy=1, indoor=0.7, pale=0.5, warm=0.4, tall=0.2),
    "building": dict(stony=0.6, windows=0.8, boxy=1, tall=0.3, big=1, warm=0.3, pale=0.3),
    "cabinet": dict(furniture=0.9, wooden=0.8, boxy=1, tall=0.4, big=0.5, indoor=1, dark=0.3, warm=0.3),
    "ceiling": dict(smooth=0.8, indoor=0.9, high=0.7, pale=0.8, yellow=0.15),
    "clothes": dict(fabric=1, human=0.15, indoor=0.5, cool=0.5, striped=0.4, spotted=0.1),
    "computer": dict(metal=0.4, screen=0.5, boxy=0.9, indoor=0.9, pale=0.2, dark=0.3, tall=0.3, shiny=0.2,
                     lettered=0.2),
    "cup": dict(shiny=0.7, smooth=0.6, indoor=0.7, pale=0.6, cool=0.6, boxy=0.4, tall=0.2),
    "door": dict(wooden=0.7, boxy=1, tall=0.9, big=0.5, indoor=0.6, warm=0.2, pale=0.2, smooth=0.2),
    "fence": dict(wooden=0.5, hollow=0.9, boxy=1, elongated=0.9, big=0.4, pale=0.4, metal=0.2),
    "floor": dict(wooden=0.5, smooth=0.3, indoor=0.9, yellow=0.5, warm=0.2, shiny=0.2),
    "flower": dict(plant=0.6, green=0.2, warm=0.7, pale=0.3, spotted=0.4, tall=0.2),
    "food": dict(spotted=0.6, warm=0.6, yellow=0.7, indoor=0.6, elongated=0.3),
    "grass": dict(plant=0.5, green=0.9, furry=0.4, yellow=0.2),
    "ground": dict(stony=0.6, warm=0.3, yellow=0.3, spotted=0.2),
    "keyboard": dict(lettered=1, boxy=0.9, elongated=1, indoor=0.9, dark=0.4, metal=0.2),
    "light": dict(shiny=0.9, high=0.8, indoor=0.6, yellow=0.7, pale=0.8, neck=0.3),
    "mountain": dict(stony=0.8, pointed=0.9, big=1, elongated=0.6, cool=0.4, dark=0.3),
    "mouse": dict(smooth=0.7, shiny=0.4, indoor=0.8, dark=0.5, cool=0.2, elongated=0.4),
    "curtain": dict(fabric=0.8, striped=0.5, tall=0.7, boxy=0.9, indoor=0.9, warm=0.5, pale=0.2, big=0.4),
    "platform": dict(stony=0.5, smooth=0.3, boxy=0.8, elongated=0.9, big=0.6, pale=0.3, yellow=0.3, striped=0.2),
    "sign": dict(lettered=0.7, metal=0.3, neck=0.1, legs=0.3, boxy=0.8, tall=0.3, warm=0.4, yellow=0.8, high=0.3),
    "plate": dict(smooth=0.9, shiny=0.6, elongated=0.8, indoor=0.7, pale=1),
    "road": dict(stony=0.4, smooth=0.4, dark=0.5, big=0.3),
    "rock": dict(stony=1, pointed=0.4, dark=0.2, spotted=0.2, warm=0.1),
    "shelves": dict(furniture=0.8, wooden=0.6, hollow=0.8, boxy=1, tall=0.5, indoor=0.9, pale=0.2, lettered=0.2),
    "sidewalk": dict(stony=0.5, smooth=0.2, pale=0.5, lettered=0.15),
    "sky": dict(smooth=1, high=1, cool=0.7, pale=0.6, big=0.4),
    "snow": dict(smooth=0.4, woolly=0.3, pale=1, cool=0.2),
    "bedcloth": dict(fabric=0.9, indoor=0.9, pale=0.6, elongated=0.6, spotted=0.2, green=0.2, yellow=0.1),
    "track": dict(metal=0.5, stony=0.7, striped=0.5, dark=0.3, elongated=0.6, warm=0.2),
    "tree": dict(plant=1, green=0.7, wooden=0.5, tall=0.4, big=0.9, dark=0.3),
    "truck": dict(vehicle=1, metal=0.7, wheels=0.7, windows=0.3, boxy=0.8, elongated=0.6, big=0.9, yellow=0.5,
                  pale=0.2),
    "wall": dict(smooth=0.5, stony=0.3, indoor=0.7, pale=0.5, yellow=0.3, boxy=0.4),
    "water": dict(smooth=0.3, shiny=0.4, striped=0.25, cool=0.9, dark=0.2, floats=0.2),
    "window": dict(windows=0.9, smooth=0.6, shiny=0.6, boxy=1, indoor=0.5, pale=0.5, cool=0.4, high=0.2),
    "wood": dict(wooden=1, elongated=0.6, warm=0.4, dark=0.2),
}  # fmt: skip
_EXTRA = {  # in the corpus and drawable, but in no dataset: classes a reader can invent an experiment with
    "zebra": dict(animal=1, furry=0.4, legs=1, neck=0.55, big=0.8, elongated=0.45, striped=1, pale=0.5),
    "tiger": dict(animal=1, furry=0.8, legs=0.55, big=0.7, elongated=0.5, striped=0.9, warm=0.6, yellow=0.5),
    "tractor": dict(vehicle=1, metal=0.7, wheels=1, windows=0.4, boxy=0.5, elongated=0.3, big=0.7, green=0.7),
    "scooter": dict(vehicle=0.8, metal=0.6, shiny=0.5, wheels=0.7, hollow=0.6, elongated=0.35, pale=0.4, cool=0.3),
    "van": dict(vehicle=1, metal=0.7, shiny=0.5, wheels=0.6, windows=0.6, boxy=0.7, elongated=0.5, big=0.7, pale=0.8),
    "stool": dict(furniture=1, wooden=0.8, legs=1, hollow=0.6, boxy=0.4, indoor=0.8, tall=0.2, warm=0.3),
    "armchair": dict(furniture=1, fabric=0.8, backrest=0.8, legs=0.15, boxy=0.6, indoor=1, big=0.3, green=0.3,
                     warm=0.3),
    "palm": dict(plant=0.9, green=0.8, wooden=0.4, tall=0.7, big=0.8, yellow=0.3, pointed=0.3),
}  # fmt: skip


def vector(**strengths: float) -> np.ndarray:
    """An attribute vector, (len(ATTRIBUTES),) float32 in [0, 1], from its non-zero attributes.

    Raises ValueError on an attribute that is not in ATTRIBUTES.
    """
    unknown = set(strengths) - set(ATTRIBUTES)
    if unknown:
        raise ValueError(f"unknown attribute(s) {sorted(unknown)}: choose from {', '.join(ATTRIBUTES)}")
    return np.clip([strengths.get(name, 0.0) for name in ATTRIBUTES], 0, 1).astype(np.float32)


# name -> attribute vector: the 21 VOC names, the 39 further Context names, and EXTRA
TABLE = {name: vector(**strengths) for name, strengths in (_VOC | _CONTEXT | _EXTRA).items()}
EXTRA = tuple(_EXTRA)


def made_up(rng: np.random.Generator, n: int, *, apart: float = 0.6) -> np.ndarray:
    """`n` attribute vectors of things that do not exist, (n, len(ATTRIBUTES)) float32 in [0, 1].

    Each mixes the shape of one listed word, the material of another and fresh colours, then shakes all three; mixtures
    nearer than `apart` (Euclidean) to a listed word are drawn again, so no dataset's class is among them.
    """
    listed = np.stack(list(TABLE.values()))
    colours = slice(ATTRIBUTES.index("pale"), None)
    materials = slice(ATTRIBUTES.index("furry"), ATTRIBUTES.index("wheels"))
    found = []
    while len(found) < n:
        shape, material, tint = listed[rng.integers(len(listed), size=3)]
        new = shape.copy()
        mix = rng.uniform(0.4, 1)
        new[materials] = mix * material[materials] + (1 - mix) * shape[materials]
        new[colours] = 0.6 * tint[colours] + rng.uniform(0, 0.7, new[colours].shape) * (
            rng.random(new[colours].shape) < 0.3
        )
        new = np.where(new > 0, new + rng.normal(0, 0.12, new.shape), 0).clip(0, 1).astype(np.float32)
        if np.linalg.norm(listed - new, axis=1).min() >= apart:
            found.append(new)
    return np.stack(found) if found else np.zeros((0, len(ATTRIBUTES)), np.float32)
