"""Stage 2's images under `protocol="strict"`: none with an unseen pixel.

Those that have one are dropped, and as many layouts are made up: the paper, like ZS3Net, takes
theirs as known. It names no such rule; this is our reading:

- For every dropped image a seen image is drawn, with replacement, among those that show more than
  background.
- Each of its other classes is relabelled with probability 1/2, and at least one of them: all its
  pixels become one unseen class, another one for each class while there are any left.
- Background, void and the other classes stay. All seen images also take part as they are.
"""

import numpy as np

from ..classes import Split
from ..errors import ZS3Error
from .segmentation import SegmentationData


def training(
    data: SegmentationData, split: Split, seen: list[int], *, seed: int
) -> SegmentationData:
    """The images that stage 2 may use: those of `seen` as they are, then as many layouts.

    `seen` are the indices of images without unseen pixels; of others only `presence` is read.
    Raises ZS3Error when there are images to replace and seen images show only background.
    """
    random = np.random.default_rng(seed)
    shows = data.presence[seen]
    if split.names[0] == "background":
        shows[:, 0] = False
    sources = np.flatnonzero(shows.any(1))
    layouts = len(data) - len(seen)
    if layouts and not len(sources):
        raise ZS3Error("protocol strict: images without unseen classes show background alone")
    drawn = random.choice(sources, layouts) if layouts else []
    relabel = np.tile(np.arange(256, dtype=np.uint8), (len(data), 1))
    for row, source in zip(relabel[len(seen) :], drawn):
        classes = random.permutation(np.flatnonzero(shows[source]))
        count = max(1, random.binomial(len(classes), 0.5))
        rounds = -(-count // split.k)  # an unseen class comes again only when all were drawn
        unseen = np.concatenate([random.permutation(split.unseen) for _ in range(rounds)])
        row[classes[:count]] = unseen[:count]
    return data.subset([*seen, *(seen[source] for source in drawn)], relabel=relabel)
