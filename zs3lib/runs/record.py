"""What stands in a run's metrics.json: all that a table row says, and what tells it from others."""

import time

import torch
from torch.cuda import get_device_name

from ..errors import ZS3Error
from ..results.records import FREE, ROW
from ..settings import Settings
from ..storage import sealed
from . import facts


def record_of(run) -> dict:
    """A `Run`'s, once it is evaluated; ZS3Error before."""
    settings = run.settings.as_dict()
    if missing := [name for name in run.settings.methods if name not in run.results]:
        raise ZS3Error(f"no results for {', '.join(missing)} yet: run the cells above first")
    cpu = f"CPU, {torch.get_num_threads()} threads"
    record = {name: settings[name] for name in ("profile", "dataset", "k", "seed", "protocol")}
    record |= {
        "settings": settings,
        "changed": _changed(run.settings),
        "seen": [run.split.names[i] for i in run.split.seen],
        "unseen": list(run.split.unseen_names),
        "methods": run.results,
        "history": run.history,
        "pretrained": run.pretrained,
        "word_substitutions": run.substitutions,
        "train_images": len(run.train),
        "stage1_images": len(run.seen_images),
        "val_images": len(run.val),
        "data_fingerprint": f"{run.train.fingerprint}-{run.val.fingerprint}",
        "inputs": run.inputs,
        "own_code": run.own_code,
        "keys": {"backbone": run.backbone_key, "head": run.head_key},
        "versions": facts.versions(),
        "git": facts.git(),
        "device": cpu if run.device.type == "cpu" else get_device_name(run.device),
        "seconds": run.seconds,
        "wall_s": time.time() - run.started,
        "interrupted": run.interrupted,
        "peak_memory_mb": facts.peak_memory_mb(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return sealed(record)


def _changed(settings: Settings) -> dict:
    """The settings of numbers that are not the profile's own."""
    same = {name: getattr(settings, name) for name in ("profile", "dataset", "k", "unseen_list")}
    own = Settings.make(**same, background=settings.background).as_dict()
    told = FREE - {*ROW, "self_training"} | {"features", "protocol", "holdout"}  # said elsewhere
    found = settings.as_dict()
    return {name: found[name] for name in sorted(found.keys() - told) if found[name] != own[name]}
