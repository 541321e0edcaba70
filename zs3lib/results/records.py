"""Run records, the metrics.json of each run: read, checked, chosen from, and described."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..classes import DATASETS
from ..errors import ZS3Error
from ..storage import SCHEMA, checksum, plain_name, run_name

SETTING = {
    "toy": "Generated toy images and a small backbone: NOT the paper's setting. The published "
    "numbers stand beside the measured ones for orientation; they are neither reproduced nor "
    "refuted here.",
    "lite": "Real VOC images with a small backbone: NOT the paper's setting, so the numbers need "
    "not agree.",
    "paper": "The paper's setting, as this repository reads it.",
}
OTHER = "Not the paper's setting."
# Settings in which the runs of one table may differ: what the row is, where things lie, and what it
# ran on. What lies there must not differ: "inputs" holds the files' hashes.
ROW = ("tau", "gamma")  # which the paper chooses by K
FREE = {*ROW, "dataset", "k", "seed", "methods", "data_root", "weights", "word_vectors"}
FREE |= {"device", "workers", "compile"}


def name(record: dict) -> str:
    """A run's name, its folder below runs/: "toy/voc-k10-s0", "toy/voc-k10-s0-strict"."""
    kind = {"protocol": record["protocol"], "holdout": record["settings"].get("holdout", 0.0)}
    return f"{record['profile']}/{run_name(record['dataset'], record['k'], record['seed'], **kind)}"


