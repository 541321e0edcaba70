"""One configuration (dataset, K, seed) from data to run record, in the order of the paper."""

from __future__ import annotations

import dataclasses
import hashlib
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch

from . import checkpoints, paths, stage1
from .classes import split
from .data import open_data, strict
from .data.loading import stream
from .data.segmentation import SegmentationData
from .devices import describe, device, keep_freed_memory, queued
from .errors import ZS3Error
from .evaluate import evaluate
from .features import FeatureCache
from .metrics import class_iou, scores
from .progress import saved
from .provenance import file_hash, git, source_hash, versions
from .seal import sealed
from .settings import Settings
from .stage2 import Head, Trainer, train_head
from .words import load_word_vectors

# What the results of each stage depend on, besides the data: another value or another source file, another key.
STAGE1_SETTINGS = (
    "dataset", "k", "backbone", "aspp_rates", "multi_grid", "dropout", "align_corners", "base_size", "crop_size", "scale_min",
    "scale_max", "blur", "backbone_seed", "batch_size", "stage1_epochs", "stage1_steps", "stage1_optimiser", "stage1_lr",
    "fresh_lr_factor", "frozen_blocks", "frozen_bn", "momentum", "weight_decay", "amp",
)  # fmt: skip
STAGE2_SETTINGS = (
    "seed", "stage2_epochs", "warmup_epochs", "classifier_lr", "classifier_loss", "loss_at", "unseen_weight",
    "shared_views", "cell_stride", "generator_lr", "samples", "tau", "gamma", "noise", "word_norm", "mmd_root", "zs_weights",
    "pseudo", "protocol",
)  # fmt: skip
STAGE1_CODE = ("deeplab", "stage1", "adam", "pixel_loss", "loops", "data/loading", "data/segmentation", "data/sbd")
STAGE2_CODE = (
    "features", "head", "generator", "generator_step", "generator_loops", "mmd_loops", "blas", "jit", "compiled", "draws", "layout",
    "losses", "pixel_loss", "cells", "loops", "adam", "stage2", "data/strict",
)  # fmt: skip


