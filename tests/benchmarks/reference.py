"""The straightforward loop that `make bench` measures against: ZS3Net's published stage 2, with
the paper's recursion.

Written from the papers' description and in the order of ZS3Net's published training loop, without
zs3lib: image by image and class by class, a feature is generated at every pixel of the class and
128 are sampled afterwards, each pixel holds its own word vector, each kernel is six exponentials.
Within a class it is vectorised, as torch code naturally is. Nothing is slowed down on purpose.
Where the published code does more than it needs (word vectors at image resolution, a graph for
features that no gradient passes through), this loop does not.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIGMAS = (2, 5, 10, 20, 40, 80)
VOID = 255


class Draws:
    """The loop's random numbers; a test puts its own in their place. `key` says what they serve."""

    def noise(self, key: tuple, n: int) -> Tensor:
        return torch.randn(n, 300)

    def dropout(self, key: tuple, hidden: Tensor) -> Tensor:
        return F.dropout(hidden, 0.5)

    def positions(self, key: tuple, n: int, samples: int) -> Tensor:
        return torch.randint(n, (samples,))


def moment_loss(
    generated: Tensor, real: Tensor, weights: Tensor | None = None, count: float | None = None
) -> Tensor:
    """Square root of Eq. 1; with `weights` c and `count` Q on the real side, of Eq. 2."""
    x = torch.cat([generated, real])
    x2 = (x * x).sum(1, keepdim=True)
    exponent = x @ x.T - 0.5 * x2 - 0.5 * x2.T
    target = torch.full((len(real), 1), 1 / len(real))
    if weights is not None:
        target = weights[:, None] / count
    s = torch.cat([torch.full((len(generated), 1), -1 / len(generated)), target]).to(x.dtype)
    scale = s @ s.T
    loss = sum((scale * torch.exp(exponent / sigma)).sum() for sigma in SIGMAS)
    return loss.clamp_min(1e-6).sqrt()


