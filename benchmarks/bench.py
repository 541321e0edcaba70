"""How fast and how large: every figure is a ratio within one run against the plain reference loop.

python benchmarks/bench.py              # all of it, a few minutes on two cores; prints and writes tables/bench.md
python benchmarks/bench.py --quick      # tiny sizes, seconds: that it runs, not what it finds
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from precision import precision
from reference import Reference, confusion
from tqdm.auto import tqdm
from worlds import Labels, peak_memory, smooth_logits

from zs3lib import Settings, paths, split
from zs3lib.devices import device, keep_freed_memory
from zs3lib.evaluate import label_map
from zs3lib.metrics import confusion_matrix
from zs3lib.stage2 import Trainer

K = 10


def processor() -> str:
    """The machine in words."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else name
    return f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.system()}"


def interleaved(repeats: int, *sides: Callable[[], object]) -> Iterator[list[float]]:
    """Seconds of each side, one after the other, `repeats` times, after one run of each that does not count."""
    for repeat in range(-1, repeats):
        seconds = []
        for side in sides:
            begin = time.perf_counter()
            side()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
        if repeat >= 0:
            yield seconds


def compared(what: str, wanted: str, times: list[list[float]]) -> list[str]:
    """A row of the table: median of the ratios, smallest and largest, median milliseconds of both."""
    ratios = [slow / fast for slow, fast in times]
    slow, fast = (1000 * statistics.median(side) for side in zip(*times))
    spread = f"{min(ratios):.1f}-{max(ratios):.1f}"
    return [what, f"{slow:.1f}", f"{fast:.1f}", f"**{statistics.median(ratios):.1f}**", spread, wanted]


class Rows:
    """As much of a feature cache as a `Trainer` asks for at its start."""

    views, features = 1, np.empty((1000, 0, 0, 256))

    def __len__(self) -> int:
        return 1000


