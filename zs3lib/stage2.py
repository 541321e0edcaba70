"""Stage 2 (Sec. III): generator and pixel classification layer trained together, image by image.

ZS3Net, recursive training and its equal-weight ablation are one loop. Read `Trainer.step` beside Sec. III and Fig. 2.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from . import checkpoints
from .classes import VOID, Split
from .data.loading import stream
from .deeplab import FEATURE_DIM
from .devices import device
from .errors import ZS3Error
from .features import FeatureCache, at_feature_resolution
from .generator import Generator
from .losses import mmd, zs_mmd
from .settings import Settings
from .stage1 import poly

RECURSIVE = ("ours", "equal_weight")


class Head(nn.Module):
    """What stage 2 trains: the 1x1 pixel classification layer over all classes, and the generator.

    Arguments:
        words: word vectors of all classes, (C, 300) float32.
        noise: the generator's noise, "gaussian" or "uniform".
    """

    def __init__(self, *, words: Tensor, noise: str = "gaussian"):
        super().__init__()
        self.classifier = nn.Linear(FEATURE_DIM, len(words))
        self.generator = Generator(word_dim=words.shape[1], noise=noise)
        self.register_buffer("words", words)

    def generate(self, index: Tensor) -> Tensor:
        """Generated features of classes `index`, (N,) int64 -> (N, 256)."""
        return self.generator(self.words, index, self.generator.sample_noise(len(index)))

    def generate_class(self, c: int, n: int) -> Tensor:
        """n generated features of class c, (n, 256)."""
        return self.generator(self.words[c : c + 1], self.words.new_empty(0), self.generator.sample_noise(n))


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
        self.head = Head(words=words, noise=settings.noise).to(self.device)
        self.generator_optimiser = torch.optim.Adam(
            self.head.generator.parameters(), lr=settings.generator_lr, fused=True
        )
        self.classifier_optimiser = torch.optim.SGD(
            self.head.classifier.parameters(), lr=settings.classifier_lr, momentum=settings.momentum,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
        self.batches = -(-len(cache) // settings.batch_size)
        self.schedule = poly(self.classifier_optimiser, settings.stage2_epochs * self.batches)
        self.weights = torch.ones(len(split.names), device=self.device)
        self.weights[list(split.unseen)] = settings.unseen_weight
        self.is_unseen = torch.zeros(256, dtype=torch.bool, device=self.device)
        self.is_unseen[list(split.unseen)] = True
        self.epoch = 0
        self.history: dict[str, list[float]] = {}

    # ---- one batch: Sec. III ----------------------------------------------------------------------------------------

    def step(self, features: Tensor, labels: Tensor, log: dict[str, list[Tensor]]) -> None:
        """Train on one batch of images.

        Arguments:
            features: real features, (B, h, w, 256) float; labels: (B, S, S) uint8, 255 is void.
            log: receives the step's losses.
        """
        cells = at_feature_resolution(labels, features.shape[1:3])
        if (n := self.settings.cell_stride) > 1:  # neighbours are alike: fewer cells a batch cost little and save much
            i, j = torch.randint(n, (2,)).tolist()
            features, cells = features[:, i::n, j::n], cells[:, i::n, j::n]
        features = features.float()
        has_unseen = self.is_unseen[labels.flatten(1).long()].any(1)
        if self.method != "no_generator":
            for image, c, real in self._draw_real(features, cells):
                if not has_unseen[image]:
                    log["generator"].append(self._fit(c, real))
                elif self._recursing and self.is_unseen[c]:
                    self._recurse(c, log)
        log["classifier"].append(self._classify(features, labels, cells, has_unseen))

    @property
    def _recursing(self) -> bool:
        return self.method in RECURSIVE and self.epoch >= self.settings.warmup_epochs

    def _draw_real(self, features: Tensor, cells: Tensor):
        """(image, class, real features (128, 256)) for every class of every image, in order; sampled with replacement."""
        cells = cells.flatten(1).long()
        counts = torch.zeros(len(cells), 256, device=self.device, dtype=torch.long)
        counts.scatter_add_(1, cells, torch.ones_like(cells))
        image, c = counts[:, :VOID].nonzero(as_tuple=True)
        first = (counts.cumsum(1) - counts)[image, c]
        draws = torch.rand(len(image), self.settings.samples, device=self.device)
        offset = (draws * counts[image, c, None]).long()
        position = cells.argsort(dim=1, stable=True)[image[:, None], first[:, None] + offset]
        real = features.flatten(1, 2)[image[:, None], position]
        return zip(image.tolist(), c.tolist(), real)

    def _fit(self, c: int, real: Tensor) -> Tensor:
        """Generator step on a seen class: MMD between real and generated features (Eq. 1, Fig. 2a)."""
        loss = mmd(real, self.head.generate_class(c, len(real)), root=self.settings.mmd_root)
        self._update_generator(loss)
        return loss.detach()

    def _recurse(self, c: int, log: dict[str, list[Tensor]]) -> None:
        """Generator step on an unseen class: ZS-MMD towards what the classifier recognises (Eq. 2, Fig. 2b)."""
        settings = self.settings
        with torch.no_grad():
            pseudo = self.head.generate_class(c, settings.samples)
            confidence, predicted = self.head.classifier(pseudo).softmax(1).max(1)
            kept = (predicted == c) & (confidence > settings.tau)
        if self.method == "equal_weight":
            kept, confidence = torch.ones_like(kept), torch.ones_like(confidence)
        q = kept.sum()
        log["q"].append(q)
        if q < 2:  # one vector would be the whole target: "the gradient will explode" (Sec. IV-C)
            return
        generated = self.head.generate_class(c, settings.samples)
        if settings.pseudo == "same":
            pseudo = generated
        loss = zs_mmd(
            pseudo, generated, confidence * kept, q=q, root=settings.mmd_root,
            normalise=settings.zs_weights == "normalised",
        )  # fmt: skip
        self._update_generator(settings.gamma * loss)
        log["recursion"].append(loss.detach())

    def _update_generator(self, loss: Tensor) -> None:
        self.generator_optimiser.zero_grad()
        loss.backward()
        self.generator_optimiser.step()

    def _classify(self, features: Tensor, labels: Tensor, cells: Tensor, has_unseen: Tensor) -> Tensor:
        """Classifier step: real features where an image is seen throughout, generated ones at every pixel elsewhere."""
        if self.method == "no_generator":
            features, labels, cells = features[~has_unseen], labels[~has_unseen], cells[~has_unseen]
        else:
            features = torch.where(has_unseen[:, None, None, None], 0, features)
            invented = has_unseen[:, None, None] & (cells != VOID)
            with torch.no_grad():
                features[invented] = self.head.generate(cells[invented].long())
        logits = self.head.classifier(features)
        if self.settings.loss_at == "image":
            logits = F.interpolate(
                logits.permute(0, 3, 1, 2), labels.shape[1:], mode="bilinear", align_corners=self.settings.align_corners
            ).permute(0, 2, 3, 1)
        else:
            labels = cells
        loss = F.cross_entropy(
            logits.flatten(0, 2), labels.flatten().long(), self.weights, ignore_index=VOID, reduction="sum"
        )
        if self.settings.classifier_loss == "mean":
            known = labels[labels != VOID].long()
            loss = loss / self.weights[known].sum().clamp_min(1)  # a batch of void alone: zero, not 0 / 0
        self.classifier_optimiser.zero_grad()
        loss.backward()
        self.classifier_optimiser.step()
        self.schedule.step()
        return loss.detach()

    # ---- epochs -----------------------------------------------------------------------------------------------------

    def train_epoch(self, bar: tqdm | None = None) -> None:
        """One pass over the images, each in one of its cached views. Raises ZS3Error when a loss is not finite."""
        settings, epoch = self.settings, self.epoch
        torch.manual_seed(stream(settings.seed, 21, epoch))  # draws belong to the epoch: a resumed run repeats them
        images = torch.randperm(len(self.cache)).numpy()
        rows = images * self.cache.views + epoch % self.cache.views
        log: dict[str, list[Tensor]] = defaultdict(list)
        self.head.train()
        chunks = np.array_split(rows, range(settings.batch_size, len(rows), settings.batch_size))
        for batch in chunks:
            features, labels = self.cache.read(batch)
            self.step(features.to(self.device), labels.to(self.device), log)
            if bar is not None:
                bar.update()
        means = {name: torch.stack(values).double().mean().item() for name, values in log.items()}
        if not all(np.isfinite(value) for value in means.values()):
            raise ZS3Error(
                f"{self.method}: a loss is not finite in epoch {epoch + 1} of stage 2 ({means}): lower the rates"
            )
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
    state = checkpoints.resume(own, key) or (checkpoints.resume(warm, key) if warmup else None)
    if state:
        trainer.load_state_dict(state["trainer"])
    epochs, batches = trainer.settings.stage2_epochs, trainer.batches
    with tqdm(
        total=epochs * batches, initial=trainer.epoch * batches, desc=f"stage 2: {trainer.method}", unit="batch"
    ) as bar:
        while trainer.epoch < epochs:
            trainer.train_epoch(bar)
            checkpoints.save(own, {"trainer": trainer.state_dict(), "key": key})
            if trainer.epoch == warmup:
                checkpoints.save(warm, {"trainer": trainer.state_dict(), "key": key})
    return trainer.head