def read_record(path: Path) -> dict:
    """One `<profile>/<dataset>-k<K>-s<seed>/metrics.json`.

    Raises ZS3Error, naming the file, when it is not what this version wrote for that very run.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ZS3Error(
            f"{path} is not valid JSON ({error}): remove its folder and run it again"
        ) from None
    schema = record.get("schema") if isinstance(record, dict) else None
    folder = "/".join(path.absolute().parts[-3:-1])
    problem = None
    if schema != SCHEMA:
        problem = f"its schema is {schema!r}, this version of zs3lib reads {SCHEMA}"
    elif record.get("checksum") != checksum(record):
        problem = "its content was changed after the run wrote it (the checksum differs)"
    elif record["dataset"] not in DATASETS:
        problem = f"its dataset '{record['dataset']}' is none of {', '.join(DATASETS)}"
    elif name(record) != folder:
        problem = f"it holds {name(record)}"
    if problem:
        raise ZS3Error(f"{path}: {problem}; remove its folder and run it again")
    return record


def read_records(
    runs: Path | str,
    profile: str,
    seeds: Iterable[int] | None = None,
    *,
    protocol: str | None = "paper",
) -> list[dict]:
    """Every `<runs>/<profile>/<dataset>-k<K>-s<seed>[-strict]/metrics.json`, sorted.

    `seeds` None: all; `protocol` None: both. Runs scored on held-out training images are left out
    where there are runs scored on val. Raises ZS3Error, naming the file, as `read_record` does.
    """
    folder = Path(runs, plain_name(profile, "profile"))
    kept = [read_record(path) for path in sorted(folder.glob("*/metrics.json"))]
    kept = [r for r in kept if protocol in (None, r["protocol"])]
    kept = [r for r in kept if seeds is None or r["seed"] in set(seeds)]
    kept = [r for r in kept if not r["settings"].get("holdout")] or kept
    place = list(DATASETS).index
    return sorted(kept, key=lambda r: (place(r["dataset"]), r["k"], r["seed"], r["protocol"]))


def select(
    records: list[dict], ks: Iterable[int] | None = None, datasets: Iterable[str] | None = None
) -> list[dict]:
    """The records of these K and datasets; None or empty: all. ZS3Error on an unknown dataset."""
    for dataset in datasets or ():
        if dataset not in DATASETS:
            raise ZS3Error(f"unknown dataset '{dataset}': choose one of {', '.join(DATASETS)}")
    kept = [r for r in records if not ks or r["k"] in ks]
    return [r for r in kept if not datasets or r["dataset"] in datasets]


def listed(value: object, kind: type = str) -> list | None:
    """A list as make and papermill hand it over: 6, "6 10", [6, 10] or None -> list or None."""
    words = value.split() if isinstance(value, str) else value
    words = [words] if isinstance(words, int) else words
    try:
        return [kind(word) for word in words] if words else None
    except ValueError:
        raise ZS3Error(f"{value!r} is not a list of numbers such as '6 10'") from None


def check_same_settings(records: list[dict], free: Iterable[str] = ()) -> None:
    """Refuse to mix runs: raises ZS3Error naming two runs, the setting and both values.

    All runs share profile, protocol and zs3lib version; those of one dataset the data and all
    settings not in FREE; those of one dataset and K also tau and gamma. `free` need not agree.
    """
    first: dict[tuple, tuple[dict, dict]] = {}
    for record in records:
        for scope, values in _shared(record, FREE | set(free)).items():
            reference, expected = first.setdefault(scope, (record, values))
            for key in sorted(expected | values):
                a = expected.get(key, "not set")
                b = values.get(key, "not set")
                if a != b:
                    raise ZS3Error(
                        f"{name(reference)} and {name(record)} cannot share a table: {key} is "
                        f"{a!r} in one and {b!r} in the other: remove the folder of one and run "
                        "it again"
                    )


def _shared(record: dict, free: set[str]) -> dict[tuple, dict]:
    """What must agree among all runs, those of a dataset, and those of a dataset and K."""
    run = {key: record[key] for key in {"profile", "protocol"} - free}
    run["zs3lib version"] = record["versions"]["zs3lib"]
    settings = record["settings"]
    row = {key: settings[key] for key in ROW if key in settings}
    data = {key: value for key, value in settings.items() if key not in free}
    data["data_fingerprint"] = record["data_fingerprint"]
    for key, value in record["inputs"].items():
        by_k = key == "weights" and record.get("pretrained") == "zs3net"  # a network for each K
        (row if by_k else data)[f"the content of {key}"] = value
    dataset = record["dataset"]
    return {(): run, (dataset,): data, (dataset, record["k"]): row}


def notes(runs: list[dict], models: Mapping[str, str], make: str, ks: Iterable[int]) -> list[str]:
    """What the reader of a table must know: data, seeds, machine, and how to fill each gap.

    `runs` are those behind the table, `models` its {method: name}, `ks` its rows; `make` is the
    command that makes it.
    """
    lines = [_provenance(runs)] if runs else []
    gaps = [str(k) for k in ks if k not in {r["k"] for r in runs}]
    if gaps:
        lines.append(f'No run yet: {make} K="{" ".join(gaps)}"')
    for r in runs:
        lost = [model for method, model in models.items() if method not in r["methods"]]
        if lost:
            again = f'remove runs/{name(r)}, then {make} K="{r["k"]}"'
            lines.append(f"{name(r)} was run without {', '.join(lost)}: {again}")
    return lines


def _several(values: Iterable) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


def _span(values: list) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)}-{max(values)}"


def _seeds(runs: list[dict]) -> str:
    by_k: dict[int, list[int]] = {}
    for r in runs:
        by_k.setdefault(r["k"], []).append(r["seed"])
    same = len(set(map(tuple, by_k.values()))) == 1
    seeds = by_k[runs[0]["k"]]
    shown = ", ".join(f"{_several(own)} at K={k}" for k, own in by_k.items())
    shown = f"{len(seeds)} seed(s) per K ({_several(seeds)})" if same else f"seeds {shown}"
    several = max(map(len, by_k.values())) > 1
    return shown + "; mean ± sample standard deviation" * several


def _provenance(runs: list[dict]) -> str:
    settings = runs[0]["settings"]
    held_out = settings.get("holdout")
    kind = "HELD-OUT TRAINING (tuning runs, not val)" if held_out else "validation"
    broken = sum(bool(r.get("interrupted")) for r in runs)
    counted = f" (of {broken} interrupted run(s) only the last attempt)" * bool(broken)
    images = {key: _span([r[f"{key}_images"] for r in runs]) for key in ("val", "train", "stage1")}
    commits = [
        (r["git"].get("commit") or "unknown")[:10] + " + changes" * bool(r["git"].get("dirty"))
        for r in runs
    ]
    return (
        f"Measured on {images['val']} {kind} images after training on {images['train']} images "
        f"(backbone, without unseen classes: {images['stage1']}; crops of "
        f"{settings.get('crop_size')} px, val at a short side of {settings.get('val_size')} px); "
        f"{_seeds(runs)}; {sum(r['wall_s'] for r in runs) / 60:.1f} min in all{counted} on "
        f"{_several(r['device'] for r in runs)}; protocol {runs[0]['protocol']}; "
        f"zs3lib {runs[0]['versions']['zs3lib']}, commit {_several(commits)}."
    )
