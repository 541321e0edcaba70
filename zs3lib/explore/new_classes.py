"""Classes of your own by their names: new rows of the classifier, from generated features alone."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..classes import VOID
from ..data.augment import validation_input
from ..data.words import load_word_vectors
from ..errors import ZS3Error
from ..method.deeplab import poly
from ..method.features import pixel_logits
from ..method.generator import Head
from ..method.metrics import class_iou, confusion_matrix
from ..runs.finished import FinishedRun, open_run
from ..settings import names_of
from ..toy.attributes import EXTRA
from .statistics import cosine_similarity

LONGEST = 1024  # pixels; a photograph's probabilities would need gigabytes
STEPS = 150  # of Adam
SAMPLES = 32  # generated features of each class in a step
RATE = 0.01
# Of all new classes together, where a known one weighs 1. Real features are spread wider than
# generated ones, and the known rows were fitted to real ones: at 1 they take nearly every pixel.
WEIGHT = 60.0


def open_picture(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    """A picture as RGB, upright (EXIF) and at most LONGEST pixels long; ZS3Error if it is none."""
    try:
        if isinstance(image, np.ndarray):
            picture = Image.fromarray(image)
        elif isinstance(image, Image.Image):
            picture = image.copy()
        else:
            picture = Image.open(Path(image).expanduser())
        picture.thumbnail((LONGEST, LONGEST))  # a JPEG is read at a fraction of its size
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (Image.DecompressionBombError, OSError, SyntaxError, TypeError, ValueError) as error:
        name = image if isinstance(image, str | Path) else f"this {type(image).__name__}"
        what = f"{name} cannot be read as a picture ({error})"
        remedy = "give a JPEG or PNG file, scaled down if it is huge, or (H, W, 3) uint8 RGB"
        raise ZS3Error(f"{what}: {remedy}") from error


@dataclass(frozen=True)
class Prediction:
    """What a `Segmenter` sees in a picture."""

    image: np.ndarray  # as it was segmented, (H, W, 3) uint8 RGB
    labels: np.ndarray  # class of each pixel, (H, W) uint8: an index into `names`
    probabilities: np.ndarray  # softmax probability of every class, (C, H, W) float32
    names: tuple[str, ...]

    @property
    def confidence(self) -> np.ndarray:
        """Probability of each pixel's class, (H, W) float32 in [0, 1]."""
        return self.probabilities.max(0)

    def of(self, name: str) -> np.ndarray:
        """Probability of one class by its name, (H, W) float32."""
        return self.probabilities[self.names.index(name)]

    def summary(self, truth: np.ndarray | None = None) -> pd.DataFrame:
        """Percent for every class found, or in `truth`, a label map (H, W) over `names`, 255 void.

        Columns: its share of the pixels, the mean confidence there, its IoU (NaN without truth).
        """
        groups = pd.Series(self.confidence.ravel()).groupby(self.labels.ravel())
        table = pd.DataFrame({"pixels": groups.size(), "mean confidence": groups.mean()})
        table["pixels"] /= self.labels.size
        table["IoU"] = np.nan
        if truth is not None:
            table = table.reindex(np.union1d(self.labels, truth[truth != VOID]))
            maps = (torch.from_numpy(truth), torch.from_numpy(self.labels))
            iou = class_iou(confusion_matrix(*maps, len(self.names)).numpy())
            table["IoU"] = iou[table.index]
        table.index = pd.Index([self.names[c] for c in table.index], name="class")
        return 100 * table.fillna({"pixels": 0})


@dataclass(frozen=True)
class Segmenter:
    """A finished run's network with classes added by `add_classes`."""

    names: tuple[str, ...]  # all classes: the run's, then the new ones
    new: tuple[str, ...]
    run: FinishedRun
    classifier: nn.Linear  # the 1x1 layer over all classes
    vectors: Tensor  # word vectors of all classes, (C, 300) float32
    substitutions: dict[str, str]  # {new class: what was looked up}, where not the name itself
    losses: list[float]  # of each step of the fit

    def neighbours(self) -> pd.DataFrame:
        """For each new class: what was looked up, and the known classes nearest in meaning."""
        cosines = cosine_similarity(self.vectors, self.names)
        cosines = cosines.drop(columns=["background", *self.new], errors="ignore")
        rows = []
        for name in self.new:
            near = cosines.loc[name].nlargest(3)
            texts = [f"{known} {cosine:.2f}" for known, cosine in near.items()]
            rows.append([name, self.substitutions.get(name, name), ", ".join(texts)])
        columns = ["new class", "looked up as", "nearest known classes (cosine)"]
        return pd.DataFrame(rows, columns=columns)

    def predict(self, image: str | Path | Image.Image | np.ndarray) -> Prediction:
        """Segment a picture: a file, a PIL image, or an array (H, W, 3) uint8 RGB."""
        picture = open_picture(image)
        settings = self.run.settings
        given = validation_input(picture, settings)
        size = (picture.height, picture.width)
        by = {"new": self.classifier}
        ((_, logits),) = pixel_logits(self.run.model, by, given, size, settings)
        labels = logits.max(0).indices.byte().cpu().numpy()  # four times as quick as argmax
        probabilities = logits.softmax(0).cpu().numpy()
        return Prediction(np.asarray(picture), labels, probabilities, self.names)


