"""Why a class fails: its real features against its generated ones, where its pixels go, its word.

Everything is computed from a finished run and its validation images; nothing is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.augment import validation_input
from ..errors import ZS3Error
from ..finished import FinishedRun
from ..method.features import cell_labels, extract
from ..method.generator import Head
from ..method.losses import mmd
from .statistics import cosine_similarity, nearest_seen

METHODS = ("zs3net", "ours")
PER_IMAGE = 25  # feature cells of a class from one image at most: it is seen in several images
RECOGNISED = 50.0  # percent, see `reasons`
FOUND = 25.0

Features = Mapping[int, Tensor]  # class index -> its features, (n, F) float32


def real_features(
    run: FinishedRun, *, per_class: int = 200, images: int = 300, seed: int = 0
) -> dict[int, Tensor]:
    """Features of validation pixels by class, {class: (n, F) float32}, n <= `per_class`.

    Images are taken in a random order, at most PER_IMAGE feature cells of a class from each, until
    every class has enough or `images` have been read; absent classes are left out. A cell has the
    class of the pixel at its centre.
    """
    data = run.open_data("val")
    rng = np.random.default_rng(seed)
    found: dict[int, list[Tensor]] = {c: [] for c in np.flatnonzero(data.presence.any(0)).tolist()}
    missing = dict.fromkeys(found, per_class)
    for i in tqdm(rng.permutation(len(data))[:images], desc="real features", unit="image"):
        useful = [c for c in found if data.presence[i, c] and missing[c] > 0]
        if not useful:
            continue
        image, labels = data.load(i)
        features = extract(run.model, validation_input(image, run.settings), run.settings)
        features = features[0].float().cpu()
        cells = cell_labels(torch.from_numpy(labels)[None], features.shape[:2])[0]
        for c in useful:
            rows = features[cells == c]
            drawn = rng.permutation(len(rows))[: min(PER_IMAGE, missing[c])]
            found[c].append(rows[drawn])
            missing[c] -= len(drawn)
    rows = {c: torch.cat(parts) for c, parts in found.items() if parts}
    return {c: features for c, features in rows.items() if len(features) > 1}


def generated_features(head: Head, *, per_class: int = 200, seed: int = 0) -> dict[int, Tensor]:
    """Generated features of every class, {class: (per_class, F) float32}.

    With dropout, as the classifier learned from them.
    """
    device = head.words.device
    head = copy.deepcopy(head).train()
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return {c: head.generate(c, per_class).cpu() for c in range(len(head.words))}


def projected(run: FinishedRun, real: Features, generated: Mapping[str, Features]) -> pd.DataFrame:
    """Features in the two directions in which real ones vary most (PCA), classes weighing alike.

    Arguments:
        generated: {method: features}.

    Returns: columns "class", "source" ("real" or the method), "x", "y"; `attrs["explained"]`: the
    share of the real features' variance in x and y, percent.
    """
    rows = torch.cat(list(real.values())).double()
    weight = torch.cat([torch.full((len(x), 1), 1 / len(x)) for x in real.values()]).double()
    weight /= len(real)
    centre = (weight * rows).sum(0)
    _, size, axes = torch.linalg.svd((rows - centre) * weight.sqrt(), full_matrices=False)
    frames = []
    for source, features in {"real": real, **generated}.items():
        for c, x in features.items():
            points = (x.double() - centre) @ axes[:2].T
            frame = pd.DataFrame(points.numpy(), columns=["x", "y"])
            frames.append(frame.assign(source=source, **{"class": run.split.names[c]}))
    frame = pd.concat(frames, ignore_index=True)
    share = 100 * size**2 / (size**2).sum()
    frame.attrs["explained"] = tuple(share[:2].tolist())
    return frame


def shown_classes(run: FinishedRun, method: str = "ours", good: int = 2) -> dict[str, str]:
    """{class: "★ class: IoU"}: the `good` best seen classes besides background, to compare with,
    then all unseen ones from best to worst.
    """
    iou = pd.Series(_result(run, method)["per_class_iou"])[list(run.split.names)]
    hidden = list(run.split.unseen_names)
    seen = iou.iloc[1:].drop(hidden).nlargest(good)
    unseen = iou[hidden].sort_values(ascending=False, kind="stable")
    titles = {name: f"{name}: {value:.0f} %" for name, value in seen.items()}
    return titles | {name: f"★ {name}: {value:.0f} %" for name, value in unseen.items()}


def confusion(run: FinishedRun, method: str) -> pd.DataFrame:
    """The record's confusion matrix in percent of each true class's pixels (rows).

    A class without pixels is NaN.
    """
    names = list(run.split.names)
    counts = pd.DataFrame(_result(run, method)["confusion"], names, names)
    total = counts.sum(axis=1)
    return 100 * counts.div(total.where(total > 0), axis=0)


def words_and_iou(run: FinishedRun, methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """For each unseen class how near its word is to a seen one, and its IoU (percent) by method.

    Columns: those of `statistics.nearest_seen`, "distance", 1 minus the cosine, and the methods.
    """
    vectors = next(iter(run.heads.values())).words.cpu()
    table = nearest_seen(cosine_similarity(vectors, run.split.names), run.split)
    table["distance"] = 1 - table["similarity"]
    for method in methods:
        table[method] = pd.Series(_result(run, method)["per_class_iou"])
    return table.rename_axis("class")


def confidences(run: FinishedRun, method: str, features: Features) -> pd.DataFrame:
    """What the classifier makes of features, a row each: columns "class", "unseen", "predicted",
    "confidence" (softmax probability of the predicted class, in [0, 1]).
    """
    head = run.heads[method]
    names = np.array(run.split.names)
    frames = []
    for c, rows in features.items():
        with torch.no_grad():
            scores = head.classifier(rows.to(head.words.device)).softmax(1).cpu().max(1)
        row = {"class": names[c], "unseen": c in run.split.unseen}
        row |= {"predicted": names[scores.indices], "confidence": scores.values.numpy()}
        frames.append(pd.DataFrame(row))
    return pd.concat(frames, ignore_index=True)


def kept(run: FinishedRun, scored: pd.DataFrame) -> pd.Series:
    """Q of Eq. 2 for each unseen class: how many of `samples` generated features a step would keep.

    `scored` are the `confidences` of generated features; kept are those recognised with confidence
    above tau.
    """
    right = (scored["predicted"] == scored["class"]) & (scored["confidence"] > run.settings.tau)
    share = right.groupby(scored["class"]).mean()
    return run.settings.samples * share.reindex(list(run.split.unseen_names)).rename("Q")


def reasons(run: FinishedRun, method: str, real: Features, generated: Features) -> pd.DataFrame:
    """One row per unseen class, from the lowest IoU to the highest.

    Columns: "IoU", and "taken for", the class that most of its other pixels are given to, with
    "share" of its pixels (percent); "nearest" and "similarity" of `words_and_iou`; "MMD" (Eq. 1's
    root) and "mean distance" (Euclidean, between the means) of generated to real features;
    "recognised": percent of generated features given to their class, and "found": of real ones;
    "fails at", read from these two:
        "telling words apart": fewer than half the generated features are recognised, so the
            classifier never had a chance;
        "generated unlike real": they are, but less than a quarter of the real ones: it learned
            features that are not there.
    A class without validation pixels has NaN.
    """
    table = words_and_iou(run, [method]).rename(columns={method: "IoU"})
    shares = confusion(run, method)
    rows = {}
    for c, name in zip(run.split.unseen, run.split.unseen_names):
        others = shares.loc[name].drop(name).dropna()
        row = {"taken for": "", "share": np.nan, "MMD": np.nan, "mean distance": np.nan}
        if len(others):
            row |= {"taken for": others.idxmax(), "share": others.max()}
        if c in real:
            row["MMD"] = float(mmd(real[c], generated[c]))
            row["mean distance"] = float((real[c].mean(0) - generated[c].mean(0)).norm())
        rows[name] = row
    table = table.join(pd.DataFrame.from_dict(rows, orient="index"))
    for column, features in {"recognised": generated, "found": real}.items():
        scored = confidences(run, method, features)
        right = scored["predicted"] == scored["class"]
        table[column] = 100 * right.groupby(scored["class"]).mean()
    lost = np.where(table["found"] < FOUND, "generated unlike real", "")
    table["fails at"] = np.where(table["recognised"] < RECOGNISED, "telling words apart", lost)
    first = ["IoU", "taken for", "share"]
    order = [*first, *table.columns.drop([*first, "distance"])]
    return table[order].sort_values("IoU")


def _result(run: FinishedRun, method: str) -> dict:
    if not run.record:
        remedy = "call its evaluate and save first, then open its folder"
        raise ZS3Error(f"{run.name} has no record yet: {remedy}")
    return run.record["methods"][method]
