"""Why a class fails: its real features against its generated ones, where its pixels go, and how near its word is.

Everything is computed from a finished run and its validation images; nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .data.loading import validation_input
from .errors import ZS3Error
from .features import at_feature_resolution, extract
from .finished import FinishedRun
from .losses import mmd
from .stage2 import Head

METHODS = ("zs3net", "ours")
PER_IMAGE = 25  # feature cells of one class taken from one image at most, so that a class is seen in several images
RECOGNISED, FOUND = 50.0, 25.0  # percent, see `reasons`

Features = Mapping[int, Tensor]  # class index -> its features, (n, 256) float32


def real_features(run: FinishedRun, *, per_class: int = 200, images: int = 300, seed: int = 0) -> dict[int, Tensor]:
    """Features of validation pixels by class, {class: (n, 256) float32}, n <= `per_class`; absent classes are left out.

    Images are taken in a random order, at most PER_IMAGE feature cells of a class from each, until every class has
    enough or `images` have been read. A cell has the class of the pixel at its centre.
    """
    data, rng = run.open_data("val"), np.random.default_rng(seed)
    wanted = np.flatnonzero(data.presence.any(0))
    found: dict[int, list[Tensor]] = {int(c): [] for c in wanted}
    missing = dict.fromkeys(found, per_class)
    order = rng.permutation(len(data))[:images]
    for i in tqdm(order, desc="real features", unit="image"):
        useful = [c for c in np.flatnonzero(data.presence[i]).tolist() if missing[c] > 0]
        if not useful:
            continue
        image, labels = data.load(i)
        features = extract(run.model, validation_input(image, run.settings), run.settings)[0].float().cpu()
        cells = at_feature_resolution(torch.from_numpy(labels)[None], features.shape[:2])[0]
        for c in useful:
            rows = features[cells == c]
            rows = rows[rng.permutation(len(rows))[: min(PER_IMAGE, missing[c])]]
            found[c].append(rows)
            missing[c] -= len(rows)
    return {c: torch.cat(rows).clone() for c, rows in found.items() if sum(map(len, rows)) > 1}


def generated_features(head: Head, classes: Sequence[int], *, per_class: int = 200, seed: int = 0) -> dict[int, Tensor]:
    """Generated features by class, {class: (per_class, 256) float32}, with dropout, as the classifier learned from them."""
    where, training = head.words.device, head.generator.training
    with torch.no_grad(), torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(seed)
        head.generator.train()
        features = {int(c): head.generate_class(int(c), per_class).cpu() for c in classes}
    head.generator.train(training)
    return features


@dataclass(frozen=True)
class Projection:
    """The two directions in which real features vary most (PCA), and the share of their variance in each."""

    centre: Tensor
    axes: Tensor
    explained: tuple[float, float]

    @classmethod
    def fit(cls, features: Features) -> Projection:
        """From real features, every class weighing the same."""
        rows = torch.cat(list(features.values())).double()
        weight = torch.cat([torch.full((len(x),), 1 / len(x), dtype=torch.float64) for x in features.values()])
        weight /= weight.sum()
        centre = weight @ rows
        spread = (rows - centre) * weight.sqrt()[:, None]
        _, size, axes = torch.linalg.svd(spread, full_matrices=False)
        share = size**2 / (size**2).sum()
        return cls(centre, axes[:2], (float(share[0]), float(share[1])))

    def __call__(self, features: Tensor) -> np.ndarray:
        """(n, 256) -> (n, 2)."""
        return ((features.double() - self.centre) @ self.axes.T).numpy()


def confusion(run: FinishedRun, method: str) -> pd.DataFrame:
    """The record's confusion matrix in percent of each true class's pixels (rows); a class without pixels is NaN."""
    counts = np.array(run.record["methods"][method]["confusion"], float)
    total = counts.sum(1, keepdims=True)
    share = np.divide(100 * counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    return pd.DataFrame(share, index=list(run.split.names), columns=list(run.split.names))


def nearest_seen(run: FinishedRun) -> pd.DataFrame:
    """For each unseen class the seen class, not background, whose word vector is nearest: columns "nearest", "similarity".

    Similarity is the cosine of the vectors; its distance is 1 minus that.
    """
    words = torch.nn.functional.normalize(next(iter(run.heads.values())).words.cpu(), dim=1)
    seen = [c for c in run.split.seen if c]
    cosine, place = (words[list(run.split.unseen)] @ words[seen].T).max(1)
    names = [run.split.names[seen[i]] for i in place.tolist()]
    return pd.DataFrame({"nearest": names, "similarity": cosine.tolist()}, index=list(run.split.unseen_names))


def confidences(run: FinishedRun, method: str, features: Features) -> pd.DataFrame:
    """What the classifier makes of features: one row each, columns "class", "unseen", "predicted", "confidence".

    Confidence is the softmax probability of the predicted class, in [0, 1].
    """
    head, parts = run.heads[method], []
    names = np.array(run.split.names)
    for c, rows in features.items():
        with torch.no_grad():
            confidence, predicted = head.classifier(rows.to(head.words.device)).softmax(1).max(1)
        parts.append(pd.DataFrame({
            "class": names[c], "unseen": c in run.split.unseen, "predicted": names[predicted.cpu().numpy()],
            "confidence": confidence.cpu().numpy(),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def kept(run: FinishedRun, scored: pd.DataFrame) -> pd.Series:
    """Q of Eq. 2 for each unseen class: how many of `samples` generated features a step would keep, on average.

    `scored` are the `confidences` of generated features; kept are those recognised with confidence above tau.
    """
    right = (scored["predicted"] == scored["class"]) & (scored["confidence"] > run.settings.tau)
    share = right.groupby(scored["class"]).mean()
    return run.settings.samples * share.reindex(list(run.split.unseen_names)).rename("Q")


def reasons(run: FinishedRun, method: str, real: Features, generated: Features) -> pd.DataFrame:
    """One row per unseen class, from the lowest IoU to the highest.

    Columns: "IoU" and "taken for", the class that most of its other pixels are given to, with "share" of its pixels, from
    the record (percent); "nearest seen", "similarity" by word vectors; "MMD" (Eq. 1's root) and "mean distance" (Euclidean,
    between the means) of generated to real features; "recognised": percent of generated features given to their class,
    and "found": of real ones; "fails at", read from these two:
        "telling words apart": fewer than half the generated features are recognised, so the classifier never had a chance;
        "generated unlike real": they are, but less than a quarter of the real ones: it learned features that are not there.
    A class without validation pixels has NaN.
    """
    iou, table = run.record["methods"][method]["per_class_iou"], confusion(run, method)
    near, rows = nearest_seen(run), {}
    hits = [confidences(run, method, features) for features in (generated, real)]
    hits = [100 * (h["predicted"] == h["class"]).groupby(h["class"]).mean() for h in hits]
    for c, name in zip(run.split.unseen, run.split.unseen_names):
        others = table.loc[name].drop(name)
        gone = others.notna().all()
        recognised, found = (h.get(name, np.nan) for h in hits)
        x, y = real.get(c), generated[c]
        rows[name] = {
            "IoU": iou[name], "taken for": others.idxmax() if gone else "", "share": others.max(),
            "nearest seen": near.loc[name, "nearest"], "similarity": near.loc[name, "similarity"],
            "MMD": np.nan if x is None else float(mmd(x, y)),
            "mean distance": np.nan if x is None else float((x.mean(0) - y.mean(0)).norm()),
            "recognised": recognised, "found": found, "fails at": _fails_at(recognised, found),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class").sort_values("IoU")


def _fails_at(recognised: float, found: float) -> str:
    if recognised < RECOGNISED:
        return "telling words apart"
    return "generated unlike real" if found < FOUND else ""


def check(run: FinishedRun) -> None:
    """Raises ZS3Error when the run has no record to read results from."""
    if not run.record:
        raise ZS3Error(f"{run.name} has no record yet: call its evaluate and save first, then open its folder")