class Reference:
    """One method's stage 2, one batch at a time.

    Arguments:
        method: "zs3net", "ours" or "equal_weight".
        words: word vectors, (C, 300).
        unseen: indices of the unseen classes.
        loss_at: "image" or "feature".
        features: length of a feature.
    """

    def __init__(
        self,
        method: str,
        words: Tensor,
        unseen: set[int],
        *,
        loss_at: str = "image",
        features: int = 256,
        samples: int = 128,
        tau: float = 0.85,
        gamma: float = 1 / 40,
        unseen_weight: float = 10.0,
        generator_lr: float = 2e-4,
        classifier_lr: float = 0.07,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ):
        self.method = method
        self.words = words
        self.unseen = unseen
        self.loss_at = loss_at
        self.samples = samples
        self.tau = tau
        self.gamma = gamma
        self.hidden = nn.Linear(600, 256)
        self.output = nn.Linear(256, features)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
        self.classifier = nn.Conv2d(features, len(words), 1)
        self.generator_optimiser = torch.optim.Adam(
            [*self.hidden.parameters(), *self.output.parameters()], lr=generator_lr
        )
        self.classifier_optimiser = torch.optim.SGD(
            self.classifier.parameters(),
            lr=classifier_lr,
            momentum=momentum,
            weight_decay=weight_decay,
        )
        weights = torch.ones(len(words))
        weights[list(unseen)] = unseen_weight
        self.criterion = nn.CrossEntropyLoss(weights, ignore_index=VOID)
        self.draws = Draws()

    def generate(self, key: tuple, embedding: Tensor) -> Tensor:
        """One feature for each word vector of `embedding`, (N, 300) -> (N, features)."""
        z = self.draws.noise(key, len(embedding))
        hidden = F.leaky_relu(self.hidden(torch.cat([embedding, z], 1)), 0.2)
        return self.output(self.draws.dropout(key, hidden))

    def step(self, features: Tensor, labels: Tensor) -> dict[str, list[float]]:
        """Train on one batch. Returns the losses.

        Arguments:
            features: real features, (B, F, h, w) float32.
            labels: label maps, (B, S, S) uint8.
        """
        losses: dict[str, list[float]] = {
            "generator": [],
            "recursion": [],
            "classifier": [],
            "q": [],
        }
        size = features.shape[2:]
        cells = []
        fake = []
        for image in range(len(features)):
            maps = labels[image][None, None].float()
            target = F.interpolate(maps, size, mode="nearest-exact").view(-1).long()
            cells.append(target)
            has_unseen = any(int(c) in self.unseen for c in torch.unique(labels[image]))
            self._train_generator(image, features[image], target, has_unseen, losses)
        for image in range(len(features)):
            has_unseen = any(int(c) in self.unseen for c in torch.unique(labels[image]))
            if has_unseen:
                fake.append(self._invented(image, features[image], cells[image]))
            else:
                fake.append(features[image])
        self._train_classifier(torch.stack(fake), labels, torch.stack(cells), losses)
        return losses

    def _embedding(self, target: Tensor) -> Tensor:
        """A word vector for every pixel; void has one too, which is not used."""
        return self.words[target.clamp_max(len(self.words) - 1)]

    def _train_generator(
        self, image: int, features: Tensor, target: Tensor, has_unseen: bool, losses: dict
    ) -> None:
        real = features.permute(1, 2, 0).contiguous().view(len(target), -1)
        embedding = self._embedding(target)
        for c in (int(c) for c in torch.unique(target)):
            own = target == c
            if c == VOID:
                continue
            if not has_unseen:
                self._fit(image, c, real[own], embedding[own], losses)
            elif self.method != "zs3net" and c in self.unseen:
                self._recurse(image, c, embedding[own], losses)

    def _fit(self, image: int, c: int, real: Tensor, embedding: Tensor, losses: dict) -> None:
        """Sec. III-A on a seen class: a feature at every pixel, 128 of them and of real ones."""
        key = ("fit", image, c)
        self.generator_optimiser.zero_grad()
        generated = self.generate(key, embedding)
        index = self.draws.positions(key, len(generated), self.samples)
        loss = moment_loss(generated[index], real[index])
        losses["generator"].append(loss.item())
        loss.backward()
        self.generator_optimiser.step()

    def _recurse(self, image: int, c: int, embedding: Tensor, losses: dict) -> None:
        """Sec. III-B on an unseen class: what the classifier recognises teaches the generator."""
        key = ("pseudo", image, c)
        with torch.no_grad():
            pseudo = self.generate(key, embedding)
            pseudo = pseudo[self.draws.positions(key, len(pseudo), self.samples)]
            logits = self.classifier(pseudo[..., None, None]).flatten(1)
            confidence, predicted = logits.softmax(1).max(1)
            kept = (predicted == c) & (confidence > self.tau)
            if self.method == "equal_weight":
                kept = torch.ones_like(kept)
                confidence = torch.ones_like(confidence)
            trusted = pseudo[kept]
            confidence = confidence[kept]
        losses["q"].append(len(trusted))
        if len(trusted) < 2:
            return
        self.generator_optimiser.zero_grad()
        key = ("generated", image, c)
        generated = self.generate(key, embedding)
        generated = generated[self.draws.positions(key, len(generated), self.samples)]
        loss = moment_loss(generated, trusted, confidence, len(trusted))
        losses["recursion"].append(loss.item())
        (self.gamma * loss).backward()
        self.generator_optimiser.step()

    def _invented(self, image: int, features: Tensor, target: Tensor) -> Tensor:
        """A generated feature at every pixel, zeros where it is void; (F, h, w)."""
        flat = torch.zeros(len(target), len(features), dtype=features.dtype)
        embedding = self._embedding(target)
        for c in torch.unique(target):
            if c != VOID:
                key = ("classify", image, int(c))
                with torch.no_grad():
                    flat[target == c] = self.generate(key, embedding[target == c])
        return flat.T.reshape(features.shape)

    def _train_classifier(
        self, features: Tensor, labels: Tensor, cells: Tensor, losses: dict
    ) -> None:
        logits = self.classifier(features)
        target = cells.view(len(cells), *features.shape[2:])
        if self.loss_at == "image":
            logits = F.interpolate(logits, labels.shape[1:], mode="bilinear")
            target = labels.long()
        loss = self.criterion(logits, target)
        self.classifier_optimiser.zero_grad()
        loss.backward()
        self.classifier_optimiser.step()
        losses["classifier"].append(loss.item())


def confusion(logits: Tensor, labels: np.ndarray) -> np.ndarray:
    """One image as ZS3Net's evaluator counts it: upsampled, numpy's argmax, numpy's bincount.

    Arguments:
        logits: (1, C, h, w) float32.
        labels: (H, W) uint8; 255 is void.

    Returns: (C, C) counts, rows are the ground truth.
    """
    classes = logits.shape[1]
    upsampled = F.interpolate(logits, labels.shape, mode="bilinear").cpu().numpy()
    prediction = np.argmax(upsampled, axis=1)[0]
    mask = (labels >= 0) & (labels < classes)
    pairs = classes * labels[mask].astype("int") + prediction[mask]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
