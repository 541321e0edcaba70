"""All methods of a run trained in one pass over the images (Sec. III, "after a few epochs").

They share what is costly, features and warm-up; what each learns of a batch is `stage2.Trainer`.
"""

import copy

import torch
from tqdm.auto import tqdm

from ..seeds import stream
from .stage1 import check_finite
from .stage2 import FEWEST, Trainer

KINDS = ("generator", "recursion", "classifier", "q")  # that a history always has
NOTHING = torch.empty(0, dtype=torch.float64)
# What a pass has once: its batches, their draws, its epochs.
SHARED = "align_corners cell_stride feed_back fit_mixed samples seed stage2_epochs warmup_epochs"
RECURSION = dict.fromkeys(("tau", "gamma", "zs_weights", "pseudo"))  # count after the warm-up


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
        every = [trainer.settings for trainer in trainers.values()]
        if any(len({getattr(own, name) for own in every}) > 1 for name in SHARED.split()):
            raise ValueError(f"methods trained together must agree on {SHARED}")
        # The methods that do the same until the warm-up ends: none with a trainer of its own.
        plain = {n: t for n, t in trainers.items() if type(t) is Trainer and t.method.generates}
        settings = {n: t.settings.model_copy(update=RECURSION) for n, t in plain.items()}
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
        epochs = self.settings.stage2_epochs
        place = {"total": epochs * count, "initial": self.epochs * count}
        with tqdm(**place, desc="stage 2", unit="batch") as bar:
            while self.epochs < epochs:
                for name, steps in self.train_epoch(bar).items():
                    self._record(name, steps, checkpoint)
                self.epochs += 1
                if self.epochs <= self.settings.warmup_epochs:
                    self._share_warmup()
                states = {name: trainer.state_dict() for name, trainer in self.trainers.items()}
                state = {"trainers": states, "history": self.history, "epochs": self.epochs}
                checkpoint.save(state)

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
        steps = [{kind: losses.cpu().double() for kind, losses in step.items()} for step in steps]
        cure = "lower classifier_lr or generator_lr"
        check_finite(steps, f"stage 2, {name}", self.epochs, self.source, checkpoint, cure=cure)
        kinds = dict.fromkeys([*KINDS, *(kind for step in steps for kind in step)])
        values = {kind: torch.cat([step.get(kind, NOTHING) for step in steps]) for kind in kinds}
        # A step that was left out has no loss.
        values["recursion"] = values["recursion"][values["q"] >= FEWEST]
        for kind, losses in values.items():
            mean = losses.mean().item() if len(losses) else None
            self.history[name].setdefault(kind, []).append(mean)
