"""A picture as it is opened, and what a network sees in it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps

from ..errors import ZS3Error
from ..method.metrics import class_iou, confusion_matrix

LONGEST = 1024  # pixels; a photograph's probabilities would need gigabytes


@dataclass(frozen=True)
class Prediction:
    """What a `Segmenter` sees in a picture.

    Attributes:
        image: the picture, (H, W, 3) uint8 RGB, as it was segmented.
        labels: class of each pixel, (H, W) uint8: an index into `names`.
        confidence: softmax probability of that class, (H, W) float32 in [0, 1].
        probabilities: softmax probability of every class, (C, H, W) float32.
    """

    image: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]

    def of(self, name: str) -> np.ndarray:
        """Probability of one class by its name, (H, W) float32."""
        return self.probabilities[self.names.index(name)]

    def pictures(self, truth: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """A row of `plots.qualitative`: picture, prediction, truth where known, confidence."""
        row = {"Picture": self.image, "Predicted": self.labels}
        if truth is not None:
            row["Ground truth"] = truth
        return row | {"Confidence": self.confidence}

    def summary(self, truth: np.ndarray | None = None) -> pd.DataFrame:
        """Percent for every class found, or in `truth`, a label map (H, W) over `names`, 255 void.

        Columns: its share of the pixels, the mean confidence there, its IoU (NaN without truth).
        """
        groups = pd.Series(self.confidence.ravel()).groupby(self.labels.ravel())
        table = pd.DataFrame({"pixels": groups.size() / self.labels.size})
        table["mean confidence"] = groups.mean()
        table["IoU"] = np.nan
        if truth is not None:
            maps = (torch.from_numpy(truth), torch.from_numpy(self.labels))
            confusion = confusion_matrix(*maps, len(self.names)).numpy()
            present = (confusion.sum(1) > 0) | np.isin(range(len(self.names)), self.labels)
            table = table.reindex(np.flatnonzero(present)).fillna({"pixels": 0})
            table["IoU"] = class_iou(confusion)[present]
        return 100 * table.rename(dict(enumerate(self.names))).rename_axis("class")


def open_picture(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    """A picture as RGB, upright (EXIF) and at most LONGEST pixels long."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            what = f"an array of {image.dtype} {image.shape}"
            raise ZS3Error(f"{what} is no picture: give (H, W, 3) uint8 RGB")
        image = Image.fromarray(image)
    try:
        opened = image
        if not isinstance(image, Image.Image):
            with warnings.catch_warnings():  # PIL warns of large photographs
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                opened = Image.open(Path(image).expanduser())
            # A JPEG is read at a fraction of its size where that is enough.
            enough = 2 * LONGEST / max(opened.size)
            opened.draft(None, [max(1, int(enough * side)) for side in opened.size])
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    except Image.DecompressionBombError as error:
        size = str(error).split(",")[0]
        raise ZS3Error(f"{image} is too large: {size}: scale it down first") from error
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        what = f"{image} cannot be read as a picture ({error})"
        raise ZS3Error(f"{what}: give a JPEG or PNG file") from error
    picture.thumbnail((LONGEST, LONGEST))
    return picture
