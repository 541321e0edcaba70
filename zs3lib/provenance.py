"""Where results come from: hashes of code and files, the commit, the versions of packages."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import paths


def source_hash(*modules: str) -> str:
    """Hash of what modules of zs3lib do, given as "stage1" or "data/loading".

    Comments, docstrings and formatting are left out, so that mending those redoes nothing.
    """
    code = []
    for module in modules:
        tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
        code.append(ast.unparse(tree))
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def file_hash(path: str) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def git() -> dict:
    """The checkout's commit, and whether tracked files differ from it; None where there is no git."""

    def run(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=paths.ROOT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        return {"commit": run("rev-parse", "HEAD") or None, "dirty": bool(run("status", "--porcelain", "-uno"))}
    except OSError:  # no git on this machine
        return {"commit": None, "dirty": None}


def versions() -> dict[str, str]:
    """Versions a run record names."""
    found = {"python": platform.python_version()}
    for name in ("zs3lib", "torch", "torchvision", "numpy", "numba"):
        with contextlib.suppress(PackageNotFoundError):  # numba is no must
            found[name] = version(name)
    return found
