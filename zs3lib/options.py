"""Command-line options that several commands share: which runs a table, a report or a figure is made of."""

from __future__ import annotations

import argparse
from pathlib import Path

from .classes import DATASETS
from .paths import RUNS


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add --profile and --runs."""
    parser.add_argument("--profile", default="toy", help="which runs: toy, lite or paper (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the run records (default: %(default)s)")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add --datasets, --ks and --seeds: which of the profile's runs."""
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, help="only these datasets' tables (default: both)")
    parser.add_argument(
        "--ks", nargs="+", type=int, metavar="K", help="only these K (default: all run and the paper's)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="only runs of these seeds (default: all)")
