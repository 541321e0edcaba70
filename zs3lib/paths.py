"""Where things lie: the checkout this package was installed from, or the current folder."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else Path.cwd()
DATA = ROOT / "data"
RUNS = ROOT / "runs"
CACHE = ROOT / "cache"
TABLES = ROOT / "tables"
FIGURES = ROOT / "figures"
RESOURCES = PACKAGE / "resources"