def stage2(size: int, repeats: int, bar: tqdm) -> list[list[str]]:
    """A batch of 8 images, half of them with unseen classes, three classes each: reference against `Trainer.step`."""
    unseen, where = split("voc", K), device(Settings.make())
    generator = torch.Generator().manual_seed(0)
    labels = Labels(unseen, size).batch(8)
    features = torch.rand(8, size // 4, size // 4, 256, generator=generator).half()
    words = F.normalize(torch.randn(21, 300, generator=generator), dim=1) * 300**0.5
    plain = features.float().permute(0, 3, 1, 2).contiguous().to(where)
    rows = []
    for method in ("zs3net", "ours"):
        torch.manual_seed(0)
        with torch.device(where):
            slow = {
                at: Reference(method, words.to(where), set(unseen.unseen), loss_at=at, tau=0.0)
                for at in ("image", "feature")
            }
        changes = dict(profile="lite", k=K, batch_size=8, warmup_epochs=0, tau=0.0, samples=128, cell_stride=1)
        fast = {
            at: Trainer(method, Rows(), words, unseen, Settings.make(**changes, loss_at=at))
            for at in ("image", "feature")
        }
        held, maps = features.to(where), labels.to(where)

        def loop(at, slow=slow, maps=maps):
            with torch.device(where):
                slow[at].step(plain, maps)

        sides = [lambda at=at, loop=loop: loop(at) for at in slow]
        sides += [lambda t=t: t.step(held, labels, defaultdict(list)) for t in fast.values()]
        times = []
        for seconds in interleaved(repeats, *sides):
            times.append(seconds)
            bar.update()
        name = f"stage 2 step, {method}: loss at"
        for what, wanted, i, j in (
            ("image resolution", ">= 8", 0, 2),
            ("feature resolution, reference's at image resolution", ">= 20", 0, 3),
            ("feature resolution, both", "", 1, 3),
        ):
            rows.append(compared(f"{name} {what}", wanted, [[t[i], t[j]] for t in times]))
    return rows


def evaluation(size: int, repeats: int, bar: tqdm) -> list[list[str]]:
    """Logits to confusion matrix, one image: numpy's argmax and bincount against blocks on the device."""
    where, rows = device(Settings.make()), []
    labels = Labels(split("voc", K), size).batch(1)[0]
    noise = torch.randn(size // 4 + 1, size // 4 + 1, 21, generator=torch.Generator().manual_seed(0))
    for name, logits, wanted in (
        ("evaluation, logits like a trained network's", smooth_logits(labels, size // 4 + 1), ">= 5"),
        ("evaluation, logits of pure noise", noise, ""),
    ):
        plain = logits.permute(2, 0, 1)[None].contiguous().to(where)
        held, truth = logits.to(where), labels.to(where)

        def fast(held=held, truth=truth):
            return confusion_matrix(truth, label_map(held, truth.shape), 21)

        found, expected = fast().cpu().numpy(), confusion(plain, labels.numpy())
        assert np.abs(found - expected).sum() <= 1e-4 * expected.sum(), "both must count the same"
        times = []
        for seconds in interleaved(repeats, lambda plain=plain: confusion(plain, labels.numpy()), fast):
            times.append(seconds)
            bar.update()
        rows.append(compared(f"{name}, {size} px", wanted, times))
    return rows


def memory(images: int, size: int, bar: tqdm) -> list[list[str]]:
    """Peak memory of a process that builds the cache, one that trains on it, one that evaluates; 1, 4, 16 x images."""
    rows = []
    for what in ("cache", "stage2", "evaluation"):
        found = []
        for factor in (1, 4, 16):
            found.append(peak_memory(what, images=factor * images, size=size))
            bar.update()
        disk = "" if what == "evaluation" else f", cache {found[-1]['disk_mb']:.0f} MB at 16x"
        peaks = [f"{f['peak_mb']:.0f}" for f in found]
        rows.append([f"{what}{disk}", *peaks, f"{found[-1]['peak_mb'] / found[0]['peak_mb']:.2f}"])
    return rows


def grid(profile: str = "toy") -> str:
    """The time of a profile's grid, from its run records."""
    import json

    records = [json.loads(p.read_text()) for p in sorted((paths.RUNS / profile).glob("*/metrics.json"))]
    if not records:
        return f"No run records of the {profile} grid here: `make tables` first."
    ends = [datetime.fromisoformat(r["time"]).timestamp() for r in records]
    starts = [end - r["wall_s"] for end, r in zip(ends, records)]
    longest, total = max(r["wall_s"] for r in records), sum(r["wall_s"] for r in records)
    return (
        f"{len(records)} runs in {max(ends) - min(starts):.0f} s from the start of the first to the end of the last, side by "
        f"side ({total:.0f} s added up, {longest:.0f} s the longest); device of each: "
        f"{', '.join(sorted({r['device'] for r in records}))}. Set-up, the toy world and the tables come on top."
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few repeats: a test that it runs")
    parser.add_argument(
        "--repeats", type=int, default=None, help="interleaved repeats of each comparison (default: 15)"
    )
    parser.add_argument("--threads", type=int, default=None, help="threads (default: torch's)")
    parser.add_argument("--out", type=Path, default=paths.TABLES / "bench.md", help="file to write (%(default)s)")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    quick = options.quick
    repeats = options.repeats or (2 if quick else 15)
    with tqdm(total=4 * repeats + 10, desc="bench", unit="step") as bar:
        steps = stage2(64 if quick else 312, repeats, bar)
        counts = evaluation(65 if quick else 513, repeats, bar)

        def timed(what, wanted, *sides):
            return compared(what, wanted, list(interleaved(min(repeats, 5), *sides)))

        networks, effects = precision(64 if quick else 312, bar, timed)
        peaks = memory(8 if quick else 32, 32 if quick else 128, bar)
    timed = ["", "reference, ms", "zs3lib, ms", "ratio, median", "min-max", "asked for"]
    text = f"""# How fast, how large

{processor()}; {repeats} interleaved repeats. A ratio compares two runs of the same repeat. The reference is
`benchmarks/reference.py`: ZS3Net's published loop as plain torch. Batch of 8 at 312 px (features 8 x 78 x 78 x 256),
K = {K}, three classes an image, half of the images with an unseen one; the backbone is not part of the step. "ours"
recurses with every generated vector trusted, which costs it most.
{"**--quick: tiny sizes, the figures mean nothing.**" if quick else ""}

{table(timed, steps + counts)}
Network, fp32 in torch's default memory layout against channels_last with bf16 where the device computes in it:

{table(timed, networks)}
{effects}

Peak memory of a process of its own, in MB (of which Python and torch with a ResNet-18 are the most):

{table(["", "1x images", "4x", "16x", "16x / 1x"], peaks)}
Toy grid: {grid()}
"""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with paths.atomic_write(options.out, "w") as file:
        file.write(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
