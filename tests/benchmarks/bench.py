"""How fast zs3lib is beside the plainest code for the same, and where the minutes of a grid go.

python tests/benchmarks/bench.py             # some minutes on two cores; writes tables/bench.md
python tests/benchmarks/bench.py --quick     # tiny sizes, seconds: that it runs, not what it finds
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from reference import Reference, confusion
from tqdm.auto import tqdm
from worlds import label_map, label_maps, made_up, measure, world

from zs3lib import storage
from zs3lib.data.augment import Augmented, Pictures, batches
from zs3lib.devices import device_of
from zs3lib.method import stage1
from zs3lib.method.deeplab import autocast, freeze
from zs3lib.method.evaluate import upsample
from zs3lib.method.features import FeatureCache
from zs3lib.method.methods import METHODS
from zs3lib.method.metrics import confusion_matrix
from zs3lib.method.stage2 import Trainer
from zs3lib.profiles import PROFILES
from zs3lib.run import Run
from zs3lib.settings import Settings

K = 10
CLASSES = 21
STAGES = ("stage1", "features", "stage2", "evaluation")
HEAD = ["zs3lib", "beside", "zs3lib, ms", "beside, ms", "zs3lib takes, times as long", "min-max"]


def machine() -> str:
    """The processor in words, what it has of what matters here, threads and versions."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).is_file():
        lines = info.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    has = torch.cpu.get_capabilities()
    wanted = {"avx2": "avx2", "avx512_bf16": "avx512_bf16", "amx": "amx_bf16"}
    features = [f"{short} {'yes' if has.get(key) else 'no'}" for short, key in wanted.items()]
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}; {name}"
    return (
        f"{name} ({', '.join(features)}), {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {platform.system()}"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def seconds(side: Callable[[], object]) -> float:
    """How long a call takes, what it left to a GPU included."""
    begin = time.perf_counter()
    side()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def compared(
    what: str, beside: str, ours: Callable, other: Callable, *, repeats: int, each: int = 1
) -> list[str]:
    """A row: both sides in turn, after one run of each that does not count; `each` steps a run.

    The ratio is the median of those within a repeat, so that a machine's moods cancel.
    """
    times = [(seconds(ours), seconds(other)) for _ in range(repeats + 1)][1:]
    ratios = [a / b for a, b in times]
    mine, others = (1000 / each * statistics.median(side) for side in zip(*times))
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    middle = f"**{statistics.median(ratios):.2f}**"
    return [what, beside, f"{mine:.2f}", f"{others:.2f}", middle, spread]


def trainer(method: str, **changes) -> Trainer:
    """A trainer past its warm-up, with every pseudo-feature trusted."""
    words = F.normalize(torch.randn(CLASSES, 300), dim=1) * 300**0.5
    settings = Settings.make(tau=0.0, **changes)
    made = Trainer(
        METHODS[method],
        words,
        made_up(CLASSES, K),
        settings,
        steps=10**6,
        device=device_of("auto"),
    )
    made.recursing = made.method.recursive
    return made


def stage2(size: int, repeats: int, bar: tqdm) -> list[list[str]]:
    """A batch of 8 images of three classes, half of them with an unseen one, at paper shapes."""
    device = device_of("auto")
    parts = made_up(CLASSES, K)
    labels = label_maps(8, parts, size)
    features = torch.rand(8, size // 4, size // 4, 256, device=device)
    rows = []
    for method in ("zs3net", "ours"):
        for at in ("image", "feature"):
            mine = trainer(method, samples=128, feature_dim=256, loss_at=at)
            with torch.device(device):
                words = mine.head.words
                loop = Reference(method, words, set(parts.unseen), loss_at=at, tau=0.0)
            maps = labels.to(device)
            plain = features.permute(0, 3, 1, 2).contiguous()

            def reference(loop=loop, maps=maps, plain=plain):
                with torch.device(device):
                    loop.step(plain, maps)

            def step(mine=mine):
                mine.step(mine.batch(features, labels))

            what = f"stage 2 step, {METHODS[method].title}, loss at {at} resolution"
            rows.append(compared(what, "reference loop", step, reference, repeats=repeats))
            bar.update()
    return rows


def compiled(repeats: int, calls: int, bar: tqdm) -> list[list[str]]:
    """A generator step under `compile` and without, at toy and paper shapes."""
    rows = []
    for samples, features in ((48, 64), (128, 256)):
        real = torch.rand(samples, features, device=device_of("auto"))

        def run(mine: Trainer, real=real):
            mine.losses = {"generator": []}
            for _ in range(calls):
                mine.fit_generator(1, real)

        sides = [
            partial(run, trainer("zs3net", samples=samples, feature_dim=features, compile=wanted))
            for wanted in (True, False)
        ]
        what = f"generator step, {samples} x {features}, compiled"
        try:
            rows.append(compared(what, "eager", *sides, repeats=repeats, each=calls))
        except torch._dynamo.exc.TorchDynamoException:
            rows.append([what, "eager", "no C++ compiler here", "", "", ""])
        bar.update()
    return rows


def networks(profile: str, count: int, repeats: int, bar: tqdm) -> list[list[str]]:
    """Stage 1 and feature extraction: what loader, loss, optimiser and file add to the network."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="zs3-bench-") as folder:
        root = Path(folder)
        side = 96 if profile == "toy" else 400  # of a picture
        settings = world(root, images=count, size=side, profile=profile, workers=0, views=1)
        run = Run(settings, runs_root=root / "runs", cache_root=root / "cache")
        run.model.to(run.device, memory_format=torch.channels_last)
        source = Pictures(run.train, run.seen_images, settings)
        optimiser, schedule = stage1.optimisation(run.model, settings, 10**6)
        held = [images.to(run.device) for images, _ in source.epoch(0)]

        def epoch():
            args = (settings, optimiser, schedule, 0, tqdm(disable=True))
            stage1.train_epoch(run.model, source, *args)

        def bare():
            for images in held:
                run.model.zero_grad()
                with autocast(run.device, settings.amp):
                    logits = run.model(images.to(memory_format=torch.channels_last))
                logits.sum().backward()

        place = f"{settings.backbone} at {settings.crop_size} px, batch of {settings.batch_size}"
        what = f"stage 1 step, {place}"
        row = partial(compared, repeats=repeats, each=len(held))
        rows.append(row(what, "bare forward and backward", epoch, bare))
        bar.update()
        rows.append(extraction(run, place, root, repeats))
        bar.update()
    return rows


def extraction(run: Run, place: str, root: Path, repeats: int) -> list[str]:
    """The row of feature extraction, from pictures to the file."""
    settings = run.settings
    freeze(run.model)
    count = len(run.train)
    pictures = Augmented(run.train, list(range(count)), settings, seed=0, epoch=0)
    held = [images.to(run.device) for images, _ in batches(pictures, settings)]

    def fill():
        path = root / "features.bin"
        path.unlink(missing_ok=True)
        shape = {"side": -(-settings.crop_size // 4), "features": settings.feature_dim}
        cache = FeatureCache(path, run.train.ids, **shape, settings=settings)
        cache.fill(run.model, lambda view, first: batches(pictures, settings))
        cache.file.close()

    def bare():
        for images in held:
            with torch.inference_mode(), autocast(run.device, settings.amp):
                run.model.features(images.to(memory_format=torch.channels_last))

    what = f"features of a batch, {place}"
    return compared(what, "bare forward", fill, bare, repeats=repeats, each=len(held))


def evaluation(size: int, repeats: int, bar: tqdm) -> list[list[str]]:
    """Logits to confusion matrix of one image, beside numpy's argmax and bincount."""
    device = device_of("auto")
    side = size // 4 + 1
    truth = torch.from_numpy(label_map(0, made_up(CLASSES, K), size))
    logits = torch.randn(side, side, CLASSES, device=device)
    plain = logits.permute(2, 0, 1)[None].contiguous()

    def ours():
        labels = upsample(logits, tuple(truth.shape)).argmax(0).byte()
        return confusion_matrix(truth.to(device), labels, CLASSES)

    def other():
        return confusion(plain, truth.numpy())

    difference = abs(ours().cpu().numpy() - other()).sum()
    assert difference <= 1e-4 * size**2, "both must count the same"
    what = f"evaluation of a {size} px image, from its logits"
    bar.update()
    return [compared(what, "numpy", ours, other, repeats=repeats)]


def memory(few: int, size: int, bar: tqdm) -> str:
    """Peak memory of whole runs, in processes of their own."""
    peaks = []
    for images in (few, 16 * few):
        found = measure(images=images, size=size, backbone="small", feature_dim=64, samples=48)
        peaks.append(max(stage["peak_mb"] for stage in found.values()))
        bar.update()
    return (
        f"Peak memory of a run on {few} and on {16 * few} made-up pictures of {size} px with the "
        f"toy network: {peaks[0]:.0f} and {peaks[1]:.0f} MB."
    )


def minutes(runs: Path) -> str:
    """Where the time of each profile's grid went, by the run records below `runs`."""
    rows = []
    for profile in PROFILES:
        paths = sorted((runs / profile).glob("*/metrics.json"))
        records = [json.loads(path.read_text()) for path in paths]
        records = [r for r in records if r.get("seconds")]  # older ones do not say
        if not records:
            continue
        stages = [sum(r["seconds"].get(stage, 0) for r in records) for stage in STAGES]
        total = sum(r["wall_s"] for r in records)
        ends = [datetime.fromisoformat(r["time"].replace("Z", "+00:00")) for r in records]
        starts = [end.timestamp() - r["wall_s"] for end, r in zip(ends, records)]
        span = max(ends).timestamp() - min(starts)
        shown = [f"{part / 60:.1f}" for part in (*stages, total - sum(stages), total, span)]
        peak = max(r.get("peak_memory_mb") or 0 for r in records)
        devices = ", ".join(sorted({r["device"] for r in records}))
        rows.append([profile, str(len(records)), *shown, f"{peak:.0f}", devices])
    if not rows:
        return "No run records here: `make tables` first.\n"
    names = ["stage 1", "features", "stage 2", "evaluation", "the rest", "in all"]
    return table(["", "runs", *names, "first to last", "peak, MB", "device of each"], rows)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a test that it runs")
    parser.add_argument("--repeats", type=int, default=15, help="of each row (%(default)s)")
    parser.add_argument("--threads", type=int, help="by default torch's")
    parser.add_argument("--runs", type=Path, default=storage.RUNS, help="records (%(default)s)")
    parser.add_argument("--out", type=Path, default=storage.TABLES / "bench.md")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    quick = options.quick
    repeats = options.repeats
    profiles = ("toy",) if quick else ("toy", "lite")
    with tqdm(total=9 + 2 * len(profiles), desc="bench", unit="row") as bar:
        rows = stage2(32 if quick else 312, repeats, bar)
        rows += compiled(repeats, 1 if quick else 50, bar)
        for profile in profiles:
            rows += networks(profile, 32 if quick else 64, min(repeats, 5), bar)
        rows += evaluation(65 if quick else 513, repeats, bar)
        peak = memory(8 if quick else 64, 32 if quick else 96, bar)
    text = f"""# How fast, and where the minutes go

{machine()}.
{"**--quick: tiny sizes, the figures mean nothing.**" if quick else ""}

{table(HEAD, rows)}
The reference loop is `tests/benchmarks/reference.py`, ZS3Net's published loop in the order it was
published. Stage 2: 8 images of 312 px (features 78 x 78 x 256), three classes each, half of them
with an unseen one, K = {K}; every generated vector is trusted, which costs recursion most. A bare
pass is of the same network on batches in memory; zs3lib adds loader, augmentation, loss and
optimiser, or the feature file. Both sides run in turn; the ratio is the median of those.

{peak}

Minutes of the grids whose records are here, runs added up; "first to last" is what a clock shows
when runs go on side by side; "the rest" is the notebook, imports and data.

{minutes(options.runs)}"""
    storage.write_texts(options.out.parent, {options.out.name: text})
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
