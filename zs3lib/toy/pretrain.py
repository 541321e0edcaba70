"""A toy "ImageNet": DeepLabv3+ with ResNet-18 pretrained on made-up classes, none of which is in VOC or Context.

Real backbones start from ImageNet weights; a backbone that starts from noise would spend most of a toy run on learning
edges and colours. The made-up classes are drawn by the same renderer, from random mixtures of attributes. (ImageNet
itself is less strict: aeroplanes, cats and sofas, unseen in the paper, are among its classes.)
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from .. import checkpoints, stage1
from ..data.segmentation import SegmentationData
from ..settings import Settings
from .attributes import made_up
from .render import any_backdrop, render_attributes

CLASSES = 60  # made-up things; label 0 is the backdrop
IMAGES = 960
EPOCHS = 3
SIDE = 160  # pixels: textures as fine as in the world's own pictures


def _picture(vectors: np.ndarray, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, (160, 160, 3) uint8 RGB, of one to four made-up things, and its label map, (160, 160) uint8."""
    rng = np.random.default_rng([seed, 2, index])
    labels = rng.integers(len(vectors), size=rng.integers(1, 5))
    things = [(int(label) + 1, vectors[label]) for label in labels]
    return render_attributes(things, (SIDE, SIDE), rng, backdrop=any_backdrop(rng), border=2)


class MadeUpImages(SegmentationData):
    """Pictures of made-up classes, kept in memory and read like any other segmentation data."""

    names = ("background", *(f"made-up {i}" for i in range(1, CLASSES + 1)))

    def __init__(self, *, images: int = IMAGES, seed: int = 0, workers: int = 2):
        vectors = made_up(np.random.default_rng([seed, 3]), CLASSES)
        with ProcessPoolExecutor(workers) as pool:
            draw = pool.map(partial(_picture, vectors, seed), range(images), chunksize=32)
            self.pictures = list(tqdm(draw, total=images, desc="made-up classes", unit="image", leave=False))

    def __len__(self) -> int:
        return len(self.pictures)

    def load(self, i: int) -> tuple[Image.Image, np.ndarray]:
        image, mask = self.pictures[i]
        return Image.fromarray(image), mask

    def _read_mask(self, path: Path) -> np.ndarray:
        raise NotImplementedError("made-up pictures have no files")


def pretrain(path: Path, *, images: int = IMAGES, epochs: int = EPOCHS, workers: int = 2) -> list[float]:
    """Train on made-up classes and write the network's weights to `path`. Returns the mean loss of each epoch."""
    settings = Settings.make(profile="toy", stage1_epochs=epochs)
    data = MadeUpImages(images=images, workers=workers)
    model = stage1.build_model(settings, len(data.names))
    training = path.with_suffix(".training.pt")
    losses = stage1.train_backbone(
        model, data, list(range(len(data))), settings, checkpoint=training, key=f"{images}-{epochs}"
    )
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier.")}
    checkpoints.save(path, weights)
    training.unlink(missing_ok=True)
    return losses
