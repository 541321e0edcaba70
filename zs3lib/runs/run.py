"""One configuration (dataset, K, seed) from data to run record, in the order of the paper."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .. import parallel, storage
from ..data import strict
from ..data.augment import Augmented, Pictures, batches, validation_batches
from ..data.segmentation import data_of
from ..data.words import load_word_vectors
from ..errors import ZS3Error
from ..extras import self_training
from ..method import stage1
from ..method.deeplab import build, freeze
from ..method.evaluate import evaluate
from ..method.features import pixel_classifier
from ..method.generator import Head
from ..method.methods import METHODS, title, trainer_of
from ..method.metrics import class_iou
from ..method.operating import OFFSETS, operating_point
from ..method.stage2 import Trainer
from ..method.together import Stage2
from ..paths import CACHE, RUNS, run_settings
from ..seeds import stream
from ..settings import Settings
from ..storage import Checkpoint, file_hash, locked, text_hash
from ..toy import world
from . import facts, keys, zs3net
from .devices import alone_on, device_of
from .finished import how_to_make, open_run, run_folder
from .notebooks import parameters_of, plan, settings_of
from .record import record_of
from .sources import FeatureCache, LiveFeatures


class Run:
    """A configuration's data, network, heads and results; each stage goes on where it stopped.

    Arguments:
        settings: what to run; see `Settings.make`.
        runs_root, cache_root: where records and caches go (`runs/` and `cache/` of the checkout).

    Attributes:
        train, val: the images; seen_images: which of `train` show no unseen class.
        words: word vectors, (C, 300) float32; model: the network, frozen after stage 1.
        heads: {method: its `Head`}; history: {method: mean losses by epoch}; results: see `score`.

    Raises ZS3Error before any training when data, word vectors or weights are missing or unfit.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        runs_root: str | Path | None = None,
        cache_root: str | Path | None = None,
    ):
        self.started = time.time()
        self.device = device_of(settings.device)  # one that is not there is told before all else
        if settings.features == "auto":
            chosen = "cached" if self.device.type == "cpu" else "live"
            settings = settings.model_copy(update={"features": chosen})
        self.settings = settings
        self.split = settings.split
        self.cache_root = Path(str(cache_root or CACHE))
        self._open_inputs()
        self.folder = Path(str(runs_root or RUNS), settings.profile, settings.run_name)
        self.backbone_key = keys.backbone(self)
        backbone = f"{settings.dataset}-k{settings.k}-{self.backbone_key}"
        self.backbone_folder = self.folder.parent / "backbones" / backbone
        self.own_code = keys.own_code(settings.methods)
        self.head_key = keys.heads(self)
        self.source: LiveFeatures | FeatureCache | None = None
        self.heads: dict[str, Head] = {}
        self.self_trained: dict[str, nn.Module] = {}
        self.history: dict[str, dict] = {}
        self.results: dict[str, dict] = {}
        self.seconds: dict[str, float] = {}
        self.interrupted = False  # whether an earlier attempt was gone on with: its time is lost

    def _open_inputs(self) -> None:
        """Data, word vectors, and the network with its pretrained weights."""
        settings = self.settings
        world.provide(settings.data_root, settings.dataset)
        self.train, self.val = (data_of(settings, part) for part in ("train", "val"))
        if both := sorted({*self.train.ids} & {*self.val.ids}):
            shared = f"{len(both)} images, the first is {both[0]}"
            remedy = "take them out of one list, or val measures what was trained on"
            raise ZS3Error(f"train and val under {settings.data_root} share {shared}: {remedy}")
        self.words, self.substitutions = load_word_vectors(
            settings.word_vectors, self.split.names, norm=settings.word_norm, cache=self.cache_root
        )
        self.seen_images = stage1.images_without(self.train.presence, self.split)
        self.model = build(settings, len(self.split.names))
        self.pretrained = zs3net.load_pretrained(self.model, settings)
        words = text_hash(self.words.tobytes())
        self.inputs = {"weights": file_hash(settings.weights), "word_vectors": words}

    @contextmanager
    def _working_in(self, folder: Path, stage: str) -> Iterator[None]:
        """A stage's work in a folder alone; at Ctrl-C one line says what is saved, how to go on."""
        try:
            lock = locked(folder) if parallel.ranks()[0] == 0 else nullcontext()
            with lock, alone_on(self.device) as self.device:  # chosen once, then kept
                parallel.wait()  # what was there before the lock is the same to all
                begin = time.time()
                yield
                self.seconds[stage] = time.time() - begin
        except KeyboardInterrupt:
            print(f"\n{facts.saved(self.folder)}", file=sys.stderr, flush=True)
            raise

    def train_backbone(self) -> list[float]:
        """Stage 1, then freeze; the mean loss of each epoch, none of ZS3Net's own network."""
        with self._working_in(self.backbone_folder, "stage1"):  # runs of other seeds share it
            done = Checkpoint(self.backbone_folder / "backbone.pt", self.backbone_key)
            part = Checkpoint(self.backbone_folder / "training.pt", self.backbone_key)
            state = done.load()
            if state is None:
                losses = self._stage1(part)
                state = {"model": self.model.state_dict(), "losses": losses}
                if parallel.ranks()[0] == 0:
                    done.save(state)
            parallel.wait()
            self.interrupted |= part.resumed
            part.remove()
        self.model.load_state_dict(state["model"])
        freeze(self.model).to(self.device, memory_format=torch.channels_last)
        self.history["stage1"] = {"loss": state["losses"]}
        return state["losses"]

    def _stage1(self, checkpoint: Checkpoint) -> list[float]:
        if self.pretrained == "zs3net":
            print(f"Stage 1 is skipped: {self.settings.weights} is what ZS3Net's own left.")
            return []
        rank, count = parallel.ranks()
        if count > (most := min(self.settings.stage1_batch_size, len(self.seen_images))):
            raise ZS3Error(f"{count} processes for batches of {most} images: start at most {most}")
        share = slice(rank, None, count)
        source = Pictures(self.train, self.seen_images, self.settings, share=share)
        return stage1.train(
            self.model, source, self.settings, device=self.device, checkpoint=checkpoint
        )

    def features(self) -> LiveFeatures | FeatureCache:
        """The frozen network's features of stage 2's images, as `Settings.features` has it."""
        if "stage1" not in self.history:
            raise ZS3Error("stage 2 needs the network that stage 1 leaves: train_backbone() first")
        settings = self.settings
        images = self.train
        if settings.protocol == "strict":
            seed = stream(settings.backbone_seed, 40)
            images = strict.training(self.train, self.split, self.seen_images, seed=seed)
        seed = stream(settings.backbone_seed, 30)

        def pictures(view: int, order: list[list[int]]):
            views = Augmented(images, range(len(images)), settings, seed=seed, epoch=view)
            return batches(views, settings, order)

        if settings.features == "live":
            return LiveFeatures(self.model, images.ids, pictures, settings)
        folder = self.cache_root / keys.features(self, images)  # of any seed
        cache = FeatureCache(folder / "features.bin", images.ids, settings)
        with self._working_in(folder, "features"):
            cache.fill(self.model, pictures)
        self.interrupted |= cache.resumed
        return cache

    def trainer(self, method: str, source: LiveFeatures | FeatureCache, **changes) -> Trainer:
        """What trains a method on this run's features, under some changed settings."""
        settings = self.settings.model_copy(update=changes)
        given = (METHODS[method], torch.from_numpy(self.words), self.split, settings)
        steps = settings.stage2_epochs * source.batches
        return trainer_of(method)(*given, steps=steps, device=self.device)

    def train_heads(self) -> dict[str, dict[str, list[float]]]:
        """Features, then every method of the settings. Returns each one's mean losses by epoch."""
        self.source = self.features()
        trainers = {name: self.trainer(name, self.source) for name in self.settings.methods}
        stage2 = Stage2(trainers, self.source)
        with self._working_in(self.folder, "stage2"):
            checkpoint = Checkpoint(self.folder / "training.pt", self.head_key)
            stage2.train(checkpoint)
            self.interrupted |= checkpoint.resumed
        for name, trainer in trainers.items():
            self.heads[name] = trainer.head.eval()
            self.history[name] = stage2.history[name]
        if self.settings.self_training:
            with self._working_in(self.folder, "self_training"):
                self.self_trained = self_training.train(self)
        return {name: self.history[name] for name in self.settings.methods}

    def evaluate(self) -> dict[str, dict]:
        """Score every method on the validation split. Returns: `results`, see `score`."""
        classifiers = {name: head.classifier for name, head in self.heads.items()}
        with self._working_in(self.folder, "evaluation"):
            found, tuning = self.confusions(classifiers)
            for name, network in self.self_trained.items():
                own = {name: pixel_classifier(network)}
                more, chosen = self.confusions(own, network)
                found |= more
                tuning |= chosen
        return self.score(found, tuning)

    def score(self, found: dict[str, Tensor], tuning: dict[str, Tensor]) -> dict[str, dict]:
        """The results of methods from what `confusions` has counted.

        Returns: {method: {"title", "per_class_iou", "confusion", and an `operating_point`'s}}.
        """
        for name, at_offsets in found.items():
            confusion = at_offsets[OFFSETS.index(0.0)]
            iou = 100 * class_iou(confusion.numpy())
            self.results[name] = {
                "title": title(name),
                "per_class_iou": dict(zip(self.split.names, iou.tolist())),
                "confusion": confusion.tolist(),
                **operating_point(at_offsets, tuning.get(name), self.split),
            }
        return self.results

    def confusions(
        self, classifiers: Mapping[str, nn.Linear], network: nn.Module | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Confusion matrices, by `OFFSETS`, of classifiers of the run's features or `network`'s.

        Returns: those on the validation images, and those on a tenth of the training images, where
            an offset is chosen; the strict protocol, which knows no unseen pixel, has none there.
        """
        counted = partial(
            evaluate, network or self.model, classifiers, split=self.split, settings=self.settings
        )
        found = counted(validation_batches(self.val, self.settings))
        if self.settings.protocol == "strict":
            return found, {}
        tenth = validation_batches(self.train.subset(range(0, len(self.train), 10)), self.settings)
        return found, counted(tenth, title="a tenth of train, to choose an offset")

    def predict(
        self, image: Image.Image, methods: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """As `FinishedRun.predict`."""
        return open_run(self).predict(image, methods)

    def save(self, *, keep_cache: bool = False) -> Path:
        """Write the heads' weights and, last, `metrics.json`, whose path is returned; then drop
        training state and cache.
        """
        record = record_of(self)
        heads = {name: head.state_dict() for name, head in self.heads.items()}
        backbone = f"backbones/{self.backbone_folder.name}/backbone.pt"
        content = {"heads": heads, "backbone": backbone, "key": self.head_key}
        storage.save(self.folder / "heads.pt", content)
        path = self.folder / "metrics.json"
        storage.write_json(path, record)
        (self.folder / "training.pt").unlink(missing_ok=True)
        if isinstance(self.source, FeatureCache) and not keep_cache:
            storage.discard(self.source.path.parent)
        if not keep_cache:
            storage.discard(self_training.folder(self))
        return path


def toy_run(folder: str | Path) -> Path:
    """`folder` when a finished run is there; a toy run that lacks is trained first (a minute).

    Any other run that is missing raises ZS3Error with the command that makes it.
    """
    folder = run_folder(folder)
    if (folder / "metrics.json").is_file() and (folder / "heads.pt").is_file():
        return folder
    named = run_settings(folder)
    if named.get("profile") != "toy":
        raise ZS3Error(f"no finished run in {folder}: {how_to_make(folder)}")
    print(f"toy/{folder.name} is not there yet: training it now, a minute or two on two CPU cores")
    run = Run(Settings.make(**named), runs_root=folder.parents[1])
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    run.save()
    return folder


def stage1_alone(what: str | Path, **words: list) -> Path:
    """Stage 1 of a run and no more, in as many processes as torchrun started; where it lies.

    `what` and `words` are as of `notebooks.plan` and `parameters_of`.
    """
    settings, roots = settings_of(plan(Path(what), None, parameters_of(**words))[2])
    with parallel.processes():
        run = Run(settings, **roots)
        run.train_backbone()
    return run.backbone_folder / "backbone.pt"
