"""Figures of the notebooks, by what they show. Every function returns a matplotlib Figure, closed to pyplot."""

from .base import VOID_COLOUR, figure, mark, method_colours, method_name, save
from .dataset import class_frequencies, image_sizes, images_left, seen_and_unseen, similarity_clusters
from .pictures import colorize, qualitative, show_samples, voc_palette
from .scores import hiou_over_k, loss_curves, per_class_iou

__all__ = [
    "VOID_COLOUR", "class_frequencies", "colorize", "figure", "hiou_over_k", "image_sizes", "images_left",
    "loss_curves", "mark", "method_colours", "method_name", "per_class_iou", "qualitative", "save", "seen_and_unseen",
    "show_samples", "similarity_clusters", "voc_palette",
]  # fmt: skip
