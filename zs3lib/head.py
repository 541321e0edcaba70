"""What stage 2 trains: the pixel classification layer and the generator."""

from __future__ import annotations

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
