"""A toy "ImageNet": the toy profile's network, pretrained on things that do not exist.

Real backbones start from ImageNet; one that starts from noise would spend most of a toy run on
learning edges and colours. The pictures come from the same pencil; each thing and surface is a
random mixture of attributes, near none of the words of VOC or Context, and is labelled with what
it is like, as ImageNet's thousand classes tell fur from metal. (ImageNet is less strict:
aeroplanes, cats and sofas, unseen in the paper, are among its classes.)

`make toy-backbone` writes `resources/toy_backbone.pt`, which the package ships.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

from .. import storage
from ..classes import VOID
from ..data.augment import Augmented, batches
from ..method.deeplab import autocast, build
from ..method.layout import cell_labels
from ..seeds import shuffled, stream
from ..settings import Settings
from .attributes import ATTRIBUTES, having, made_up
from .scenes import band, picture, region, standing

SIDE = (128, 128)  # pixels: textures as fine as in the world's own pictures
SURFACES = 2  # backdrop and ground come before a picture's one to four things
RATE = 3e-3


class MadeUpPictures:
    """Pictures of made-up things on made-up surfaces, kept in memory.

    Label i of a mask is the picture's i-th item: backdrop, ground, then things. `looks` holds those
    of each item, (images, 6, attributes + 1) float32; the last column says "surface".
    """

    def __init__(self, images: int):
        visible = having("materials", "colours") | (np.array(ATTRIBUTES) == "plant")
        self.looks = np.zeros((images, SURFACES + 4, len(ATTRIBUTES) + 1), np.float32)
        self.looks[:, :SURFACES, -1] = 1
        self.pictures = []
        for index in tqdm(range(images), desc="made-up pictures", unit="image"):
            rng = np.random.default_rng([0, 3, index])
            looks = made_up(rng, SURFACES + rng.integers(1, 5))
            looks[:SURFACES, ~visible] = 0
            self.looks[index, : len(looks), :-1] = looks
            items = [region(0, looks[0]), band(1, looks[1], rng.uniform(0.2, 0.9), 0.05, rng)]
            for label in range(SURFACES, len(looks)):
                scale = rng.uniform(0.8, 1.4)
                items.append(standing(label, looks[label], SIDE, rng, scale=scale))
            items[SURFACES:] = sorted(items[SURFACES:], key=lambda item: item.box[3])
            self.pictures.append(picture(items, SIDE, rng, border=True))

    def load(self, i: int) -> tuple[Image.Image, np.ndarray]:
        """Picture i and its labels, (H, W) uint8: items, 255 around them."""
        image, mask = self.pictures[i]
        return Image.fromarray(image), mask


def attribute_loss(logits: Tensor, cells: Tensor, looks: Tensor) -> Tensor:
    """Binary cross-entropy between each cell's logits and its item's looks, void left out.

    Arguments:
        logits: (B, attributes + 1, h, w) float; cells: items, (B, h, w) integer.
        looks: (B, items, attributes + 1) float in [0, 1].
    """
    image, row, column = (cells != VOID).nonzero(as_tuple=True)
    item = cells[image, row, column].long()
    logits = logits[image, :, row, column].float()
    loss = F.binary_cross_entropy_with_logits(logits, looks[image, item], reduction="none").mean(1)
    # Most cells show surfaces, of which there is less to tell.
    weight = torch.where(item < SURFACES, 0.1, 1.0)
    return (weight * loss).sum() / weight.sum()


def pretrain(path: Path | str, *, images: int = 8000, epochs: int = 16) -> list[float]:
    """Learn to tell the attributes of each feature cell; the mean loss of each epoch.

    Writes the network without its classifier: float16 tensors by their names in `DeepLabV3Plus`.
    """
    settings = Settings.make(profile="toy", batch_size=min(32, images), workers=0)
    data = MadeUpPictures(images)
    looks = torch.from_numpy(data.looks)
    network = build(settings, looks.shape[2]).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    size = settings.batch_size
    steps = images // size
    schedule = OneCycleLR(optimiser, RATE, total_steps=epochs * steps, pct_start=0.2)
    losses = []
    for epoch in range(epochs):
        order = shuffled(images, size, 0, 42, epoch)[:steps]
        views = Augmented(data, range(images), settings, seed=stream(0, 41), epoch=epoch)
        loader = batches(views, settings, order)
        total = 0.0
        for (x, labels), batch in zip(tqdm(loader), order):
            with autocast(x.device, True):
                x = x.to(memory_format=torch.channels_last)
                logits = network.classifier(network.features(x))
            cells = cell_labels(labels, logits.shape[2:], align_corners=False)
            loss = attribute_loss(logits, cells, looks[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        losses.append(total / steps)
        print(f"epoch {epoch + 1} of {epochs}: loss {losses[-1]:.4f}", flush=True)
    network.classifier = torch.nn.Identity()  # whoever takes the network fits one of its own
    storage.save(Path(path), dict(network.half().state_dict()))
    return losses
