"""Run records, the metrics.json of each run: read, checked, chosen from, and described."""

import json
from collections.abc import Iterable
from configparser import ConfigParser
from pathlib import Path

import pandas as pd

from ..classes import DATASETS
from ..errors import ZS3Error
from ..paths import RESOURCES, run_name
from ..storage import SCHEMA, read_text, sealed

NOTES = ConfigParser(interpolation=None)
NOTES.read_string(read_text(RESOURCES / "notes.ini"))
SETTING = dict(NOTES["setting"])  # {profile: what its numbers are}
# Settings in which the runs of one table may differ: what the row is, where things lie, and what it
# ran on. What lies there must not differ: "inputs" holds the files' hashes.
ROW = ("tau", "gamma")  # which the paper chooses by K
FREE = {*ROW, "dataset", "k", "seed", "methods", "data_root", "weights", "word_vectors"}
FREE |= {"device", "workers", "compile", "unseen_list", "background"}
FREE |= {"self_training"}  # further rows


def name(record: dict) -> str:
    """A run's name, its folder below runs/: "toy/voc-k10-s0", "toy/voc-k10-s0-strict"."""
    return f"{record['profile']}/{run_name(record['settings'] | record)}"


def unseen(record: dict) -> str:
    """The name of a run's list of unseen classes, or split, with "-void" where background is."""
    settings = record.get("settings", {})
    void = "-void" * (not settings.get("background", True))
    return settings.get("unseen_list", "paper") + void


def later_split(record: dict) -> str:
    """`unseen` of a run whose classes are no row's of Tables I-III; "" where they are."""
    name = unseen(record)
    return "" if name == "paper" or name in DATASETS[record["dataset"]].other_lists else name


def read_record(path: Path) -> dict:
    """One `<profile>/<dataset>-k<K>-s<seed>/metrics.json`.

    Raises ZS3Error, naming the file, when it is not what this version wrote for that very run.
    """
    remedy = "remove its folder and run it again"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ZS3Error(f"{path} is not valid JSON ({error}): {remedy}") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        problem = f"its schema is {schema!r}, this version of zs3lib reads {SCHEMA}"
    elif record != sealed(record):
        problem = "its content was changed after the run wrote it (the checksum differs)"
    elif record["dataset"] not in DATASETS:
        problem = f"its dataset '{record['dataset']}' is none of {', '.join(DATASETS)}"
        remedy = f"install the package that adds it, or {remedy}"
    elif name(record) != "/".join(path.absolute().parts[-3:-1]):
        problem = f"it holds {name(record)}"
    else:
        return record
    raise ZS3Error(f"{path}: {problem}; {remedy}")


def read_records(
    runs: Path | str,
    profile: str,
    *,
    ks=None,
    datasets=None,
    seeds=None,
    protocol="paper",
    unseen_list="paper",
) -> list[dict]:
    """The records below `<runs>/<profile>/` that are chosen (None: all), sorted.

    Those scored on held-out training images only where none was scored on val. Raises ZS3Error on
    an unknown profile or dataset, and as `read_record` does.
    """
    profile = str(profile)
    for what, given, known in (("profile", [profile], SETTING), ("dataset", datasets, DATASETS)):
        if unknown := [value for value in given or () if value not in known]:
            raise ZS3Error(f"unknown {what} '{unknown[0]}': choose one of {', '.join(known)}")
    kept = [read_record(path) for path in sorted(Path(runs, profile).glob("*/metrics.json"))]
    kept = [r for r in kept if not r["settings"].get("holdout")] or kept
    chosen = {"k": ks, "dataset": datasets, "seed": seeds, "protocol": protocol and [protocol]}
    for key, values in chosen.items():
        kept = [r for r in kept if not values or r[key] in values]
    kept = [r for r in kept if not unseen_list or unseen(r) == unseen_list]
    place = list(DATASETS).index
    return sorted(kept, key=lambda r: (place(r["dataset"]), r["k"], r["seed"], r["protocol"]))


def listed(value: str | Iterable[str] | None) -> list[str] | None:
    """Names as make and papermill hand them over: "voc context" or ["voc", "context"]; or None."""
    return [*(value.split() if isinstance(value, str) else value or ())] or None


