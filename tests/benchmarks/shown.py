"""What both tables show: the machine, rows, and where the time of finished runs went."""

from __future__ import annotations

import json
import platform
from datetime import datetime
from pathlib import Path

import torch

from zs3lib.profiles import PROFILES

STAGES = ("stage1", "features", "stage2", "evaluation")


def machine() -> str:
    """The processor, what it has of what matters here, threads and version."""
    has = torch.cpu.get_capabilities()
    name = has.get("cpu_name") or platform.processor() or platform.machine()
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {name}"
    wanted = {"avx2": "avx2", "avx512_bf16": "avx512_bf16", "amx": "amx_bf16"}
    features = [f"{what} {'yes' if has.get(key) else 'no'}" for what, key in wanted.items()]
    threads = f"{torch.get_num_threads()} threads"
    return f"{name} ({', '.join(features)}), {threads}, torch {torch.__version__}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def minutes(runs: Path) -> str:
    """Where the time of each profile's grid went, by the run records below `runs`."""
    rows = []
    for profile in PROFILES:
        records = [
            json.loads(p.read_text()) for p in sorted(runs.glob(f"{profile}/*/metrics.json"))
        ]
        records = [r for r in records if r.get("seconds")]  # older ones do not say
        if not records:
            continue
        parts = [sum(r["seconds"].get(stage, 0) for r in records) for stage in STAGES]
        total = sum(r["wall_s"] for r in records)
        ends = [datetime.fromisoformat(r["time"].replace("Z", "+00:00")) for r in records]
        starts = [end.timestamp() - r["wall_s"] for end, r in zip(ends, records)]
        clock = max(ends).timestamp() - min(starts)
        shown = [f"{part / 60:.1f}" for part in (*parts, total - sum(parts), total, clock)]
        peak = max(r.get("peak_memory_mb") or 0 for r in records)
        devices = "; ".join(sorted({r["device"] for r in records}))
        rows.append([profile, str(len(records)), *shown, f"{peak:.0f}", devices])
    head = ["", "runs", "stage 1", "features", "stage 2", "evaluation", "the rest", "in all"]
    head += ["first to last", "peak, MB", "device of each"]
    return table(head, rows) if rows else "No run records here: `make tables` first.\n"
