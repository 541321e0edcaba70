"""A tiny toy world, random weights for it, and settings that run in a second."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import EPOCHS, TINY

from zs3lib import Run, storage
from zs3lib.method import deeplab
from zs3lib.settings import Settings
from zs3lib.toy import world as toy

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=3, help="tiny runs to kill and resume")


def pytest_terminal_summary(terminalreporter):
    """How many bad inputs were answered as they should be (test_bad_input.py)."""
    count = {
        kind: sum("gets_one_line" in r.nodeid for r in terminalreporter.stats.get(kind, []))
        for kind in ("passed", "failed", "error", "skipped")
    }
    if tried := count["passed"] + count["failed"] + count["error"]:
        skipped = f" ({count['skipped']} skipped)" if count["skipped"] else ""
        terminalreporter.write_line(
            f"{count['passed']}/{tried} bad inputs answered by one clear line{skipped}"
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A toy world of 24 + 8 small images, VOC and Context; a test that changes it copies it."""
    root = tmp_path_factory.mktemp("data") / "world"
    toy.ensure(root, seed=0, train=24, val=8, short_side=64, workers=1, progress=False)
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A whole random toy network without its classifier, as its pretraining leaves it."""
    model = deeplab.build(Settings.make(profile="toy", backbone_seed=99), 21)
    path = tmp_path_factory.mktemp("weights") / "toy.pt"
    state = model.state_dict()
    storage.save(path, {k: v for k, v in state.items() if not k.startswith("classifier.")})
    return path


@pytest.fixture(scope="session")
def places(world, weights) -> dict:
    """The tiny world's files as parameters of a notebook, or of Settings."""
    return {
        "data_root": str(world),
        "weights": str(weights),
        "word_vectors": str(world / "wordvectors.txt"),
    }


@pytest.fixture(scope="session")
def settings(places):
    """Make tiny settings: settings(k=2, ...)."""

    def make(**changes) -> Settings:
        return Settings.make(**({"profile": "toy", "k": 2} | TINY | EPOCHS | places | changes))

    return make


@pytest.fixture(scope="session")
def trained(settings, tmp_path_factory) -> Path:
    """A finished run of K = 10, its cache kept; a test copies what it spoils."""
    root = tmp_path_factory.mktemp("trained")
    run = Run(settings(k=10), runs_root=root / "runs", cache_root=root / "cache")
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save(keep_cache=True)
    return root


@pytest.fixture(scope="session")
def same():
    """Whether two state dicts hold the same bytes."""

    def compare(first: dict, second: dict) -> bool:
        return first.keys() == second.keys() and all(
            torch.equal(first[key], second[key]) for key in first
        )

    return compare
