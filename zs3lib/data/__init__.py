"""VOC 2012 and Pascal-Context in their official formats, and the way from files to batches."""

from .segmentation import VOC, Context, SegmentationData, open_data

__all__ = ["VOC", "Context", "SegmentationData", "open_data"]
