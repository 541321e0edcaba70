"""Finished runs, opened again from their folder: record, settings, data, frozen network and heads. Nothing is trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from . import checkpoints, paths, stage1
from .classes import Split, split
from .data import SegmentationData, open_data
from .devices import device as device_of
from .errors import ZS3Error
from .records import MODELS, read_record
from .run import Run
from .settings import Settings
from .stage2 import Head


@dataclass(frozen=True)
class FinishedRun:
    """A trained configuration.

    Attributes:
        folder: `runs/<profile>/<dataset>-k<K>-s<seed>`; record: its `metrics.json`.
        model: the frozen DeepLabv3+; heads: classifier and generator of each method.
    """

    folder: Path
    record: dict
    settings: Settings
    split: Split
    model: nn.Module
    heads: dict[str, Head]

    @property
    def name(self) -> str:
        """Its folder below runs/: "toy/voc-k10-s0"."""
        return "/".join(self.folder.absolute().parts[-2:])

    def open_data(self, part: str) -> SegmentationData:
        """Its images, part "train" or "val"."""
        return open_data(self.settings.dataset, self.settings.data_root, part, holdout=self.settings.holdout)


def how_to_make(folder: Path) -> str:
    """The command that makes the run whose folder this is."""
    profile, run = folder.absolute().parts[-2:]
    numbers = zip(("K", "SEED"), re.findall(r"\d+", run))
    return " ".join([f"make runs/{profile}/{run}/metrics.json PROFILE={profile}", *map("=".join, numbers)])


def open_run(
    run: str | Path | Run | FinishedRun, *, methods: Sequence[str] = ("ours",),
    data_root: str | None = None, word_vectors: str | None = None, device: str | None = None,
) -> FinishedRun:  # fmt: skip
    """Open a finished run.

    Arguments:
        run: its folder or the `metrics.json` in it; a `Run` after `train_heads`; or an opened run, returned as it is.
        methods: what it must have been trained with.
        data_root, word_vectors, device: in place of those of its record.

    Raises ZS3Error naming the file that is missing, and the command that makes it.
    """
    if isinstance(run, FinishedRun):
        opened, again = run, "run it again with every method"
    elif isinstance(run, Run):
        opened = FinishedRun(run.folder, {}, run.settings, run.split, run.model, run.heads)
        again = "call its train_backbone and train_heads first"
    else:
        folder = Path(run).absolute()
        folder = folder.parent if folder.name == "metrics.json" else folder
        again = f"remove runs/{'/'.join(folder.parts[-2:])}, then {how_to_make(folder)}"
        changes = {"data_root": data_root, "word_vectors": word_vectors, "device": device}
        opened = _read(folder, again, {key: value for key, value in changes.items() if value})
    if lost := [MODELS.get(method, method) for method in methods if method not in opened.heads]:
        raise ZS3Error(f"{opened.name} was run without {', '.join(lost)}: {again}")
    return opened


def _read(folder: Path, again: str, changes: dict) -> FinishedRun:
    if not (folder / "metrics.json").is_file():
        raise ZS3Error(f"{folder / 'metrics.json'} not found: {how_to_make(folder)}")
    record = read_record(folder / "metrics.json")
    if not (folder / "heads.pt").is_file():
        raise ZS3Error(f"{folder / 'heads.pt'} not found: {again}")
    saved = checkpoints.load_weights(folder / "heads.pt")
    if saved.get("key") != record.get("keys", {}).get("head"):
        raise ZS3Error(f"{folder / 'heads.pt'} is of another run than the metrics.json beside it: {again}")
    if not (backbone := backbone_file(folder, saved)).is_file():
        raise ZS3Error(f"{backbone} not found: {again}")
    try:
        settings = Settings.make(**record["settings"] | changes)
    except ZS3Error as error:
        raise ZS3Error(f"{folder / 'metrics.json'} is of another version of zs3lib ({error}): {again}") from None
    parts = split(settings.dataset, settings.k)
    model, heads = load_heads(folder, settings, len(parts.names))
    return FinishedRun(folder, record, settings, parts, model, heads)


def backbone_file(folder: Path, saved: dict) -> Path:
    """Where the backbone of a run lies, from its folder and the content of its `heads.pt`; never outside its profile."""
    return paths.inside(folder.parent, saved.get("backbone"), folder / "heads.pt")


def load_heads(folder: Path, settings: Settings, classes: int) -> tuple[nn.Module, dict[str, Head]]:
    """The frozen network and the trained heads of a finished run, from its folder.

    Raises ZS3Error naming the file that is missing, damaged, made by other settings, or that names files elsewhere.
    """
    source, heads = folder / "heads.pt", {}
    saved = checkpoints.load_weights(source)
    try:
        source = backbone_file(folder, saved)
        model = stage1.build_model(settings, classes)
        model.load_state_dict(checkpoints.load_weights(source)["model"])
        stage1.freeze(model).to(device_of(settings), memory_format=torch.channels_last)
        source = folder / "heads.pt"
        for name, weights in saved["heads"].items():
            if len(weights["words"]) != classes:
                raise ValueError(f"{len(weights['words'])} classes, not {classes}")
            heads[name] = Head(words=weights["words"], noise=settings.noise).to(device_of(settings)).eval()
            heads[name].load_state_dict(weights)
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ZS3Error(f"{source} is not of a run with these settings ({reason}): run it again") from error
    return model, heads


def toy_run(folder: str | Path) -> Path:
    """`folder` when a finished run is there; where the default toy run lacks, it is trained first (about a minute).

    Any other run that is missing raises ZS3Error with the command that makes it.
    """
    folder = Path(folder).absolute()
    folder = folder.parent if folder.name == "metrics.json" else folder
    if (folder / "metrics.json").is_file() and (folder / "heads.pt").is_file():
        return folder
    name = re.fullmatch(r"(voc|context)-k(\d+)-s(\d+)", folder.name)
    if folder.parent.name != "toy" or not name:
        raise ZS3Error(f"no finished run in {folder}: {how_to_make(folder)}")
    settings = Settings.make(profile="toy", dataset=name[1], k=int(name[2]), seed=int(name[3]))
    print(f"{folder.parent.name}/{folder.name} is not there yet: training it now, a minute or two on two CPU cores")
    run = Run(settings, runs_root=folder.parents[1], cache_root=paths.CACHE)
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save()
    return folder
