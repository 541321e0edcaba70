"""What the paper's grid would take on one H100-class GPU: operations counted, time assumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO

import numpy as np
import torch
from fake_gpu import fake_gpu
from PIL import Image
from shown import table
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm
from worlds import label_maps, made_up

from zs3lib.data.augment import Augmented
from zs3lib.method import stage1
from zs3lib.method.deeplab import build, freeze
from zs3lib.method.features import extract
from zs3lib.method.methods import METHODS
from zs3lib.method.stage2 import Trainer
from zs3lib.profiles import PAPER_METHODS
from zs3lib.settings import Settings

CONVOLUTIONS = 990e12 * 0.4  # bf16 peak, and the share of it that convolutions get
PRODUCTS = 67e12 * 0.3  # fp32 peak without tensor cores, and the share that stage 2's products get
LAUNCH = 5e-6  # seconds of the host for an operation
GRAPH = 60e-6  # for a call of a compiled function, forward or backward: one CUDA graph
ADAM = 60e-6  # for a step of Adam, besides its operations
LAYOUT = 3e-3  # for what a batch of label maps holds

# Training images, share of them without unseen classes, images to evaluate, classes, classes of an
# image besides background, methods, values of K.
DATASETS = {
    "Pascal VOC + SBD": (10_582, 0.6, 1_449, 21, 2, (*PAPER_METHODS, "equal_weight"), 5),
    "Pascal-Context": (4_998, 0.4, 5_105, 60, 7, PAPER_METHODS, 5),
    "COCO-Stuff": (118_287, 0.4, 5_000, 171, 7, PAPER_METHODS, 1),
}


@dataclass
class Cost:
    """Floating-point operations, what the host is asked for, and calls of compiled functions."""

    flops: float
    operations: int
    compiled: int = 0
    steps: int = 0  # of a generator

    def seconds(self, peak: float) -> float:
        """Host and GPU work side by side: the slower one counts."""
        host = self.operations * LAUNCH + self.compiled * GRAPH + self.steps * ADAM
        return max(host, self.flops / peak)


def paper(name: str) -> Settings:
    """The paper profile's settings for a dataset; for one that it lacks those of Context."""
    return Settings.make(profile="paper", dataset="voc" if "VOC" in name else "context", k=6)


def counted(watch, work: Callable) -> Cost:
    """What some work on the fake GPU asks for, eager."""
    watch.operations = 0
    with FlopCounterMode(display=False) as counter:
        work()
    return Cost(float(counter.get_total_flops()), watch.operations)


class Pictures:
    """One batch of pictures."""

    def __init__(self, images: int, size: int, parts):
        self.images = torch.zeros(images, 3, size, size)
        self.labels = label_maps(images, parts, size)

    def epoch(self, epoch: int):
        yield self.images, self.labels


@cache
def stage1_cost(settings: Settings, classes: int) -> Cost:
    """A step of stage 1."""
    with fake_gpu() as watch:
        watch.may_wait = True
        network = build(settings, classes).to("cuda")
        parts = stage1.optimisation(network, settings, 100)
        source = Pictures(settings.stage1_batch_size, settings.crop_size, made_up(classes, 10))
        bar = tqdm(disable=True)
        step = partial(stage1.train_epoch, network, source, settings, *parts, 0, bar)
        step()  # the optimiser has its state
        return counted(watch, step)


@cache
def network_cost(settings: Settings, images: int, size: int) -> Cost:
    """The frozen network on a batch."""
    with fake_gpu() as watch:
        watch.may_wait = True
        network = freeze(build(settings, 21)).to("cuda")
        pictures = torch.zeros(images, 3, size, size)
        return counted(watch, partial(extract, network, pictures, settings, training=images > 1))


