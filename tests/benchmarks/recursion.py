"""What the paper leaves open about the recursion, each choice tried on real images at K = 10.

    python tests/benchmarks/recursion.py -p data_root /data -p weights mobilenet_v2.pth \
        -p word_vectors vectors.txt

writes tables/lite/recursion.md. All variants share backbone, features and batches; those that begin
alike share their warm-up too. What a seed has left in runs/lite/recursion/ is not done again.
"""

from __future__ import annotations

import argparse
import json
import time

import pandas as pd
import torch

from zs3lib import Settings, storage
from zs3lib.method.methods import METHODS
from zs3lib.method.metrics import OFFSETS, operating_point, scores
from zs3lib.method.stage2 import Stage2, Trainer
from zs3lib.results.tables import markdown
from zs3lib.run import Run
from zs3lib.storage import Checkpoint

# Trained in one pass: {row of the table: (method, its settings)}, with settings all of them share.
GROUPS = [
    (
        {},
        {
            "ZS3Net": ("zs3net", {}),
            "Ours, as read": ("ours", {}),
            "Equal weight, as read": ("equal_weight", {}),
            "Ours, gamma x 10": ("ours", {"gamma": 10}),
            "Ours, gamma x 40": ("ours", {"gamma": 40}),
        },
    ),
    ({"feed_back": "all"}, {"Ours, fed back for all classes": ("ours", {})}),
    (
        {"fit_mixed": True},
        {
            "ZS3Net, seen classes beside unseen ones fitted": ("zs3net", {}),
            "Ours, seen classes beside unseen ones fitted": ("ours", {}),
        },
    ),
    ({"warmup_epochs": 0}, {"Ours, no warm-up": ("ours", {})}),
    ({"warmup_epochs": 2}, {"Ours, a quarter of the epochs as warm-up": ("ours", {})}),
]
COLUMNS = {"seen_miou": "Seen", "unseen_miou": "Unseen", "hiou": "hIoU"}


def train(run: Run, seed: int) -> dict[str, Trainer]:
    """The trainers of all variants, by their row."""
    cache = run.features()
    words = torch.from_numpy(run.words)
    found = {}
    for number, (shared, rows) in enumerate(GROUPS):
        trainers = {}
        for row, (method, own) in rows.items():
            changes = shared | own | {"seed": seed}
            if "gamma" in own:
                changes["gamma"] = own["gamma"] * run.settings.gamma
            settings = run.settings.model_copy(update=changes)
            steps = settings.stage2_epochs * cache.batches
            trainers[row] = Trainer(
                METHODS[method], words, run.split, settings, steps=steps, device=run.device
            )
        path = storage.RUNS / "lite" / "recursion" / f"s{seed}-{number}.pt"
        Stage2(trainers, cache).train(Checkpoint(path, f"{run.head_key} {seed}"))
        found |= trainers
    return found


def measure(run: Run, seed: int) -> list[dict]:
    """A row for each variant."""
    trainers = train(run, seed)
    found, tuning = run.confusions({row: t.head.eval().classifier for row, t in trainers.items()})
    rows = []
    for name, at_offsets in found.items():
        metrics = scores(at_offsets[OFFSETS.index(0.0)], run.split)
        point = operating_point(at_offsets, tuning[name], run.split)
        row = {"Variant": name, "seed": seed}
        row |= {title: metrics[column] for column, title in COLUMNS.items()}
        rows.append(row | {"Best hIoU": point["best_hiou"], "Area": point["area"]})
    return rows


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    words = command.parse_args()
    done = []
    for seed in words.seeds:
        path = storage.RUNS / "lite" / "recursion" / f"voc-k10-s{seed}.json"
        if not path.is_file():
            begin = time.time()
            run = Run(Settings.make(profile="lite", k=10, **dict(words.p)))
            run.train_backbone()
            rows = measure(run, seed)
            minutes = (time.time() - begin) / 60
            content = {"rows": rows, "minutes": minutes, "git": storage.git()}
            storage.write_json(path, content | {"settings": run.settings.as_dict()})
        done.append(json.loads(path.read_text()))
    rows = pd.DataFrame([row for part in done for row in part["rows"]])
    groups = rows.drop(columns="seed").groupby("Variant", sort=False)
    cells = groups.mean().map("{:.1f}".format)
    if len(done) > 1:
        cells = cells + groups.std().map(" ± {:.1f}".format)
    settings = done[0]["settings"]
    names = ("classifier_loss", "classifier_lr", "unseen_weight", "gamma")
    rule = ", ".join(f"{name} = {settings[name]}" for name in names)
    commits = {str(part["git"]["commit"])[:10] for part in done}
    minutes = sum(part["minutes"] for part in done)
    note = f"{len(done)} seed(s); commit {', '.join(commits)}; {minutes:.0f} minutes."
    setting = f"VOC's official val split, K = 10, lite network, percent; {rule}. {note}"
    heading = "# What the paper leaves open about the recursion"
    text = f"{heading}\n\n{setting}\n\n{markdown(cells.reset_index())}\n"
    (storage.TABLES / "lite" / "recursion.md").write_text(text)


if __name__ == "__main__":
    main()
