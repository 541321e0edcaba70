"""Table IV: the systems beside the paper's tables, with ZS3Net and Ours, by what each may see."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..classes import DATASETS
from ..method.methods import METHODS, SELF_TRAINED, is_extra
from ..storage import RESOURCES, write_texts
from . import paper, records
from .paper import SHORT as METRICS
from .texts import bullets, markdown, spread

ABOUT = (
    "Percent. Each cell: measured (published). Published are, of ZS3Net and Ours, this paper's "
    "numbers; of the extras those of ZS3Net's paper, as far as they are at hand, on Context with "
    "ZS3Net's list of unseen classes, another one from K = 4 on. Extras stand in no other table: "
    "they are beside the paper, and rows that may see different things cannot be compared as "
    "methods."
)
SPLITS = (
    "A split is a later paper's, that of SPNet: 15-5 of Pascal-VOC, 156-15 of COCO-Stuff; void: "
    "background is no class and is not scored. CaGNet's authors trained ZS3Net with DeepLabv2 and "
    "two kinds of word vectors. Nobody chose tau and gamma for these splits: they are the paper's "
    "of VOC at K = 10."
)
SEEN_ONLY = "those without unseen classes"
LAYOUTS = {
    "paper": "all; those with unseen classes as layouts of generated features",
    "strict": f"{SEEN_ONLY}, some relabelled as layouts",
}
KEY = ["dataset", "split", "k", "method"]
PICTURES = "; transductive: pictures with unseen classes too"


def chosen(runs: list[dict]) -> list[dict]:
    """The runs that hold an extra, or are of a later paper's split."""
    return [run for run in runs if records.later_split(run) or any(map(is_extra, run["methods"]))]


def may_see(method: str, protocol: str) -> str:
    """What of the training images the rows of a method, or of its self-training, learn from."""
    name, after, _ = method.partition(SELF_TRAINED)
    generates = name not in METHODS or METHODS[name].generates
    return (LAYOUTS[protocol] if generates else SEEN_ONLY) + PICTURES * bool(after)


def published() -> pd.DataFrame:
    """Numbers in print, percent, NaN: not at hand; rows (dataset, split, k, method).

    Columns: METRICS, and source, whose they are.
    """
    own = pd.read_csv(RESOURCES / "published_extras.csv")
    printed = paper.published().query("table in ('I', 'II')")
    printed = printed.assign(method=printed["model"].str.lower(), source="this paper")
    both = pd.concat([own, printed]).fillna({"split": ""}).set_index(KEY)
    return both.reindex(columns=[*METRICS, "source"])


def frame(runs: list[dict]) -> pd.DataFrame:
    """Measured beside published, percent: one row a (dataset, split, k, method) of `chosen` runs.

    Columns: those four, model, label_maps, seeds; each of METRICS with its "_std" over
    seeds and its "_published"; source, whose numbers the published are.
    """
    scores = paper.frame(chosen(runs))
    methods = scores["method"]
    scores = scores[methods.isin(["zs3net", "ours"]) | methods.map(is_extra)]
    sees = [may_see(*row) for row in scores[["method", "protocol"]].values]
    scores = scores.assign(model=scores["model"] + scores["unseen_list"], label_maps=sees)
    groups = scores.groupby([*KEY, "model", "label_maps"], sort=False)[METRICS]
    found = groups.mean().assign(seeds=groups.size()).join(groups.std().add_suffix("_std"))
    found = found.reset_index(["model", "label_maps"])
    printed = published().rename(columns={metric: f"{metric}_published" for metric in METRICS})
    return found.join(printed).reset_index()


def title(dataset: str, split: str) -> str:
    """A row's dataset: "Pascal-VOC 2012, split 15-5, void" of a split "15-5-void"."""
    name = split.removesuffix("-void")
    parts = [DATASETS[dataset].title, f"split {name}" * (name not in ("", "paper"))]
    return ", ".join(filter(None, [*parts, "void" * (name != split)]))


def cells(found: pd.DataFrame) -> pd.DataFrame:
    """The texts of `frame`, for a reader."""
    table = pd.DataFrame()
    table["Dataset"] = [title(*row) for row in found[["dataset", "split"]].values]
    table["K"] = found["k"].astype(str)
    table["Model"] = found["model"]
    table["Label maps that it may see"] = found["label_maps"]
    std, printed = (
        found[[f"{metric}_{kind}" for metric in METRICS]].set_axis(METRICS, axis=1)
        for kind in ("std", "published")
    )
    measured = spread(found[METRICS], std) + " (" + spread(printed) + ")"
    table[[paper.head(metric) for metric in METRICS]] = measured
    table["Published by"] = found["source"].fillna("-")
    return table


def write(runs: list[dict], out: Path | str, profile: str) -> list[Path]:
    """Write `<out>/<profile>/extras.{md,csv,tex,txt}` of the `chosen` runs; [] without one."""
    found = frame(runs)
    if found.empty:
        return []
    shown = cells(found)
    heading = f"Table IV. Beside the paper's tables (extras), profile {profile}"
    notes = [records.SETTING[profile], ABOUT, *[SPLITS] * int(found["split"].any())]
    tex = shown.replace("±", r"$\\pm$", regex=True).style.hide(axis="index")
    texts = {
        "extras.md": f"# {heading}\n\n{markdown(shown)}\n\n{bullets(notes)}\n",
        "extras.csv": found.round(4).to_csv(index=False),
        "extras.tex": tex.to_latex(caption=heading, hrules=True, environment="table*"),
        "extras.txt": "\n\n".join([heading, shown.to_string(index=False), *notes]) + "\n",
    }
    return write_texts(Path(out, profile), texts)
