"""The pseudo-feature generator: a generative moment matching network (Sec. III-A, ZS3Net's GMMN)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deeplab import FEATURE_DIM
from .errors import ZS3Error

NOISES = ("gaussian", "uniform")


class Generator(nn.Module):
    """Word vector and noise -> pixel feature: Linear, LeakyReLU 0.2, Dropout 0.5, Linear; Xavier, bias 0.01.

    Arguments:
        word_dim: length of a word vector, and of the noise ("noise of matching dimensionality").
        hidden: width of the hidden layer.
        noise: "gaussian" (the paper's words) or "uniform" (ZS3Net's code).
    """

    def __init__(self, *, word_dim: int = 300, hidden: int = 256, noise: str = "gaussian"):
        super().__init__()
        if noise not in NOISES:
            raise ZS3Error(f"unknown noise '{noise}': choose one of {', '.join(NOISES)}")
        self.word_dim, self.noise = word_dim, noise
        self.model = nn.Sequential(
            nn.Linear(2 * word_dim, hidden), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Linear(hidden, FEATURE_DIM)
        )
        for layer in self.model:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.constant_(layer.bias, 0.01)

    def sample_noise(self, n: int) -> Tensor:
        """Noise for n features, (n, word_dim), from torch's global generator."""
        draw = torch.randn if self.noise == "gaussian" else torch.rand
        return draw(n, self.word_dim, device=self.model[0].weight.device)

    def forward(self, words: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """Generate one feature per row of `noise`.

        Arguments:
            words: word vectors of some classes, (C, word_dim).
            index: which word each feature is of, (N,) int64 in [0, C).
            noise: (N, word_dim).

        Returns: features (N, 256). The word half of the first layer is computed once per class, not once per feature.
        """
        first, *rest = self.model
        word_weight, noise_weight = first.weight.split(self.word_dim, dim=1)
        word_part = F.linear(words, word_weight)
        hidden = F.linear(noise, noise_weight, first.bias)
        hidden = hidden + (word_part if len(words) == 1 else word_part[index])
        for layer in rest:
            hidden = layer(hidden)
        return hidden
