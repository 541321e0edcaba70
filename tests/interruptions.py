"""Kill a tiny run -9 at random moments, run it again, and compare every digit: `python tests/interruptions.py --kills 20`.

One process imports torch once and forks a child for each attempt, so that a kill costs seconds. Its settings are tiny, its
phases those of any run: stage 1, feature cache, stage 2, evaluation, run record.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # before torch: a fork is safe while there is one thread

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from zs3lib import Run, Settings, checkpoints, stage1
from zs3lib.toy import world as toy

NOT_NUMBERS = {"seconds", "wall_s", "peak_memory_mb", "time", "git", "checksum", "interrupted"}
EPOCHS = 3
PHASES = ("stage 1", "cache", "stage 2", "evaluation", "record")


def tiny(folder: Path) -> Settings:
    """Settings of a run of about two seconds, and its data and weights under `folder`."""
    world = folder / "world"
    if not world.exists():
        toy.build(world, train=16, val=12, short_side=64, workers=1, progress=False)
    settings = Settings.make(
        profile="toy", k=4, backbone="mobilenet_v2", crop_size=32, base_size=40, val_size=40, batch_size=4, samples=8,
        stage1_optimiser="sgd", stage1_lr=0.01, stage1_steps=0, stage1_epochs=EPOCHS, stage2_epochs=EPOCHS, warmup_epochs=1,
        views=2, device="cpu", data_root=str(world), weights=str(folder / "weights.pt"),
        word_vectors=str(world / "wordvectors.txt"), methods="no_generator,zs3net,ours",
    )  # fmt: skip
    if not Path(settings.weights).exists():
        state = stage1.build_model(settings, 21).state_dict()
        checkpoints.save(Path(settings.weights), {k: v for k, v in state.items() if not k.startswith("classifier.")})
    return settings


def start(settings: Settings, root: Path) -> int:
    """Fork a child that runs everything under `root`; its process id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        run = Run(settings, runs_root=root / "runs", cache_root=root / "cache")
        run.train_backbone()
        run.train_heads()
        run.evaluate()
        run.save()
        code = 0
    finally:
        os._exit(code)


def end(pid: int, due: Callable[[], bool] = lambda: False, delay: float = 0.0) -> int | None:
    """Wait for a child, killing it `delay` seconds after `due` holds. Returns its exit code, None when it was killed."""
    kill_at = float("inf")
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if kill_at == float("inf") and due():
            kill_at = time.monotonic() + delay
        if time.monotonic() >= kill_at:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.0002)


# ---- moments: what is waited for, and the phase it begins -----------------------------------------------------------


