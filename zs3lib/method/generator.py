"""The pseudo-feature generator (Sec. III-A) and the head of the network that stage 2 trains."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..classes import VOID
from .deeplab import FEATURE_DIM


class Generator(nn.Module):
    """Word vector and noise -> pixel feature: ZS3Net's generative moment matching network.

    `model` has ZS3Net's layers under ZS3Net's names, so that its files load as they are.

    Arguments:
        word_dim: length of a word vector, and of the noise ("of matching dimensionality").
        hidden: width of the hidden layer.
        noise: "gaussian" (the paper's word) or "uniform" on (0, 1) (ZS3Net's code).
        feature_dim: length of a feature.
    """

    def __init__(
        self,
        *,
        word_dim: int = 300,
        hidden: int = 256,
        noise: str = "gaussian",
        feature_dim: int = FEATURE_DIM,
    ):
        super().__init__()
        self.word_dim = word_dim
        self.noise = noise
        self.model = nn.Sequential(
            nn.Linear(2 * word_dim, hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.5),
            nn.Linear(hidden, feature_dim),
        )
        for layer in (self.model[0], self.model[3]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)

    def sample_noise(self, n: int) -> Tensor:
        """Noise for n features, (n, word_dim), from torch's global random numbers."""
        like = self.model[0].weight
        draw = torch.randn if self.noise == "gaussian" else torch.rand
        return draw(n, self.word_dim, dtype=like.dtype, device=like.device)

    def forward(self, words: Tensor, noise: Tensor, index: Tensor | None = None) -> Tensor:
        """Generate one feature for each row of noise.

        The first layer's product with [word | noise] is the sum of two; the word's is worked out
        once a class, not once a feature.

        Arguments:
            words: a word vector, (word_dim,), or those of C classes, (C, word_dim).
            noise: (n, word_dim).
            index: with several words, the one that each feature is of, (n,) int64 in [0, C).

        Returns: (n, feature_dim).
        """
        first, *rest = self.model
        word_weight, noise_weight = first.weight.split(self.word_dim, dim=1)
        word_part = F.linear(words, word_weight, first.bias)
        word_part = word_part if index is None else word_part[index]
        hidden = F.linear(noise, noise_weight) + word_part
        for layer in rest:
            hidden = layer(hidden)
        return hidden


class Head(nn.Module):
    """What stage 2 trains: the 1x1 pixel classification layer over all classes, and the generator.

    Arguments:
        words: word vectors of all classes, (C, 300) float32.
        noise, feature_dim: as in `Generator`.

    A subclass may have a `generator_class` of its own, made and called as `Generator` is. Its
    classifier stays an `nn.Linear`: more classes are added to it, and a network trained with it.
    """

    generator_class = Generator

    def __init__(self, *, words: Tensor, noise: str = "gaussian", feature_dim: int = FEATURE_DIM):
        super().__init__()
        self.classifier = nn.Linear(feature_dim, len(words))
        sizes = {"word_dim": words.shape[1], "feature_dim": feature_dim}
        self.generator = self.generator_class(**sizes, noise=noise)
        self.register_buffer("words", words)

    def generate(self, label: int, n: int) -> Tensor:
        """n generated features of a class, (n, feature_dim)."""
        return self.generator(self.words[label], self.generator.sample_noise(n))

    def generate_map(self, cells: Tensor) -> Tensor:
        """A generated feature at every cell of label maps, (...) int64 -> (..., feature_dim).

        Void cells get zeros, as in ZS3Net.
        """
        known = cells != VOID
        index = cells.masked_fill(~known, 0).flatten()
        made = self.generator(self.words, self.generator.sample_noise(len(index)), index)
        return made.view(*cells.shape, made.shape[1]) * known.unsqueeze(-1)
