"""A made-up dataset of any size, and what a run on it costs in a process of its own.

python tests/benchmarks/worlds.py '{"images": 8, "size": 64}'     # seconds and memory, as JSON
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zs3lib.classes import DATASETS, VOID, Dataset, Split, register, split
from zs3lib.data.segmentation import SegmentationData
from zs3lib.method.deeplab import build
from zs3lib.runs.facts import peak_memory_mb
from zs3lib.runs.run import Run
from zs3lib.settings import Settings
from zs3lib.storage import save

FILES = 16  # pictures that are drawn; a larger dataset lists them again
# Every stage once over all images, all layers trained, no generated vector rejected.
ONCE = {"methods": "ours", "frozen_blocks": 0, "stage1_epochs": 1, "stage1_steps": 0, "views": 1}
ONCE |= {"stage2_epochs": 1, "warmup_epochs": 0, "tau": 0.0, "cell_stride": 1, "workers": 0}


def made_up(classes: int, k: int) -> Split:
    """Register "made_up", a dataset of so many nameless classes; its split with k unseen."""
    names = tuple(f"class{c}" for c in range(classes))
    register(Dataset("made_up", "Made up", names, "worlds:MadeUp", unseen_order=names[-10:]))
    return split("made_up", k)


def label_maps(count: int, parts: Split, size: int, objects: int = 2) -> Tensor:
    """(count, size, size) uint8: background, so many objects, some void.

    Every second map has an unseen class.
    """
    maps = np.zeros((count, size, size), np.uint8)
    edges = np.linspace(size // 16, size - size // 16, objects + 1).astype(int)
    for i in range(count):
        rng = np.random.default_rng(i)
        drawn = rng.choice(parts.seen[1:], objects, replace=False)
        if i % 2:
            drawn[-1] = rng.choice(parts.unseen)
        for c, left, right in zip(drawn, edges, edges[1:]):
            maps[i, size // 5 : 7 * size // 8, left:right] = c
    maps[:, size // 5, size // 2 :] = VOID
    return torch.from_numpy(maps)


class MadeUp(SegmentationData):
    """Pictures of noise with such label maps."""

    def __init__(self, root: str | Path, part: str):
        self.names = DATASETS["made_up"].classes
        source = Path(root, "count.txt")
        pictures = [Path(root, f"{i % FILES}.jpg") for i in range(int(source.read_text()))]
        files = [(f"{part}_{i}", p, p.with_suffix(".png")) for i, p in enumerate(pictures)]
        super().__init__(files, source)


def world(root: Path, *, images: int, size: int, classes: int, k: int, **changes) -> Run:
    """A run on a made-up dataset with random weights and word vectors, all written to `root`.

    Arguments:
        size: side of a picture; changes: settings that are not the profile's.
    """
    parts = made_up(classes, k)
    rng = np.random.default_rng(0)
    for i, labels in enumerate(label_maps(FILES, parts, size)):
        noise = rng.integers(0, 256, (size // 8 + 1, size // 8 + 1, 3), np.uint8)
        Image.fromarray(noise).resize((size, size)).save(root / f"{i}.jpg")
        Image.fromarray(labels.numpy()).save(root / f"{i}.png")
    (root / "count.txt").write_text(str(images))
    vectors = rng.standard_normal((classes, 300)).round(3)
    lines = [" ".join([name, *map(str, vector)]) for name, vector in zip(parts.names, vectors)]
    (root / "words.txt").write_text("\n".join([f"{classes} 300", *lines, ""]))
    places = {"data_root": root, "weights": root / "weights.pt", "word_vectors": root / "words.txt"}
    settings = Settings.make(dataset="made_up", k=k, **places, **changes)
    save(root / "weights.pt", build(settings, classes).state_dict())
    return Run(settings, runs_root=root / "runs", cache_root=root / "cache")


def peak_mb(*, forget: bool = False) -> float:
    """The most memory this process has held, MB; on Linux, since it was last told to forget."""
    with suppress(OSError):
        if forget:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    return peak_memory_mb()


def work(
    *, images: int, size: int, classes: int = 21, k: int = 10, profile: str = "lite"
) -> dict[str, dict[str, float]]:
    """Run every stage on made-up pictures: {stage: {"seconds", "peak_mb"}}."""
    changes = ONCE | {"base_size": size, "crop_size": size, "val_size": size, "profile": profile}
    found = {}
    with tempfile.TemporaryDirectory(prefix="zs3-bench-") as folder:
        run = world(Path(folder), images=images, size=size, classes=classes, k=k, **changes)
        stages = {
            "stage1": run.train_backbone,
            "features": run.features,
            "stage2": run.train_heads,
            "evaluation": run.evaluate,
        }
        for name, stage in stages.items():
            peak_mb(forget=True)
            begin = time.perf_counter()
            stage()
            found[name] = {"seconds": time.perf_counter() - begin, "peak_mb": peak_mb()}
        found["stage2"]["seconds"] = run.seconds["stage2"]  # the features were there already
    return found


def measure(**task) -> dict[str, dict[str, float]]:
    """`work` in a process of its own, so that what it needs is not hidden by what came before."""
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, __file__, json.dumps(task)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(work(**json.loads(sys.argv[1]))))
