"""Classes of your own by their names: new rows of the classification layer, from generated features alone (Sec. III)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from .classes import VOID
from .data.loading import validation_input
from .errors import ZS3Error
from .evaluate import label_map
from .features import extract
from .finished import FinishedRun, open_run
from .metrics import class_iou, confusion_matrix
from .run import Run
from .stage1 import poly
from .stage2 import Head
from .words import load_word_vectors

STEPS, SAMPLES, RATE = 150, 32, 0.01  # Adam steps, generated features of each class in a step, learning rate
# The new classes' weight in the cross-entropy, all together, where a known class weighs 1. Real features are spread wider
# than generated ones, and the known rows were fitted to real ones: at 1 they take nearly every pixel.
WEIGHT = 60.0
LONGEST = 1024  # pixels; a larger picture is scaled down first, a photograph's label map would need gigabytes


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

    def summary(self, truth: np.ndarray | None = None) -> pd.DataFrame:
        """Percent for every class found, or in `truth`, a label map (H, W) over `names`, 255 ignored.

        Columns: its share of the pixels, the mean confidence there, and its IoU (NaN without `truth`).
        """
        count = len(self.names)
        pixels = np.bincount(self.labels.ravel(), minlength=count)
        sure = np.bincount(self.labels.ravel(), weights=self.confidence.ravel(), minlength=count)
        iou, present = np.full(count, np.nan), pixels > 0
        if truth is not None:
            confusion = confusion_matrix(torch.from_numpy(truth), torch.from_numpy(self.labels), count).numpy()
            present |= confusion.sum(1) > 0
            iou = class_iou(confusion)
        sure = np.divide(sure, pixels, out=np.full(count, np.nan), where=pixels > 0)
        values = {"pixels": pixels / self.labels.size, "mean confidence": sure, "IoU": iou}
        return 100 * pd.DataFrame(values, index=pd.Index(self.names, name="class"))[present]

    def of(self, name: str) -> np.ndarray:
        """Probability of one class by its name, (H, W) float32."""
        return self.probabilities[self.names.index(name)]


@dataclass(frozen=True)
class Segmenter:
    """A finished run's network with classes added by `add_classes`.

    Attributes:
        names: all classes: the run's, then the new ones.
        new: the new ones alone.
        run: the finished run; its backbone and its own rows of the classifier are as they were.
        classifier: the 1x1 layer over all classes; vectors: their word vectors, (C, 300) float32.
        substitutions: {new class: what was looked up} where that is not the name itself.
        losses: mean loss of each tenth of the steps; seconds: how long the fit took.
    """

    names: tuple[str, ...]
    new: tuple[str, ...]
    run: FinishedRun
    classifier: nn.Linear
    vectors: Tensor
    substitutions: dict[str, str]
    losses: list[float]
    seconds: float

    def neighbours(self, count: int = 3) -> pd.DataFrame:
        """For each new class: what was looked up, and the known classes nearest in meaning with their cosines."""
        known = self.vectors[1 : -len(self.new)]  # without background
        rows = []
        for name, vector in zip(self.new, self.vectors[-len(self.new) :]):
            near = torch.cosine_similarity(known, vector[None]).topk(min(count, len(known)))
            pairs = zip(near.indices.tolist(), near.values.tolist())
            nearest = ", ".join(f"{self.names[1 + i]} {cosine:.2f}" for i, cosine in pairs)
            rows.append([name, self.substitutions.get(name, name), nearest])
        return pd.DataFrame(rows, columns=["new class", "looked up as", "nearest known classes (cosine)"])

    def predict(self, image: str | Path | Image.Image | np.ndarray) -> Prediction:
        """Segment a picture: a file, a PIL image, or an array (H, W, 3) uint8 RGB.

        A picture whose long side exceeds LONGEST pixels is scaled down first. Raises ZS3Error on what is no picture.
        """
        picture = open_picture(image)
        features = extract(self.run.model, validation_input(picture, self.run.settings), self.run.settings)
        with torch.inference_mode():
            logits = self.classifier(features.float())
            size, corners = (picture.height, picture.width), self.run.settings.align_corners
            labels = label_map(logits[0], size, align_corners=corners)  # as evaluation has it, to the last pixel
            logits = logits.permute(0, 3, 1, 2).contiguous()
            probabilities = F.interpolate(logits, size, mode="bilinear", align_corners=corners)[0].softmax(0)
            confidence = probabilities.amax(0)
        labels, confidence = labels.cpu().numpy(), confidence.cpu().numpy()
        return Prediction(np.asarray(picture), labels, confidence, probabilities.cpu().numpy(), self.names)


def open_picture(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    """A picture as RGB, upright (EXIF) and at most LONGEST pixels long."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ZS3Error(f"an array of {image.dtype} {image.shape} is no picture: give (H, W, 3) uint8 RGB")
        image = Image.fromarray(image)
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(Path(image).expanduser())
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, TypeError) as error:
        raise ZS3Error(f"{image} cannot be read as a picture ({error}): give a JPEG or PNG file") from error
    if max(picture.size) > LONGEST:
        picture.thumbnail((LONGEST, LONGEST))
    return picture


