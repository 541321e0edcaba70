"""A tiny toy world, random weights for it, and settings that run in a second."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from zs3lib import checkpoints, stage1
from zs3lib.features import FeatureCache
from zs3lib.settings import Settings
from zs3lib.toy import world as toy


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=5, help="how many tiny runs to kill and resume (make test-kill: 20)")


def pytest_terminal_summary(terminalreporter):
    """How many bad inputs were answered as they should be (test_one_line.py)."""
    count = {
        kind: sum("test_a_bad_input_gets_one_line" in r.nodeid for r in terminalreporter.stats.get(kind, []))
        for kind in ("passed", "failed", "error", "skipped")
    }
    if tried := count["passed"] + count["failed"] + count["error"]:
        skipped = f" ({count['skipped']} skipped)" if count["skipped"] else ""
        terminalreporter.write_line(f"{count['passed']}/{tried} bad inputs answered by one clear line{skipped}")


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A toy world of 24 + 8 small images, VOC and Context; tests that change it change a copy."""
    root = tmp_path_factory.mktemp("data") / "world"
    toy.build(root, seed=0, train=24, val=8, short_side=64, workers=1, progress=False)
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A whole random ResNet-18 DeepLabv3+ without its classifier, as the toy profile's pretraining leaves it."""
    model = stage1.build_model(Settings.make(profile="toy", backbone_seed=99), 21)
    path = tmp_path_factory.mktemp("weights") / "toy.pt"
    checkpoints.save(path, {k: v for k, v in model.state_dict().items() if not k.startswith("classifier.")})
    return path


@pytest.fixture(scope="session")
def settings(world, weights):
    """Make tiny settings: settings(k=2, ...)."""

    def make(**changes) -> Settings:
        tiny = dict(
            profile="toy", k=2, crop_size=32, base_size=40, val_size=40, batch_size=4, stage1_steps=0, stage1_epochs=1,
            stage2_epochs=2, warmup_epochs=1, samples=8, views=1, device="cpu", data_root=str(world),
            weights=str(weights), word_vectors=str(world / "wordvectors.txt"),
        )  # fmt: skip
        return Settings.make(**(tiny | changes))

    return make


@pytest.fixture
def make_cache(tmp_path):
    """Write a feature cache of given label maps, (N, S, S); features are random, (N, S / 4, S / 4, 256)."""

    def make(labels: np.ndarray, name: str = "crafted", seed: int = 0) -> FeatureCache:
        folder, side = tmp_path / name, labels.shape[1] // 4
        folder.mkdir()
        labels = np.ascontiguousarray(labels, dtype=np.uint8)
        rng = np.random.default_rng(seed)
        features = rng.standard_normal((len(labels), side, side, 256)).astype(np.float16)
        np.save(folder / "features.npy", features)
        np.save(folder / "labels.npy", labels)
        sums = [[zlib.crc32(x), zlib.crc32(y)] for x, y in zip(features, labels)]
        (folder / "meta.json").write_text(json.dumps({"views": 1, "images": len(labels), "crc32": sums}))
        cache = FeatureCache.open(folder)
        assert cache is not None
        return cache

    return make


@pytest.fixture(scope="session")
def same():
    """Whether two state dicts hold the same bytes."""

    def compare(first: dict, second: dict) -> bool:
        return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)

    return compare
