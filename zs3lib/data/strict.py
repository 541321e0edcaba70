"""Stage 2's images under `protocol="strict"`: none with an unseen pixel; layouts are made up.

The paper, like ZS3Net, trains the classifier on generated features laid out by the label maps of
training images that show unseen classes: their pictures are not looked at, but where in them an
unseen class is, is. The strict protocol drops these images from stage 2 and makes up as many
layouts from seen images. The paper names no such rule; this is our reading:

- For every dropped image a seen image is drawn at random, with replacement, among those that show
  more than background.
- Of its classes other than background each is relabelled with probability 1/2, and at least one of
  them: all its pixels become one unseen class, drawn at random, another one for each class while
  there are any left.
- Background, void and the other classes stay. All seen images also take part as they are.

So stage 2 sees as many images, and as many with unseen classes, as under the paper's protocol.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..classes import Split
from ..errors import ZS3Error
from ..storage import text_hash
from .segmentation import SegmentationData

RULE = {  # where the layouts of generated features come from, for a run record
    "paper": "label maps of the training images with unseen classes",
    "strict": "label maps of seen images, some classes relabelled as unseen ones; "
    "images with unseen classes dropped",
}


class StrictTraining(SegmentationData):
    """Seen images as they are, then seen images whose label maps became layouts.

    Attributes:
        relabel: for every image the new label of each old one, (len(self), 256) uint8.
        layouts: how many images, the last ones, are layouts.
    """

    def __init__(self, images: SegmentationData, relabel: np.ndarray, layouts: int):
        # An image may come twice here: the files were checked when they were opened.
        for name in ("ids", "images", "masks", "names"):
            setattr(self, name, getattr(images, name))
        self._opened = images
        self.relabel = relabel
        self.layouts = layouts

    @property
    def fingerprint(self) -> str:
        """Hash of the images' own and of what became of their labels."""
        return text_hash(f"{self._opened.fingerprint} {self.relabel.tobytes().hex()}")

    def read_mask(self, path: Path) -> np.ndarray:
        return self._opened.read_mask(path)

    def load_mask(self, i: int) -> np.ndarray:
        """Label map i, (H, W) uint8, relabelled where it is a layout."""
        return self.relabel[i][super().load_mask(i)]


def training(data: SegmentationData, split: Split, seen: list[int], *, seed: int) -> StrictTraining:
    """The images that stage 2 may use under the strict protocol, for one seed.

    Arguments:
        data: the training images. Of those outside `seen` only `data.presence` is read.
        seen: indices of the images without any pixel of an unseen class.

    Raises ZS3Error when there are images to replace and seen images show only background.
    """
    random = np.random.default_rng(seed)
    layouts = len(data) - len(seen)
    shows = data.presence[seen]
    shows[:, 0] = False  # background
    sources = np.flatnonzero(shows.any(1))
    if layouts and not len(sources):
        raise ZS3Error(
            "protocol strict: no image without unseen classes shows more than background"
        )
    drawn = random.choice(sources, layouts) if layouts else np.zeros(0, int)
    relabel = np.tile(np.arange(256, dtype=np.uint8), (len(data), 1))
    for row, source in zip(relabel[len(seen) :], drawn):
        classes = random.permutation(np.flatnonzero(shows[source]))
        count = max(1, random.binomial(len(classes), 0.5))
        rounds = -(-count // split.k)  # an unseen class comes again only when all were drawn
        unseen = np.concatenate([random.permutation(split.unseen) for _ in range(rounds)])
        row[classes[:count]] = unseen[:count]
    images = data.subset([*seen, *(seen[source] for source in drawn)])
    return StrictTraining(images, relabel, layouts)