def add_classes(
    run: str | Path | FinishedRun,
    words: str | Sequence[str],
    *,
    method: str = "ours",
    weight: float | None = None,
) -> Segmenter:
    """Add classes that a finished run never saw, by their names, in seconds and without an image.

    The generator invents features of every class, known and new; the new rows of the classifier
    are fitted to tell the new from all others by cross-entropy. The run's own rows stay: fitted
    again to generated features they lose the run's unseen classes or leave the new ones too little.

    Arguments:
        run: a run's folder, a `Run` after `train_heads`, or an opened run.
        words: new class names, listed or comma-separated: "zebra, school bus". A name of several
            words that is not in the word vectors as one ("school_bus") is the mean of its words.
        method: which of the run's heads to extend.
        weight: of a new class in the cross-entropy, where a known one weighs 1; None: WEIGHT / the
            number of new ones. More gives the new classes more pixels, at the known ones' cost.

    Raises ZS3Error when the run is not finished, a word has no vector (the nearest known words are
    offered) or is a class of the run already.
    """
    run = open_run(run, methods=(method,))
    head = run.heads[method]
    listed = (" ".join(word.split()) for word in names_of(words))
    new = tuple(dict.fromkeys(word for word in listed if word))
    if not new:
        raise ZS3Error("no class name given: words is a list such as 'zebra, school bus'")
    if known := [name for name in new if name.lower() in run.split.names]:
        raise ZS3Error(f"'{known[0]}' is a class of {run.name} already: leave it out of words")
    weight = WEIGHT / len(new) if weight is None else weight
    if not 0 < weight < float("inf"):
        raise ZS3Error(f"weight is {weight}: it must be above 0")
    vectors, substitutions = _vectors(run, head, new)
    classifier, losses = fit(head, vectors, weight=weight)
    vectors = torch.cat([head.words.cpu(), vectors])
    return Segmenter(run.split.names + new, new, run, classifier, vectors, substitutions, losses)


def _vectors(run: FinishedRun, head: Head, new: tuple[str, ...]) -> tuple[Tensor, dict[str, str]]:
    """The new words' vectors, (N, 300) float32, and what was looked up under another name."""
    source = run.settings.word_vectors
    own = head.words.cpu()
    try:
        names = run.split.names + new
        # Scaled as the run's own were: a new word may be longer than the largest of them.
        norm = run.settings.word_norm
        table, looked_up = load_word_vectors(source, names, norm=norm, own=len(own))
    except ZS3Error as error:
        hint = f"; new words of the toy world: {', '.join(EXTRA)}"
        toy = run.settings.profile == "toy" and "no vector for" in str(error)
        raise ZS3Error(f"{error}{hint if toy else ''}") from error
    vectors = torch.from_numpy(table)
    if not torch.allclose(own, vectors[: len(own)], atol=1e-4 * float(own.abs().max())):
        what = f"word vectors {source} are not those that {run.name} was trained with"
        raise ZS3Error(f"{what}: give those")
    return vectors[len(own) :], {name: looked_up[name] for name in new if name in looked_up}


def fit(head: Head, vectors: Tensor, *, weight: float) -> tuple[nn.Linear, list[float]]:
    """Fit rows for new classes beside those of a trained head, which stay as they are.

    `vectors` are word vectors of N new classes, (N, 300) float32, scaled like the `head`'s of C.

    Returns: the classifier of C + N classes, and the loss of each step; none after the extra method
    `projection`, where a new row is the projected word and nothing is fitted.
    """
    device = head.words.device
    old = head.classifier
    words = torch.cat([head.words, vectors.to(device)])
    if hasattr(head, "project"):
        return _linear(*head.project(words)), []
    index = torch.arange(len(words), device=device).repeat_interleave(SAMPLES)
    weights = torch.ones(len(words), device=device)
    weights[len(head.words) :] = weight
    generator = copy.deepcopy(head.generator).train()  # dropout, as the head was trained with
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = nn.Linear(old.in_features, len(vectors)).to(device)
        optimiser = torch.optim.Adam(rows.parameters(), lr=RATE)
        schedule = poly(optimiser, STEPS)
        for _ in range(STEPS):
            with torch.no_grad():
                features = generator(words, generator.sample_noise(len(index)), index)
                known = old(features)
            loss = F.cross_entropy(torch.cat([known, rows(features)], 1), index, weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    both = (torch.cat(pair) for pair in zip(old.parameters(), rows.parameters()))
    return _linear(*both), losses


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, *weight.T.shape, device=weight.device)
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer.requires_grad_(False)
