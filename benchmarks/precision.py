"""What channels_last and bfloat16 do: to the time of the network, to its features, and to mIoU."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from zs3lib import Settings, load_heads, paths, split, stage1
from zs3lib.data import open_data
from zs3lib.data.loading import validation_input
from zs3lib.devices import autocast, device, half
from zs3lib.evaluate import evaluate
from zs3lib.features import extract
from zs3lib.metrics import scores


def precision(size: int, bar: tqdm, timed: Callable) -> tuple[list[list[str]], str]:
    """Rows of times (a training step and feature extraction, ResNet-18, 4 images), and the effects in words."""
    settings, where = Settings.make(profile="toy"), device(Settings.make(profile="toy"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, size, size, generator=generator).to(where)
    labels = torch.randint(21, (4, size, size), generator=generator).to(where)
    plain, ours = (stage1.build_model(settings, 21).to(where) for _ in range(2))
    ours.to(memory_format=torch.channels_last)
    held = images.to(memory_format=torch.channels_last)

    def step(model, x, amp):
        with autocast(where, Settings.make(profile="toy", amp=amp)):
            logits = model.train()(x)
        model.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()

    def features():
        with torch.inference_mode():
            return plain.eval().features(images)

    rows = [
        timed("stage 1, forward and backward", "", lambda: step(plain, images, False), lambda: step(ours, held, True)),
        timed("feature extraction", "", features, lambda: extract(ours.eval(), images, settings)),
    ]
    bar.update()
    return rows, effects()


def effects() -> str:
    """Relative error of the features, and the difference in mIoU, on a finished toy run."""
    amp = Settings.make(profile="toy")
    if half(device(amp), amp) is None:
        return "This device does not compute in bf16: both networks run in fp32, and neither features nor mIoU change."
    for path in sorted((paths.RUNS / "toy").glob("*/metrics.json")):
        record = json.loads(path.read_text())
        saved = Settings.make(**record["settings"])
        both = [Settings.make(**(record["settings"] | {"amp": on, "device": "auto"})) for on in (True, False)]
        data = open_data(saved.dataset, saved.data_root, "val", holdout=saved.holdout)
        model, heads = load_heads(path.parent, both[0], len(data.names))
        x = validation_input(data.load_image(0), saved)
        low, full = (extract(model, x, s).float() for s in both)
        error = ((low - full).norm() / full.norm()).item()
        classes = split(saved.dataset, saved.k)
        linear = {name: head.classifier for name, head in heads.items()}
        first, second = (evaluate(model, linear, data, s) for s in both)
        lines = []
        for name in linear:
            a, b = (scores(found[name], classes) for found in (first, second))
            changes = ", ".join(f"{m} {a[m] - b[m]:+.2f}" for m in ("seen_miou", "unseen_miou", "overall_miou", "hiou"))
            lines.append(f"- {name}: {changes}")
        return (
            f"bf16 against fp32 on the toy run {path.parent.name} ({len(data)} validation images): features differ by "
            f"{100 * error:.2f} % (relative 2-norm; the cache's float16 rounds by 0.02 %). Change of the scores, in "
            "points:\n\n" + "\n".join(lines)
        )
    return "No finished toy run here to say what bf16 does to features and mIoU: `make tables` first."
