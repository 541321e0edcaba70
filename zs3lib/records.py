"""Run records, the metrics.json of each run: read, checked, chosen from, and described for the reader of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .audit import METRICS, published
from .classes import DATASETS
from .errors import ZS3Error
from .paths import plain_name, run_name
from .seal import SCHEMA, checksum

# Per table: its dataset, and the method in the records behind each of the paper's two model names.
SPECS = {
    "I": ("voc", {"ZS3Net": "zs3net", "Ours": "ours"}, "Pascal-VOC 2012"),
    "II": ("context", {"ZS3Net": "zs3net", "Ours": "ours"}, "Pascal-Context"),
    "III": (
        "voc",
        {"Equal Weight": "equal_weight", "Final": "ours"},
        "Ablation on Pascal-VOC 2012",
    ),
}
# Every method in the paper's words, in the order of `tables.rows`.
MODELS = {
    "no_generator": "No generator",
    "zs3net": "ZS3Net",
    "ours": "Ours",
    "equal_weight": "Equal Weight",
}
SETTING = {
    "toy": "Generated toy images and a small backbone: NOT the paper's setting. The published numbers stand beside "
    "the measured ones for orientation; they are neither reproduced nor refuted here.",
    "lite": "Real VOC images with a small backbone: NOT the paper's setting, so the numbers need not agree.",
    "paper": "The paper's setting, as this repository reads it.",
}
FLOOR = (
    "Unseen mIoU in percent, mean over seeds. No generator: the same head trained without generated features, which "
    "never learns an unseen class. A dash: not measured, or a ratio to a floor of 0."
)
KEYS = {  # what a record must hold for the tables
    "profile": str, "dataset": str, "k": int, "seed": int, "protocol": str, "settings": dict, "methods": dict,
    "versions": dict, "git": dict, "device": str, "wall_s": (int, float), "stage1_images": int, "train_images": int,
    "val_images": int, "data_fingerprint": str, "inputs": dict, "checksum": str,
}  # fmt: skip
# Settings in which the runs of one table may differ: what the row is, where things lie, and what it ran on. Tau and gamma
# belong to the row, since the paper chooses them by K. What lies there must not differ: "inputs" holds the files' hashes.
FREE = {
    "dataset",
    "k",
    "seed",
    "methods",
    "tau",
    "gamma",
    "data_root",
    "weights",
    "word_vectors",
    "device",
    "workers",
}


def read_record(path: Path) -> dict:
    """One `<profile>/<dataset>-k<K>-s<seed>/metrics.json`.

    Raises ZS3Error, naming the file, when it is not a whole and finite record of that run.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ZS3Error(
            f"{path} is not valid JSON ({error}): remove its folder and run it again"
        ) from None
    folder = path.absolute().parent
    problem = _problem(record) or (
        name(record) != f"{folder.parent.name}/{folder.name}" and f"holds {name(record)}"
    )
    if problem:
        raise ZS3Error(f"{path}: {problem}; remove its folder and run it again")
    return record


def read_records(
    runs_dir: Path | str,
    profile: str,
    seeds: Iterable[int] | None = None,
    *,
    protocol: str | None = "paper",
) -> list[dict]:
    """Every `<runs_dir>/<profile>/<dataset>-k<K>-s<seed>[-strict]/metrics.json`, sorted; only `seeds` when given.

    `protocol` "paper" or "strict" leaves out runs of the other; None keeps both. Runs scored on held-out training images
    are left out where there are runs scored on val.

    Raises ZS3Error, naming the file, for one that `read_record` refuses.
    """
    folder = Path(runs_dir, plain_name(profile, "profile"))
    records = [read_record(path) for path in sorted(folder.glob("*/metrics.json"))]
    kept = [
        r
        for r in records
        if (seeds is None or r["seed"] in set(seeds)) and protocol in (None, r["protocol"])
    ]
    kept = [r for r in kept if not r["settings"].get("holdout")] or kept
    return sorted(
        kept, key=lambda r: (DATASETS.index(r["dataset"]), r["k"], r["seed"], r["protocol"])
    )


