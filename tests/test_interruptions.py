"""A run killed at any moment ends with the digits of one that was not; make test-kill does 20."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("interruptions.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which this system has not")
def test_killed_runs_resume_to_identical_digits(request):
    kills = request.config.getoption("--kills")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", str(kills), "--live", "1"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills + 1}/{kills + 1} resumed to identical digits" in done.stdout
