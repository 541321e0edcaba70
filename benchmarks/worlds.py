"""Made-up pictures, caches and networks of any size, and what a process of its own needs to work on them.

python benchmarks/worlds.py '{"stages": ["cache"], "images": 8, "size": 64}'     # prints seconds and memory as JSON
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from zs3lib import Settings, split, stage1
from zs3lib.classes import Split
from zs3lib.data.segmentation import SegmentationData
from zs3lib.devices import device, keep_freed_memory
from zs3lib.evaluate import evaluate
from zs3lib.features import FeatureCache
from zs3lib.stage2 import Head, Trainer

STAGES = ("stage1", "cache", "stage2", "evaluation")


class Labels:
    """Label maps: background, two objects, a void edge; every second image has an unseen class among them."""

    def __init__(self, classes: Split, size: int):
        self.classes, self.size = classes, size

    def one(self, i: int) -> np.ndarray:
        rng, size = np.random.default_rng(i), self.size
        first, second = rng.choice([c for c in self.classes.seen if 0 < c < 255], 2, replace=False)
        if i % 2:
            second = rng.choice([c for c in self.classes.unseen if c < 255])
        labels = np.zeros((size, size), np.uint8)
        labels[size // 5 : 4 * size // 5, size // 16 : size // 2] = first
        labels[size // 3 : -size // 24, size // 2 : -size // 24] = second
        labels[size // 3, size // 2 :] = 255
        return labels

    def batch(self, count: int) -> Tensor:
        return torch.from_numpy(np.stack([self.one(i) for i in range(count)]))


class MadeUp(SegmentationData):
    """`count` pictures of noise with such label maps, none of them on the disk."""

    def __init__(self, count: int, classes: Split, size: int):
        self.ids, self.names = [f"made_up_{i}" for i in range(count)], classes.names
        self.images = self.masks = [Path(i) for i in self.ids]
        self.maps, self.size = Labels(classes, size), size

    fingerprint = "made up"

    @cached_property
    def presence(self) -> np.ndarray:
        table = np.zeros((len(self), len(self.names)), bool)
        for i in range(len(self)):
            table[i, [c for c in np.unique(self.maps.one(i)) if c != 255]] = True
        return table

    def _read_mask(self, path: Path) -> np.ndarray:
        raise NotImplementedError

    def load_mask(self, i: int) -> np.ndarray:
        return self.maps.one(i)

    def load_image(self, i: int) -> Image.Image:
        noise = np.random.default_rng(i).integers(0, 256, (self.size // 8 + 1, self.size // 8 + 1, 3), np.uint8)
        return Image.fromarray(noise).resize((self.size, self.size))


def smooth_logits(labels: Tensor, side: int) -> Tensor:
    """Logits as a trained network has them: the truth stands out, edges are soft, (side, side, 21)."""
    cells = F.interpolate(labels[None, None].float(), (side, side), mode="nearest-exact")[0, 0].long()
    noise = torch.randn(side, side, 21, generator=torch.Generator().manual_seed(0))
    x = 8 * F.one_hot(cells.where(cells != 255, 0), 21).float() + noise
    return F.avg_pool2d(x.permute(2, 0, 1)[None], 3, 1, 1)[0].permute(1, 2, 0).contiguous()


def made_up_split(classes: int, k: int) -> Split:
    """VOC's split, or `classes` nameless ones of which the last k (below 255: label maps have 8 bits) are unseen."""
    if classes == 21:
        return split("voc", k)
    last = min(classes, 255)
    unseen = tuple(range(last - k, last))
    names = tuple(f"class {c}" for c in range(classes))
    return Split(
        dataset=f"{classes} classes",
        k=k,
        names=names,
        unseen=unseen,
        seen=tuple(c for c in range(classes) if c not in unseen),
    )


# ---- a process of its own --------------------------------------------------------------------------------------------


def _memory(what: str) -> float:
    """VmHWM (peak) or VmRSS (now) of this process, MB; elsewhere than on Linux the peak since its start."""
    try:
        return int(re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # elsewhere than on Linux the peak is the process's
        pass


def work(task: dict) -> dict:
    """Run stages on made-up data; {stage: {"seconds", "peak_mb", "more_mb"}} and the size of the cache on the disk."""
    keep_freed_memory()
    classes, size, count = made_up_split(task.get("classes", 21), task.get("k", 10)), task["size"], task["images"]
    settings = Settings.make(
        profile="toy", k=task.get("k", 10), base_size=size, crop_size=size, val_size=size, batch_size=8, views=1,
        stage1_epochs=1, stage1_steps=0, stage2_epochs=1, warmup_epochs=0, tau=0.0, samples=128, loss_at="image",
        cell_stride=1, frozen_blocks=0, frozen_bn=False,
    )  # fmt: skip
    data, model = MadeUp(count, classes, size), stage1.build_model(settings, len(classes.names))
    words, found = F.normalize(torch.randn(len(classes.names), 300), dim=1) * 300**0.5, {}
    with tempfile.TemporaryDirectory(prefix="zs3-bench-") as folder:
        cache_folder = Path(folder) / "cache"

        def train_backbone():
            stage1.train_backbone(
                model, data, list(range(count)), settings, checkpoint=Path(folder, "t.pt"), key="bench"
            )

        def train_head():
            trainer = Trainer("ours", FeatureCache(cache_folder), words, classes, settings)
            trainer.train_epoch()

        stages = {
            "stage1": train_backbone,
            "cache": lambda: FeatureCache.build(cache_folder, stage1.freeze(model), data, settings, seed=0),
            "stage2": train_head,
            "evaluation": lambda: evaluate(
                stage1.freeze(model), {"ours": Head(words=words).to(device(settings)).classifier}, data, settings
            ),
        }
        if "stage2" in task["stages"] and "cache" not in task["stages"]:
            stages["cache"]()
        model.to(device(settings))
        for name in task["stages"]:
            _forget_peak()
            before, begin = _memory("VmRSS"), time.perf_counter()
            stages[name]()
            seconds, peak = time.perf_counter() - begin, _memory("VmHWM")
            found[name] = {"seconds": seconds, "peak_mb": peak, "more_mb": peak - before}
        found["disk_mb"] = sum(p.stat().st_size for p in cache_folder.rglob("*") if p.is_file()) / 2**20
    return found


def measure(**task) -> dict:
    """`work` in a process of its own, so that what it needs is not hidden by what was needed before."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(task)], env=environment, capture_output=True, text=True
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory(stage: str, *, images: int, size: int) -> dict:
    """Peak memory of one stage: {"peak_mb", "disk_mb"}."""
    found = measure(stages=[stage], images=images, size=size)
    return found[stage] | {"disk_mb": found["disk_mb"]}


if __name__ == "__main__":
    print(json.dumps(work(json.loads(sys.argv[1]))))
