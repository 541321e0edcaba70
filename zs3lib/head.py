"""What stage 2 trains: the pixel classification layer and the generator."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deeplab import FEATURE_DIM
from .draws import ROWS
from .generator import Generator


class Head(nn.Module):
    """What stage 2 trains: the 1x1 pixel classification layer over all classes, and the generator.

    Arguments:
        words: word vectors of all classes, (C, 300) float32.
        noise: the generator's noise, "gaussian" or "uniform".
        features: length of a feature.
    """

    def __init__(self, *, words: Tensor, noise: str = "gaussian", features: int = FEATURE_DIM):
        super().__init__()
        self.classifier = nn.Linear(features, len(words))
        self.generator = Generator(word_dim=words.shape[1], noise=noise, features=features)
        self.register_buffer("words", words)

    def _of_class(self, c: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.words[c : c + 1], self.words.new_empty(0), self.generator.sample_noise(n)

    def generate_class(self, c: int, n: int) -> Tensor:
        """n generated features of class c, (n, 256)."""
        return self.generator(*self._of_class(c, n))

    def generated_logits(self, classes: list[tuple[int, int]], precision=nullcontext()) -> Tensor:
        """The classifier's logits of generated features, n of each class c of [(c, n), ...]: (sum of n, C).

        The generator's last layer and the classifier are linear: their product is applied to the hidden layer, and the
        features themselves are never formed. Gradients reach the classifier alone. Only the hidden layer is computed in
        `precision` (an autocast context), everything that is learned in the weights' own.
        """
        last, classifier = self.generator.output, self.classifier
        weight = classifier.weight @ last.weight.detach()
        bias = F.linear(last.bias.detach(), classifier.weight, classifier.bias)
        logits = [self.words.new_empty(0, len(self.words))]
        for c, n in classes:
            for rows in range(0, n, ROWS):  # so few that what is written is read again before it leaves the cache
                with torch.no_grad(), precision:
                    hidden = self.generator.hidden(*self._of_class(c, min(ROWS, n - rows)))
                logits.append(F.linear(hidden.to(weight.dtype), weight, bias))
        return torch.cat(logits)