def add_classes(
    run: str | Path | Run | FinishedRun, words: str | Sequence[str], *, method: str = "ours", weight: float | None = None,
    seed: int = 0, word_vectors: str | None = None, device: str | None = None,
) -> Segmenter:  # fmt: skip
    """Add classes that a finished run never saw, by their names, in seconds: no image, the backbone stays as it is.

    The generator invents features of every class, known and new; the new rows of the classifier are fitted to tell the
    new from all others by cross-entropy. The run's own rows stay as they are: fitted again to generated features, with or
    without being held to what they said before, they lose the run's unseen classes or leave the new ones too little.

    Arguments:
        run: a run's folder (`runs/<profile>/<dataset>-k<K>-s<seed>`), a `Run` after `train_heads`, or an opened run.
        words: new class names, listed or comma-separated: "zebra, school bus". A name of several words that is not in
            the word vectors as one ("school_bus") is the mean of its words.
        method: which of the run's heads to extend.
        weight: of a new class in the cross-entropy, where a known one weighs 1; None: WEIGHT / the number of new ones.
            More gives the new classes more pixels, at the known ones' cost.
        word_vectors, device: in place of those of the run's record. The vectors must be those it was trained with.

    Raises ZS3Error when the run is not finished, a word has no vector (the nearest known words are offered) or is a
    class of the run already.
    """
    run = open_run(run, methods=(method,), word_vectors=word_vectors, device=device)
    new = _class_names(words, run)
    weight = WEIGHT / len(new) if weight is None else weight
    if not 0 < weight < float("inf"):
        raise ZS3Error(f"weight is {weight}: it must be above 0")
    begin = time.time()
    vectors, substitutions = _vectors(run, run.heads[method], new)
    classifier, losses = fit(run.heads[method], vectors, weight=weight, seed=seed)
    substitutions = {name: found for name, found in substitutions.items() if name in new}
    all_vectors = torch.cat([run.heads[method].words.cpu(), vectors])
    return Segmenter(
        run.split.names + new, new, run, classifier, all_vectors, substitutions, losses, time.time() - begin
    )


def _class_names(words: str | Sequence[str], run: FinishedRun) -> tuple[str, ...]:
    listed = words.split(",") if isinstance(words, str) else list(words)
    new = tuple(dict.fromkeys(" ".join(str(word).split()) for word in listed if str(word).strip()))
    if not new:
        raise ZS3Error("no class name given: words is a list such as 'zebra, school bus'")
    if known := [name for name in new if name.lower() in run.split.names]:
        raise ZS3Error(f"'{known[0]}' is a class of {run.name} already: leave it out of words")
    if len(run.split.names) + len(new) > VOID:
        raise ZS3Error(f"{len(new)} new classes are too many: a label map holds {VOID} classes in all")
    return new


def _vectors(run: FinishedRun, head: Head, new: tuple[str, ...]) -> tuple[Tensor, dict[str, str]]:
    source, names = run.settings.word_vectors, run.split.names
    try:
        table, substitutions = load_word_vectors(source, names + new, norm=run.settings.word_norm)
    except ZS3Error as error:
        if run.settings.profile == "toy" and "no vector for" in str(error):
            from .toy.attributes import EXTRA

            raise ZS3Error(f"{error}; new words of the toy world: {', '.join(EXTRA)}") from None
        raise
    own = head.words.cpu().numpy()
    if not np.allclose(own, table[: len(names)], atol=1e-4 * np.abs(own).max()):
        raise ZS3Error(f"word vectors {source} are not those that {run.name} was trained with: give those")
    return torch.from_numpy(table[len(names) :]), substitutions


def fit(head: Head, vectors: Tensor, *, weight: float, seed: int = 0) -> tuple[nn.Linear, list[float]]:
    """Fit rows for new classes beside those of a trained head, which stay as they are.

    Arguments:
        head: generator and classifier of C classes; not changed.
        vectors: word vectors of N new classes, (N, 300) float32, scaled like `head.words`.
        weight: of a new class in the cross-entropy; a known one weighs 1.

    Returns: the classifier of C + N classes, and the mean loss of each tenth of the steps.
    """
    where, old = head.words.device, head.classifier
    words = torch.cat([head.words, vectors.to(where)])
    count, known = len(words), len(head.words)
    index = torch.arange(count, device=where).repeat_interleave(SAMPLES)
    weights = torch.ones(count, device=where)
    weights[known:] = weight
    losses = []
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(seed)
        rows = nn.Linear(old.in_features, count - known).to(where)
        optimiser = torch.optim.Adam(rows.parameters(), lr=RATE)
        schedule = poly(optimiser, STEPS)
        generator = head.generator
        was_training = generator.training
        generator.train()  # with dropout, as stage 2's classifier sees generated features
        for _ in range(STEPS):
            with torch.no_grad():
                features = generator(words, index, generator.sample_noise(len(index)))
                known_logits = old(features)
            logits = torch.cat([known_logits, rows(features)], dim=1)
            loss = F.cross_entropy(logits, index, weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        generator.train(was_training)
    classifier = nn.utils.skip_init(nn.Linear, old.in_features, count, device=where).requires_grad_(False)
    with torch.no_grad():
        classifier.weight.copy_(torch.cat([old.weight, rows.weight]))
        classifier.bias.copy_(torch.cat([old.bias, rows.bias]))
    return classifier, np.array(losses).reshape(10, -1).mean(1).tolist()
