"""The tables beside the paper's: Table IV, methods apart from their operating point, protocols.

Table IV holds the extras and the runs of later papers' splits, by what each row may see. An unseen
weight, or an offset added to the unseen logits, moves a method along one curve between seen and
unseen mIoU: two methods at two places of it differ in hIoU though neither knows more.
"""

from pathlib import Path

import pandas as pd

from ..classes import DATASETS
from ..errors import ZS3Error
from ..method.methods import METHODS, SELF_TRAINED, is_extra
from ..paths import RESOURCES, RUNS, TABLES
from ..storage import write_texts
from . import paper, records
from .paper import SHORT
from .texts import page, spread

NOTES = records.NOTES["table"]
SEES = records.NOTES["sees"]
POINTS = NOTES["operating"]


def may_see(method: str, protocol: str) -> str:
    """What of the training images the rows of a method, or of its self-training, learn from."""
    name, after, _ = method.partition(SELF_TRAINED)
    generates = name not in METHODS or METHODS[name].generates
    return SEES[protocol if generates else "no generator"] + SEES["self-training"] * bool(after)


def extras(runs: list[dict]) -> pd.DataFrame:
    """Table IV, percent: a row per (dataset, split, k, method) of runs with an extra or a split.

    Columns: those four, model, label_maps, seeds; each metric with its "_std" over seeds and its
    "_published" (NaN: not at hand); source, whose numbers the published are.
    """
    key = ["dataset", "split", "k", "method"]
    printed = paper.published().query("table in ('I', 'II')")
    printed = printed.assign(method=printed["model"].str.lower(), source="this paper")
    printed = pd.concat([pd.read_csv(RESOURCES / "published_extras.csv"), printed])
    printed = printed.fillna({"split": ""}).set_index(key)[[*SHORT, "source"]]
    runs = [run for run in runs if records.later_split(run) or any(map(is_extra, run["methods"]))]
    scores = paper.frame(runs)
    methods = scores["method"]
    scores = scores[methods.isin(["zs3net", "ours"]) | methods.map(is_extra)]
    sees = [may_see(*row) for row in scores[["method", "protocol"]].values]
    scores = scores.assign(model=scores["model"] + scores["unseen_list"], label_maps=sees)
    groups = scores.groupby([*key, "model", "label_maps"], sort=False)[SHORT]
    found = groups.mean().assign(seeds=groups.size()).join(groups.std().add_suffix("_std"))
    found = found.reset_index(["model", "label_maps"])
    renamed = {metric: f"{metric}_published" for metric in SHORT}
    return found.join(printed.rename(columns=renamed)).reset_index()


def title(dataset: str, split: str) -> str:
    """A row's dataset: "Pascal-VOC 2012, split 15-5, void" of a split "15-5-void"."""
    name = split.removesuffix("-void")
    text = DATASETS[dataset].title
    if name not in ("", "paper"):
        text += f", split {name}"
    return text + ", void" * (name != split)


