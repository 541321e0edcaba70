"""Stage 2 (Sec. III): generator and pixel classification layer trained together.

The generator takes a step for each class of each image, then the classifier one for the batch.
ZS3Net, recursive training and its ablation are one loop: read `Trainer.step` beside Sec. III and
Fig. 2. What differs between them stands in `methods.py`.
"""

import copy
import shutil
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from ..classes import Split
from ..seeds import stream
from .deeplab import poly, resized
from .generator import Generator, Head
from .layout import Batch
from .losses import mmd, pixel_loss, zs_mmd
from .methods import Method

# Pseudo-features of a step: a single one would be the whole target, "the gradient will explode"
# (Sec. IV-C).
FEWEST = 2


def compiled(function: Callable, wanted: bool | str, device: torch.device) -> Callable:
    """`function` under torch.compile, as one launch of a GPU; "auto": on a GPU that can have it."""
    if wanted == "auto":
        able = find_spec("triton") and any(map(shutil.which, ("gcc", "clang")))
        wanted = device.type == "cuda" and able
    # mode="reduce-overhead", and the random numbers that are drawn without compiling
    options = {"triton.cudagraphs": True, "fallback_random": True}
    return torch.compile(function, options=options) if wanted else function


def fit_loss(generator: Generator, word: Tensor, real: Tensor, root: bool) -> Tensor:
    """Eq. 1 between real features of a class, (n, F), and as many generated from its word."""
    generated = generator(word, generator.sample_noise(len(real)))
    return mmd(real, generated, root=root)


class Trainer:
    """One method's training of a `Head`.

    Arguments:
        words: word vectors, (C, 300) float32.
        steps: how many batches all epochs have together.

    A subclass may train a `head_class` of its own, made as `Head` is, and another way:
    `fit_generator` and `recurse` end in `learn`, `fit_classifier` adds `further_loss`; each appends
    its loss to `losses`, by whose name the history has its means. `parts` are what is saved.
    """

    head_class = Head

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
        self.head = self.head_class(
            words=words, noise=settings.noise, feature_dim=settings.feature_dim
        ).to(device)
        if settings.classifier_init == "uniform":
            for parameter in self.head.classifier.parameters():
                nn.init.uniform_(parameter)
        # fused: leaves out a step where found_inf is 1 without waiting for the GPU (`learn`)
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
        self.device = self.class_weights.device
        # Fixed shapes, called many times a batch: what `compile` is worth most for.
        self._fit_loss = compiled(fit_loss, settings.compile, self.device)
        self._zs_mmd = compiled(zs_mmd, settings.compile, self.device)
        self.recursing = False
        self.losses: dict[str, list[Tensor]] = {}

    # ---- one batch: Sec. III --------------------------------------------------------------------

    def batch(self, features: Tensor, labels: Tensor) -> Batch:
        """Features (B, h, w, F) and labels (B, S, S) uint8 on the CPU as `step` takes them."""
        return Batch(features, labels, self.split.unseen, self.settings, self.device)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on a batch, in the order of Sec. III; a GPU is not waited for.

        Returns: the losses of its steps, (n,): "generator" (Eq. 1), "recursion" (Eq. 2, without
        gamma) with the number of teachers "q", and "classifier"; only what there was.
        """
        self.losses = defaultdict(list)
        self.head.train()  # dropout is part of the generator's noise whenever it generates
        for image in batch.images if self.method.generates else []:
            for label, real in image.real.items():
                self.fit_generator(label, real)
            if self.recursing:
                for label in image.recursed:
                    self.recurse(label)
        self.fit_classifier(batch)
        self.schedule.step()
        return {kind: torch.stack(losses) for kind, losses in self.losses.items()}

    def fit_generator(self, label: int, real: Tensor) -> None:
        """One step towards the real features of a seen class, (samples, F) (Eq. 1, Fig. 2a)."""
        head = self.head
        loss = self._fit_loss(head.generator, head.words[label], real, self.settings.mmd_root)
        self.learn(loss)
        self.losses["generator"].append(loss.detach().clone())  # a CUDA graph writes over its own

    def recurse(self, label: int) -> None:
        """One step on a class towards its high-confidence pseudo-features (Eq. 2, Fig. 2b).

        "Recursively" (Sec. I), as we read it: the next step's pseudo-features come from what this
        one taught.
        """
        settings = self.settings
        b = self.head.generate(label, settings.samples)
        with torch.no_grad():
            # The paper's words fit a draw of their own ("fresh") and the very b ("same"). With one
            # draw for both, equal weights are a loss of nothing: a = b.
            a = b if settings.pseudo == "same" else self.head.generate(label, settings.samples)
            probabilities = self.head.classifier(a).softmax(1)
            c = self.method.weights(probabilities, label, settings.tau)
            q = (c > 0).sum()  # the others stay in a with c_i = 0: shapes are fixed
        normalise = settings.zs_weights == "normalised"
        loss = self._zs_mmd(a, b, c, q=q.clamp_min(1), normalise=normalise, root=settings.mmd_root)
        # Adam divides by the usual size of a gradient: gamma counts beside Eq. 1's steps, with
        # which it shares that size, and even gamma = 0 is a step, by momentum.
        self.learn(settings.gamma * loss, skip=q < FEWEST)
        self.losses["recursion"].append(loss.detach().clone())
        self.losses["q"].append(q)

    def learn(self, loss: Tensor, skip: Tensor | None = None) -> None:
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
        images = torch.cat([batch.without_unseen, unseen])
        if not len(images):
            return
        with torch.no_grad():
            made = self.head.generate_map(batch.cells[unseen])
        features = torch.cat([batch.features[batch.without_unseen], made])
        logits = self.head.classifier(features).permute(0, 3, 1, 2)
        labels = batch.cells[images]
        if settings.loss_at == "image":
            labels = batch.labels[images]
            logits = resized(logits, labels.shape[1:], settings.align_corners)
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
            part.load_state_dict(copy.deepcopy(state[name]))  # Adam would share its moments
