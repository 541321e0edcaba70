"""Every setting of a run, checked by pydantic."""

from __future__ import annotations

import json
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from .classes import Split, split, tau_gamma
from .errors import ZS3Error
from .method.methods import METHODS
from .paths import run_name
from .profiles import PAPER_METHODS, PROFILES, recipe_values
from .storage import text_hash


def _listed(value: object) -> object:
    """ "a, b", '["a", "b"]' or 3 as a list; papermill's -p hands over any of these."""
    if not isinstance(value, str):
        return [value] if isinstance(value, int | float) else value
    try:
        return json.loads(value) if value.startswith("[") else [v.strip() for v in value.split(",")]
    except ValueError:
        raise ValueError(WANTED["tuple"]) from None


def names_of(value: object) -> tuple[str, ...]:
    """Names as a user lists them, of which papermill makes a number where one looks like it.

    Raises ZS3Error on what begins like a JSON list and is none.
    """
    try:
        listed = _listed(value) or ()
    except ValueError as error:
        raise ZS3Error(f"{value!r} must be {error}") from None
    return tuple(str(name) for name in listed if name != "")


def _no_truth(value: object) -> object:
    """A number that is no true or false; papermill may hand it over as text."""
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


# What a setting must be, by the kind of pydantic's error, where its own words are less plain.
WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "comma-separated values",
    "extra": "left out, there is no such setting",
}