def write_extras(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write Table IV, `<out>/<profile>/extras.{md,csv,tex,txt}`; [] where it has no row."""
    found = extras(runs)
    if found.empty:
        return []
    std = found[[f"{metric}_std" for metric in SHORT]].set_axis(SHORT, axis=1)
    printed = found[[f"{metric}_published" for metric in SHORT]].set_axis(SHORT, axis=1)
    shown = spread(found[SHORT], std) + " (" + spread(printed) + ")"
    shown = shown.rename(columns=paper.head)
    shown.insert(0, "Dataset", [title(*row) for row in found[["dataset", "split"]].values])
    shown.insert(1, "K", found["k"].astype(str))
    shown.insert(2, "Model", found["model"])
    shown.insert(3, "Label maps that it may see", found["label_maps"])
    shown["Published by"] = found["source"].fillna("-")
    heading = f"Table IV. Beside the paper's tables (extras), profile {profile}"
    notes = [records.SETTING[profile], NOTES["extras"]]
    if found["split"].any():
        notes.append(NOTES["splits"])
    tex = shown.replace("±", r"$\\pm$", regex=True).style.hide(axis="index")
    texts = {
        "extras.md": page(heading, shown, notes=notes),
        "extras.csv": found.round(4).to_csv(index=False),
        "extras.tex": tex.to_latex(caption=heading, hrules=True, environment="table*"),
        "extras.txt": "\n\n".join([heading, shown.to_string(index=False), *notes]) + "\n",
    }
    return write_texts(Path(out, profile), texts)


def curves(runs: list[dict]) -> pd.DataFrame:
    """The curve of each method of each run, in the order of the offsets, percent.

    Returns: columns dataset, k, seed, method, offset (NaN at the ends), seen_miou, unseen_miou.
    """
    parts = []
    for run in runs:
        for method, result in run["methods"].items():
            row = {"dataset": run["dataset"], "k": run["k"], "seed": run["seed"], "method": method}
            parts.append(pd.DataFrame(row | result["curve"]).astype({"offset": float}))
    columns = ["dataset", "k", "seed", "method", "offset", "seen_miou", "unseen_miou"]
    return pd.concat(parts, ignore_index=True)[columns]


def points(runs: list[dict]) -> pd.DataFrame:
    """Mean over seeds, percent: rows (Dataset, K, Model), columns hIoU, Best hIoU, Area."""
    scores = paper.frame(runs)
    scores["dataset"] = scores["dataset"].map({name: one.title for name, one in DATASETS.items()})
    groups = scores.groupby(["dataset", "k", "model"], sort=False)[["hiou", *paper.CURVE]]
    cells = spread(groups.mean(), groups.std()).rename_axis(["Dataset", "K", "Model"])
    return cells.set_axis(["hIoU", "Best hIoU", "Area"], axis=1)


def write_operating(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/operating.{md,csv}`: `points` and `curves`."""
    heading = f"Methods apart from their operating point, profile {profile}"
    files = {
        "operating.md": page(heading, points(runs).reset_index(), about=POINTS),
        "operating.csv": curves(runs).to_csv(index=False, float_format="%.4f"),
    }
    return write_texts(Path(out, profile), files)


def write_protocols(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/protocol.{csv,md}` of what was run under both; [] where nothing was.

    The CSV has a row per (dataset, k, model, protocol): each metric's mean in percent, and its
    sample standard deviation. Raises ZS3Error when two runs differ in more than the protocol.
    """
    found = paper.frame(runs).groupby(["dataset", "k", "seed"])["protocol"].nunique()
    runs = [r for r in runs if found[r["dataset"], r["k"], r["seed"]] == 2]
    if not runs:
        return []
    records.check_same_settings(runs, free=["protocol"])
    scores = paper.frame(runs)
    for column in ("dataset", "model"):  # in their order, not the alphabet's
        scores[column] = pd.Categorical(scores[column], scores[column].unique())
    groups = scores.groupby(["dataset", "k", "model", "protocol"], observed=True)[SHORT]
    mean = groups.mean()
    std = groups.std()
    csv = mean.join(std.add_suffix("_std"))[[m + end for m in SHORT for end in ("", "_std")]]
    csv.insert(0, "profile", profile)
    csv.insert(1, "seeds", groups.size())
    cells = spread(mean, std).unstack("protocol")
    cells.columns = [f"{paper.head(metric)}, {protocol}" for metric, protocol in cells]
    hiou = mean["hiou"].unstack("protocol")
    cells["hIoU, strict - paper"] = (hiou["strict"] - hiou["paper"]).map("{:+.1f}".format)
    cells = cells.rename_axis(["Dataset", "K", "Model"]).reset_index()
    images = []
    seeds = []
    strict = pd.DataFrame(runs).query("protocol == 'strict'")
    for (dataset, k), own in strict.groupby(["dataset", "k"], sort=False):
        left = f"{own['stage1_images'].iloc[0]} of {own['train_images'].iloc[0]} training images"
        images.append(f"{dataset}, K = {k}: {left} have no unseen class")
        seeds.append(f"{dataset}, K = {k}: seeds {records.several(own['seed'])}")
    notes = [records.SETTING[profile].partition(" The published")[0], NOTES["protocol"]]
    notes += ["; ".join(images) + ".", "; ".join(seeds) + ". No significance test."]
    md = page(f"Both protocols, profile {profile}", cells, notes=notes)
    texts = {"protocol.csv": csv.round(4).to_csv(), "protocol.md": md}
    return write_texts(Path(out, profile), texts)


def protocols(profile: str, *, runs: Path | str = RUNS, out: Path | str = TABLES) -> list[Path]:
    """`write_protocols` of a profile's run records. ZS3Error where nothing was run under both."""
    files = write_protocols(records.read_records(runs, profile, protocol=None), out, profile)
    if not files:
        folder = Path(runs, profile)
        raise ZS3Error(f"no configuration in {folder} was run under both protocols: make protocol")
    return files