def appears(root: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(root.glob(pattern))


def rewritten(root: Path, pattern: str, times: int) -> Callable[[], bool]:
    """Whether a file that is replaced after every epoch was written so many times."""
    seen: set[tuple[int, int]] = set()

    def due() -> bool:
        for path in root.glob(pattern):
            try:
                stat = path.stat()
                seen.add((stat.st_ino, stat.st_mtime_ns))
            except FileNotFoundError:
                pass
        return len(seen) >= times

    return due


def moments(root: Path) -> list[tuple[str, Callable[[], bool], float]]:
    """(phase, what is waited for, longest delay after it in seconds), one phase after another."""
    run, backbone = "runs/toy/voc-k4-s0", "runs/toy/backbones/*"
    last = f"{run}/training/ours.pt"
    return [
        ("stage 1", lambda: True, 0.5),
        ("cache", appears(root, f"{backbone}/backbone.pt"), 0.3),
        ("stage 2", appears(root, f"{run}/training/no_generator.pt"), 0.2),
        ("evaluation", rewritten(root, last, EPOCHS - 1), 0.2),
        ("record", appears(root, f"{run}/.heads.pt.*.tmp"), 0.0),
        ("stage 1", appears(root, f"{backbone}/training.pt"), 0.5),
        ("cache", appears(root, "cache/*/features.npy"), 0.1),
        ("stage 2", appears(root, f"{run}/training/.warmup.pt.*.tmp"), 0.0),
        ("evaluation", rewritten(root, last, EPOCHS - 1), 0.1),
        ("record", appears(root, f"{run}/heads.pt"), 0.05),
        ("stage 1", appears(root, f"{backbone}/.training.pt.*.tmp"), 0.05),
        ("cache", appears(root, f"{backbone}/.backbone.pt.*.tmp"), 0.1),
        ("stage 2", appears(root, f"{run}/training/zs3net.pt"), 0.2),
        ("evaluation", rewritten(root, last, EPOCHS - 1), 0.2),
        ("record", appears(root, f"{run}/.metrics.json.*.tmp"), 0.0),
        ("stage 1", rewritten(root, f"{backbone}/training.pt", 2), 0.3),
        ("cache", appears(root, "cache/*/features.npy"), 0.3),
        ("stage 2", appears(root, f"{run}/training/ours.pt"), 0.1),
        ("evaluation", rewritten(root, last, EPOCHS - 1), 0.3),
        ("record", appears(root, f"{run}/metrics.json"), 0.01),
    ]


def phase(root: Path) -> str:
    """In which phase a killed run stopped, from the files it left."""
    folder = root / "runs/toy/voc-k4-s0"
    states = {p.stem: checkpoints.load_weights(p)["trainer"]["epoch"] for p in folder.glob("training/*.pt")}
    if (folder / "heads.pt").exists() or list(folder.glob(".*.tmp")):
        return "record"
    if states:
        return (
            "evaluation"
            if states.get("ours") == EPOCHS
            else f"stage 2 after {max(states.values())} epochs, {len(states)} states"
        )
    if list((root / "runs/toy/backbones").glob("*/backbone.pt")):
        return "stage 2" if list((root / "cache").glob("*/meta.json")) else "cache"
    return "stage 1"


def outcome(root: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """All numbers of the run record and every tensor of the backbone and the heads."""

    def numbers(value):
        if isinstance(value, dict):
            return {k: numbers(v) for k, v in value.items() if k not in NOT_NUMBERS}
        return value

    folder, tensors = root / "runs/toy/voc-k4-s0", {}

    def collect(name, value):
        if isinstance(value, dict):
            for key, part in value.items():
                collect(f"{name}.{key}", part)
        else:
            tensors[name] = value if torch.is_tensor(value) else torch.tensor([])

    for path in (folder / "heads.pt", *(root / "runs/toy/backbones").glob("*/backbone.pt")):
        collect(path.name, checkpoints.load_weights(path))
    return numbers(json.loads((folder / "metrics.json").read_text())), tensors


def leftovers(root: Path) -> list[Path]:
    """Half-written files, training states and caches that a finished run should not leave."""
    patterns = ("**/*.tmp", "**/training*", "cache/*")
    return [p for pattern in patterns for p in root.glob(pattern) if not p.name.endswith(".lock")]


def differs(root: Path, expected: tuple[dict, dict[str, torch.Tensor]]) -> str:
    """What differs from the uninterrupted run; "" when nothing does."""
    record, tensors = outcome(root)
    unequal = [name for name, value in expected[1].items() if not torch.equal(value, tensors.get(name, torch.zeros(0)))]
    if tensors.keys() != expected[1].keys() or unequal:
        return f"weights differ: {unequal[:2]}"
    if record != expected[0]:
        return f"numbers differ: {[k for k in record if record[k] != expected[0].get(k)]}"
    return f"left behind: {left[0]}" if (left := leftovers(root)) else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many runs to kill, each once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="seed of the moments (default: another each time)")
    parser.add_argument(
        "--root", type=Path, help="folder to work in (default: a temporary one, in memory where it can be)"
    )
    args = parser.parse_args(arguments)
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    shared = Path("/dev/shm")
    base = Path(
        tempfile.mkdtemp(prefix="zs3-kills-", dir=args.root or (shared if os.access(shared, os.W_OK) else None))
    )
    try:
        return run_all(base, args.kills, random.Random(seed), seed)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def run_all(base: Path, kills: int, rng: random.Random, seed: int) -> int:
    torch.set_num_threads(1)
    settings, equal, counts = tiny(base), 0, dict.fromkeys(PHASES, 0)
    begin = time.monotonic()
    if end(start(settings, base / "straight")) != 0:
        print("the uninterrupted run failed")
        return 1
    expected = outcome(base / "straight")
    print(
        f"uninterrupted: {time.monotonic() - begin:.1f} s, {len(expected[1])} tensors; moments of seed {seed}",
        flush=True,
    )
    for number in range(kills):
        root, killed = base / str(number), False
        for attempt in range(5):  # one that ended before it was killed is begun anew, and killed without delay
            shutil.rmtree(root, ignore_errors=True)
            intended, due, delay = moments(root)[number % 20]
            begin = time.monotonic()
            killed = end(start(settings, root), due, 0 if attempt else rng.uniform(0, delay)) is None
            if killed:
                break
        where, spent = phase(root) if killed else "after its end", time.monotonic() - begin
        counts[next((p for p in PHASES if where.startswith(p)), intended)] += killed
        code = end(start(settings, root))
        wrong = differs(root, expected) if code == 0 else f"the second attempt ended with {code}"
        equal += killed and not wrong
        print(f"kill {number + 1:2d} after {spent:4.1f} s in {where}: {wrong or 'identical'}", flush=True)
        shutil.rmtree(root)
    print("killed in", ", ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"{equal}/{kills} resumed to identical digits")
    return 0 if equal == kills else 1


if __name__ == "__main__":
    sys.exit(main())