Whole = Annotated[int, BeforeValidator(_no_truth)]
Number = Annotated[float, BeforeValidator(_no_truth), Field(allow_inf_nan=False)]
Wholes = Annotated[tuple[Whole, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
# A path that looks like a number reaches us as one.
Text = Annotated[str, BeforeValidator(str)]


class Settings(BaseModel):
    """All that decides a run's numbers. `Settings.make` fills in a profile's values and checks."""

    model_config = {"frozen": True, "extra": "forbid"}

    profile: str = "toy"
    dataset: str = "voc"
    k: Whole = 10
    unseen_list: Text = "paper"  # whose first K are unseen, or a later paper's split, of one K
    background: bool = True  # False: it is void, in training and in scoring
    recipe: Literal["own", "zs3net", "literal"] = "own"  # `profiles.RECIPES`
    seed: Whole = Field(0, ge=0, le=2**31)
    methods: Names = (*PAPER_METHODS, "equal_weight")
    # where things are
    data_root: Text = ""
    weights: Text = ""
    word_vectors: Text = ""
    # network
    backbone: Literal["small", "resnet18", "mobilenet_v2", "resnet101"] = "small"
    feature_dim: Whole = Field(256, ge=2, le=4096)
    aspp_rates: Wholes = (6, 12, 18)
    multi_grid: Wholes = (1,)
    dropout: bool = True
    align_corners: bool = False  # True: as ZS3Net upsamples
    # input: sizes are short sides in pixels
    base_size: Whole = Field(312, ge=32, le=4096)
    crop_size: Whole = Field(312, ge=32, le=4096)
    scale_min: Number = Field(0.5, ge=0.1, le=10)
    scale_max: Number = Field(2.0, ge=0.1, le=10)
    blur: Number = Field(0.5, ge=0, le=1)
    val_size: Whole = Field(513, ge=32, le=4096)
    holdout: Number = Field(0.0, ge=0, le=0.9)  # share of train in val's place, to choose settings
    # stage 1
    backbone_seed: Whole = Field(0, ge=0, le=2**31)
    stage1_batch_size: Whole = Field(8, ge=2, le=4096)
    stage1_loss: Literal["mean", "zs3net"] = "mean"
    stage1_epochs: Whole = Field(30, ge=1, le=10_000)
    stage1_steps: Whole = Field(0, ge=0, le=10**7)  # > 0: about so many, in whole epochs, instead
    stage1_optimiser: Literal["sgd", "adamw"] = "sgd"
    stage1_lr: Number = Field(0.007, ge=0, le=10)  # the backbone's
    fresh_lr_factor: Number = Field(10.0, ge=0, le=10_000)  # so much faster do the others learn
    # so many parts of the backbone keep their weights: conv1, bn1, layer1 ...; MobileNet's blocks
    frozen_blocks: Whole = Field(0, ge=0, le=100)
    frozen_bn: bool = False  # the backbone keeps its batch statistics
    momentum: Number = Field(0.9, ge=0, le=0.9999)
    weight_decay: Number = Field(5e-4, ge=0, le=1)  # of SGD, in both stages; AdamW's is 0.01
    # stage 2
    batch_size: Whole = Field(8, ge=2, le=4096)
    frozen_training: bool = False  # the frozen network keeps dropout and batch statistics on
    # live: it runs in every step, with fresh augmentation in each epoch; cached: the features of
    # `views` augmented copies of an image are kept on the disk; auto: live on a GPU
    features: Literal["auto", "live", "cached"] = "auto"
    views: Whole = Field(2, ge=1, le=1000)
    cell_stride: Whole = Field(1, ge=1, le=8)  # of the feature cells a batch takes, each way
    stage2_epochs: Whole = Field(10, ge=1, le=10_000)
    warmup_epochs: Whole = Field(5, ge=0, le=10_000)
    classifier_init: Literal["small", "uniform"] = "small"  # torch's; on (0, 1), as ZS3Net's code
    classifier_lr: Number = Field(0.07, ge=0, le=1000)
    classifier_loss: Literal["mean", "zs3net", "sum"] = "mean"
    loss_at: Literal["image", "feature"] = "image"
    unseen_weight: Number = Field(10.0, ge=0, le=1_000_000)
    generator_lr: Number = Field(2e-4, ge=0, le=10)
    samples: Whole = Field(128, ge=2, le=100_000)
    tau: Number = Field(0.85, ge=0, le=1)
    gamma: Number = Field(1 / 40, ge=0, le=1000)
    # readings of what the paper leaves open
    noise: Literal["gaussian", "uniform"] = "gaussian"
    word_norm: Literal["unit", "none", "largest", "noise"] = "unit"
    mmd_root: bool = True
    zs_weights: Literal["paper", "normalised"] = "paper"
    pseudo: Literal["fresh", "same"] = "fresh"
    feed_back: Literal["unseen", "all"] = "unseen"  # classes of a mixed image that Eq. 2 fits
    fit_mixed: bool = False  # whether Eq. 1 fits the seen ones of such an image
    protocol: Literal["paper", "strict"] = "paper"  # strict: `data/strict.py`
    # extras, beside the paper: `extras/graph_context.py`, `extras/self_training.py`
    graph_target: Literal["first", "mean"] = "first"
    graph_loops: bool = False
    self_training: bool = False
    self_training_share: Number = Field(25, ge=0, le=100)  # percent of the predictions kept
    self_training_seen: bool = False  # keep those of seen classes too
    own: dict[str, Any] = {}  # options of methods that are not zs3lib's, read by their trainers
    # the machine
    device: Text = "auto"
    amp: bool = True
    compile: Literal["auto"] | bool = "auto"  # the generator's losses, by torch; auto: on a GPU
    workers: Whole = Field(0, ge=0, le=64)

    @model_validator(mode="after")
    def _methods_fit(self) -> Settings:
        if not self.methods:
            raise ValueError(f"no method given: choose from {', '.join(METHODS)}")
        for method in self.methods:
            if self.methods.count(method) > 1:
                raise ValueError(f"methods lists {method} twice: every method may be there once")
            if method not in METHODS:
                known = f"{', '.join(METHODS)}, or import or install what adds it"
                raise ValueError(f"unknown method '{method}': choose from {known}")
            wanted = METHODS[method].datasets
            if wanted and self.dataset not in wanted:
                only = f"is for {', '.join(wanted)} alone: leave it out for {self.dataset}"
                raise ValueError(f"method {method} {only}")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.self_training and self.protocol == "strict":
            why = "learns from images that show unseen classes, which protocol strict keeps out of"
            raise ValueError(f"self_training {why} training: choose one of the two")
        limits = {"warmup_epochs": (0, self.stage2_epochs), "scale_max": (self.scale_min, 10)}
        for name, (low, high) in limits.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise ValueError(f"{name} is {value}: it must be from {low} to {high}")
        for name in ("aspp_rates", "multi_grid"):
            rates = getattr(self, name)
            if min(rates, default=0) < 1:
                raise ValueError(f"{name} is {rates}: it must be whole numbers from 1 on")
        if self.cell_stride > 1 and self.loss_at == "image":
            need = "a loss at the image's resolution needs every cell, 1"
            raise ValueError(f"cell_stride is {self.cell_stride}: {need}")
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def split(self) -> Split:
        """Its seen and unseen classes."""
        return split(self.dataset, self.k, self.unseen_list, self.background)

    @classmethod
    def make(
        cls,
        *,
        profile: str = "toy",
        dataset: str = "voc",
        k: int | None = None,
        unseen_list: str | None = None,
        background: bool | None = None,
        options: dict | str | None = None,
        **changes,
    ) -> Settings:
        """Settings of a profile for one (dataset, K).

        Arguments:
            k: None is the largest that `unseen_list` has: 10 of the paper's.
            unseen_list: None is the paper's, or the one that the dataset has.
            changes: other settings; those that are None or "" keep the profile's value. A recipe
                that is given replaces the profile's values, the profile's own only its defaults.
            options: further changes, as one dictionary or its JSON.

        Raises ZS3Error on unknown names, types that do not fit and values out of range.
        """
        profile = str(profile)
        dataset = str(dataset)
        if profile not in PROFILES:
            raise ZS3Error(f"unknown profile '{profile}': choose one of {', '.join(PROFILES)}")
        with suppress(ValidationError):  # "6" and 6.0 are 6; `split` refuses what is no such number
            k = pydantic.TypeAdapter(Whole).validate_python(k)
        parts = split(dataset, None if k == "" else k, unseen_list and str(unseen_list))
        own = {"profile": profile, "dataset": dataset}
        own |= {"k": parts.k, "unseen_list": parts.unseen_list}
        own["background"] = True if background in (None, "") else background
        options = _dictionary(options)
        if twice := [n for n in options if n in own or changes.get(n) not in (None, "")]:
            raise ZS3Error(f"options hold '{twice[0]}': give it as a parameter of its own")
        both = changes | options
        given = {name: value for name, value in both.items() if value not in (None, "")}
        if unknown := [name for name in given if name not in cls.model_fields]:
            near = " or ".join(get_close_matches(unknown[0], cls.model_fields, cutoff=0.75))
            remedy = f"did you mean {near}?" if near else "zs3lib/settings.py has them all"
            raise ZS3Error(f"unknown setting '{unknown[0]}': {remedy}")
        values = PROFILES[profile]["all"] | PROFILES[profile].get(dataset, {})
        values = recipe_values(values.get("recipe"), dataset) | values
        values["tau"], values["gamma"] = tau_gamma(dataset, parts.k, parts.unseen_list)
        values |= recipe_values(given.get("recipe"), dataset) | given | own
        try:
            made = cls(**values | _absolute(values))
        except ValidationError as error:
            raise ZS3Error(what_is_wrong(error)) from None
        split(dataset, made.k, made.unseen_list, made.background)  # whether it may be left out
        return made

    def as_dict(self) -> dict:
        """Plain values for a run record."""
        return self.model_dump(mode="json")

    def key(self, *names: str, extra: object = None) -> str:
        """Short hash of some settings: names what was computed from them."""
        content = {name: getattr(self, name) for name in sorted(names)}
        return text_hash(json.dumps([content, extra], sort_keys=True, default=str))

    @property
    def run_name(self) -> str:
        """The run's folder below runs/<profile>/."""
        return run_name(dict(self))


def _absolute(values: dict) -> dict[str, str]:
    """The paths of `values`, absolute: a record may be read from another folder."""
    names = ("data_root", "weights", "word_vectors")
    paths = {name: Path(str(values[name])).expanduser() for name in names}
    # Word vectors that are no file may be a model of gensim's.
    return {n: str(p.absolute()) for n, p in paths.items() if n == "data_root" or p.exists()}


def _dictionary(options: object) -> dict:
    options = options or {}
    with suppress(ValueError):
        options = json.loads(options) if isinstance(options, str) else options
    if not isinstance(options, dict):
        raise ZS3Error(f"options is {options!r}: it must be a dictionary of settings by name")
    return options


def what_is_wrong(found: ValidationError) -> str:
    """What pydantic found, in one line: each setting, its value, what it must be."""
    return "; ".join(map(_line, found.errors()))


def _line(error: dict) -> str:
    said = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not error["loc"]:
        return said
    name = error["loc"][0]
    said = WANTED.get(error["type"].partition("_")[0], said)
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        limits = Settings.model_json_schema()["properties"][name]
        said = "from {minimum} to {maximum}".format(**limits)
    return f"{name} is {error['input']!r}: it must be {said}"
