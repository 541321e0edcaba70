"""Extra: ZS3Net's graph context, which the paper leaves out on Pascal-Context (Sec. IV-C).

The label map of an image becomes a graph: its nodes are the connected regions of one label, its
edges join regions that touch. A second generator makes one feature a node, knowing the words of the
nodes around it; the classifier learns from node features beside its pixels. Both are for training
alone: pixel features still come from the generator of each class, and inference is ZS3Net's.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from torch import Tensor

from ..classes import VOID
from ..method.generator import Generator
from ..method.layout import Batch
from ..method.losses import mmd
from ..method.stage2 import Trainer

WEIGHT = 0.1  # of the nodes' cross-entropy beside the pixels'


class Graph(NamedTuple):
    """The connected regions of a label map, and which of them touch.

    Attributes:
        labels: of each node, (n,) int64; 255 is void.
        first: each node's first cell in raster order, (n,) int64.
        nodes: the node of each cell, (h * w,) int64.
        adjacency: A, (n, n) float32: symmetric, 1 where two nodes touch, diagonals included.
    """

    labels: Tensor
    first: Tensor
    nodes: Tensor
    adjacency: Tensor


def graph_of(cells: np.ndarray, *, loops: bool = False) -> Graph:
    """The graph of a label map, (h, w) integer.

    Arguments:
        loops: join each node to itself and normalise, D^-1/2 (A + I) D^-1/2; ZS3Net's has neither.
    """
    nodes = np.zeros(cells.shape, np.int64)
    count = 0
    for label in np.unique(cells):
        regions, found = ndimage.label(cells == label, structure=np.ones((3, 3)))
        nodes = np.where(regions, regions + (count - 1), nodes)
        count += found
    adjacency = np.zeros((count, count), np.float32)
    windows = sliding_window_view(np.pad(nodes, 1, mode="edge"), (2, 2)).reshape(-1, 4)
    adjacency[windows[:, :, None], windows[:, None]] = 1  # cells of a window touch one another
    np.fill_diagonal(adjacency, float(loops))
    if loops:
        scale = adjacency.sum(1) ** -0.5
        adjacency = scale[:, None] * adjacency * scale
    first = np.unique(nodes, return_index=True)[1]
    labels = cells.ravel()[first].astype(np.int64)
    return Graph(*map(torch.from_numpy, (labels, first, nodes.ravel(), adjacency)))


class GraphGenerator(Generator):
    """A feature for each node: H = LeakyReLU(A [a; z] W1 + b1), dropout, X = A H W2 + b2."""

    def forward(self, words: Tensor, noise: Tensor, adjacency: Tensor) -> Tensor:
        """Words a and noise z of n nodes, (n, word_dim) each, and A, (n, n) -> (n, feature_dim)."""
        first, activation, dropout, last = self.model
        hidden = dropout(activation(first(adjacency @ torch.cat([words, noise], 1))))
        return last(adjacency @ hidden)


class GraphTrainer(Trainer):
    """ZS3Net's training, with a generator of node features beside that of each class.

    An image of a single node has no graph and is left out. The word of a void node is zeros; void
    nodes are generated and fitted like others, but are no target of the classifier.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        settings = self.settings
        words = self.head.words
        self.graph_generator = GraphGenerator(
            word_dim=words.shape[1], noise=settings.noise, feature_dim=settings.feature_dim
        ).to(self.device)
        self.graph_optimiser = torch.optim.Adam(
            self.graph_generator.parameters(), lr=settings.generator_lr
        )
        self.node_words = torch.cat([words, torch.zeros_like(words[:1])])  # the last is void's

    def fit_classifier(self, batch: Batch) -> None:
        """A step of the graph's generator for each image without unseen classes, then as ZS3Net."""
        cells = batch.cells.cpu().numpy()  # regions are found on the CPU
        self.graphs: list[tuple[int, bool, Graph]] = []
        for index, image in enumerate(batch.images):
            graph = graph_of(cells[index], loops=self.settings.graph_loops)
            if len(graph.labels) > 1:
                graph = Graph(*(part.to(self.device) for part in graph))
                self.graphs.append((index, image.has_unseen, graph))
                if not image.has_unseen:
                    self.fit_graph(graph, self.real(graph, batch.features[index]))
        super().fit_classifier(batch)

    def real(self, graph: Graph, features: Tensor) -> Tensor:
        """The real feature of each node, (h, w, F) -> (n, F)."""
        flat = features.flatten(0, 1)
        if self.settings.graph_target == "first":
            return flat[graph.first]
        sums = flat.new_zeros(len(graph.labels), flat.shape[1]).index_add_(0, graph.nodes, flat)
        return sums / graph.nodes.bincount()[:, None]

    def generate(self, graph: Graph) -> Tensor:
        """A generated feature for each node, (n, F)."""
        words = self.node_words[graph.labels.where(graph.labels != VOID, -1)]
        noise = self.graph_generator.sample_noise(len(words))
        return self.graph_generator(words, noise, graph.adjacency)

    def fit_graph(self, graph: Graph, real: Tensor) -> None:
        """One step towards the real features of an image's nodes (Eq. 1)."""
        self.graph_generator.train()
        loss = mmd(real, self.generate(graph), root=self.settings.mmd_root)
        self.graph_optimiser.zero_grad()
        loss.backward()
        self.graph_optimiser.step()
        self.losses["graph"].append(loss.detach())

    def further_loss(self, batch: Batch) -> Tensor | float:
        """The cross-entropy of the nodes: real features of seen images, generated ones elsewhere.

        Its mean is weighted as the pixels', but never divided by the batch.
        """
        if not self.graphs:
            return 0.0
        features = []
        with torch.no_grad():
            for index, has_unseen, graph in self.graphs:
                real = self.real(graph, batch.features[index])
                features.append(self.generate(graph) if has_unseen else real)
        logits = self.head.classifier(torch.cat(features))
        labels = torch.cat([graph.labels for _, _, graph in self.graphs])
        loss = F.cross_entropy(logits, labels, self.class_weights, ignore_index=VOID)
        self.losses["nodes"].append(loss.detach())
        return WEIGHT * loss

    def parts(self) -> dict:
        graph = {"graph": self.graph_generator, "graph_optimiser": self.graph_optimiser}
        return super().parts() | graph
