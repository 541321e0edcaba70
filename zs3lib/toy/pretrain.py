"""A toy "ImageNet": DeepLabv3+ with ResNet-18 pretrained on things that do not exist, labelled with what they are like.

Real backbones start from ImageNet weights; a backbone that starts from noise would spend most of a toy run on learning
edges and colours. The pictures come from the same renderer; each thing is a random mixture of attributes, near none of
the words of VOC or Context, and the labels are its attributes, as ImageNet's thousand classes tell fur from metal.
(ImageNet is less strict: aeroplanes, cats and sofas, unseen in the paper, are among its classes.)
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm.auto import tqdm

from .. import checkpoints, stage1
from ..adam import adamw
from ..classes import VOID
from ..data.loading import Augmented, batches, stream
from ..data.segmentation import SegmentationData
from ..devices import autocast, device, keep_freed_memory
from ..features import at_feature_resolution
from ..settings import Settings
from .attributes import made_up
from .render import any_backdrop, render_attributes

THINGS = 254  # label 0 is the backdrop, 255 void
IMAGES = 1280
EPOCHS = 3
RATE = 2e-3
SIDE = 160  # pixels: textures as fine as in the world's own pictures


def _picture(vectors: np.ndarray, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture `index`, (160, 160, 3) uint8 RGB, of one to four made-up things, and its label map, (160, 160) uint8."""
    rng = np.random.default_rng([seed, 2, index])
    labels = rng.integers(len(vectors), size=rng.integers(1, 5))
    things = [(int(label) + 1, vectors[label]) for label in labels]
    return render_attributes(things, (SIDE, SIDE), rng, backdrop=any_backdrop(rng), border=2)


class MadeUpImages(SegmentationData):
    """Pictures of made-up things, kept in memory and read like any other segmentation data.

    Attributes:
        looks: attributes of each label, (THINGS + 1, attributes + 1) float32; the last column says "backdrop".
    """

    names = ("backdrop", *(f"thing {i}" for i in range(1, THINGS + 1)))

    def __init__(self, *, images: int = IMAGES, seed: int = 0, workers: int = 2):
        vectors = made_up(np.random.default_rng([seed, 3]), THINGS)
        self.looks = np.zeros((THINGS + 1, vectors.shape[1] + 1), np.float32)
        self.looks[1:, :-1], self.looks[0, -1] = vectors, 1
        with ProcessPoolExecutor(workers) as pool:
            draw = pool.map(partial(_picture, vectors, seed), range(images), chunksize=32)
            self.pictures = list(tqdm(draw, total=images, desc="made-up things", unit="image", leave=False))

    def __len__(self) -> int:
        return len(self.pictures)

    def load(self, i: int) -> tuple[Image.Image, np.ndarray]:
        image, mask = self.pictures[i]
        return Image.fromarray(image), mask

    def _read_mask(self, path: Path) -> np.ndarray:
        raise NotImplementedError("made-up pictures have no files")


def pretrain(path: Path, *, images: int = IMAGES, epochs: int = EPOCHS, workers: int = 2) -> list[float]:
    """Learn to tell the attributes of each feature cell and write the network's weights to `path`.

    Returns the mean binary cross-entropy of each epoch.
    """
    keep_freed_memory()
    settings = Settings.make(profile="toy")
    data = MadeUpImages(images=images, workers=workers)
    looks, where = torch.from_numpy(data.looks).to(device(settings)), device(settings)
    model = stage1.build_model(settings, looks.shape[1]).to(where, memory_format=torch.channels_last)
    optimiser = adamw([{"params": list(model.parameters()), "lr": RATE}], weight_decay=0.01)
    steps = epochs * (images // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.2)
    losses = []
    model.train()
    with tqdm(total=steps, desc="pretraining the toy backbone", unit="step") as bar:
        for epoch in range(epochs):
            torch.manual_seed(stream(epoch, 40))
            order, total = torch.randperm(images).tolist(), 0.0
            pictures = Augmented(data, list(range(images)), settings, seed=stream(0, 41), epoch=epoch)
            for x, labels in batches(pictures, settings, order=order, drop_last=True):
                with autocast(where, settings):
                    logits = model.classifier(model.features(x.to(where, memory_format=torch.channels_last)))
                cells = at_feature_resolution(labels.to(where), logits.shape[2:])
                known = cells != VOID
                loss = F.binary_cross_entropy_with_logits(
                    logits.float().permute(0, 2, 3, 1)[known], looks[cells[known].long()]
                )
                model.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item()
                bar.update()
            losses.append(total * epochs / steps)
    checkpoints.save(path, {k: v for k, v in model.state_dict().items() if not k.startswith("classifier.")})
    return losses