def check_same_settings(records: list[dict], free: Iterable[str] = ()) -> None:
    """Refuse to mix runs: raises ZS3Error naming two runs, the setting and both values.

    All runs share profile, protocol and zs3lib version; those of one dataset the data and all
    settings not in FREE; those of one dataset and K also tau and gamma; a later paper's split
    counts as a dataset. `free` need not agree.
    """
    first: dict[tuple, dict] = {}
    for record in records:
        run = {"profile": record["profile"], "protocol": record["protocol"]}
        run["zs3lib version"] = record["versions"]["zs3lib"]
        data = {"data_fingerprint": record["data_fingerprint"]}
        data |= {key: value for key, value in record["settings"].items() if key not in FREE}
        data |= {f"the content of {key}": value for key, value in record["inputs"].items()}
        data |= {f"the code of {key}": value for key, value in record.get("own_code", {}).items()}
        row = {key: record["settings"].get(key) for key in ROW}
        if record.get("pretrained") == "zs3net":  # a network for each K
            row["the content of weights"] = data.pop("the content of weights")
        dataset = (record["dataset"], later_split(record))
        scopes = {(): run, dataset: data, (*dataset, record["k"]): row}
        for scope, shared in scopes.items():
            other = first.setdefault(scope, shared | {"record": record})
            for key, value in shared.items():
                if value != other.setdefault(key, value) and key not in free:
                    raise ZS3Error(
                        f"{name(other['record'])} and {name(record)} cannot share a table: {key} "
                        f"is {other.get(key)!r} in one and {value!r} in the other: remove the "
                        "folder of one and run it again"
                    )


def several(values: Iterable) -> str:
    """ "0, 1" of 0, 1, 0."""
    return ", ".join(map(str, dict.fromkeys(values)))


def notes(runs: list[dict], models: dict[str, str], make: str, ks: Iterable[int]) -> list[str]:
    """What the reader of a table of `models` and `ks` must know: data, seeds, machine, gaps."""
    lines = [_provenance(runs)] if runs else []
    if gaps := [str(k) for k in ks if k not in {r["k"] for r in runs}]:
        lines.append(f'No run yet: {make} K="{" ".join(gaps)}"')
    for r in runs:
        if lost := several(models[method] for method in models if method not in r["methods"]):
            again = f'remove runs/{name(r)}, then {make} K="{r["k"]}"'
            lines.append(f"{name(r)} was run without {lost}: {again}")
    return lines


def _provenance(runs: list[dict]) -> str:
    found = pd.DataFrame(runs)
    settings = runs[0]["settings"]
    kind = "HELD-OUT TRAINING (tuning runs, not val)" if settings.get("holdout") else "validation"
    counts = found[["val_images", "train_images", "stage1_images"]].agg(["min", "max"])
    val, train, stage1 = ("-".join(map(str, dict.fromkeys(counts[part]))) for part in counts)
    by_k = found.groupby("k", sort=False)["seed"].agg(several)
    seeds = "seeds " + ", ".join(f"{own} at K={k}" for k, own in by_k.items())
    if by_k.nunique() == 1:
        seeds = f"{by_k.iloc[0].count(',') + 1} seed(s) per K ({by_k.iloc[0]})"
    if by_k.str.contains(",").any():
        seeds += "; mean ± sample standard deviation"
    broken = found["interrupted"].sum()
    attempts = f" (of {broken} interrupted run(s) only the last attempt)" if broken else ""
    commits = several(
        (r["git"]["commit"] or "unknown")[:10] + " + changes" * bool(r["git"]["dirty"])
        for r in runs
    )
    changed = [r.get("changed", {}) for r in runs]
    changes = several(f"{key} = {value}" for own in changed for key, value in own.items())
    changes = f"; not the profile's: {changes}" * bool(changes)
    return (
        f"Measured on {val} {kind} images after training on {train} images (backbone, without "
        f"unseen classes: {stage1}; crops of {settings['crop_size']} px, val at a short side of "
        f"{settings['val_size']} px); {seeds}; {found['wall_s'].sum() / 60:.1f} min in all"
        f"{attempts} on {several(found['device'])}; protocol {runs[0]['protocol']}; "
        f"zs3lib {runs[0]['versions']['zs3lib']}, commit {commits}{changes}."
    )
