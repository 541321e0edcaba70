"""Kill a tiny run at random moments, run it again, compare every digit: interruptions.py --kills 20

One process imports torch once and forks a child for each attempt, so that a kill costs seconds.
The settings are tiny, the phases those of any run: stage 1, features, stage 2, evaluation, record.
So many runs more are --live: they keep no features, as on a GPU, and are killed in stage 2, where
these are computed in every step.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

# Before torch: a fork is safe while there is one thread.
os.environ.update(OMP_NUM_THREADS="1", TQDM_DISABLE="1")

import torch
from tiny import TINY

from zs3lib import Run, Settings, storage
from zs3lib.method import deeplab
from zs3lib.toy import world as toy

EPOCHS = 3
RUN = "runs/toy/voc-k4-s0"
BACKBONE = "runs/toy/backbones/*"
NOT_NUMBERS = {"seconds", "wall_s", "peak_memory_mb", "time", "git", "checksum", "interrupted"}
# A run is killed in this phase: once this file was written so often, at most so many s later.
MOMENTS = [
    ("stage 1", "", 0, 0.5),
    ("features", f"{BACKBONE}/backbone.pt", 1, 0.2),
    ("stage 2", f"{RUN}/training.pt", 1, 0.2),
    ("evaluation", f"{RUN}/training.pt", EPOCHS, 0.3),
    ("record", f"{RUN}/.heads.pt.*.tmp", 1, 0.0),
    ("stage 1", f"{BACKBONE}/training.pt", EPOCHS - 1, 0.2),
    ("features", "cache/*/features.partial", 1, 0.3),
    ("stage 2", "cache/*/features.bin", 1, 0.3),
    ("record", f"{RUN}/heads.pt", 1, 0.02),
    ("stage 1", f"{BACKBONE}/.training.pt.*.tmp", 1, 0.0),
    ("features", f"{BACKBONE}/.backbone.pt.*.tmp", 1, 0.1),
    ("stage 2", f"{RUN}/.training.pt.*.tmp", 1, 0.0),
    ("record", f"{RUN}/.metrics.json.*.tmp", 1, 0.0),
]
LIVE_MOMENTS = [  # between the first epoch's save and the last's
    ("stage 2", f"{RUN}/training.pt", 1, 0.1),
    ("stage 2", f"{RUN}/training.pt", EPOCHS - 1, 0.1),
    ("stage 2", f"{RUN}/.training.pt.*.tmp", 1, 0.0),
]


def small(folder: Path, live: bool) -> Settings:
    """Settings of a run of some two seconds, and its data and weights under `folder`."""
    toy.ensure(folder / "world", train=16, val=12, short_side=64, workers=1, progress=False)
    changes = TINY | {"views": 2, "backbone": "mobilenet_v2", "device": "cpu"}
    changes |= {"stage1_optimiser": "sgd", "stage1_lr": 0.01, "stage1_epochs": EPOCHS}
    changes |= {"stage2_epochs": EPOCHS, "warmup_epochs": 1}
    if live:  # as in the paper profile: dropout draws in every step
        changes |= {"frozen_training": True, "dropout": True}
    settings = Settings.make(
        k=4,
        methods="no_generator,zs3net,ours",
        data_root=str(folder / "world"),
        word_vectors=str(folder / "world" / "wordvectors.txt"),
        weights=str(folder / "weights.pt"),
        features="live" if live else "cached",
        **changes,
    )
    state = deeplab.build(settings, 21).state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    storage.save(folder / "weights.pt", kept)
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


def end(pid: int) -> int:
    """A child's exit code; of a killed one minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int, root: Path, pattern: str, times: int, delay: float) -> bool:
    """Kill a child once a file was written so many times; False where it ended before."""
    seen: set[tuple[int, int]] = set()
    while len(seen) < times:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        for path in root.glob(pattern):
            with suppress(FileNotFoundError):
                seen.add((path.stat().st_ino, path.stat().st_mtime_ns if times > 1 else 0))
        time.sleep(0.0002)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    return end(pid) < 0


def attempt(settings: Settings, root: Path, moment: tuple, rng: random.Random) -> bool:
    """Start a run and kill it at a moment; tried anew, without delay, where it ended before."""
    _, pattern, times, longest = moment
    for delay in (rng.uniform(0, longest), 0, 0, 0, 0):
        shutil.rmtree(root, ignore_errors=True)
        if kill(start(settings, root), root, pattern, times, delay):
            return True
    return False


def outcome(root: Path) -> dict:
    """Every number of the run record, the heads and the backbone, and what is left behind."""
    found = json.loads((root / RUN / "metrics.json").read_text())
    found = {name: value for name, value in found.items() if name not in NOT_NUMBERS}
    for path in (root / RUN / "heads.pt", next(root.glob(f"{BACKBONE}/backbone.pt"))):
        found[path.name] = path.read_bytes()
    patterns = ("**/*.tmp", "**/training*", "**/*.partial", "cache/[!.]*")
    left = [path.relative_to(root) for name in patterns for path in root.glob(name)]
    return found | {"left behind": left}


def run_all(base: Path, kills: int, seed: int, live: bool) -> int:
    """How many of the killed runs do not end with the uninterrupted one's digits."""
    torch.set_num_threads(1)
    rng = random.Random(seed)
    settings = small(base, live)
    moments = LIVE_MOMENTS if live else MOMENTS
    straight = base / f"straight-{settings.features}"
    if end(start(settings, straight)) != 0:
        raise SystemExit("the uninterrupted run failed")
    expected = outcome(straight)
    print(f"features {settings.features}, moments of seed {seed}", flush=True)
    equal = 0
    for number in range(kills):
        root = base / str(number)
        moment = moments[number % len(moments)]
        problem = "" if attempt(settings, root, moment, rng) else "not killed: it ended before"
        code = end(start(settings, root))
        if code:
            problem = f"the second attempt ended with {code}"
        elif not problem:
            found = outcome(root)
            wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
            problem = f"differs: {', '.join(wrong)}" if wrong else ""
        equal += not problem
        print(f"kill {number + 1:2d} in {moment[0]}: {problem or 'identical'}", flush=True)
        shutil.rmtree(root)
    return kills - equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many runs to kill, each once")
    parser.add_argument("--live", type=int, default=0, help="so many more with live features")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="zs3-kills-", dir=memory) as folder:
        for kills, live in ((args.kills, False), (args.live, True)):
            wrong += run_all(Path(folder), kills, args.seed, live) if kills else 0
    kills = args.kills + args.live
    print(f"{kills - wrong}/{kills} resumed to identical digits")
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main())
