"""Every setting of a run, and the paper's tau and gamma."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass, fields

from . import paths
from .classes import split
from .deeplab import BACKBONES
from .errors import ZS3Error
from .generator import NOISES
from .profiles import PROFILES

METHODS = {
    "no_generator": "classifier on real features only: the floor",
    "zs3net": "ZS3Net: the generator learns from seen classes",
    "ours": "recursive training with ZS-MMD",
    "equal_weight": "recursive training, every pseudo-feature weighing the same (Table III)",
}

# Sec. IV-A: (tau, gamma) for K = 2, 4, 6, 8, 10.
TAU_GAMMA = {
    "voc": {2: (0.85, 1 / 40), 4: (0.7, 1 / 80), 6: (0.7, 1 / 80), 8: (0.7, 1 / 80), 10: (0.85, 1 / 40)},
    "context": {2: (0.85, 1 / 160), 4: (0.7, 1 / 160), 6: (0.85, 1 / 80), 8: (0.85, 1 / 80), 10: (0.7, 1 / 160)},
}


def tau_gamma(dataset: str, k: int) -> tuple[float, float]:
    """The paper's tau and gamma; for an odd K those of the next larger K of the paper."""
    split(dataset, k)
    return TAU_GAMMA[dataset][k + k % 2]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides a run's numbers. `Settings.make` fills in a profile's values and checks them.

    `stage1_steps` > 0 asks for about so many batches, in whole epochs, in place of `stage1_epochs`. With `stage1_from_k` a
    smaller K starts from that K's backbone, which saw none of its unseen classes either: `stage1_from_epochs` epochs, or 0.
    `stage1_lr` is the backbone's; ASPP, decoder and classifier learn `fresh_lr_factor` times as fast. The first
    `frozen_blocks` blocks keep their pretrained weights, with `frozen_bn` the backbone its batch statistics. Learning rates
    are for a batch, sizes in pixels; `views` are the augmented copies of an image in stage 2, with `shared_views` the same
    for all seeds, with one feature cache; a batch takes every `cell_stride`-th feature cell each way, at random offsets.
    `protocol` "strict" keeps images with unseen pixels out of stage 2 (`data/strict.py`); `holdout` is the share of train
    that takes val's place while hyper-parameters are chosen; `align_corners` is how ZS3Net upsamples.
    """

    profile: str = "toy"
    dataset: str = "voc"
    k: int = 10
    seed: int = 0
    methods: tuple[str, ...] = ("no_generator", "zs3net", "ours", "equal_weight")
    # where things are
    data_root: str = ""
    weights: str = ""
    word_vectors: str = ""
    # network
    backbone: str = "resnet18"
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    multi_grid: tuple[int, ...] = (1,)
    dropout: bool = True
    align_corners: bool = False
    # input
    base_size: int = 312
    crop_size: int = 312
    scale_min: float = 0.5
    scale_max: float = 2.0
    blur: float = 0.5
    val_size: int = 513
    holdout: float = 0.0
    # stage 1
    backbone_seed: int = 0
    batch_size: int = 8
    stage1_epochs: int = 30
    stage1_steps: int = 0
    stage1_optimiser: str = "sgd"
    stage1_lr: float = 0.007
    stage1_from_k: int = 0
    stage1_from_epochs: int = 2
    fresh_lr_factor: float = 10.0
    frozen_blocks: int = 0
    frozen_bn: bool = False
    momentum: float = 0.9
    weight_decay: float = 5e-4
    # stage 2
    views: int = 2
    shared_views: bool = False
    cell_stride: int = 1
    stage2_epochs: int = 10
    warmup_epochs: int = 5
    classifier_lr: float = 0.07
    classifier_loss: str = "mean"
    loss_at: str = "image"
    unseen_weight: float = 10.0
    generator_lr: float = 2e-4
    samples: int = 128
    tau: float = 0.85
    gamma: float = 1 / 40
    # readings of what the paper leaves open
    noise: str = "gaussian"
    word_norm: str = "unit"
    mmd_root: bool = True
    zs_weights: str = "paper"
    pseudo: str = "fresh"
    protocol: str = "paper"
    # the machine
    device: str = "auto"
    amp: bool = True
    workers: int = 0

    @classmethod
    def make(
        cls, *, profile: str = "toy", dataset: str = "voc", k: int = 10, options: dict | None = None, **changes
    ) -> Settings:
        """Settings of a profile for one (dataset, K); `changes` that are None or "" keep the profile's value.

        `options` are further changes, as one dictionary.

        Raises ZS3Error on unknown names, types that do not fit and values out of range.
        """
        if profile not in PROFILES:
            raise ZS3Error(f"unknown profile '{profile}': choose one of {', '.join(PROFILES)}")
        split(dataset, k)
        if not isinstance(options, dict | None):
            raise ZS3Error(f"options is {options!r}: it must be a dictionary of settings by name")
        if own := [name for name in ("profile", "dataset", "k") if name in (options or {})]:
            raise ZS3Error(f"options hold '{own[0]}': give it as a parameter of its own")
        changes |= options or {}
        values = dict(PROFILES[profile]["all"]) | dict(PROFILES[profile].get(dataset, {}))
        values["tau"], values["gamma"] = tau_gamma(dataset, k)
        values |= {name: value for name, value in changes.items() if value not in (None, "")}
        values |= {"profile": profile, "dataset": dataset, "k": k}
        known = {f.name for f in fields(cls)}
        for name in values:
            if name not in known:
                raise ZS3Error(f"unknown setting '{name}': the settings are {', '.join(sorted(known))}")
        types = typing.get_type_hints(cls)
        settings = cls(**{name: _coerce(name, value, types[name]) for name, value in values.items()})
        settings._check()
        return settings

    def _check(self) -> None:
        choices = {
            "backbone": BACKBONES, "noise": NOISES, "classifier_loss": ("mean", "sum"), "loss_at": ("image", "feature"),
            "word_norm": ("unit", "none", "noise"), "zs_weights": ("paper", "normalised"), "pseudo": ("fresh", "same"),
            "protocol": ("paper", "strict"), "stage1_optimiser": ("sgd", "adamw"),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ZS3Error(f"{name} is '{getattr(self, name)}': choose one of {', '.join(allowed)}")
        for method in self.methods:
            if method not in METHODS:
                raise ZS3Error(f"unknown method '{method}': choose from {', '.join(METHODS)}")
        ranges = {
            "seed": (0, 2**31), "backbone_seed": (0, 2**31), "batch_size": (2, 4096), "stage1_epochs": (1, 10_000),
            "stage1_steps": (0, 10**7), "stage1_from_k": (0, 10), "stage1_from_epochs": (0, 10_000),
            "stage2_epochs": (1, 10_000), "warmup_epochs": (0, self.stage2_epochs), "views": (1, 1000),
            "samples": (2, 100_000), "cell_stride": (1, 8), "base_size": (32, 4096), "crop_size": (32, 4096),
            "val_size": (32, 4096), "scale_min": (0.1, 10), "scale_max": (self.scale_min, 10), "holdout": (0, 0.9),
            "blur": (0, 1), "stage1_lr": (0, 10), "fresh_lr_factor": (0, 1e4), "frozen_blocks": (0, 100),
            "classifier_lr": (0, 1000), "generator_lr": (0, 10), "momentum": (0, 0.9999), "weight_decay": (0, 1),
            "unseen_weight": (0, 1e6), "tau": (0, 1), "gamma": (0, 1e3), "workers": (0, 64),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ZS3Error(f"{name} is {getattr(self, name)}: it must be from {low} to {high}")
        if self.cell_stride > 1 and self.loss_at == "image":
            raise ZS3Error(f"cell_stride is {self.cell_stride}: a loss at the image's resolution needs every cell, 1")
        if not self.methods:
            raise ZS3Error(f"no method given: choose from {', '.join(METHODS)}")

    def as_dict(self) -> dict:
        """Plain values for a run record."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def key(self, *names: str, extra: object = None) -> str:
        """Short hash of some settings: names what was computed from them, so that nothing stale is read."""
        content = {name: getattr(self, name) for name in sorted(names)}
        return hashlib.sha256(json.dumps([content, extra], sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def views_seed(self) -> int:
        """What the augmented views of stage 2 are drawn from."""
        return self.backbone_seed if self.shared_views else self.seed

    @property
    def run_name(self) -> str:
        return paths.run_name(self.dataset, self.k, self.seed, protocol=self.protocol, holdout=self.holdout)


def _coerce(name: str, value: object, kind: type) -> object:
    """Accept what papermill's -p hands over ("0.5", 6, "zs3net,ours") where it means the setting's type."""
    origin = typing.get_origin(kind)
    try:
        if origin is tuple:
            item = typing.get_args(kind)[0]
            parts = value.split(",") if isinstance(value, str) else list(value)
            return tuple(item(part.strip() if isinstance(part, str) else part) for part in parts)
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        if kind is int and float(value) != int(float(value)):
            raise ValueError
        if kind in (int, float):
            if isinstance(value, bool):
                raise ValueError
            number = kind(float(value))
            if number != number:
                raise ValueError
            return number
        return str(value)
    except (TypeError, ValueError, KeyError, OverflowError):
        wanted = (
            "comma-separated values"
            if origin is tuple
            else {int: "a whole number", float: "a number"}.get(kind, "true or false")
        )
        raise ZS3Error(f"{name} is {value!r}: it must be {wanted}") from None
