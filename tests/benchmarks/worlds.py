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
from zs3lib.run import Run
from zs3lib.settings import Settings
from zs3lib.storage import peak_memory_mb, save

FILES = 16  # pictures that are drawn; a larger dataset lists them again
STATUS = Path("/proc/self/status")


def made_up(classes: int, k: int) -> Split:
    """Register "made_up", of so many nameless classes; its split with k of them unseen.

    The last ten that a label map of 8 bits can hold may be unseen.
    """
    names = tuple(f"class{c}" for c in range(classes))
    last = min(classes, VOID)
    unseen = names[last - 10 : last]
    register(Dataset("made_up", "Made up", names, "worlds:MadeUp", unseen_order=unseen))
    return split("made_up", k)


def label_map(i: int, parts: Split, size: int, objects: int = 2) -> np.ndarray:
    """Background, objects side by side, some void; every second map has an unseen class."""
    rng = np.random.default_rng(i)
    drawn = rng.choice([c for c in parts.seen if 0 < c < VOID], objects, replace=False)
    if i % 2:
        drawn[-1] = rng.choice(parts.unseen)
    labels = np.zeros((size, size), np.uint8)
    edges = np.linspace(size // 16, size - size // 16, objects + 1).astype(int)
    for c, left, right in zip(drawn, edges, edges[1:]):
        labels[size // 5 : 7 * size // 8, left:right] = c
    labels[size // 5, size // 2 :] = VOID
    return labels


def label_maps(count: int, parts: Split, size: int, objects: int = 2) -> Tensor:
    """A batch of label maps, (count, size, size) uint8."""
    return torch.from_numpy(np.stack([label_map(i, parts, size, objects) for i in range(count)]))


class MadeUp(SegmentationData):
    """Noise with such label maps, as files."""

    def __init__(self, root: str | Path, part: str):
        self.names = DATASETS["made_up"].classes
        source = Path(root, "images.txt")
        count = int(source.read_text())
        pictures = [Path(root, f"{i % FILES}.jpg") for i in range(count)]
        files = [(f"made_up_{i}", p, p.with_suffix(".png")) for i, p in enumerate(pictures)]
        super().__init__(files, source)


def world(
    root: Path, *, images: int, size: int, classes: int = 21, k: int = 10, **changes
) -> Settings:
    """Write a made-up dataset with random weights and word vectors.

    Arguments:
        size: side of its pictures; changes: settings other than the profile's.

    Returns: the settings of a run on it.
    """
    parts = made_up(classes, k)
    rng = np.random.default_rng(0)
    for i in range(FILES):
        noise = rng.integers(0, 256, (size // 8 + 1, size // 8 + 1, 3), np.uint8)
        Image.fromarray(noise).resize((size, size)).save(root / f"{i}.jpg")
        Image.fromarray(label_map(i, parts, size)).save(root / f"{i}.png")
    (root / "images.txt").write_text(str(images))
    vectors = rng.standard_normal((classes, 300)).round(3)
    lines = [" ".join([name, *map(str, v)]) for name, v in zip(parts.names, vectors)]
    (root / "words.txt").write_text("\n".join([f"{classes} 300", *lines, ""]))
    places = {"data_root": root, "weights": root / "weights.pt", "word_vectors": root / "words.txt"}
    settings = Settings.make(dataset="made_up", k=k, **places, **changes)
    save(root / "weights.pt", build(settings, classes).state_dict())
    return settings


# ---- a process of its own -----------------------------------------------------------------------

# Every stage once over all images, all layers trained, at the shapes of the paper's stage 2.
RUN = {
    "methods": "ours",
    "backbone": "resnet18",
    "feature_dim": 256,
    "batch_size": 8,
    "stage1_steps": 0,
    "stage1_epochs": 1,
    "frozen_blocks": 0,
    "frozen_bn": False,
    "stage2_epochs": 1,
    "warmup_epochs": 0,
    "samples": 128,
    "tau": 0.0,
    "loss_at": "image",
}


def peak_mb() -> float:
    """The most memory that this process has held since `forget_peak`, or since its start."""
    with suppress(OSError):
        return int(re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[1]) / 1024
    return peak_memory_mb()


def forget_peak() -> None:
    """Count peak memory from now on, where Linux is."""
    with suppress(OSError):
        STATUS.with_name("clear_refs").write_text("5")


def work(*, images: int, size: int, classes: int = 21, k: int = 10, **changes) -> dict:
    """Run every stage on made-up pictures: {stage: {"seconds", "peak_mb"}}."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="zs3-bench-") as folder:
        root = Path(folder)
        sizes = {"base_size": size, "crop_size": size, "val_size": size}
        changes = RUN | sizes | changes
        settings = world(root, images=images, size=size, classes=classes, k=k, **changes)
        run = Run(settings, runs_root=root / "runs", cache_root=root / "cache")
        stages = {
            "stage1": run.train_backbone,
            "features": run.features,
            "stage2": run.train_heads,
            "evaluation": run.evaluate,
        }
        for name, stage in stages.items():
            forget_peak()
            begin = time.perf_counter()
            stage()
            found[name] = {"seconds": time.perf_counter() - begin, "peak_mb": peak_mb()}
        found["stage2"]["seconds"] = run.seconds["stage2"]  # the features were there already
    return found


def measure(**task) -> dict:
    """`work` in a process of its own, so that what it needs is not hidden by what came before."""
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(task)],
        env=os.environ | {"OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(work(**json.loads(sys.argv[1]))))
