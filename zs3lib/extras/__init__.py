"""Beside the paper's tables: graph context, self-training and a projection baseline.

They are methods like those of `method/methods.py`, run only where `methods` names them; what trains
them stands in the files beside.
"""

from ..method.methods import Method, register


@register
class GraphContext(Method):
    """ZS3Net's graph context, which the paper leaves out: an image has too few nodes for Eq. 2."""

    name = "graph_context"
    title = "ZS3Net + graph context (extra)"
    colour = "#56b4e9"
    extra = True
    datasets = ("context",)
    trainer = "zs3lib.extras.graph_context:GraphTrainer"


@register
class Projection(Method):
    """The baseline before generators: a feature is projected to the words, the nearest one wins."""

    name = "projection"
    title = "Projection (extra)"
    colour = "#cc79a7"
    generates = False
    extra = True
    trainer = "zs3lib.extras.projection:ProjectionTrainer"
