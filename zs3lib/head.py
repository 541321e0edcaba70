"""What stage 2 trains: the pixel classification layer and the generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deeplab import FEATURE_DIM
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

    def generate_class(self, c: int, n: int) -> Tensor:
        """n generated features of class c, (n, 256)."""
        return self.generator(self.words[c : c + 1], self.words.new_empty(0), self.generator.sample_noise(n))

    def generated_logits(self, classes: list[tuple[int, int]], half: torch.dtype | None = None) -> Tensor:
        """The classifier's logits of generated features, n of each class c of [(c, n), ...]: (sum of n, C).

        The generator's last layer and the classifier are linear: their product is applied to the hidden layer, and the
        features themselves are never formed. Gradients reach the classifier alone. `half` (bfloat16) is what the noise is
        drawn in and both products are computed in, as by autocast; the logits come back in the weights' own type.
        """
        last, classifier = self.generator.output, self.classifier
        weight = classifier.weight @ last.weight.detach()
        bias = F.linear(last.bias.detach(), classifier.weight, classifier.bias)
        dtype = half or weight.dtype
        hidden = self.generator.hidden_of(self.words, classes, dtype)
        logits = F.linear(hidden, weight.to(dtype))[: sum(n for _, n in classes)]
        return logits.to(weight.dtype) + bias
