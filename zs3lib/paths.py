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
    dataset: str,
    k: int,
    seed: int,
    *,
    unseen_list: str = "paper",
    protocol: str = "paper",
    holdout: float = 0.0,
    background: bool = True,
) -> str:
    """A run's folder below runs/<profile>/: "voc-k10-s0".

    Another list of unseen classes than the paper's, "void" where background is, "strict" and
    "holdout" are added to it.
    """
    name = f"{dataset}-k{k}-s{seed}" + f"-{unseen_list}" * (unseen_list != "paper")
    name += "-void" * (not background)
    return name + "-strict" * (protocol == "strict") + "-holdout" * bool(holdout)
