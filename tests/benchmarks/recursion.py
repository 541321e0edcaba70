"""Does the recursion help, and what of the choices that the paper leaves open? On real images.

    python tests/benchmarks/recursion.py -p data_root /data -p weights mobilenet_v2.pth \
        -p word_vectors vectors.txt -p classifier_loss zs3net -p classifier_lr 0.07 \
        -p unseen_weight 100 [--ks 2 6 10] [--seeds 0 1 2] [--open]

writes tables/lite/recursion.{md,csv}; --open also trains the choices below the first group. What
is trained together shares features, batches and warm-up. What a (K, seed) has left in
runs/lite/recursion/ is not done again; the table is of all that is there.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product

import pandas as pd

from zs3lib import Settings, storage
from zs3lib.method.metrics import operating_point
from zs3lib.method.stage2 import Stage2, Trainer
from zs3lib.results.tables import markdown, spread
from zs3lib.run import Run
from zs3lib.storage import Checkpoint

# Trained in one pass: (settings that all share, {row of the table: (method, its own settings)}).
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
FOLDER = storage.RUNS / "lite" / "recursion"
COLUMNS = {"seen_miou": "Seen", "unseen_miou": "Unseen", "hiou": "hIoU"}


def train(run: Run, seed: int, groups: list, name: str) -> dict[str, Trainer]:
    """The trainers of some groups, by their row."""
    cache = run.features()
    found = {}
    for number, (shared, rows) in enumerate(groups):
        trainers = {}
        for row, (method, own) in rows.items():
            changes = shared | own | {"seed": seed}
            if "gamma" in own:
                changes["gamma"] = own["gamma"] * run.settings.gamma
            trainers[row] = run.trainer(method, cache, **changes)
        path = FOLDER / f"{name}-{number}.pt"
        Stage2(trainers, cache).train(Checkpoint(path, f"{run.head_key} {seed}"))
        path.unlink()
        found |= trainers
    return found


def measure(run: Run, trainers: dict[str, Trainer]) -> list[dict]:
    """A row for each of them, percent."""
    found, tuning = run.confusions({row: t.head.eval().classifier for row, t in trainers.items()})
    rows = []
    for name, at_offsets in found.items():
        point = operating_point(at_offsets, tuning[name], run.split)
        row = {"K": run.settings.k, "Variant": name}
        row |= {title: point["metrics"][column] for column, title in COLUMNS.items()}
        rows.append(row | {"Best hIoU": point["best_hiou"], "Area": point["area"]})
    return rows


def write(parts: list[dict]) -> None:
    """The table of all that was measured: mean and standard deviation over seeds."""
    rows = pd.DataFrame([row | {"Seed": part["seed"]} for part in parts for row in part["rows"]])
    out = storage.TABLES / "lite" / "recursion"
    rows.to_csv(out.with_suffix(".csv"), index=False, float_format="%.3f")
    groups = rows.groupby(["K", "Variant"], sort=False)[[*COLUMNS.values(), "Best hIoU", "Area"]]
    cells = spread(groups.mean(), groups.std())
    cells.insert(0, "Seeds", groups.size().astype(str))
    settings = parts[0]["settings"]
    names = ("classifier_loss", "classifier_lr", "unseen_weight")
    rule = ", ".join(f"{name} = {settings[name]}" for name in names)
    commits = ", ".join(sorted({str(part["git"]["commit"])[:10] for part in parts}))
    minutes = sum(part["minutes"] for part in parts)
    about = (
        f"VOC's official val split, lite network, percent; mean ± standard deviation over seeds; "
        f"{rule}. Commit {commits}; {minutes:.0f} minutes on one thread."
    )
    text = f"# Does the recursion help?\n\n{about}\n\n{markdown(cells.reset_index())}\n"
    out.with_suffix(".md").write_text(text)


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    command.add_argument("--ks", nargs="+", type=int, default=[10])
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    command.add_argument("--open", action="store_true", help="the choices below the first group")
    words = command.parse_args()
    for k, seed in product(words.ks, words.seeds):
        name = f"voc-k{k}-s{seed}" + "-open" * words.open
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            begin = time.time()
            run = Run(Settings.make(profile="lite", k=k, **dict(words.p)))
            run.train_backbone()
            rows = measure(run, train(run, seed, GROUPS[1:] if words.open else GROUPS[:1], name))
            content = {"rows": rows, "seed": seed, "minutes": (time.time() - begin) / 60}
            content |= {"git": storage.git(), "settings": run.settings.as_dict()}
            storage.write_json(path, content)
    write([json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))])


if __name__ == "__main__":
    main()
