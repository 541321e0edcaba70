"""Where things lie: in the checkout this package was installed from, or in the current folder; and
what the folder of a run is called.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else Path.cwd()
DATA = ROOT / "data"
RUNS = ROOT / "runs"
CACHE = ROOT / "cache"
TABLES = ROOT / "tables"
FIGURES = ROOT / "figures"
RESOURCES = PACKAGE / "resources"

RUN = re.compile(
    r"(?!.*-holdout$)(?P<dataset>[\w-]+?)-k(?P<k>\d+)-s(?P<seed>\d+)"
    r"(-(?!strict|void)(?P<list>[\w-]+?))?(?P<void>-void)?(?P<strict>-strict)?"
)


def run_name(settings: Mapping[str, Any]) -> str:
    """A run's folder below runs/<profile>/, by its settings: "voc-k10-s0".

    Another list of unseen classes than the paper's, "void" where background is, "strict" and
    "holdout" are added to it.
    """
    name = "{dataset}-k{k}-s{seed}".format_map(settings)
    unseen_list = settings.get("unseen_list", "paper")
    name += f"-{unseen_list}" * (unseen_list != "paper")
    name += "-void" * (not settings.get("background", True))
    name += "-strict" * (settings["protocol"] == "strict")
    return name + "-holdout" * bool(settings.get("holdout"))


def run_settings(folder: Path) -> dict[str, Any]:
    """The settings that the folder of a run is named by, profile included.

    {} where it is no such name, or ends in "holdout": no name says how much is held out.
    """
    name = RUN.fullmatch(folder.name)
    if not name:
        return {}
    return {
        "profile": folder.absolute().parent.name,
        "dataset": name["dataset"],
        "k": int(name["k"]),
        "seed": int(name["seed"]),
        "protocol": "strict" if name["strict"] else "paper",
        "unseen_list": name["list"] or "paper",
        "background": not name["void"],
    }