def listed(value: object, kind: type = str) -> list | None:
    """A list parameter as make and papermill hand it over: 6, "6 10", [6, 10] or None -> list of `kind` or None."""
    words = (
        value.split() if isinstance(value, str) else [value] if isinstance(value, int) else value
    )
    try:
        return [kind(word) for word in words] if words else None
    except ValueError:
        raise ZS3Error(f"{value!r} is not a list of numbers such as '6 10'") from None


def select(
    records: list[dict], ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None
) -> list[dict]:
    """The records of these K and datasets; None or empty: all."""
    return [
        r
        for r in records
        if (not ks or r["k"] in ks) and (not datasets or r["dataset"] in datasets)
    ]


def _problem(record: object) -> str | None:
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        return f"its schema is {found!r}, this version of zs3lib reads {SCHEMA}"
    for key, kind in KEYS.items():
        if not isinstance(record.get(key), kind):
            return f"'{key}' is missing or of the wrong type"
    if (
        record["dataset"] not in DATASETS
        or "zs3lib" not in record["versions"]
        or not record["methods"]
    ):
        return "unknown dataset, no method, or no zs3lib version"
    for method, result in record["methods"].items():
        result = result if isinstance(result, dict) else {}
        metrics, per_class = result.get("metrics"), result.get("per_class_iou")
        if (
            not isinstance(metrics, dict)
            or not isinstance(per_class, dict)
            or not set(METRICS) <= set(metrics)
        ):
            return f"the metrics or per_class_iou of '{method}' are not whole"
        for key, value in [*metrics.items(), *per_class.items()]:
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                return f"'{key}' of '{method}' is {value!r}, not a finite number"
    if record["checksum"] != checksum(record):
        return "its content was changed after the run wrote it (the checksum differs)"
    return None


def name(record: dict) -> str:
    """A run's name, which is its folder below runs/: "toy/voc-k10-s0", "toy/voc-k10-s0-strict"."""
    holdout = record["settings"].get("holdout", 0.0)
    kind = {"protocol": record["protocol"], "holdout": holdout}
    return f"{record['profile']}/{run_name(record['dataset'], record['k'], record['seed'], **kind)}"


def check_same_settings(records: list[dict]) -> None:
    """Refuse to mix runs of different settings: raises ZS3Error naming two runs, the setting and both values.

    All runs share profile, protocol and zs3lib version; those of one dataset the data and all settings not in FREE;
    those of one dataset and K also tau and gamma.
    """
    first: dict[tuple, dict] = {}
    for record in records:
        for scope in ((), (record["dataset"],), (record["dataset"], record["k"])):
            reference = first.setdefault(scope, record)
            a, b = (_shared(r, len(scope)) for r in (reference, record))
            for key in sorted(a | b):
                if a.get(key, "not set") != b.get(key, "not set"):
                    raise ZS3Error(
                        f"{name(reference)} and {name(record)} cannot share a table: {key} is "
                        f"{a.get(key, 'not set')!r} in one and {b.get(key, 'not set')!r} in the other: remove the folder of one "
                        "and run it again"
                    )


def _shared(record: dict, depth: int) -> dict:
    """What must agree among all runs (depth 0), those of a dataset (1), and those of a dataset and K (2)."""
    values = {key: record[key] for key in ("profile", "protocol")}
    values["zs3lib version"] = record["versions"]["zs3lib"]
    if depth:
        free = FREE - {"tau", "gamma"} if depth == 2 else FREE
        values |= {key: value for key, value in record["settings"].items() if key not in free}
        values["data_fingerprint"] = record["data_fingerprint"]
        own = (
            {"weights"} if record.get("pretrained") == "zs3net" and depth == 1 else ()
        )  # ZS3Net has a network for each K
        values |= {
            f"the content of {key}": value
            for key, value in record["inputs"].items()
            if key not in own
        }
    return values


def title(which: str, profile: str) -> str:
    """The heading of a table, naming the profile."""
    return f"Table {which}. {SPECS[which][2]}, profile {profile}"


