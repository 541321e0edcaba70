"""The house stays thin: who imports what, how deep, and in which lines."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import EPOCHS, TINY

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "zs3lib"
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {"ctypes", "cffi", "llvmlite", "numba"}
# What each room may import of zs3lib, besides itself; the root may import everything.
CORE = {"classes", "errors", "paths", "seeds", "storage"}
MAY_IMPORT = {
    "method": {"classes", "errors", "seeds", "parallel"},
    "data": CORE,
    "runs": CORE
    | {"settings", "profiles", "parallel", "method", "data", "extras"}
    | {"results.records", "toy"},
    "extras": CORE | {"method", "data"},
    "results": {"classes", "errors", "paths", "storage", "method.methods"},
    "plots": {"classes", "errors", "storage", "method.methods"},
    "toy": CORE | {"data", "method", "settings"},
    "explore": CORE | {"settings", "runs", "method", "data", "toy"},
}
NO_TORCH = ("results", "plots")


def name_of(path: Path) -> str:
    """A module's name below zs3lib: "" is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """All that a file imports, at its top or in a function; what is of zs3lib begins with "."."""
    found = set()
    package = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            of = [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
            found |= {f".{name}" for name in of} if node.level else set(of)
    return {name.removeprefix("zs3lib") for name in found}


def used(name: str) -> set[str]:
    """The modules of zs3lib that a module imports."""
    found = {x[1:] for x in imported(MODULES[name]) if x.startswith(".")}
    return {x for x in found if x in MODULES} - {name, ""}


def deepest(name: str, above: tuple[str, ...] = ()) -> list[str]:
    """The longest chain of imports that begins with a module; fails on a circle."""
    assert name not in above, f"a circle: {' > '.join((*above, name))}"
    below = [deepest(x, (*above, name)) for x in used(name)]
    return [name, *max(below, key=len, default=[])]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_file_imports_only_what_its_room_may(path):
    tops = {x.split(".")[0] for x in imported(path)}
    room = path.relative_to(PACKAGE).parts[0]
    assert not tops & (FORBIDDEN | ({"torch", "torchvision"} if room in NO_TORCH else set()))
    if room in MAY_IMPORT:
        allowed = MAY_IMPORT[room] | {room}
        own = used(name_of(path))
        assert [x for x in own if not any(f"{x}.".startswith(f"{a}.") for a in allowed)] == []


def test_imports_go_one_way_and_at_most_six_deep():
    chain = max((deepest(name) for name in MODULES), key=len)
    assert len(chain) <= 6, " > ".join(chain)


def test_tables_and_figures_load_no_torch():
    names = [f"zs3lib.{name}" for name in MODULES if name.split(".")[0] in NO_TORCH]
    code = f"import sys, {', '.join(names)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_no_line_is_too_long_and_no_check_is_switched_off():
    off = ("no" + "qa", "fmt: " + "skip", "fmt: " + "off")
    found = []
    for path in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if len(line) > 100 or any(word in line for word in off):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


def test_the_core_trains_without_notebook_packages(places, tmp_path):
    """A machine that only trains may lack these."""
    lacking = "papermill IPython ipywidgets nbconvert nbformat seaborn matplotlib jupyterlab"
    code = f"""
import sys
sys.modules |= dict.fromkeys({lacking.split()})
import zs3lib
for name in zs3lib.__all__:
    getattr(zs3lib, name)
settings = zs3lib.Settings.make(k=2, methods="ours", **{TINY | EPOCHS | places})
run = zs3lib.Run(settings, runs_root="runs", cache_root="cache")
run.train_backbone()
run.train_heads()
run.evaluate()
run.save()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/toy/voc-k2-s0/metrics.json").is_file()
