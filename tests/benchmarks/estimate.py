"""What the paper's grid would take on one H100-class GPU: operations counted, time assumed."""

from __future__ import annotations

from functools import cache

import torch
from bench import trainer
from shown import table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from worlds import label_maps, made_up

from zs3lib.method.deeplab import FEATURE_DIM, build
from zs3lib.profiles import PAPER_METHODS
from zs3lib.settings import Settings

CONVOLUTIONS = 989e12 * 0.25  # bf16 peak, and the share of it that convolutions get
PRODUCTS = 67e12 * 0.3  # fp32 peak without tensor cores, and the share that stage 2's products get
LAUNCH = 10e-6  # seconds for each operation that the host starts
DISK = 3e9  # bytes a second

# Training images, share of them without unseen classes, images to evaluate, classes, classes of an
# image besides background, methods, epochs of each stage, values of K.
DATASETS = {
    "Pascal VOC + SBD": (10_582, 0.6, 1_449, 21, 2, (*PAPER_METHODS, "equal_weight"), 30, 5),
    "Pascal-Context": (4_998, 0.4, 5_105, 60, 7, PAPER_METHODS, 20, 5),
    "COCO-Stuff": (118_287, 0.4, 5_000, 171, 7, PAPER_METHODS, 20, 1),
}


class Operations(TorchDispatchMode):
    """Counts the operations that torch is asked for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@cache
def network_flops(size: int) -> float:
    """Floating-point operations of one image of `size` px forward through the paper's network."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(Settings.make(profile="paper"), 21).eval().features(torch.empty(1, 3, size, size))
    return float(counter.get_total_flops())


@cache
def step_cost(
    classes: int, objects: int, methods: tuple[str, ...], size: int = 312
) -> tuple[float, int]:
    """FLOPs and operations of one stage-2 batch of 8, counted in real steps of all methods.

    Half of the images have an unseen class; the methods share the batch, as `Stage2` has it.
    """
    parts = made_up(classes, 10)
    trainers = [trainer(method, parts, profile="paper") for method in methods]
    features = torch.rand(8, size // 4, size // 4, FEATURE_DIM)
    labels = label_maps(8, parts, size, objects)
    with FlopCounterMode(display=False) as flops, Operations() as operations:
        batch = trainers[0].batch(features, labels)
        for each in trainers:
            each.step(batch)
    return float(flops.get_total_flops()), operations.count


def hours(name: str) -> tuple[list[float], float]:
    """Hours of stage 1, features, stage 2, evaluation for all K of a dataset; GB of a K's cache."""
    images, share, val, classes, objects, methods, epochs, ks = DATASETS[name]
    paper = Settings.make(profile="paper")
    train = network_flops(paper.crop_size) / CONVOLUTIONS  # seconds an image
    test = network_flops(paper.val_size) / CONVOLUTIONS
    view = images * ((paper.crop_size // 4) ** 2 * FEATURE_DIM * 2 + paper.crop_size**2)  # bytes
    flops, operations = step_cost(classes, objects, methods)
    batches = images / paper.batch_size
    stages = [
        3 * train * share * images * epochs,
        paper.views * max(train * images, view / DISK),
        epochs * max(batches * max(flops / PRODUCTS, operations * LAUNCH), view / DISK),
        val * (test + len(methods) * 30 * LAUNCH),
    ]
    return [ks * seconds / 3600 for seconds in stages], paper.views * view / 1e9


def estimate() -> str:
    """The section of the table, with its assumptions."""
    paper = Settings.make(profile="paper")
    rows = []
    grid = 0.0
    for name, (*_, classes, objects, methods, _, ks) in DATASETS.items():
        parts, gigabytes = hours(name)
        grid += sum(parts) * name.startswith("Pascal")
        flops, operations = step_cost(classes, objects, methods)
        costs = [f"{operations:,}", f"{flops / 1e9:.1f}", *(f"{part:.1f}" for part in parts)]
        rows.append([name, str(ks), *costs, f"**{sum(parts):.1f}**", f"{gigabytes:,.0f}"])
    head = ["", "K", "operations a batch", "GFLOP a batch", "stage 1, h", "features, h"]
    head += ["stage 2, h", "evaluation, h", "in all, h", "cache of a K, GB"]
    train, test = (network_flops(size) / 1e9 for size in (paper.crop_size, paper.val_size))
    return f"""## One H100-class GPU: an estimate, not a measurement

Counted (torch's FlopCounterMode, and every operation that is dispatched): {train:.0f} GFLOP forward
for an image of 312 px, {test:.0f} for one of 513; a stage-2 batch of 8 for all methods at once,
past its warm-up, eager. Assumed: convolutions reach a quarter of 989 bf16 TFLOP/s, stage 2's
products 30 % of 67 fp32 TFLOP/s, an operation costs the host 10 us, the disk moves 3 GB/s,
backward costs twice forward, images load as fast as they are used; {paper.views} views, one seed,
30 epochs of each stage on VOC, 20 elsewhere; 2 objects an image on VOC, 7 elsewhere, half of the
images with an unseen class. COCO-Stuff: 118,287 training images of its 164k, one K.

{table(head, rows)}
The paper's grid, both datasets and five K: about {grid:.1f} hours.
"""
