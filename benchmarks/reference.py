"""The straightforward loop that `make bench` measures against: ZS3Net's published stage 2, with the paper's recursion.

Written from the papers' description and in the order of ZS3Net's published training loop, without zs3lib: image by
image and class by class, a feature is generated at every pixel of the class and 128 are sampled afterwards, each pixel
holds its own word vector, each kernel is six exponentials. Within a class it is vectorised, as torch code naturally is.
Nothing is slowed down on purpose. Where the published code does more than it needs (word vectors at image resolution,
a graph for features that no gradient passes through), this loop does not.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIGMAS = (2, 5, 10, 20, 40, 80)
VOID = 255


class Draws:
    """The loop's random numbers; a test puts its own in their place. `key` says what a draw is for."""

    def noise(self, key: tuple, n: int) -> Tensor:
        return torch.randn(n, 300)

    def dropout(self, key: tuple, hidden: Tensor) -> Tensor:
        return F.dropout(hidden, 0.5)

    def positions(self, key: tuple, n: int, samples: int) -> Tensor:
        return torch.randint(n, (samples,))


def moment_loss(generated: Tensor, real: Tensor, weights: Tensor | None = None, count: float | None = None) -> Tensor:
    """Square root of Eq. 1; with `weights` c and `count` Q on the real side, of Eq. 2."""
    x = torch.cat([generated, real])
    x2 = (x * x).sum(1, keepdim=True)
    exponent = x @ x.T - 0.5 * x2 - 0.5 * x2.T
    target = torch.full((len(real), 1), 1 / len(real)) if weights is None else weights[:, None] / count
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
    """

    def __init__(
        self, method: str, words: Tensor, unseen: set[int], *, loss_at: str = "image", samples: int = 128,
        tau: float = 0.85, gamma: float = 1 / 40, unseen_weight: float = 10.0, generator_lr: float = 2e-4,
        classifier_lr: float = 0.07, momentum: float = 0.9, weight_decay: float = 5e-4,
    ):  # fmt: skip
        self.method, self.words, self.unseen, self.loss_at = method, words, unseen, loss_at
        self.samples, self.tau, self.gamma = samples, tau, gamma
        self.hidden, self.output = nn.Linear(600, 256), nn.Linear(256, 256)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
        self.classifier = nn.Conv2d(256, len(words), 1)
        self.generator_optimiser = torch.optim.Adam(
            [*self.hidden.parameters(), *self.output.parameters()], lr=generator_lr
        )
        self.classifier_optimiser = torch.optim.SGD(
            self.classifier.parameters(), lr=classifier_lr, momentum=momentum, weight_decay=weight_decay
        )
        weights = torch.ones(len(words))
        weights[list(unseen)] = unseen_weight
        self.criterion = nn.CrossEntropyLoss(weights, ignore_index=VOID)
        self.draws = Draws()

    def generate(self, key: tuple, embedding: Tensor) -> Tensor:
        """One feature for each word vector of `embedding`, (N, 300) -> (N, 256)."""
        z = self.draws.noise(key, len(embedding))
        hidden = F.leaky_relu(self.hidden(torch.cat([embedding, z], 1)), 0.2)
        return self.output(self.draws.dropout(key, hidden))

    def step(self, features: Tensor, labels: Tensor) -> dict[str, list[float]]:
        """Train on one batch: real features (B, 256, h, w) float32 and label maps (B, S, S) uint8. Returns the losses."""
        losses: dict[str, list[float]] = {"generator": [], "recursion": [], "classifier": [], "q": []}
        size = features.shape[2:]
        cells, has_unseen = [], []
        for image in range(len(features)):
            target = F.interpolate(labels[image][None, None].float(), size, mode="nearest-exact").view(-1).long()
            classes = [int(c) for c in torch.unique(target)]
            cells.append(target)
            has_unseen.append(any(int(c) in self.unseen for c in torch.unique(labels[image])))
            real = features[image].permute(1, 2, 0).contiguous().view(-1, 256)
            embedding = self.words[target.clamp_max(len(self.words) - 1)]  # a word vector for every pixel
            for c in classes:
                if c == VOID:
                    continue
                if not has_unseen[image]:
                    self._fit(image, c, real[target == c], embedding[target == c], losses)
                elif self.method != "zs3net" and c in self.unseen:
                    self._recurse(image, c, embedding[target == c], losses)
        fake = torch.zeros_like(features)
        for image in range(len(features)):
            if not has_unseen[image]:
                fake[image] = features[image]
                continue
            target, flat = cells[image], torch.zeros(len(cells[image]), 256, dtype=features.dtype)
            embedding = self.words[target.clamp_max(len(self.words) - 1)]
            for c in torch.unique(target):
                if c != VOID:
                    with torch.no_grad():
                        flat[target == c] = self.generate(("classify", image, int(c)), embedding[target == c])
            fake[image] = flat.view(*size, 256).permute(2, 0, 1)
        logits = self.classifier(fake)
        if self.loss_at == "image":
            logits, target = F.interpolate(logits, labels.shape[1:], mode="bilinear"), labels.long()
        else:
            target = torch.stack(cells).view(len(cells), *size)
        loss = self.criterion(logits, target)
        self.classifier_optimiser.zero_grad()
        loss.backward()
        self.classifier_optimiser.step()
        losses["classifier"].append(loss.item())
        return losses

    def _fit(self, image: int, c: int, real: Tensor, embedding: Tensor, losses: dict) -> None:
        """Sec. III-A on a seen class: a feature at every pixel, 128 pairs of them and of real ones in the loss."""
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
            confidence, predicted = self.classifier(pseudo[..., None, None]).flatten(1).softmax(1).max(1)
            kept = (predicted == c) & (confidence > self.tau)
            if self.method == "equal_weight":
                kept, confidence = torch.ones_like(kept), torch.ones_like(confidence)
            trusted, confidence = pseudo[kept], confidence[kept]
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


def confusion(logits: Tensor, labels: np.ndarray) -> np.ndarray:
    """One image as ZS3Net's evaluator counts it: logits upsampled, numpy's argmax, numpy's bincount.

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
