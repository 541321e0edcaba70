"""What a run says of itself: its code, its machine, and what is saved of it when it stops early."""

import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..paths import ROOT


def git() -> dict:
    """The checkout's commit, and whether tracked files differ from it; None where no git is."""
    words = "git describe --always --dirty --abbrev=40 --exclude=*".split()
    try:
        said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git on this machine
        said = ""
    return {"commit": said.removesuffix("-dirty") or None, "dirty": said.endswith("-dirty")}


def versions() -> dict[str, str]:
    """Versions that a run record names."""
    found = {"python": platform.python_version(), "zs3lib": "not installed"}
    for name in ("zs3lib", "torch", "torchvision", "numpy"):
        with suppress(PackageNotFoundError):  # a checkout that is not installed
            found[name] = version(name)
    return found


def saved(run_folder: Path) -> str:
    """One line: what of an unfinished run is saved, and how to go on."""
    network = re.split(r"-s\d", run_folder.name)[0]
    backbones = run_folder.parent.glob(f"backbones/{network}-*/*.pt")
    newest = sorted(backbones, key=lambda path: path.stat().st_mtime)[-1:]
    part = " up to its last whole epoch"
    found = [f"stage 1{part * (path.stem == 'training')} ({path})" for path in newest]
    found += [f"stage 2{part} ({path})" for path in run_folder.glob("training.pt")]
    found += [f"self-training{part} ({path})" for path in run_folder.glob("self_training.pt")]
    if not found:
        return "interrupted; nothing is saved yet: the same command starts anew"
    return f"interrupted; saved: {'; '.join(found)}; the same command goes on from there"


def peak_memory_mb() -> float:
    """The most memory that this process has held so far, MB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of a MB: bytes there, kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
