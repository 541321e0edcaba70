"""Which reading of the classifier's training gives the published shape? On real images.

The paper's learning rate fits a summed loss, ZS3Net's code divides a weighted mean by the batch
size, and the lite profile has values of its own; each is trained with unseen classes weighing 10
and 100 times as much. Only the classifier's rule differs: the readings of one (K, seed) share the
backbone, the features and the generator, which in ZS3Net learns nothing from the classifier.

    python tests/benchmarks/readings.py -p data_root /data -p weights mobilenet_v2.pth \
        -p word_vectors vectors.txt

writes tables/lite/readings.{md,csv} and figures/lite/readings.png. What seeds of a K have left in
runs/lite/readings/ is not done again; the table is of all that is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import pandas as pd
import torch
from matplotlib import pyplot as plt
from tqdm.auto import tqdm

from zs3lib import Settings, storage
from zs3lib.method.operating import operating_point
from zs3lib.method.stage2 import Trainer
from zs3lib.paths import FIGURES, RUNS, TABLES
from zs3lib.results.paper import published
from zs3lib.results.texts import markdown, spread
from zs3lib.runs import facts
from zs3lib.runs.run import Run
from zs3lib.seeds import stream

LITE = Settings.make(profile="lite")
# The paper's sum runs over the 312 x 312 pixels of an image, here over the cells of a step.
CELLS = (LITE.crop_size // 4 // LITE.cell_stride) ** 2
READINGS = {
    "zs3net": {"classifier_loss": "zs3net", "classifier_lr": 0.07},
    "literal": {"classifier_loss": "sum", "classifier_lr": 1e-7 * 312**2 / CELLS},
    "lite": {"classifier_loss": LITE.classifier_loss, "classifier_lr": LITE.classifier_lr},
}
UNSEEN_WEIGHTS = (10, 100)
SURE = 0.85  # the paper's tau at K = 2 and 10
SHOWN = ("seen_miou", "unseen_miou", "hiou", "seen_ma", "unseen_ma")


def train(run: Run, seed: int) -> dict[str, Trainer]:
    """ZS3Net's stage 2 with one generator and a classifier for each reading, by its name."""
    cache = run.features()
    trainers = {}
    for name, changes in READINGS.items():
        for weight in UNSEEN_WEIGHTS:
            changes = changes | {"unseen_weight": float(weight), "seed": seed}
            trainers[f"{name}, {weight}"] = run.trainer("zs3net", cache, **changes)
    first, *others = trainers.values()
    for trainer in others:
        trainer.head.generator = first.head.generator
    for epoch in range(run.settings.stage2_epochs):
        batches = tqdm(cache.epoch(epoch), f"seed {seed}, epoch {epoch + 1}", cache.batches)
        for n, (features, labels) in enumerate(batches):
            torch.manual_seed(stream(seed, 21, epoch, n))
            batch = first.batch(features, labels)
            first.step(batch)
            for trainer in others:
                trainer.losses = defaultdict(list)
                trainer.fit_classifier(batch)
                trainer.schedule.step()
    return trainers


def share_sure(run: Run, trainer: Trainer, n: int = 512) -> float:
    """Percent of generated unseen features that are classified correctly with confidence > SURE."""
    with torch.no_grad():
        found = []
        for c in run.split.unseen:
            confidence, called = (
                trainer.head.classifier(trainer.head.generate(c, n)).softmax(1).max(1)
            )
            found.append(((called == c) & (confidence > SURE)).float().mean())
    return 100 * torch.stack(found).mean().item()


