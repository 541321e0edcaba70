"""Figures of the notebooks, by what they show. Every function returns a matplotlib Figure, closed to pyplot."""

from .base import VOID_COLOUR, class_colours, figure, mark, method_colours, method_name, png, save
from .dataset import class_frequencies, image_sizes, images_left, seen_and_unseen, similarity_clusters
from .method import animate, kernel_curves, lines, plane, recursion_loop
from .pictures import colorize, qualitative, show_samples, voc_palette
from .scores import hiou_over_k, loss_curves, per_class_iou

__all__ = [
    "VOID_COLOUR", "animate", "class_colours", "class_frequencies", "colorize", "figure", "hiou_over_k", "image_sizes",
    "images_left", "kernel_curves", "lines", "loss_curves", "mark", "method_colours", "method_name", "per_class_iou",
    "plane", "png", "qualitative", "recursion_loop", "save", "seen_and_unseen", "show_samples", "similarity_clusters",
    "voc_palette",
]  # fmt: skip
