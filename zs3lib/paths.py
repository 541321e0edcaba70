"""Where things lie: the checkout this package was installed from, or the current folder."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else Path.cwd()
DATA = ROOT / "data"
RUNS = ROOT / "runs"
CACHE = ROOT / "cache"
TABLES = ROOT / "tables"
FIGURES = ROOT / "figures"
RESOURCES = PACKAGE / "resources"


def run_name(
    dataset: str, k: int, seed: int, *, protocol: str = "paper", holdout: float = 0.0
) -> str:
    """A run's folder below runs/<profile>/: "voc-k10-s0", with "-strict" or "-holdout" if it is."""
    name = f"{dataset}-k{k}-s{seed}"
    return name + "-strict" * (protocol == "strict") + "-holdout" * bool(holdout)
