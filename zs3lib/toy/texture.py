"""Colour and texture of a surface, as smooth functions of its attribute vector."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import numpy as np

from .attributes import ATTRIBUTES

BANK = 512  # side of the stored noise fields, pixels; crops start anywhere in the first half

# How far one full attribute moves the colour of a mid grey surface (RGB, 0..1): linear, so that colours add up.
GREY = np.array([0.47, 0.47, 0.47])
TINT = {
    "pale": (0.36, 0.36, 0.36), "dark": (-0.34, -0.34, -0.34), "warm": (0.24, -0.14, -0.22),
    "cool": (-0.24, -0.02, 0.26),
    "green": (-0.22, 0.12, -0.24), "yellow": (0.22, 0.13, -0.26), "wooden": (0.10, 0.0, -0.09),
    "plant": (-0.05, 0.03, -0.06), "metal": (-0.02, 0.0, 0.03), "high": (0.02, 0.03, 0.05),
    "indoor": (0.04, 0.01, -0.03),
    "stony": (0.02, 0.0, -0.01),
}  # fmt: skip

# Strength of the luminance pattern each material brings, as a share of the surface's brightness.
PATTERN = {
    "furry": 0.24, "woolly": 0.30, "metal": 0.13, "wooden": 0.24, "fabric": 0.20, "stony": 0.22, "plant": 0.36,
    "spotted": 0.50, "striped": 0.42, "lettered": 0.45,
}  # fmt: skip


def named(vector: np.ndarray) -> SimpleNamespace:
    """The attribute vector with its numbers under their names: `a.furry`, `a.wheels`, ... (floats)."""
    return SimpleNamespace(**dict(zip(ATTRIBUTES, np.asarray(vector, float).tolist(), strict=True)))


def base_colour(vector: np.ndarray) -> np.ndarray:
    """The surface's mean colour, (3,) float RGB in [0.03, 0.97]: linear in the attributes until it clips."""
    a = vars(named(vector))
    return np.clip(GREY + sum(a[name] * np.array(tint) for name, tint in TINT.items()), 0.03, 0.97)


def _noise(rng: np.random.Generator, sx: float, sy: float, angle: float = 0.0) -> np.ndarray:
    """Periodic Gaussian noise of unit variance, blurred by (sx, sy) pixels along axes turned by `angle` radians."""
    fy, fx = np.meshgrid(np.fft.fftfreq(BANK), np.fft.rfftfreq(BANK), indexing="ij")
    u, v = np.cos(angle) * fx + np.sin(angle) * fy, -np.sin(angle) * fx + np.cos(angle) * fy
    spectrum = np.fft.rfft2(rng.normal(size=(BANK, BANK))) * np.exp(-2 * np.pi**2 * ((sx * u) ** 2 + (sy * v) ** 2))
    field = np.fft.irfft2(spectrum, s=(BANK, BANK))
    return (field - field.mean()) / field.std()


@lru_cache(maxsize=1)
def bank() -> dict[str, np.ndarray]:
    """One (512, 512) float32 pattern per material, about zero mean, range about [-2, 2]; made once per process."""
    rng = np.random.default_rng(20210)
    y, x = np.mgrid[:BANK, :BANK].astype(float)
    warp = 3.0 * _noise(rng, 14, 14)
    curls = np.abs(_noise(rng, 2.2, 2.2))
    leaves = _noise(rng, 1.8, 1.2, 0.8)
    rows = ((y % 6) < 3) * (_noise(rng, 2.0, 0.1) > -0.2)  # dashes in lines, like writing seen from afar
    fields = {
        "furry": _noise(rng, 0.5, 4.0, 0.5),
        "woolly": 1.6 * (curls - curls.mean()) / curls.std() * 0.7,
        "metal": _noise(rng, 30, 1.5),
        "wooden": 0.7 * _noise(rng, 16, 0.7) + 0.5 * _noise(rng, 30, 2.5),
        "fabric": np.sin(2 * np.pi * (x + y) / 4.4) * np.sin(2 * np.pi * (x - y) / 4.4) * 1.7,
        "stony": 0.75 * _noise(rng, 0.7, 0.7) + 0.6 * _noise(rng, 4, 4),
        "plant": np.tanh(1.5 * leaves) + 0.4 * _noise(rng, 5, 5),
        "spotted": -np.tanh(5 * (_noise(rng, 6, 5) - 0.45)) - 0.4,
        "striped": np.tanh(2.5 * np.sin(2 * np.pi * (x + warp) / 8.5)),
        "lettered": 0.35 - 1.4 * rows,
    }
    return {name: fields[name].astype(np.float32) for name in PATTERN}


def pattern(vector: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The surface's luminance pattern, `shape` (h, w) float32 around 0, to be used as colour * (1 + pattern).

    Linear in the attributes. The crop offsets are drawn for every material, present or not, so that two vectors under
    the same `rng` state share their noise and an attribute's change shows as a continuous change.
    """
    h, w = min(shape[0], BANK // 2), min(shape[1], BANK // 2)
    a, fields = vars(named(vector)), bank()
    out = np.zeros((h, w), np.float32)
    for (name, strength), (top, left) in zip(
        PATTERN.items(), rng.integers(BANK // 2, size=(len(PATTERN), 2)), strict=True
    ):
        if a[name] > 0:
            out += np.float32(strength * a[name]) * fields[name][top : top + h, left : left + w]
    out *= np.float32(1 - 0.35 * a["smooth"])
    return out if out.shape == tuple(shape) else np.pad(out, ((0, shape[0] - h), (0, shape[1] - w)), mode="reflect")


def gloss(vector: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Light added by form and shine, `shape` (h, w) float32: brighter on top, with a soft glint on shiny things."""
    a = named(vector)
    y = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(0, 1, shape[1], dtype=np.float32)[None]
    glint = np.exp(-(((x - 0.3 - 0.25 * y) / 0.07) ** 2)) + 0.7 * np.exp(-(((y - 0.3) / 0.07) ** 2)) * np.ones_like(x)
    return (0.10 - 0.05 * a.smooth) * (0.45 - y) + np.float32(0.24 * a.shiny) * glint