class Run:
    """A configuration's data, network, heads and results. Every stage continues where an earlier run stopped.

    Arguments:
        settings: what to run; see `Settings.make`.
        runs_root, cache_root: where records and caches go (`runs/` and `cache/` of the checkout).

    Raises ZS3Error before any training when data, word vectors or weights are missing or do not fit.
    """

    def __init__(
        self, settings: Settings, *, runs_root: str | Path | None = None, cache_root: str | Path | None = None
    ):
        self.settings, self.started = settings, time.time()
        keep_freed_memory()
        device(settings)  # one that is not there is told before anything is read
        self.split = split(settings.dataset, settings.k)
        if settings.profile == "toy" and Path(settings.data_root) == paths.DATA / "toy":
            from .toy.world import ensure, ensure_backbone

            ensure_backbone(ensure(paths.DATA / "toy"))
        self.train, self.val = (
            open_data(settings.dataset, settings.data_root, part, holdout=settings.holdout) for part in ("train", "val")
        )
        self.words, self.substitutions = load_word_vectors(
            settings.word_vectors, self.split.names, norm=settings.word_norm, cache=Path(cache_root or paths.CACHE)
        )
        self.seen_images = stage1.images_without(self.train, self.split)
        self.model = stage1.build_model(settings, len(self.split.names))
        self.pretrained = checkpoints.load_pretrained(self.model, settings)
        profile = Path(runs_root or paths.RUNS) / settings.profile
        self.folder = profile / settings.run_name
        self.inputs = {
            "weights": file_hash(settings.weights), "word_vectors": hashlib.sha256(self.words.tobytes()).hexdigest()[:16],
        }  # fmt: skip
        self.start = None
        if settings.stage1_from_k > settings.k:
            start = dataclasses.replace(settings, k=settings.stage1_from_k)
            self.start = Run(start, runs_root=runs_root, cache_root=cache_root)
        made_from = [self.train.fingerprint, self.inputs["weights"]]
        made_from += [source_hash(*STAGE1_CODE)]
        if self.start:
            made_from += [self.start.backbone_key, settings.stage1_from_epochs]
        self.backbone_key = settings.key(*STAGE1_SETTINGS, extra=made_from)
        self.backbone_folder = profile / "backbones" / f"{settings.dataset}-k{settings.k}-{self.backbone_key}"
        self.borrows = self.start is not None and settings.stage1_from_epochs == 0
        if self.borrows:
            self.backbone_key, self.backbone_folder = self.start.backbone_key, self.start.backbone_folder
        self.head_key = settings.key(
            *STAGE2_SETTINGS, "views", "k",
            extra=[self.backbone_key, self.inputs["word_vectors"],
                   source_hash(*STAGE2_CODE)],
        )  # fmt: skip
        images = (
            f"strict{source_hash('data/strict')[:6]}-k{settings.k}"
            if settings.protocol == "strict"
            else settings.protocol
        )
        self.cache_folder = (
            Path(cache_root or paths.CACHE) / f"{self.backbone_key}-{images}-s{settings.views_seed}-v{settings.views}"
        )
        self.heads: dict[str, Head] = {}
        self.history: dict[str, dict] = {}
        self.results: dict[str, dict] = {}
        self.seconds: dict[str, float] = {}
        self.interrupted = False  # whether an earlier attempt's work was gone on with, whose time is then not counted

    def train_backbone(self) -> list[float]:
        """Stage 1, then freeze. Returns the mean loss of each epoch: none where ZS3Net's own network was given."""
        begin = time.time()
        if self.borrows:
            self.start.train_backbone()
        with self._interruptible(), paths.locked(self.backbone_folder):  # runs of other seeds share it
            state = self._stage1()
        self.model.load_state_dict(state["model"])
        stage1.freeze(self.model).to(device(self.settings), memory_format=torch.channels_last)
        self.seconds["stage1"] = time.time() - begin
        self.history["stage1"] = {"loss": state["losses"]}
        return state["losses"]

    @cached_property
    def stage2_images(self) -> SegmentationData:
        """What stage 2 trains on: all training images, or under the strict protocol what takes their place."""
        if self.settings.protocol == "strict":
            seed = stream(self.settings.views_seed, 40)
            return strict.training(self.train, self.split, self.seen_images, seed=seed)
        return self.train

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Say at Ctrl-C, in one line, what is saved and how to go on."""
        try:
            yield
        except KeyboardInterrupt:
            print(f"\n{saved(self.folder, self.backbone_folder)}", file=sys.stderr, flush=True)
            raise

    def _stage1(self) -> dict:
        done, part = self.backbone_folder / "backbone.pt", self.backbone_folder / "training.pt"
        state = checkpoints.resume(done, self.backbone_key)
        if self.pretrained == "zs3net":
            print(f"Stage 1 is skipped: {self.settings.weights} is the network that ZS3Net's own stage 1 left.")
        self.interrupted |= state is None and part.exists()
        if state is None:
            settings = self.settings
            if self.start:
                self.start.train_backbone()
                self.model.load_state_dict(self.start.model.state_dict())
                settings = dataclasses.replace(settings, stage1_steps=0, stage1_epochs=settings.stage1_from_epochs)
            with queued(device(settings)):
                losses_ = [] if self.pretrained == "zs3net" else stage1.train_backbone(
                    self.model, self.train, self.seen_images, settings, checkpoint=part, key=self.backbone_key
                )  # fmt: skip
            state = {"model": self.model.state_dict(), "losses": losses_, "key": self.backbone_key}
            checkpoints.save(done, state)
        part.unlink(missing_ok=True)
        return state

    def train_heads(self) -> dict[str, dict[str, list[float]]]:
        """Cache the features, then train every method of the settings. Returns each one's mean losses by epoch."""
        begin = time.time()
        seed = stream(self.settings.views_seed, 30)
        with self._interruptible(), paths.locked(self.cache_folder), queued(device(self.settings)):
            cache = FeatureCache.build(self.cache_folder, self.model, self.stage2_images, self.settings, seed=seed)
        self.seconds["features"] = time.time() - begin
        words, folder = torch.from_numpy(self.words), self.folder / "training"
        with self._interruptible(), paths.locked(self.folder), queued(device(self.settings)):
            self.interrupted |= any(folder.glob("[!.]*.pt"))
            for method in self.settings.methods:
                begin = time.time()
                trainer = Trainer(method, cache, words, self.split, self.settings)
                self.heads[method] = train_head(trainer, folder=folder, key=self.head_key).eval()
                self.history[method] = trainer.history
                self.seconds[method] = time.time() - begin
        return {name: self.history[name] for name in self.settings.methods}

    def evaluate(self) -> dict[str, dict]:
        """Score every method on the validation split. Returns {method: {metrics, per_class_iou, confusion}}."""
        begin = time.time()
        classifiers = {name: head.classifier for name, head in self.heads.items()}
        with self._interruptible(), queued(device(self.settings)):
            confusions = evaluate(self.model, classifiers, self.val, self.settings)
        for name, confusion in confusions.items():
            iou = 100 * class_iou(confusion.numpy())
            self.results[name] = {
                "metrics": scores(confusion, self.split),
                "per_class_iou": dict(zip(self.split.names, iou.tolist())),
                "confusion": confusion.tolist(),
                "seconds": self.seconds[name],
            }
        self.seconds["evaluation"] = time.time() - begin
        return self.results

    def save(self, *, keep_cache: bool = False) -> Path:
        """Write the heads' weights and, last, `metrics.json`; then drop training states and the feature cache."""
        heads = {name: head.state_dict() for name, head in self.heads.items()}
        backbone = str((self.backbone_folder / "backbone.pt").relative_to(self.folder.parent))
        checkpoints.save(self.folder / "heads.pt", {"heads": heads, "backbone": backbone, "key": self.head_key})
        path = self.folder / "metrics.json"
        paths.write_json(path, self.record())
        shutil.rmtree(self.folder / "training", ignore_errors=True)
        if not keep_cache:
            shutil.rmtree(self.cache_folder, ignore_errors=True)
        return path

    def record(self) -> dict:
        """Everything a table row says, and all that is needed to tell it from another run's."""
        s = self.settings
        if missing := [name for name in s.methods if name not in self.results]:
            raise ZS3Error(f"no results for {', '.join(missing)} yet: run the cells above first")
        return sealed({
            "profile": s.profile, "dataset": s.dataset, "k": s.k, "seed": s.seed,
            "protocol": s.protocol, "settings": s.as_dict(), "seen": [self.split.names[i] for i in self.split.seen],
            "unseen": list(self.split.unseen_names), "methods": self.results, "history": self.history,
            "pretrained": self.pretrained, "word_substitutions": self.substitutions, "train_images": len(self.train),
            "stage1_images": len((self.start if self.borrows else self).seen_images),
            "stage2_layouts": strict.RULE[s.protocol], "val_images": len(self.val),
            "data_fingerprint": f"{self.train.fingerprint}-{self.val.fingerprint}", "inputs": self.inputs,
            "keys": {"backbone": self.backbone_key, "head": self.head_key}, "versions": versions(), "git": git(),
            "device": describe(device(s)), "seconds": self.seconds, "wall_s": time.time() - self.started,
            "interrupted": self.interrupted,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        })  # fmt: skip
