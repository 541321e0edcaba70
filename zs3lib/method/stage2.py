"""Stage 2 (Sec. III): generator and pixel classification layer trained together.

The generator takes a step for each class of each image, then the classifier one for the batch.
ZS3Net, recursive training and its ablation are one loop: read `Trainer.step` beside Sec. III and
Fig. 2. What differs between them stands in `methods.py`.
"""

from __future__ import annotations

import copy
import shutil
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pkgutil import resolve_name

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..classes import VOID, Split
from ..seeds import stream
from .generator import Generator, Head
from .layout import Batch
from .losses import mmd, pixel_loss, zs_mmd
from .methods import Method
from .stage1 import check_finite, poly

KINDS = ("generator", "recursion", "classifier", "q")  # of losses that a history always has
NOTHING = torch.empty(0, dtype=torch.float64)
SHARED = ("cell_stride", "feed_back", "fit_mixed", "samples", "warmup_epochs")  # of a pass
RECURSION = dict.fromkeys(("tau", "gamma", "zs_weights", "pseudo"))  # count after the warm-up


def compiled(function: Callable, wanted: bool | str, device: torch.device) -> Callable:
    """`function` under torch.compile, as one launch of a GPU; "auto": on a GPU that can have it.

    It draws the random numbers that it draws without.
    """
    if wanted == "auto":
        able = find_spec("triton") and any(map(shutil.which, ("gcc", "clang")))
        wanted = device.type == "cuda" and able
    # mode="reduce-overhead", and eager mode's random numbers
    options = {"triton.cudagraphs": True, "fallback_random": True}
    return torch.compile(function, options=options) if wanted else function


def fit_loss(generator: Generator, word: Tensor, real: Tensor, root: bool) -> Tensor:
    """Eq. 1 between real features of a class, (n, F), and as many generated from its word."""
    generated = generator(word, generator.sample_noise(len(real)))
    return mmd(real, generated, root=root)


def trainer_of(method: Method) -> type[Trainer]:
    """The class that trains a method."""
    return resolve_name(method.trainer)


