"""Methods and datasets of a package of one's own are known wherever zs3lib is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
METHOD = """
from zs3lib.method.methods import Ours, register

@register
class Soft(Ours):
    name = "soft"
    title = "Soft weights"
"""


def test_an_entry_point_registers_a_method_for_every_command(tmp_path):
    (tmp_path / "soft.py").write_text(METHOD)
    installed = tmp_path / "soft-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: soft\nVersion: 1.0\n")
    words = "check --profile toy --datasets voc --ks 2 --seeds 0 -p methods zs3net,soft".split()

    def answer() -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
        command = [sys.executable, "-m", "zs3lib", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert "unknown method 'soft'" in answer().stderr
    (installed / "entry_points.txt").write_text("[zs3lib]\nsoft = soft\n")
    assert answer().returncode == 0