def notes(records: list[dict], which: str, profile: str, ks: Iterable[int]) -> list[str]:
    """What a reader must know to read a table: setting, data, seeds, machine, and the command that fills each gap."""
    dataset, models, _ = SPECS[which]
    runs = [r for r in records if r["dataset"] == dataset and r["k"] in set(ks)]
    lines = [
        SETTING.get(profile, "Not the paper's setting."),
        "Percent. Bold: the higher mean of the two models at one K, measured and published apart; no test made.",
    ]
    if runs:
        lines += [_provenance(runs), *_borrowed(runs)]
    gaps = [str(k) for k in ks if k not in {r["k"] for r in runs}]
    if gaps:
        lines.append(
            f'No run yet: make tables PROFILE={profile} DATASETS={dataset} K="{" ".join(gaps)}"'
        )
    for r in runs:
        lost = [model for model, method in models.items() if method not in r["methods"]]
        if lost:
            lines.append(f'{name(r)} was run without {", ".join(lost)}: remove runs/{name(r)}, then '
                         f'make tables PROFILE={profile} DATASETS={dataset} K="{r["k"]}"')  # fmt: skip
    return lines


def _borrowed(runs: list[dict]) -> list[str]:
    """The K whose backbone another K's training made (`stage1_from_k`)."""
    smaller = [r for r in runs if r["settings"].get("stage1_from_k", 0) > r["k"]]
    if not smaller:
        return []
    ks, settings = sorted({r["k"] for r in smaller}), smaller[0]["settings"]
    epochs = settings.get("stage1_from_epochs", 0)
    use = (
        f"trained {epochs} more epoch(s) on the seen classes of the smaller K"
        if epochs
        else "as it is"
    )
    return [
        f"K = {', '.join(map(str, ks))}: the backbone of K = {settings['stage1_from_k']}, which saw none of their unseen "
        f"classes either, {use}; the paper fine-tunes one for each K."
    ]


def _sizes(settings: dict) -> str:
    return f"crops of {settings.get('crop_size')} px, val at a short side of {settings.get('val_size')} px"


def _provenance(runs: list[dict]) -> str:
    def several(values: Iterable) -> str:
        return ", ".join(str(v) for v in dict.fromkeys(values))

    def span(key: str) -> str:
        low, high = min(r[key] for r in runs), max(r[key] for r in runs)
        return f"{low}" if low == high else f"{low}-{high}"

    by_k: dict[int, list[int]] = {}
    for r in runs:
        by_k.setdefault(r["k"], []).append(r["seed"])
    spread = "; mean ± sample standard deviation" if max(map(len, by_k.values())) > 1 else ""
    if len({tuple(s) for s in by_k.values()}) == 1:
        seeds = f"{len(by_k[runs[0]['k']])} seed(s) per K ({several(by_k[runs[0]['k']])}){spread}"
    else:
        seeds = "seeds " + ", ".join(f"{several(s)} at K={k}" for k, s in by_k.items()) + spread
    commits = (
        (r["git"].get("commit") or "unknown")[:10] + " + changes" * bool(r["git"].get("dirty"))
        for r in runs
    )
    kind = (
        "HELD-OUT TRAINING (tuning runs, not val)"
        if runs[0]["settings"].get("holdout")
        else "validation"
    )
    minutes = sum(r["wall_s"] for r in runs) / 60
    broken = sum(bool(r.get("interrupted")) for r in runs)
    counted = f" (of {broken} interrupted run(s) only the last attempt)" if broken else ""
    return (
        f"Measured on {span('val_images')} {kind} images after training on {span('train_images')} images "
        f"(backbone, without unseen classes: {span('stage1_images')}; {_sizes(runs[0]['settings'])}); {seeds}; {minutes:.1f} "
        f"min in all{counted} on {several(r['device'] for r in runs)}; protocol {runs[0]['protocol']}; "
        f"zs3lib {runs[0]['versions']['zs3lib']}, commit {several(commits)}."
    )


def hiou_frame(records: list[dict], datasets: Iterable[str] | None = None) -> pd.DataFrame:
    """hIoU (percent), long: columns dataset, k, model, source, hiou; one row per run and one per published number."""
    measured = []
    for r in records:
        for model, method in SPECS["I"][1].items():
            if method in r["methods"]:
                hiou = r["methods"][method]["metrics"]["hiou"]
                measured.append([r["dataset"], r["k"], model, "measured", hiou])
    paper = published().query("table != 'III'").assign(source="published")
    columns = ["dataset", "k", "model", "source", "hiou"]
    frame = pd.DataFrame([*measured, *paper[columns].values.tolist()], columns=columns)
    return frame[frame["dataset"].isin(datasets or DATASETS)]
