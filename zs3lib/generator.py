"""The pseudo-feature generator: a generative moment matching network (Sec. III-A, ZS3Net's GMMN)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deeplab import FEATURE_DIM
from .draws import dropout_half, normal_or_uniform
from .errors import ZS3Error

NOISES = ("gaussian", "uniform")


class Generator(nn.Module):
    """Word vector and noise -> pixel feature: Linear, LeakyReLU 0.2, Dropout 0.5, Linear; Xavier, bias 0.01.

    Arguments:
        word_dim: length of a word vector, and of the noise ("noise of matching dimensionality").
        hidden: width of the hidden layer.
        noise: "gaussian" (the paper's words) or "uniform" (ZS3Net's code).
        features: length of a feature; the backbone's by default, 2 where a notebook draws them in the plane.
    """

    def __init__(self, *, word_dim: int = 300, hidden: int = 256, noise: str = "gaussian", features: int = FEATURE_DIM):
        super().__init__()
        if noise not in NOISES:
            raise ZS3Error(f"unknown noise '{noise}': choose one of {', '.join(NOISES)}")
        self.word_dim, self.noise = word_dim, noise
        # The first layer's two halves are parameters of their own: the word half then costs one product per class,
        # not per feature, and the gradient needs no gluing. Initialised as the one Linear(600, 256) they are.
        joint = nn.Linear(2 * word_dim, hidden)
        self.output = nn.Linear(hidden, features)
        for layer in (joint, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
        words, noises = joint.weight.detach().split(word_dim, dim=1)
        self.word_weight, self.noise_weight = nn.Parameter(words.clone()), nn.Parameter(noises.clone())
        self.bias = nn.Parameter(joint.bias.detach().clone())

    def sample_noise(self, n: int) -> Tensor:
        """Noise for n features, (n, word_dim), that follows from torch's global seed."""
        return normal_or_uniform(n, self.word_dim, normal=self.noise == "gaussian", device=self.bias.device)

    drop = staticmethod(dropout_half)

    def hidden(self, words: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """The hidden layer, (N, 256); arguments as for `forward`."""
        word_part = F.linear(words, self.word_weight, self.bias)  # once for each class, not once for each feature
        if len(words) == 1:
            hidden = torch.addmm(word_part, noise, self.noise_weight.T)
        else:
            hidden = F.linear(noise, self.noise_weight) + word_part[index]
        hidden = F.leaky_relu(hidden, 0.2, inplace=True)
        return self.drop(hidden) if self.training else hidden

    def forward(self, words: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """Generate one feature per row of `noise`.

        Arguments:
            words: word vectors of some classes, (C, word_dim).
            index: which word each feature is of, (N,) int64 in [0, C); not looked at where C is 1.
            noise: (N, word_dim).

        Returns: features (N, 256), or as long as `features` says.
        """
        return self.output(self.hidden(words, index, noise))
