"""Both protocols in one table: what knowing where unseen classes lie in the training images is worth.

python -m zs3lib.protocols --profile toy
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import pandas as pd

from . import options
from .audit import markdown
from .errors import ZS3Error
from .paths import TABLES, write_texts
from .records import MODELS, SETTING, check_same_settings, read_records, select

PROTOCOLS = ("paper", "strict")
COLUMNS = {
    "seen_miou": "Seen mIoU",
    "unseen_miou": "Unseen mIoU",
    "overall_miou": "Overall mIoU",
    "hiou": "hIoU",
}
LEGEND = (
    "Percent. paper: the label maps of training images with unseen classes lay out the generated features (ZS3Net's "
    "protocol, the default). strict: these images are left out of stage 2, and layouts are seen label maps in which some "
    "classes were relabelled as unseen ones (zs3lib/data/strict.py says how). Stage 1 is the same in both."
)


def table(records: list[dict]) -> pd.DataFrame:
    """Rows (dataset, K, model), columns (metric, protocol or "std <protocol>"), percent, means over seeds.

    Only where both protocols were run, and over the seeds that both have. Raises ZS3Error when two runs differ in more
    than the protocol.
    """
    check_same_settings(
        [
            r | {"protocol": "both", "settings": r["settings"] | {"protocol": "both"}}
            for r in records
        ]
    )
    runs = {(r["dataset"], r["k"], r["seed"], r["protocol"]) for r in records}
    lines = [
        {"Dataset": r["dataset"], "K": r["k"], "Model": MODELS[method], "protocol": r["protocol"]}
        | {label: r["methods"][method]["metrics"][metric] for metric, label in COLUMNS.items()}
        for r in records for method in MODELS
        if method in r["methods"] and all((r["dataset"], r["k"], r["seed"], p) in runs for p in PROTOCOLS)
    ]  # fmt: skip
    long = pd.DataFrame(lines, columns=["Dataset", "K", "Model", "protocol", *COLUMNS.values()])
    groups = long.groupby(["Dataset", "K", "Model", "protocol"], sort=False)
    wide = groups.mean().unstack("protocol")
    spread = groups.std().unstack("protocol").rename(columns="std {}".format, level="protocol")
    both = pd.concat([wide, spread], axis=1)
    columns = [
        (label, kind + p) for label in COLUMNS.values() for p in PROTOCOLS for kind in ("", "std ")
    ]
    return both.reindex(columns=pd.MultiIndex.from_tuples(columns, names=["Metric", "Protocol"]))


def seeds(records: list[dict]) -> dict[tuple[str, int], list[int]]:
    """The seeds that both protocols have, by (dataset, K)."""
    found: dict[tuple[str, int], list[int]] = {}
    runs = {(r["dataset"], r["k"], r["seed"], r["protocol"]) for r in records}
    for dataset, k, seed, protocol in sorted(runs):
        if protocol == "strict" and (dataset, k, seed, "paper") in runs:
            found.setdefault((dataset, k), []).append(seed)
    return found


def to_markdown(frame: pd.DataFrame, records: list[dict], profile: str) -> str:
    """Each cell: paper's protocol, strict; mean ± standard deviation where there are several seeds."""
    cells = frame.index.to_frame(index=False).astype(str)
    for label in COLUMNS.values():
        for protocol in PROTOCOLS:
            mean, std = frame[(label, protocol)], frame[(label, f"std {protocol}")]
            cells[f"{label}, {protocol}"] = [
                f"{m:.1f}" + ("" if math.isnan(s) else f" ± {s:.1f}") for m, s in zip(mean, std)
            ]
    change = frame[("hIoU", "strict")] - frame[("hIoU", "paper")]
    cells["hIoU, strict - paper"] = change.map("{:+.1f}".format).to_numpy()
    counts = [
        f"{r['dataset']}, K = {r['k']}: {r['stage1_images']} of {r['train_images']} training images have no unseen class"
        for r in records if r["protocol"] == "strict"
    ]  # fmt: skip
    seeded = [
        f"{d}, K = {k}: seeds {', '.join(map(str, s))}" for (d, k), s in seeds(records).items()
    ]
    setting = SETTING.get(profile, "Not the paper's setting.").partition(" The published")[0]
    notes = [setting, LEGEND, "; ".join(dict.fromkeys(counts)) + ".",
             "; ".join(seeded) + ". No significance test."]  # fmt: skip
    lines = "".join(f"- {line}\n" for line in notes)
    return f"# Both protocols, profile {profile}\n\n{markdown(cells)}\n{lines}"


def to_csv(frame: pd.DataFrame, records: list[dict], profile: str) -> str:
    """One row per (dataset, k, model, protocol): means in percent, `<metric>_std` over seeds where there are several."""
    lines, counts = [], seeds(records)
    for (dataset, k, model), row in frame.iterrows():
        for protocol in PROTOCOLS:
            line = {"dataset": dataset, "k": k, "model": model, "protocol": protocol, "profile": profile,
                    "seeds": len(counts[(dataset, k)])}  # fmt: skip
            for metric, label in COLUMNS.items():
                line |= {
                    metric: row[(label, protocol)],
                    f"{metric}_std": row[(label, f"std {protocol}")],
                }
            lines.append(line)
    return pd.DataFrame(lines).round(4).to_csv(index=False)


def write(
    runs_dir: Path | str, tables_dir: Path | str, profile: str, ks=None, datasets=None, only=None
) -> list[Path]:
    """Write `<tables_dir>/<profile>/protocol.{md,csv}` from whatever runs both protocols have; returns the paths.

    `ks`, `datasets` and the seeds `only` choose among them, default all.
    Nothing is written, and nothing returned, where no configuration was run under both.
    """
    records = select(read_records(runs_dir, profile, only, protocol=None), ks, datasets)
    pairs = seeds(records)
    records = [r for r in records if r["seed"] in pairs.get((r["dataset"], r["k"]), ())]
    if not records:
        return []
    frame = table(records)
    files = {
        "protocol.csv": to_csv(frame, records, profile),
        "protocol.md": to_markdown(frame, records, profile),
    }
    return write_texts(Path(tables_dir, profile), files)


def main(arguments: list[str] | None = None) -> int:
    """Write and print the table of both protocols from a profile's run records."""
    parser = argparse.ArgumentParser(prog="python -m zs3lib.protocols", description=main.__doc__)
    options.add_runs(parser)
    parser.add_argument(
        "--tables", type=Path, default=TABLES, help="folder to write to (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    try:
        files = write(args.runs, args.tables, args.profile)
        if not files:
            raise ZS3Error(
                f"no configuration in {args.runs / args.profile} was run under both protocols: make protocol"
            )
    except ZS3Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(files[-1].read_text(encoding="utf-8"))
    print("Tables:", *files, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
