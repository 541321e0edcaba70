"""Finished runs, opened again from their folder: record, data, frozen network and heads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError
from torch import nn

from ..classes import Split
from ..data.augment import validation_input
from ..data.segmentation import SegmentationData, data_of
from ..errors import ZS3Error, one_line
from ..method.deeplab import build, freeze
from ..method.features import pixel_classifier, predict
from ..method.generator import Head
from ..method.methods import METHODS, title, trainer_of
from ..paths import run_settings
from ..results.records import read_record
from ..settings import Settings, what_is_wrong
from ..storage import load_weights
from .devices import device_of


@dataclass(frozen=True)
class FinishedRun:
    """A trained configuration."""

    folder: Path  # runs/<profile>/<dataset>-k<K>-s<seed>
    record: dict  # its metrics.json
    settings: Settings
    split: Split
    model: nn.Module  # the frozen DeepLabv3+
    heads: dict[str, Head]  # classifier and generator of each method
    self_trained: dict[str, nn.Module] = field(default_factory=dict)  # what `predict` has read

    @property
    def name(self) -> str:
        """Its folder below runs/: "toy/voc-k10-s0"."""
        return "/".join(self.folder.absolute().parts[-2:])

    def open_data(self, part: str) -> SegmentationData:
        """Its images, part "train" or "val"."""
        return data_of(self.settings, part)

    def predict(
        self, image: Image.Image, methods: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Label maps of an RGB picture at its own size, {method: (H, W) uint8}.

        `methods` are all that have a head, where none are named; "zs3net+self_training" is the
        network that a method taught.
        """
        methods = methods or list(self.heads)
        own = {name: self.heads[name].classifier for name in methods if name in self.heads}
        given = (validation_input(image, self.settings), (image.height, image.width), self.settings)
        found = predict(self.model, own, *given) if own else {}
        for name in methods:
            if name not in own:
                network = self._self_trained(name)
                found |= predict(network, {name: pixel_classifier(network)}, *given)
        return {name: labels.cpu().numpy() for name, labels in found.items()}

    def _self_trained(self, name: str) -> nn.Module:
        """The network that a method's self-training left, read once."""
        if name not in self.self_trained:
            if name not in self.record.get("methods", {}):
                options = "PARAMS=\"-y 'options: {self_training: true}'\""
                problem = f"{self.name} was run without {title(name)}"
                raise ZS3Error(f"{problem}: {_again(self.folder)} {options}")
            network = build(self.settings, len(self.split.names))
            state = load_weights(self.folder / f"{name}.pt", _again(self.folder))
            network.load_state_dict(state["model"])
            self.self_trained[name] = freeze(network).to(device_of(self.settings.device))
        return self.self_trained[name]


def run_folder(run: str | Path) -> Path:
    """The absolute folder of a run, given it or the `metrics.json` in it."""
    folder = Path(run).absolute()
    return folder.parent if folder.name == "metrics.json" else folder


def how_to_make(folder: Path) -> str:
    """The command that makes the run whose folder this is."""
    named = run_settings(folder)
    if not named:
        return "train it with notebooks/train.ipynb"
    run = f"runs/{named['profile']}/{folder.name}"
    paper = named["background"] and named["unseen_list"] == "paper"
    if not paper or named["dataset"] not in ("voc", "context"):  # make's grid may lack it
        return f"python -m zs3lib run {run}"
    return "make {0}/metrics.json PROFILE={profile} K={k} SEED={seed}".format(run, **named)


def open_run(
    run,
    *,
    methods: Sequence[str] = (),
    data_root: str | None = None,
    word_vectors: str | None = None,
    device: str | None = None,
) -> FinishedRun:
    """Open a finished run.

    Arguments:
        run: its folder or the `metrics.json` in it; a `Run` after `train_heads`; or an opened run,
            returned as it is.
        methods: what it must have been trained with.
        data_root, word_vectors, device: in place of those of its record.

    Raises ZS3Error naming the file that is missing, and the command that makes it.
    """
    opened = run
    remedy = "train it with every method first"
    if isinstance(run, str | Path):
        changes = {"data_root": data_root, "word_vectors": word_vectors, "device": device}
        opened = _read(run_folder(run), {key: value for key, value in changes.items() if value})
        remedy = _again(opened.folder)
    elif not isinstance(run, FinishedRun):
        trained = (run.model, run.heads, run.self_trained)
        opened = FinishedRun(run.folder, {}, run.settings, run.split, *trained)
    lost = [name for name in map(str, methods) if name not in opened.heads]
    if unknown := [name for name in lost if name not in METHODS]:
        there = ", ".join(opened.heads)
        raise ZS3Error(f"unknown method '{unknown[0]}': {opened.name} was run with {there}")
    if lost:
        raise ZS3Error(f"{opened.name} was run without {', '.join(map(title, lost))}: {remedy}")
    return opened


def _again(folder: Path) -> str:
    return f"remove runs/{'/'.join(folder.parts[-2:])}, then {how_to_make(folder)}"


def _read(folder: Path, changes: dict) -> FinishedRun:
    path = folder / "metrics.json"
    if not path.is_file():
        raise ZS3Error(f"{path} not found: {how_to_make(folder)}")
    record = read_record(path)
    if unknown := [name for name in record["settings"].get("methods", ()) if name not in METHODS]:
        remedy = "import the module, or install the package, that adds it"
        raise ZS3Error(f"{path} has the method '{unknown[0]}', which is unknown here: {remedy}")
    try:
        settings = Settings(**record["settings"] | changes)
    except ValidationError as error:
        reason = f"of another version of zs3lib ({what_is_wrong(error)})"
        raise ZS3Error(f"{path} is {reason}: {_again(folder)}") from None
    parts = settings.split
    model, heads = load_heads(folder, settings, len(parts.names), record["keys"]["head"])
    return FinishedRun(folder, record, settings, parts, model, heads)


def load_heads(
    folder: str | Path, settings: Settings, classes: int, key: str | None = None
) -> tuple[nn.Module, dict[str, Head]]:
    """The frozen network and the trained heads of a finished run, from its folder.

    `key` is the one in its record; None is not compared. Raises ZS3Error naming the file that is
    missing, damaged, made by other settings, or that names files elsewhere.
    """
    folder = Path(folder).absolute()
    device = device_of(settings.device)
    remedy = _again(folder)
    source = folder / "heads.pt"
    try:
        saved = load_weights(source, remedy)
        if key not in (None, saved.get("key")):
            raise ValueError("it is of another run than the metrics.json beside it")
        source = folder.parent / saved["backbone"]
        if not source.resolve().is_relative_to(folder.parent.resolve()):
            problem = f"names the file {saved['backbone']!r}, which is not below {folder.parent}"
            raise ZS3Error(f"{folder / 'heads.pt'} {problem}: do not use it")
        model = build(settings, classes)
        model.load_state_dict(load_weights(source, remedy)["model"])
        source = folder / "heads.pt"
        heads = {}
        for name, weights in saved["heads"].items():
            words = weights["words"]
            if len(words) != classes:
                raise ValueError(f"{len(words)} classes, not {classes}")
            kind = trainer_of(name).head_class
            head = kind(words=words, noise=settings.noise, feature_dim=settings.feature_dim)
            head.load_state_dict(weights)
            heads[name] = head.to(device).eval()
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:
        problem = f"is not of a run with these settings ({one_line(error)})"
        raise ZS3Error(f"{source} {problem}: {remedy}") from error
    return freeze(model).to(device), heads
