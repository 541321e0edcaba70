"""Extra: the baseline before generators, in the manner of DeViSE and SPNet.

A linear layer maps features to word vectors; a pixel gets the class of the nearest word, by cosine.
Fitted by least squares to unit word vectors on images without unseen classes. SPNet's cross-entropy
over cosines is the other loss in use: it needs a rate and a temperature, and compares seen words
with one another alone. The squared error needs neither, and its least is known in closed form.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..classes import VOID
from ..method.generator import Head
from ..method.layout import Batch
from ..method.stage2 import Trainer

# The products with unit words lie between -1 and 1, where a softmax over many classes is flat, and
# self-training starts from it. So many times as large they have the least cross-entropy on the toy
# world's seen training images (Context, K = 2; of 1 to 100). The nearest word stays the same.
SCALE = 30
RIDGE = 1e-3  # of the mean square of a feature: a channel that is always 0 has no other answer


class ProjectionHead(Head):
    """A head whose classifier is the product of unit words and a projection.

    Attributes:
        projection: P and p, (feature_dim + 1, 300) float32, times `SCALE`.
    """

    def __init__(self, *, words: Tensor, **options):
        super().__init__(words=words, **options)
        size = self.classifier.in_features + 1
        self.register_buffer("projection", words.new_zeros(size, words.shape[1]))

    def project(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the classifier: weights (n, F) and biases (n,).

        Arguments:
            words: word vectors of any classes, (n, 300); only their directions count.
        """
        rows = F.normalize(words) @ self.projection.T
        return rows[:, :-1], rows[:, -1]


class ProjectionTrainer(Trainer):
    """Least squares over all batches so far.

    A feature's length scales all its cosines alike, so that the nearest word is the largest of
    u_c (P f + p): the classifier is a plain linear layer, the product of unit words and projection,
    times `SCALE`.
    """

    head_class = ProjectionHead

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        size = self.settings.feature_dim + 1  # and 1, for p
        words = self.head.words
        self.unit = F.normalize(words)
        self.sums = nn.Module()
        self.sums.register_buffer("squares", torch.zeros(size, size, dtype=torch.float64))
        self.sums.register_buffer("products", torch.zeros(size, words.shape[1]).double())
        self.sums.to(self.device)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Add a batch and solve. Returns the mean squared distance to the words as "projection"."""
        cells = batch.cells[batch.without_unseen]
        known = cells != VOID
        features = F.pad(batch.features[batch.without_unseen][known], (0, 1), value=1.0).double()
        words = self.unit[cells[known]].double()
        self.sums.squares += features.T @ features
        self.sums.products += features.T @ words
        scale = self.sums.squares.diagonal().mean().clamp_min(1e-6)
        ridge = RIDGE * scale * torch.eye(len(self.sums.squares), device=scale.device)
        projection = torch.linalg.solve(self.sums.squares + ridge, self.sums.products)
        errors = (features @ projection - words).square().sum(1)
        self.head.projection.copy_(SCALE * projection)
        weight, bias = self.head.project(self.head.words)
        self.head.classifier.weight.data.copy_(weight)
        self.head.classifier.bias.data.copy_(bias)
        return {"projection": errors.sum()[None] / max(1, len(errors))}

    def parts(self) -> dict:
        return super().parts() | {"sums": self.sums}