def measure(run: Run, seeds: list[int]) -> list[dict]:
    """A row for each reading and seed; one pass over the validation images serves them all."""
    trainers = {(seed, name): t for seed in seeds for name, t in train(run, seed).items()}
    shares = {key: share_sure(run, trainer) for key, trainer in trainers.items()}
    classifiers = {key: trainer.head.eval().classifier for key, trainer in trainers.items()}
    found, tuning = run.confusions(classifiers)
    rows = []
    for (seed, name), at_offsets in found.items():
        reading, weight = name.split(", ")
        point = operating_point(at_offsets, tuning[seed, name], run.split)
        rows.append(
            {"reading": reading, "unseen weight": int(weight), "k": run.settings.k, "seed": seed}
            | {column: point["metrics"][column] for column in SHOWN}
            | {"share sure": shares[seed, name]}
            | {"best_hiou": point["best_hiou"], "area": point["area"]}
        )
    return rows


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds beside ZS3Net's published rows, percent."""
    keys = ["reading", "unseen weight", "k"]
    groups = rows.drop(columns="seed").groupby(keys, sort=False, observed=True)
    means = spread(groups.mean(), groups.std())
    paper = published()
    chosen = (paper.table == "I") & (paper.model == "ZS3Net") & paper.k.isin(rows.k)
    printed = paper[chosen].assign(**{"reading": "published", "unseen weight": 100})
    printed = spread(printed.set_index(keys)[list(SHOWN)])
    return pd.concat([means, printed]).fillna("").reset_index()


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Mean accuracy of seen and unseen classes over K, by each reading and as published."""
    paper = published()
    paper = paper[(paper.table == "I") & (paper.model == "ZS3Net")]
    figure, axes = plt.subplots(1, len(READINGS), figsize=(11, 3.6), sharey=True)
    for axis, reading in zip(axes, READINGS):
        for part, colour in (("seen_ma", "#0072b2"), ("unseen_ma", "#d55e00")):
            name = part.removesuffix("_ma")
            axis.plot(paper.k, paper[part], ":", color=colour, label=f"{name}, published")
            for weight, style in zip(UNSEEN_WEIGHTS, ("--", "-")):
                own = rows[(rows.reading == reading) & (rows["unseen weight"] == weight)]
                mean = own.groupby("k")[part].mean()
                label = f"{name}, unseen weight {weight}"
                axis.plot(mean.index, mean, style, color=colour, marker="o", label=label)
        axis.set(title=reading, xlabel="unseen classes K", xticks=(2, 4, 6, 8, 10), ylim=(0, 100))
    axes[0].set_ylabel("mean accuracy (%)")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    figure.suptitle("Which reading has the published shape? ZS3Net on VOC, lite network")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    command.add_argument("--ks", nargs="+", type=int, default=[2, 6, 10])
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    words = command.parse_args()
    folder = RUNS / "lite" / "readings"
    for k in words.ks:
        path = folder / f"voc-k{k}-s{'-'.join(map(str, words.seeds))}.json"
        if not path.is_file():
            begin = time.time()
            run = Run(Settings.make(profile="lite", k=k, **dict(words.p)))
            run.train_backbone()
            rows = measure(run, words.seeds)
            minutes = (time.time() - begin) / 60
            git = facts.git()
            storage.write_json(path, {"rows": rows, "minutes": minutes, "git": git})
    done = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    rows = pd.DataFrame([row for part in done for row in part["rows"]])
    order = pd.Categorical(rows["reading"], READINGS)
    rows = rows.assign(reading=order).sort_values(["k", "reading", "unseen weight", "seed"])
    out = TABLES / "lite" / "readings"
    rows.to_csv(out.with_suffix(".csv"), index=False, float_format="%.3f")
    commits = sorted({str(part["git"]["commit"])[:10] for part in done})
    minutes = sum(part["minutes"] for part in done)
    seeds = ", ".join(f"K = {k}: {n}" for k, n in rows.groupby("k").seed.nunique().items())
    note = f"Seeds: {seeds}. Commit {', '.join(commits)}; {minutes:.0f} minutes on one thread."
    about = (
        "ZS3Net on VOC's official val split with the lite network, percent; mean ± standard "
        "deviation over seeds. `share sure`: generated unseen features that are classified "
        f"correctly with confidence > {SURE}. {note}"
    )
    heading = "# Which reading gives the published shape?"
    out.with_suffix(".md").write_text(f"{heading}\n\n{about}\n\n{markdown(table(rows))}\n")
    draw(rows, FIGURES / "lite" / "readings.png")


if __name__ == "__main__":
    main()
