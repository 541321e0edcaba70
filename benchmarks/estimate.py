"""What the paper's grid and COCO-Stuff would take on one H200-class GPU: operations counted, time assumed."""

from __future__ import annotations

from collections import defaultdict
from unittest.mock import patch

import torch
from bench import Rows, table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from worlds import Labels

from zs3lib import Settings, compiled, pixel_loss, split
from zs3lib.deeplab import FEATURE_DIM, DeepLabV3Plus
from zs3lib.stage2 import Trainer

CONVOLUTIONS = 989e12 * 0.25  # bf16 peak of an H100/H200, and the share of it that convolutions get
PRODUCTS = 67e12 * 0.3  # fp32 peak without tensor cores, and the share of it that stage 2's small products get
LAUNCH = 10e-6  # seconds for each operation that the host starts
DISK = 3e9  # bytes a second

# images to train on, of these without an unseen class (share), images to evaluate, classes, values of K
DATASETS = {
    "Pascal VOC + SBD": (10_582, 0.6, 1_449, 21, 5),
    "Pascal-Context": (4_998, 0.4, 5_105, 60, 5),
    "COCO-Stuff": (118_287, 0.4, 5_000, 171, 1),
}


class _Operations(TorchDispatchMode):
    """Counts the operations that torch is asked for."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def network_flops(size: int) -> float:
    """Floating-point operations of one image of `size` x `size` forward through the paper's network."""
    with torch.device("meta"):
        model = DeepLabV3Plus(backbone="resnet101", classes=21, multi_grid=(1, 2, 4)).eval()
        with FlopCounterMode(display=False) as counter:
            model.features(torch.empty(1, 3, size, size))
    return float(counter.get_total_flops())


def step_cost() -> tuple[float, int]:
    """Floating-point operations and torch operations of one stage-2 batch of 8 at 312 pixels, counted in a real one."""

    voc = split("voc", 10)
    settings = Settings.make(profile="paper", k=10, warmup_epochs=0, tau=0.0, device="cpu")
    trainer = Trainer("ours", Rows(), torch.randn(21, 300), voc, settings)
    features, labels = torch.rand(8, 78, 78, FEATURE_DIM).half(), Labels(voc, 312).batch(8)
    operations, counter = _Operations(), FlopCounterMode(display=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # both counters see one thread
    # As on a GPU: large blocks, no compiled loops.
    with patch.object(pixel_loss, "BLOCK", 32 * pixel_loss.BLOCK), patch.object(compiled, "_loops", lambda: None):
        with counter:
            trainer.step(features, labels, defaultdict(list))
        with operations:
            trainer.step(features, labels, defaultdict(list))
    torch.set_num_threads(threads)
    return float(counter.get_total_flops()), operations.count


def estimate() -> str:
    """The section of the table, with its assumptions."""
    paper = Settings.make(profile="paper")
    train, test = network_flops(paper.crop_size), network_flops(paper.val_size)
    rows, hours = [], {}
    flops, operations = step_cost()
    for name, (images, share, val, classes, ks) in DATASETS.items():
        epochs = paper.stage1_epochs if classes == 21 else 20
        methods = 4 if classes == 21 else 3
        stage1 = 3 * train * share * images * epochs / CONVOLUTIONS
        cache_bytes = images * paper.views * ((paper.crop_size // 4) ** 2 * FEATURE_DIM * 2 + paper.crop_size**2)
        cache = max(train * images * paper.views / CONVOLUTIONS, cache_bytes / DISK)
        batch = max(flops / PRODUCTS, operations * LAUNCH)
        stage2 = methods * epochs * max(images / paper.batch_size * batch, cache_bytes / paper.views / DISK)
        evaluation = val * (test / CONVOLUTIONS + methods * 30 * LAUNCH)
        parts = [ks * t / 3600 for t in (stage1, cache, stage2, evaluation)]
        hours[name] = sum(parts)
        rows.append([name, str(ks), *(f"{h:.1f}" for h in parts), f"**{sum(parts):.0f}**", f"{cache_bytes / 1e9:,.0f}"])
    head = ["", "values of K", "stage 1, h", "features, h", "stage 2, h", "evaluation, h", "in all, h", "cache, GB a K"]
    grid = hours["Pascal VOC + SBD"] + hours["Pascal-Context"]
    return f"""## One H200-class GPU: an estimate, not a measurement

Nothing here was run on a GPU. Operations are counted (torch's FlopCounterMode): {train / 1e9:.0f} GFLOP forward for an
image of {paper.crop_size} pixels, {test / 1e9:.0f} for one of {paper.val_size}; a stage-2 batch is {flops / 1e9:.1f} GFLOP in
{operations:,} torch operations. Time follows from assumptions: convolutions reach a quarter of the 989 bf16 TFLOP/s peak,
stage 2's products 30 % of the 67 fp32 TFLOP/s, each operation costs the host 10 us, the disk moves 3 GB/s, backward costs twice
forward, images load as fast as they are used. 30 epochs of each stage on VOC and 20 elsewhere, {paper.views} views, one seed,
all methods. Each stage is taken to be linear in images: see the laws above. COCO-Stuff: 118,287 training
images of its 164k, one K; at {paper.views} views its cache is large, so `views=1` (a quarter of it) is the setting to take.

{table(head, rows)}
The paper's grid, both datasets and five K: about {grid:.0f} hours. What bounds stage 2 is how fast the host starts operations
({operations * LAUNCH * 1e3:.0f} ms a batch), not arithmetic ({flops / PRODUCTS * 1e3:.1f} ms).
"""