class Trainer:
    """One method's training of a `Head`.

    Arguments:
        method: what differs between the systems compared.
        words: word vectors, (C, 300) float32.
        split: seen and unseen classes.
        settings: a `zs3lib.Settings`.
        steps: how many batches all epochs have together.
        device: where to train.
    """

    def __init__(
        self,
        method: Method,
        words: Tensor,
        split: Split,
        settings,
        *,
        steps: int,
        device: torch.device | str = "cpu",
    ):
        self.method = method
        self.split = split
        self.settings = settings
        torch.manual_seed(stream(settings.seed, 20))
        features = settings.feature_dim
        self.head = Head(words=words, noise=settings.noise, features=features).to(device)
        if settings.classifier_init == "uniform":
            for parameter in self.head.classifier.parameters():
                nn.init.uniform_(parameter)
        # fused: leaves out a step where found_inf is 1 without waiting for the GPU (`_learn`)
        self.generator_optimiser = torch.optim.Adam(
            self.head.generator.parameters(), lr=settings.generator_lr, fused=True
        )
        self.classifier_optimiser = torch.optim.SGD(
            self.head.classifier.parameters(),
            lr=settings.classifier_lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        # The schedule and the weight of unseen classes are ZS3Net's: the paper keeps its procedure.
        self.schedule = poly(self.classifier_optimiser, steps)
        weights = torch.ones(len(words))
        weights[list(split.unseen)] = settings.unseen_weight
        self.class_weights = weights.to(device)
        # Fixed shapes, called many times a batch: what `compile` is worth most for.
        device = self.class_weights.device
        self._fit_loss = compiled(fit_loss, settings.compile, device)
        self._zs_mmd = compiled(zs_mmd, settings.compile, device)
        self.recursing = False
        self.losses: dict[str, list[Tensor]] = {}

    # ---- one batch: Sec. III --------------------------------------------------------------------

    def batch(self, features: Tensor, labels: Tensor) -> Batch:
        """Features (B, h, w, F) and labels (B, S, S) uint8 on the CPU as `step` takes them."""
        device = self.class_weights.device
        return Batch(features, labels, self.split.unseen, self.settings, device)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on a batch, in the order of Sec. III; a GPU is not waited for.

        Returns: the losses of its steps, (n,): "generator" (Eq. 1), "recursion" (Eq. 2, without
        gamma) with the number of teachers "q", and "classifier"; only what there was.
        """
        self.losses = defaultdict(list)
        self.head.train()  # dropout is part of the generator's noise whenever it generates
        for image in batch.images if self.method.generates else []:
            for c, real in image.real.items():
                self.fit_generator(c, real)
            if self.recursing:
                for c in image.recursed:
                    self.recurse(c)
        self.fit_classifier(batch)
        self.schedule.step()
        return {kind: torch.stack(losses) for kind, losses in self.losses.items()}

    def fit_generator(self, c: int, real: Tensor) -> None:
        """One step towards the real features of a seen class, (samples, F) (Eq. 1, Fig. 2a)."""
        head = self.head
        loss = self._fit_loss(head.generator, head.words[c], real, self.settings.mmd_root)
        self._learn(loss)
        self.losses["generator"].append(loss.detach().clone())  # a CUDA graph writes over its own

    def recurse(self, c: int) -> None:
        """One step on a class towards its high-confidence pseudo-features (Eq. 2, Fig. 2b)."""
        settings = self.settings
        b = self.head.generate(c, settings.samples)
        with torch.no_grad():
            # The paper's words fit a draw of their own ("fresh") and the very b ("same"). With one
            # draw for both, equal weights are a loss of nothing: a = b.
            a = b if settings.pseudo == "same" else self.head.generate(c, settings.samples)
            c_i = self.method.weights(self.head.classifier(a).softmax(1), c, settings.tau)
            q = (c_i > 0).sum()  # the others stay in a with c_i = 0: shapes are fixed
        normalise = settings.zs_weights == "normalised"
        root = settings.mmd_root
        loss = self._zs_mmd(a, b, c_i, q=q.clamp_min(1), normalise=normalise, root=root)
        # A single one would be the whole target: "the gradient will explode" (Sec. IV-C). Adam
        # divides by the usual size of a gradient: gamma counts beside Eq. 1's steps, with which
        # it shares that size, and even gamma = 0 is a step, by momentum.
        self._learn(settings.gamma * loss, skip=q < 2)
        self.losses["recursion"].append(loss.detach().clone())
        self.losses["q"].append(q)

    def _learn(self, loss: Tensor, skip: Tensor | None = None) -> None:
        """Backpropagate into the generator and take an Adam step, unless `skip`."""
        loss.backward()
        # As torch's GradScaler leaves out a step, without waiting for the GPU's answer.
        self.generator_optimiser.found_inf = None if skip is None else skip.float()
        self.generator_optimiser.step()
        self.generator_optimiser.zero_grad()

    def fit_classifier(self, batch: Batch) -> None:
        """One step of the classifier: real features where an image is seen throughout, generated
        ones at every pixel elsewhere (Sec. IV-A).
        """
        settings = self.settings
        unseen = batch.with_unseen if self.method.generates else batch.with_unseen[:0]
        images = torch.cat([batch.seen, unseen])
        if not len(images):
            return
        with torch.no_grad():
            made = self.head.generate_map(batch.cells[unseen], VOID)
        features = torch.cat([batch.features[batch.seen], made])
        logits = self.head.classifier(features).permute(0, 3, 1, 2)
        labels = batch.cells[images]
        if settings.loss_at == "image":
            labels = batch.labels[images]
            size = labels.shape[1:]
            corners = settings.align_corners
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=corners)
        loss = pixel_loss(logits, labels, self.class_weights, reduction=settings.classifier_loss)
        loss = loss + self.further_loss(batch)
        self.classifier_optimiser.zero_grad()
        loss.backward()
        self.classifier_optimiser.step()
        self.losses["classifier"].append(loss.detach())

    def further_loss(self, batch: Batch) -> Tensor | float:
        """What a method adds to the classifier's loss of a batch."""
        return 0.0

    # ---- state ----------------------------------------------------------------------------------

    def parts(self) -> dict:
        """What a resumed run needs of the training."""
        return {
            "head": self.head,
            "generator_optimiser": self.generator_optimiser,
            "classifier_optimiser": self.classifier_optimiser,
            "schedule": self.schedule,
        }

    def state_dict(self) -> dict:
        return {name: part.state_dict() for name, part in self.parts().items()}

    def load_state_dict(self, state: dict) -> None:
        for name, part in self.parts().items():
            part.load_state_dict(copy.deepcopy(state[name]))


def fetched(steps: list[dict[str, Tensor]], kind: str) -> dict[int, Tensor]:
    """The losses of a kind by the steps that have them, (n,) float64 on the CPU: one transfer."""
    found = {n: step[kind] for n, step in enumerate(steps) if kind in step}
    sizes = [len(losses) for losses in found.values()]
    together = torch.cat([*found.values()]).double().cpu() if found else NOTHING
    return dict(zip(found, together.split(sizes)))


def early(settings):
    """What of a method's settings counts before the recursion begins."""
    return settings.model_copy(update=RECURSION)


class Stage2:
    """The training of every method of a run: one pass over the batches of an epoch serves all.

    Until the warm-up ends ("after a few epochs of training", Sec. III) all methods with a generator
    do the same with the same random numbers: to save time the first of them does it, and the others
    start from a copy of it. All learn from the same batches, so that their settings must agree on
    what a batch holds.

    Arguments:
        trainers: {method: Trainer}.
        source: batches of (features (B, h, w, F), labels (B, S, S)); see `stage1`.

    Attributes:
        history: {method: {"generator", "recursion", "classifier", "q": mean of each epoch}}; None
            where there was nothing.
    """

    def __init__(self, trainers: dict[str, Trainer], source):
        self.trainers = trainers
        self.source = source
        self.settings = next(iter(trainers.values())).settings
        self.history: dict[str, dict[str, list]] = {name: {} for name in trainers}
        self.epochs = 0
        for trainer in trainers.values():
            if any(getattr(trainer.settings, n) != getattr(self.settings, n) for n in SHARED):
                raise ValueError(f"methods trained together must agree on {', '.join(SHARED)}")
        # The methods that do the same until the warm-up ends: none with a trainer of its own.
        plain = {n: t for n, t in trainers.items() if type(t) is Trainer and t.method.generates}
        settings = {name: early(trainer.settings) for name, trainer in plain.items()}
        first = next(iter(settings.values()), None)
        self.alike = [name for name, own in settings.items() if own == first]

    def train(self, checkpoint) -> None:
        """Train to the end; the state is saved after every epoch in a `storage.Checkpoint`.

        Raises ZS3Error when a loss is not finite.
        """
        if state := checkpoint.load():
            for name, trainer in self.trainers.items():
                trainer.load_state_dict(state["trainers"][name])
            self.history = state["history"]
            self.epochs = state["epochs"]
        count = self.source.batches
        done = self.epochs * count
        total = self.settings.stage2_epochs * count
        with tqdm(total=total, initial=done, desc="stage 2", unit="batch") as bar:
            while self.epochs < self.settings.stage2_epochs:
                for name, steps in self.train_epoch(bar).items():
                    self._record(name, steps, checkpoint)
                self.epochs += 1
                if self.epochs <= self.settings.warmup_epochs:
                    self._share_warmup()
                states = {name: trainer.state_dict() for name, trainer in self.trainers.items()}
                content = {"trainers": states, "history": self.history, "epochs": self.epochs}
                checkpoint.save(content)

    def train_epoch(self, bar: tqdm) -> dict[str, list[dict]]:
        """One pass over the images. Returns what each step of each method that took part lost."""
        warm = self.epochs < self.settings.warmup_epochs
        copied_later = self.alike[1:] if warm else []
        active = {name: t for name, t in self.trainers.items() if name not in copied_later}
        steps: dict[str, list[dict]] = {name: [] for name in active}
        for n, (features, labels) in enumerate(self.source.epoch(self.epochs)):
            # Draws belong to the step: a resumed run repeats them, and all methods start it alike.
            torch.manual_seed(stream(self.settings.seed, 21, self.epochs, n))
            batch = next(iter(active.values())).batch(features, labels)
            for name, trainer in active.items():
                trainer.recursing = trainer.method.recursive and not warm
                torch.manual_seed(stream(self.settings.seed, 23, self.epochs, n))
                steps[name].append(trainer.step(batch))
            bar.update()
        return steps

    def _share_warmup(self) -> None:
        for name in self.alike[1:]:
            first = self.alike[0]
            self.trainers[name].load_state_dict(self.trainers[first].state_dict())
            self.history[name] = copy.deepcopy(self.history[first])

    def _record(self, name: str, steps: list[dict], checkpoint) -> None:
        """Put an epoch's mean losses into the history; they are fetched from a GPU here alone."""
        kinds = dict.fromkeys([*KINDS, *(kind for step in steps for kind in step)])
        losses = {kind: fetched(steps, kind) for kind in kinds}
        check_finite(
            losses,
            stage=f"stage 2, {name}",
            epoch=self.epochs,
            checkpoint=checkpoint,
            ids=self.source.ids,
            cure="lower classifier_lr or generator_lr",
        )
        values = {kind: torch.cat([NOTHING, *parts.values()]) for kind, parts in losses.items()}
        # A step that was left out has no loss.
        values["recursion"] = values["recursion"][values["q"] >= 2]
        for kind, found in values.items():
            mean = found.mean().item() if len(found) else None
            self.history[name].setdefault(kind, []).append(mean)
