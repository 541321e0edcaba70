"""How fast zs3lib is beside the plainest code for the same, and where the minutes of a grid go.

python tests/benchmarks/bench.py             # some minutes on two cores; writes tables/bench.md
python tests/benchmarks/bench.py --quick     # tiny sizes, seconds: that it runs, not what it finds
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from reference import Reference, confusion
from shown import machine, minutes, table
from torch import Tensor
from tqdm.auto import tqdm
from worlds import label_maps, made_up, measure, world

from zs3lib import storage
from zs3lib.data.augment import Augmented, Pictures, batches
from zs3lib.method import stage1
from zs3lib.method.deeplab import autocast, freeze, resized
from zs3lib.method.methods import METHODS
from zs3lib.method.metrics import confusion_matrix
from zs3lib.method.stage2 import Trainer
from zs3lib.paths import RUNS, TABLES
from zs3lib.runs.devices import device_of
from zs3lib.runs.sources import FeatureCache
from zs3lib.settings import Settings

K = 10
CLASSES = 21
DEVICE = device_of("auto")
# What is compared, beside what, both sides, steps in one call of a side.
Row = tuple[str, str, Callable, Callable, int]


def seconds(side: Callable[[], object]) -> float:
    """How long a call takes, with what it left to a GPU."""
    begin = time.perf_counter()
    side()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def compared(row: Row, repeats: int) -> list[str]:
    """A line of the table: both sides in turn, after a first call of each that does not count.

    The ratio is the median of those of each turn: what slows a machine down slows both sides.
    """
    what, beside, ours, other, steps = row
    try:
        times = [(seconds(ours), seconds(other)) for _ in range(repeats + 1)][1:]
    except torch._dynamo.exc.BackendCompilerFailed:
        return [what, beside, "", "", "no C++ compiler here"]
    ratios = [a / b for a, b in times]
    medians = [f"{1000 / steps * statistics.median(side):.2f}" for side in zip(*times)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return [what, beside, *medians, spread]


def trainer(method: str, parts, **changes) -> Trainer:
    """A trainer past its warm-up that trusts every generated vector."""
    settings = Settings.make(tau=0.0, **changes)
    words = torch.randn(len(parts.names), 300)
    made = Trainer(METHODS[method], words, parts, settings, steps=10**6, device=DEVICE)
    made.recursing = made.method.recursive
    return made


def stage2(size: int) -> Iterator[Row]:
    """Whole steps on 8 images of three classes, at the shapes of the paper."""
    parts = made_up(CLASSES, K)
    labels = label_maps(8, parts, size)
    maps = labels.to(DEVICE)
    features = torch.rand(8, size // 4, size // 4, 256, device=DEVICE)
    plain = features.permute(0, 3, 1, 2).contiguous()
    for method in ("zs3net", "ours"):
        for at in ("image", "feature"):
            mine = trainer(method, parts, samples=128, feature_dim=256, loss_at=at)
            with torch.device(DEVICE):
                loop = Reference(method, mine.head.words, set(parts.unseen), loss_at=at, tau=0.0)

            def ours(mine=mine):
                mine.step(mine.batch(features, labels))

            def other(loop=loop):
                with torch.device(DEVICE):
                    loop.step(plain, maps)

            what = f"stage 2 step, {METHODS[method].title}, loss at {at} resolution"
            yield what, "reference loop", ours, other, 1


def fit(calls: int, mine: Trainer, real: Tensor) -> None:
    """So many generator steps towards the same features."""
    mine.losses = {"generator": []}
    for _ in range(calls):
        mine.fit_generator(1, real)


def compiled(calls: int) -> Iterator[Row]:
    """A generator step under `compile` and without, at the shapes of toy and paper."""
    for samples, width in ((48, 64), (128, 256)):
        torch.compiler.reset()  # or the second shape would be compiled for any shape
        real = torch.rand(samples, width, device=DEVICE)
        shape = {"samples": samples, "feature_dim": width}
        sides = [
            partial(fit, calls, trainer("zs3net", made_up(CLASSES, K), compile=c, **shape), real)
            for c in (True, False)
        ]
        yield f"generator step, {samples} x {width}, compiled", "eager", *sides, calls


def networks(profile: str, count: int) -> Iterator[Row]:
    """Stage 1 and features of `count` pictures: what is added to the network's own time."""
    with tempfile.TemporaryDirectory(prefix="zs3-bench-") as folder:
        side = 96 if profile == "toy" else 400
        options = {"profile": profile, "workers": 0, "views": 1}
        run = world(Path(folder), images=count, size=side, classes=CLASSES, k=K, **options)
        model = run.model.to(run.device, memory_format=torch.channels_last)
        settings = run.settings
        place = f"{settings.backbone}, {settings.batch_size} images of {settings.crop_size} px"
        source = Pictures(run.train, run.seen_images, settings)
        optimiser, schedule = stage1.optimisation(model, settings, 10**6)

        def held(loader) -> list:
            on_device = {"device": run.device, "memory_format": torch.channels_last}
            return [images.to(**on_device) for images, _ in loader]

        def train():
            bar = tqdm(disable=True)
            stage1.train_epoch(model, source, settings, optimiser, schedule, 0, bar)

        def both_ways(inputs=held(source.epoch(0))):
            for images in inputs:
                model.zero_grad()
                with autocast(run.device, settings.amp):
                    logits = model(images)
                logits.sum().backward()

        yield f"stage 1 step, {place}", "forward, backward", train, both_ways, source.batches
        freeze(model)
        pictures = Augmented(run.train, list(range(count)), settings, seed=0, epoch=0)

        def fill():
            path = Path(folder, "features.bin")
            path.unlink(missing_ok=True)
            cache = FeatureCache(path, run.train.ids, settings)
            cache.fill(model, lambda view, order: batches(pictures, settings, order))

        def forward(inputs=held(batches(pictures, settings))):
            for images in inputs:
                with torch.inference_mode(), autocast(run.device, settings.amp):
                    model.features(images)

        steps = -(-count // settings.batch_size)
        yield f"features, {place}", "forward", fill, forward, steps


def evaluation(size: int) -> Iterator[Row]:
    """Logits to confusion matrix of one image, beside numpy's argmax and bincount."""
    truth = label_maps(1, made_up(CLASSES, K), size)[0]
    logits = torch.randn(size // 4 + 1, size // 4 + 1, CLASSES, device=DEVICE)

    def ours():
        maps = logits.permute(2, 0, 1)[None].contiguous()
        labels = resized(maps, tuple(truth.shape), False)[0].max(0).indices.byte()  # as `predict`
        return confusion_matrix(truth.to(DEVICE), labels, CLASSES).cpu().numpy()

    def other():
        return confusion(logits.permute(2, 0, 1)[None].contiguous(), truth.numpy())

    assert abs(ours() - other()).sum() <= 1e-4 * size**2, "both must count the same"
    yield f"evaluation of one {size} px image, from its logits", "numpy", ours, other, 1


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write it."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a test that it runs")
    parser.add_argument("--runs", type=Path, default=RUNS, help="run records")
    parser.add_argument("--out", type=Path, default=TABLES / "bench.md")
    options = parser.parse_args(arguments)
    quick = options.quick
    parts = [stage2(32 if quick else 312), networks("toy", 32 if quick else 128)]
    if not quick:
        parts += [networks("lite", 64), compiled(50)]
    parts += [evaluation(65 if quick else 513)]
    lines = []
    with tqdm(desc="bench", unit="row") as bar:
        for part in parts:
            for row in part:
                lines.append(compared(row, 2 if quick else 10))
                bar.update()
    few, side = (8, 32) if quick else (64, 80)
    runs = [measure(images=n, size=side, profile="toy") for n in (few, 16 * few)]
    peaks = [f"{max(stage['peak_mb'] for stage in run.values()):.0f}" for run in runs]
    head = ["zs3lib", "beside", "zs3lib, ms", "beside, ms", "takes, times as long (min-max)"]
    text = f"""# How fast, and where the minutes go

{machine()}.
{"**--quick: tiny sizes, the figures mean nothing.**" if quick else ""}

{table(head, lines)}
The reference loop is `tests/benchmarks/reference.py`, in the order of ZS3Net's published one. Stage
2: 8 images of 312 px (features 78 x 78 x 256), three classes each, half of them with an unseen one,
K = {K}, every generated vector trusted, which costs recursion most. What stands beside stage 1 and
features is the same network on pictures in memory: zs3lib adds loader, augmentation, loss and
optimiser, or the file. Both sides run in turn; the ratio is the median of those of each turn.

Peak memory of whole toy runs, {few} and {16 * few} made-up pictures: {", ".join(peaks)} MB.

Minutes of the grids whose records are here, added up over their runs; "first to last" is by the
clock, runs side by side; "the rest" is imports, data and the notebook itself.

{minutes(options.runs)}"""
    storage.write_texts(options.out.parent, {options.out.name: text})
    print(text)


if __name__ == "__main__":
    main()
