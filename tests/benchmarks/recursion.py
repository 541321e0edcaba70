"""Does the recursion help, and what of the choices that the paper leaves open? On real images.

    python tests/benchmarks/recursion.py -p data_root /data -p weights mobilenet_v2.pth \
        -p word_vectors vectors.txt -p classifier_loss zs3net -p classifier_lr 0.07 \
        -p unseen_weight 100 [--ks 2 6 10] [--seeds 0 1 2] [--open | --tables]

leaves the records of runs/lite/voc-k<K>-s<seed>, their Tables I and III and curves, and tables/
lite/recursion.{md,csv}; --open trains the choices below the first group, --tables no more than what
these tables show. What is trained together shares features, batches and warm-up, and all seeds of a
K share backbone, features and one pass over the validation images. What seeds of a K have left in
runs/lite/recursion/ is not done again; the table is of all that is there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pandas as pd

from zs3lib import Settings, plots, storage
from zs3lib.method.operating import operating_point
from zs3lib.method.together import Stage2
from zs3lib.paths import FIGURES, RUNS, TABLES
from zs3lib.results import beside, records, tables
from zs3lib.results.paper import hiou_frame
from zs3lib.results.texts import markdown, spread
from zs3lib.runs import facts
from zs3lib.runs.run import Run
from zs3lib.storage import Checkpoint

# Trained in one pass: (settings that all share, {row of the table: (method, its own settings)}).
GROUPS = [
    (
        {},
        {
            "No generator": ("no_generator", {}),
            "ZS3Net": ("zs3net", {}),
            "Ours, as read": ("ours", {}),
            "Equal weight, as read": ("equal_weight", {}),
            "Ours, gamma x 10": ("ours", {"gamma": 10}),
            "Ours, gamma x 40": ("ours", {"gamma": 40}),
        },
    ),
    # Adam takes a step at gamma = 0 too: what is left of "Ours" when nothing is fed back.
    ({}, {"Ours, gamma = 0": ("ours", {"gamma": 0})}),
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
RECORDED = list(GROUPS[0][1])[:4]  # the methods of a run's record
FOLDER = RUNS / "lite" / "recursion"
COLUMNS = {"seen_miou": "Seen", "unseen_miou": "Unseen", "hiou": "hIoU"}


def train(run: Run, groups: list) -> dict:
    """The trained heads of some groups, by their row; the methods of the record are the run's."""
    begin = time.time()
    run.train_backbone()
    run.source = run.features()
    run.seconds["features"] = time.time() - begin
    begin = time.time()
    heads = {}
    for number, (shared, rows) in enumerate(groups):
        trainers = {}
        for row, (method, own) in rows.items():
            changes = shared | own
            if "gamma" in own:
                changes["gamma"] = own["gamma"] * run.settings.gamma
            trainers[row] = run.trainer(method, run.source, **changes)
        path = FOLDER / f"{run.settings.run_name}-{number}-{len(groups)}.pt"
        stage2 = Stage2(trainers, run.source)
        stage2.train(Checkpoint(path, run.head_key))
        path.unlink()
        heads |= {row: trainer.head.eval() for row, trainer in trainers.items()}
        for row in set(RECORDED) & set(rows):
            run.heads[rows[row][0]] = heads[row]
            run.history[rows[row][0]] = stage2.history[row]
    run.seconds["stage2"] = time.time() - begin
    return heads


def measure(runs: list[Run], groups: list) -> list[dict]:
    """A row for each seed and choice, percent; the runs' records where the first group is."""
    heads = {
        (run.settings.seed, row): head for run in runs for row, head in train(run, groups).items()
    }
    begin = time.time()
    found, tuning = runs[0].confusions({key: head.classifier for key, head in heads.items()})
    evaluated = time.time() - begin
    for run in runs if RECORDED[0] in groups[0][1] else []:
        names = {GROUPS[0][1][row][0]: (run.settings.seed, row) for row in RECORDED}
        # What has been counted for all of them at once, in place of a pass for each.
        own = [{name: counts[key] for name, key in names.items()} for counts in (found, tuning)]
        run.score(*own)
        run.seconds["evaluation"] = evaluated
        run.save(keep_cache=True)
    rows = []
    for (seed, name), at_offsets in found.items():
        point = operating_point(at_offsets, tuning[seed, name], runs[0].split)
        row = {"K": runs[0].settings.k, "Variant": name, "Seed": seed}
        row |= {title: point["metrics"][column] for column, title in COLUMNS.items()}
        rows.append(row | {"Best hIoU": point["best_hiou"], "Area": point["area"]})
    return rows


def write(parts: list[dict]) -> None:
    """The table of all that was measured: mean and standard deviation over seeds."""
    rows = pd.DataFrame([row for part in parts for row in part["rows"]])
    rows["Variant"] = pd.Categorical(rows["Variant"], [row for _, group in GROUPS for row in group])
    rows = rows.drop_duplicates(["K", "Variant", "Seed"]).sort_values(["K", "Variant", "Seed"])
    out = TABLES / "lite" / "recursion"
    rows.to_csv(out.with_suffix(".csv"), index=False, float_format="%.3f")
    groups = rows.groupby(["K", "Variant"], observed=True)[[*COLUMNS.values(), "Best hIoU", "Area"]]
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


def write_tables() -> None:
    """Tables I and III and the curves, of the records that are there; stage 1 may differ by K."""
    found = records.read_records(RUNS, "lite", datasets=["voc"])
    stage1 = {r["k"]: (r["settings"]["stage1_epochs"], r["settings"]["weights"]) for r in found}
    told = "; ".join(
        f"K = {k}: {epochs} epochs from {Path(weights).name}"
        for k, (epochs, weights) in sorted(stage1.items())
    )
    free = ("stage1_epochs", "the content of weights")
    tables.write("lite", runs=RUNS, datasets=["voc"], free=free, note=f"Stage 1, {told}.")
    beside.write_operating(found, TABLES, "lite")
    curves = plots.operating_curves(beside.curves(found))
    plots.save(curves, FIGURES / "lite" / "operating")
    drawn = plots.hiou_over_k(hiou_frame(found, ["voc"]))
    plots.save(drawn, FIGURES / "lite" / "hiou")


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    command.add_argument("--ks", nargs="+", type=int, default=[10])
    command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    which = command.add_mutually_exclusive_group()
    which.add_argument("--open", action="store_true", help="the choices below the first group")
    which.add_argument("--tables", action="store_true", help="only what Tables I and III show")
    words = command.parse_args()
    for k in words.ks:
        what = "-open" * words.open + "-tables" * words.tables
        path = FOLDER / f"voc-k{k}-s{'-'.join(map(str, words.seeds))}{what}.json"
        if not path.is_file():
            begin = time.time()
            given = {"profile": "lite", "k": k, **dict(words.p)}
            runs = [Run(Settings.make(seed=seed, **given)) for seed in words.seeds]
            groups = GROUPS[1:] if words.open else GROUPS[:1]
            if words.tables:
                groups = [({}, {row: GROUPS[0][1][row] for row in RECORDED})]
            rows = measure(runs, groups)
            content = {"rows": rows, "minutes": (time.time() - begin) / 60}
            content |= {"git": facts.git(), "settings": runs[0].settings.as_dict()}
            storage.write_json(path, content)
    write([json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))])
    write_tables()


if __name__ == "__main__":
    main()
