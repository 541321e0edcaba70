"""Stage 2 (Sec. III): generator and pixel classification layer trained together, image by image.

ZS3Net, recursive training and its equal-weight ablation are one loop. Read `Trainer.step` beside Sec. III and Fig. 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from . import checkpoints
from .cells import Cells
from .classes import VOID, Split
from .compiled import step_loops_for
from .data.loading import stream
from .devices import device, half
from .draws import Draws
from .features import FeatureCache, at_feature_resolution
from .finite import check_finite, together
from .generator_step import GeneratorStep
from .head import Head
from .layout import Layout
from .losses import Target
from .settings import Settings
from .stage1 import poly

RECURSIVE = ("ours", "equal_weight")


class Trainer:
    """One method's training of a `Head` on cached features.

    Arguments:
        method: "no_generator", "zs3net", "ours" or "equal_weight".
        words: word vectors, (C, 300) float32.
    """

    def __init__(self, method: str, cache: FeatureCache, words: Tensor, split: Split, settings: Settings):
        self.method, self.cache, self.split, self.settings = method, cache, split, settings
        self.device = device(settings)
        torch.manual_seed(stream(settings.seed, 20))
        self.head = Head(words=words, noise=settings.noise, features=cache.features.shape[-1]).to(self.device)
        self.generator_step = GeneratorStep(self.head.generator, lr=settings.generator_lr, root=settings.mmd_root)
        self.generator_optimiser = self.generator_step.optimiser
        self.classifier_optimiser = torch.optim.SGD(
            self.head.classifier.parameters(), lr=settings.classifier_lr, momentum=settings.momentum,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
        self.batches = -(-len(cache) // settings.batch_size)
        self.schedule = poly(self.classifier_optimiser, settings.stage2_epochs * self.batches)
        self.weights = torch.ones(256, device=self.device)
        self.weights[list(split.unseen)], self.weights[VOID] = settings.unseen_weight, 0
        self.half = half(self.device, settings)
        self.can_ask = self.device.type == "cpu"  # a GPU would have to be waited for
        # What the generator's steps draw and compute products in. They are too small to gain by less than float32 where
        # they are not compiled.
        loops = step_loops_for(self.head.generator.bias)
        self.steps_in = self.half if loops and loops.HAS_BFLOAT16 else None
        self.epoch, self.checkpoint = 0, Path()  # the checkpoint: where the state after the last epoch is saved
        self.history: dict[str, list[float]] = {}

    # ---- one batch: Sec. III ----------------------------------------------------------------------------------------

    def step(self, features: Tensor, labels: Tensor, log: dict[str, list[Tensor]]) -> None:
        """Train on one batch of images.

        Arguments:
            features: real features, (B, h, w, 256) float, on any device.
            labels: (B, S, S) uint8 on the CPU; 255 is void.
            log: receives the step's losses.
        """
        cells = at_feature_resolution(labels, features.shape[1:3])
        if (n := self.settings.cell_stride) > 1:  # neighbours are alike: fewer cells a batch cost little and save much
            i, j = torch.randint(n, (2,)).tolist()
            features, cells = features[:, i::n, j::n], cells[:, i::n, j::n]
        layout = Layout(labels, cells, self.split.unseen, self.settings.samples)
        teach = self._lessons(features, layout, log) if self.method != "no_generator" else lambda: None
        log["classifier"].append(self._classify(features, labels, layout, teach))

    def _lessons(self, features: Tensor, layout: Layout, log: dict[str, list[Tensor]]) -> Callable[[], None]:
        """The generator's steps on a batch, one after the other when called; what they draw at random is drawn here."""
        n, real = self.settings.samples, self._targets(features, layout)
        lessons, sizes, first = [], [], 0
        for image in range(len(layout.cells)):
            if classes := [c for i, c in layout.fits if i == image]:
                own = slice(first, first := first + len(classes))
                lessons.append(partial(self._fit, classes, Target(*(part[own] for part in real))))
                sizes.append(len(classes) * n)
            for c in (c for i, c in layout.recursions if i == image and self._recursing):
                lessons.append(partial(self._recurse, c))
                sizes.append(2 * n)
        drawn = self.head.generator.draw(sum(sizes), self.steps_in).split(sizes)

        def teach() -> None:
            for lesson, draws in zip(lessons, drawn):
                lesson(draws, log)

        return teach

    @property
    def _recursing(self) -> bool:
        return self.method in RECURSIVE and self.epoch >= self.settings.warmup_epochs

    def _targets(self, features: Tensor, layout: Layout) -> Target:
        """For each (image, class) to fit what Eq. 1 needs of its real features, `samples` of them."""
        rows = layout.positions.flatten().to(self.device, non_blocking=True)
        vectors = features.flatten(0, 2).index_select(0, rows).to(self.weights.dtype)
        real = vectors.view(*layout.positions.shape, vectors.shape[1])
        return self.generator_step.target(real, real.new_full(real.shape[:2], 1 / self.settings.samples))

    def _fit(self, classes: list[int], real: Target, drawn: Draws, log: dict[str, list[Tensor]]) -> None:
        """Generator steps on an image's classes: MMD between real and generated features (Eq. 1, Fig. 2a)."""
        log["generator"] += self.generator_step.fit([self.head.words[c] for c in classes], drawn, real)

    @torch.no_grad()
    def _recurse(self, c: int, drawn: Draws, log: dict[str, list[Tensor]]) -> None:
        """Generator step on an unseen class: ZS-MMD towards what the classifier recognises (Eq. 2, Fig. 2b)."""
        settings = self.settings
        pseudo, made = self.generator_step.generate(self.head.words[c], drawn).split(settings.samples)
        pseudo = made.features if settings.pseudo == "same" else pseudo.features
        confidence, predicted = self.head.classifier(pseudo).softmax(1).max(1)
        kept = (predicted == c) & (confidence > settings.tau)
        if self.method == "equal_weight":
            kept, confidence = torch.ones_like(kept), torch.ones_like(confidence)
        too_few = (q := kept.sum()) < 2  # one vector would be the whole target: "the gradient will explode" (Sec. IV-C)
        log["q"].append(q)
        if self.can_ask and too_few:
            return
        weights = confidence * kept
        weights /= weights.sum() if settings.zs_weights == "normalised" else q.clamp_min(1)
        skip = None if self.can_ask else too_few
        loss = self.generator_step.learn(
            made, self.generator_step.target(pseudo, weights), factor=settings.gamma, skip=skip
        )
        log["recursion"].append(loss)

    @torch.no_grad()
    def _classify(self, features: Tensor, labels: Tensor, layout: Layout, teach: Callable[[], None]) -> Tensor:
        """Classifier step: real features where an image is seen throughout, generated ones at every pixel elsewhere.

        Arguments: teach makes the generator's own steps; it is called here, before any pixel's feature is generated.
        """
        settings, at_image = self.settings, self.settings.loss_at == "image"
        unseen = layout.unseen if self.method != "no_generator" else []
        invented = layout.cells[unseen].flatten()
        invented = invented if at_image else invented[invented != VOID]
        real = [features[i].flatten(0, 1) for i in layout.seen]
        cells = Cells(self.head, real, invented, self.half, teach)
        if at_image:
            images = layout.seen + unseen
            shape = torch.Size((len(images), *layout.cells.shape[1:]))
            sums = cells.at_pixels(labels[images].to(self.device), shape, self.weights, settings.align_corners)
        else:
            sums = cells.at_cells(torch.cat([layout.cells[layout.seen].flatten(), invented]), self.weights)
        scale = 1 / sums[1].clamp_min(1) if settings.classifier_loss == "mean" else torch.ones_like(sums[1])
        scale = scale.to(self.device, self.weights.dtype)
        cells.finish(scale)
        self.classifier_optimiser.step()
        self.schedule.step()
        return sums[0].to(scale) * scale

    # ---- epochs -----------------------------------------------------------------------------------------------------

    def train_epoch(self, bar: tqdm | None = None) -> None:
        """One pass over the images, each in one of its cached views. Raises ZS3Error when a loss is not finite."""
        settings, epoch = self.settings, self.epoch
        torch.manual_seed(stream(settings.seed, 21, epoch))  # draws belong to the epoch: a resumed run repeats them
        images = torch.randperm(len(self.cache)).numpy()
        rows = images * self.cache.views + epoch % self.cache.views
        log: dict[str, list] = defaultdict(list)
        self.head.train()
        chunks = np.array_split(rows, range(settings.batch_size, len(rows), settings.batch_size))
        ends: list[dict[str, int]] = []  # of each step, how many losses had been logged
        for batch in chunks:
            features, labels = self.cache.read(batch)
            self.step(features.to(self.device, non_blocking=True), labels, own := defaultdict(list))
            for name, values in own.items():  # small tensors kept between large ones that go leave a heap full of holes
                log[name] += map(float, values) if self.can_ask else values
            ends.append({name: len(log[name]) for name in ("generator", "recursion", "classifier")})
            if bar is not None:
                bar.update()
        check_finite(
            log, ends, stage=f"stage 2, {self.method}", epoch=epoch, checkpoint=self.checkpoint,
            ids=lambda step: self.cache.ids(chunks[step]), cure="lower classifier_lr or generator_lr",
        )  # fmt: skip
        if not self.can_ask:  # losses of steps that were not taken are no losses
            log["recursion"] = [loss for loss, q in zip(log["recursion"], log["q"]) if q >= 2]
        means = {name: together(values).mean().item() for name, values in log.items() if values}
        for name in ("generator", "classifier", "recursion", "q"):
            self.history.setdefault(name, []).append(means.get(name))
        self.epoch += 1

    def state_dict(self) -> dict:
        parts = ("head", "generator_optimiser", "classifier_optimiser", "schedule")
        state = {name: getattr(self, name).state_dict() for name in parts}
        return state | {"epoch": self.epoch, "history": self.history}

    def load_state_dict(self, state: dict) -> None:
        for name in ("head", "generator_optimiser", "classifier_optimiser", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.epoch, self.history = state["epoch"], state["history"]


def train_head(trainer: Trainer, *, folder: Path, key: str) -> Head:
    """Train to the end, saving the state after every epoch and going on from a saved one.

    Until the warm-up ends all methods that use a generator do the same with the same random draws: that state is saved
    once (`warmup.pt`) and every such method goes on from it.
    """
    own, warm = folder / f"{trainer.method}.pt", folder / "warmup.pt"
    warmup = trainer.settings.warmup_epochs if trainer.method != "no_generator" else 0
    trainer.checkpoint = own
    if (state := checkpoints.resume(own, key)) is None and warmup:
        state, trainer.checkpoint = checkpoints.resume(warm, key), warm
    if state:
        trainer.load_state_dict(state["trainer"])
    epochs, batches = trainer.settings.stage2_epochs, trainer.batches
    with tqdm(
        total=epochs * batches, initial=trainer.epoch * batches, desc=f"stage 2: {trainer.method}", unit="batch"
    ) as bar:
        while trainer.epoch < epochs:
            trainer.train_epoch(bar)
            checkpoints.save(own, {"trainer": trainer.state_dict(), "key": key})
            trainer.checkpoint = own
            if trainer.epoch == warmup:
                checkpoints.save(warm, {"trainer": trainer.state_dict(), "key": key})
    return trainer.head