@cache
def step_cost(
    settings: Settings, classes: int, objects: int, methods: tuple[str, ...], recursing: bool
) -> tuple[Cost, Cost]:
    """A batch of stage 2 for all methods, from its features on: eager, and with compiled losses.

    Half of the images have an unseen class. A method asks for the same, trusted vectors or not.
    """
    parts = made_up(classes, 10)
    labels = label_maps(settings.batch_size, parts, settings.crop_size, objects)
    side = -(-settings.crop_size // 4)
    with fake_gpu() as watch:
        watch.may_wait = True
        words = torch.zeros(classes, 300)
        given = {"steps": 10, "device": torch.device("cuda")}
        trainers = [Trainer(METHODS[name], words, parts, settings, **given) for name in methods]
        features = torch.zeros(len(labels), side, side, settings.feature_dim, device="cuda")
        found = []

        def step():
            batch = trainers[0].batch(features, labels)
            found[:] = [trainer.step(batch) for trainer in trainers]

        for trainer in trainers:
            trainer.recursing = trainer.method.recursive and recursing
        step()  # the optimisers have their states
        eager = counted(watch, step)
        fit, recursion = loss_operations(watch, trainers[-1])
    fits, recursions = (
        sum(len(losses.get(kind, ())) for losses in found) for kind in ("generator", "recursion")
    )
    saved = fits * fit + recursions * recursion
    calls = 2 * (fits + recursions)
    return eager, Cost(eager.flops, eager.operations - saved, calls, fits + recursions)


def loss_operations(watch, trainer: Trainer) -> tuple[int, int]:
    """Operations of both compiled losses, forward and backward."""
    settings = trainer.settings
    head = trainer.head
    real = torch.zeros(settings.samples, settings.feature_dim, device="cuda")
    b = torch.zeros_like(real, requires_grad=True)
    c = real[:, 0]
    losses = [
        lambda: trainer._fit_loss(head.generator, head.words[0], real, True).backward(),
        lambda: trainer._zs_mmd(real, b, c, q=c.sum()).backward(),
    ]
    fit, recursion = (counted(watch, loss).operations for loss in losses)
    return fit, recursion


def loaded_in_a_second(settings: Settings, images: int = 20) -> float:
    """Pictures of VOC's size that one core reads and augments."""

    class Photos:
        def load(self, i: int):
            file.seek(0)
            mask = np.zeros((375, 500), np.uint8)
            return Image.open(file).convert("RGB"), mask

    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (47, 63, 3), np.uint8)
    Image.fromarray(noise).resize((500, 375)).save(file, "JPEG", quality=92)
    pictures = Augmented(Photos(), list(range(images)), settings, seed=0, epoch=0)
    pictures[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a loading process has
    begin = time.process_time()
    for i in range(images):
        pictures[i]
    spent = time.process_time() - begin
    torch.set_num_threads(threads)
    return images / spent


def hours(name: str, rate: float) -> list[float]:
    """Hours of stage 1, stage 2 and evaluation for all K of a dataset, each as fast as the slower
    of GPU and loader, and of the loader alone.

    Arguments:
        rate: pictures that the loader gives in a second.
    """
    images, share, val, classes, objects, methods, ks = DATASETS[name]
    settings = paper(name)
    first = share * images * settings.stage1_epochs
    second = images * settings.stage2_epochs
    scored = val + images / 10
    warm = settings.warmup_epochs / settings.stage2_epochs
    network = network_cost(settings, settings.batch_size, settings.crop_size)
    alone = step_cost(settings, classes, objects, methods[:2], False)[1].seconds(PRODUCTS)
    every = step_cost(settings, classes, objects, methods, True)[1].seconds(PRODUCTS)
    batch = network.seconds(CONVOLUTIONS) + LAYOUT + warm * alone + (1 - warm) * every
    picture = network_cost(settings, 1, settings.val_size).seconds(CONVOLUTIONS)
    step = stage1_cost(settings, classes).seconds(CONVOLUTIONS)
    stages = [
        (first, first / settings.stage1_batch_size * step),
        (second, second / settings.batch_size * batch),
        (scored, scored * (picture + len(methods) * 30 * LAUNCH)),
    ]
    loader = [count / rate for count, _ in stages]
    slower = [max(load, gpu) for load, (_, gpu) in zip(loader, stages)]
    return [ks * seconds / 3600 for seconds in (*slower, sum(loader))]


def estimate() -> str:
    """The section of the table, with its assumptions."""
    settings = paper("VOC")
    rate = loaded_in_a_second(settings)
    rows = []
    grid = []
    for name, (*_, classes, objects, methods, ks) in DATASETS.items():
        *parts, loader = hours(name, settings.workers * rate)
        grid += [parts] * name.startswith("Pascal")
        stage1_step = stage1_cost(paper(name), classes)
        eager, compiled = step_cost(paper(name), classes, objects, methods, True)
        counts = [stage1_step.operations, eager.operations, compiled.operations, compiled.compiled]
        costs = [f"{count:,}" for count in counts]
        costs += [f"{part:.1f}" for part in parts]
        rows.append([name, str(ks), *costs, f"**{sum(parts):.1f}**", f"{loader:.1f}"])
    head = ["", "K", "stage 1: operations a batch", "stage 2: eager", "stage 2: compiled losses"]
    head += ["and calls of them", "stage 1, h", "stage 2, h", "evaluation, h", "in all, h"]
    head += ["loader alone, h"]
    network = network_cost(settings, settings.batch_size, settings.crop_size)
    flops = stage1_cost(settings, 21).flops / settings.stage1_batch_size
    total = sum(map(sum, grid))
    return f"""## One H100-class GPU: an estimate, not a measurement

Counted on tensors without content (torch's FlopCounterMode, and every operation that the GPU is
asked for), at the sizes of profile paper. A step of stage 1 takes {flops / 1e9:.0f} GFLOP an image
of 312 px; the frozen network takes {network.flops / 8e9:.0f}, and {network.operations:,} operations
for a batch of 8.

Assumed: {CONVOLUTIONS / 1e12:.0f} TFLOP/s in convolutions (40 % of 990 in bf16) and
{PRODUCTS / 1e12:.0f} in stage 2's products (30 % of 67 in fp32); {LAUNCH * 1e6:.0f} us of the host
for an operation, {GRAPH * 1e6:.0f} for a call of a compiled loss (forward or backward, a CUDA graph
each), {ADAM * 1e6:.0f} for a step of Adam besides, {LAYOUT * 1e3:.0f} ms for a batch's label maps;
host and GPU work side by side. {settings.workers} processes load, {rate:.0f} pictures a second of
processor time each (measured here). One seed; stage 1 {settings.stage1_epochs} epochs on the 60 %
(VOC) or 40 % of the images without unseen classes; stage 2 {settings.stage2_epochs} on VOC and
{paper("Context").stage2_epochs} elsewhere, all methods in one pass, the frozen network in every
step: no features on the disk. 2 objects an image on VOC, 7 elsewhere, half of the images with an
unseen class. COCO-Stuff: 118,287 training images of its 164k, one K.

{table(head, rows)}
The paper's grid, both datasets and five K: about {total:.1f} hours on one GPU; on ten, a K each,
{60 * max(map(sum, grid)) / 5:.0f} minutes.
"""
