"""Why a class fails: real features against generated ones, where its pixels go, its word."""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.augment import validation_input
from ..method.features import extract
from ..method.generator import Head
from ..method.layout import cell_labels
from ..method.losses import mmd
from ..runs.finished import FinishedRun
from .statistics import cosine_similarity, nearest_seen

PER_IMAGE = 25  # feature cells of a class from one image at most: it is seen in several images
RECOGNISED, FOUND = 50.0, 25.0  # percent, see `reasons`

Features = Mapping[int, Tensor]  # class index -> its features, (n, F) float32


def real_features(run: FinishedRun, *, per_class: int, images: int) -> dict[int, Tensor]:
    """Features of validation pixels by class, {class: (n, F) float32}, n <= `per_class`.

    Images are taken in a random order, at most PER_IMAGE feature cells of a class from each, until
    every class has enough or `images` have been read; absent classes are left out. A cell has the
    class of the pixel at its centre.
    """
    data = run.open_data("val")
    rng = np.random.default_rng(0)
    found = defaultdict(list)
    for i in tqdm(rng.permutation(len(data))[:images], desc="real features", unit="image"):
        shown = np.flatnonzero(data.presence[i]).tolist()
        useful = [c for c in shown if sum(map(len, found[c])) < per_class]
        if not useful:
            continue
        image, labels = data.load(i)
        features = extract(run.model, validation_input(image, run.settings), run.settings)
        features = features[0].float().cpu()
        corners = run.settings.align_corners
        labels = torch.from_numpy(labels)[None]
        cells = cell_labels(labels, features.shape[:2], align_corners=corners)[0]
        for c in useful:
            rows = features[cells == c]
            found[c].append(rows[rng.permutation(len(rows))[:PER_IMAGE]])
    features = {c: torch.cat(found[c])[:per_class] for c in sorted(found)}
    return {c: rows for c, rows in features.items() if len(rows) > 1}


def generated_features(head: Head, *, per_class: int) -> dict[int, Tensor]:
    """Generated features of every class, {class: (per_class, F) float32}."""
    head = copy.deepcopy(head).train()  # with dropout, as the classifier learned from them
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {c: head.generate(c, per_class).cpu() for c in range(len(head.words))}


def projected(run: FinishedRun, real: Features, generated: Mapping[str, Features]) -> pd.DataFrame:
    """Features, generated ones by method, in the two directions in which real ones vary most (PCA).

    Returns: columns "class", "source" ("real" or the method), "x", "y"; `attrs["explained"]`: the
    share of the real features' variance in x and y, percent.
    """
    rows = torch.cat(list(real.values()))
    centre = rows.mean(0)
    _, size, axes = torch.linalg.svd(rows - centre, full_matrices=False)
    frames = []
    for source, features in {"real": real, **generated}.items():
        for c, x in features.items():
            frame = pd.DataFrame(((x - centre) @ axes[:2].T).numpy(), columns=["x", "y"])
            frames.append(frame.assign(source=source, **{"class": run.split.names[c]}))
    frame = pd.concat(frames, ignore_index=True)
    frame.attrs["explained"] = (100 * size**2 / (size**2).sum())[:2].tolist()
    return frame


def shown_classes(run: FinishedRun, method: str) -> dict[str, str]:
    """{class: "★ class: IoU"} by a method: the two best seen classes besides background, to compare
    with, then all unseen ones from best to worst.
    """
    iou = pd.Series(run.record["methods"][method]["per_class_iou"])
    hidden = list(run.split.unseen_names)
    seen = iou.drop(["background", *hidden], errors="ignore").nlargest(2)
    titles = {name: f"{name}: {value:.0f} %" for name, value in seen.items()}
    unseen = iou[hidden].sort_values(ascending=False)
    return titles | {name: f"★ {name}: {value:.0f} %" for name, value in unseen.items()}


def confusion(run: FinishedRun, method: str) -> pd.DataFrame:
    """The record's confusion matrix in percent of each true class's pixels (rows), NaN of none."""
    names = list(run.split.names)
    counts = pd.DataFrame(run.record["methods"][method]["confusion"], names, names)
    return 100 * counts.div(counts.sum(axis=1), axis=0)


def words_and_iou(run: FinishedRun, methods: Sequence[str]) -> pd.DataFrame:
    """For each unseen class how near its word is to a seen one, and its IoU (percent) by method.

    Columns: those of `statistics.nearest_seen`, "distance", 1 minus the cosine, and the methods.
    """
    vectors = run.heads[methods[0]].words.cpu()
    table = nearest_seen(cosine_similarity(vectors, run.split.names), run.split)
    table["distance"] = 1 - table["similarity"]
    for method in methods:
        table[method] = pd.Series(run.record["methods"][method]["per_class_iou"])
    return table.rename_axis("class")


def confidences(run: FinishedRun, method: str, features: Features) -> pd.DataFrame:
    """What the classifier makes of features, a row each: columns "class", "unseen", "predicted",
    "confidence" (softmax probability of the predicted class, in [0, 1]).
    """
    head = run.heads[method]
    names = np.array(run.split.names)
    classes = np.repeat(list(features), [len(rows) for rows in features.values()])
    rows = torch.cat(list(features.values())).to(head.words.device)
    with torch.no_grad():
        scores = head.classifier(rows).softmax(1).cpu().max(1)
    frame = pd.DataFrame({"class": names[classes], "unseen": np.isin(classes, run.split.unseen)})
    return frame.assign(predicted=names[scores.indices], confidence=scores.values.numpy())


def kept(run: FinishedRun, scored: pd.DataFrame) -> pd.Series:
    """Q of Eq. 2 for each unseen class: how many of `samples` generated features a step would keep.

    `scored` are the `confidences` of generated features; kept are those recognised with confidence
    above tau.
    """
    right = (scored["predicted"] == scored["class"]) & (scored["confidence"] > run.settings.tau)
    share = right.groupby(scored["class"]).mean()
    return run.settings.samples * share.reindex(run.split.unseen_names)


def reasons(run: FinishedRun, method: str, real: Features, generated: Features) -> pd.DataFrame:
    """One row per unseen class, from the lowest IoU to the highest.

    Columns: "IoU"; "taken for", the class that most of its other pixels are given to, and their
    "share" (percent); "nearest" and "similarity" of `words_and_iou`; "MMD" (Eq. 1's root) of
    generated to real features; percent of generated features "recognised" as their class, and of
    real ones "found"; "fails at", read from these two:
        "telling words apart": fewer than RECOGNISED, the classifier never had a chance;
        "generated unlike real": else fewer than FOUND, it learned features that are not there.
    A class without validation pixels has NaN.
    """
    words = words_and_iou(run, [method])
    names = run.split.names
    lost = confusion(run, method).fillna(0) * (1 - np.eye(len(names)))
    lost = lost.loc[words.index]
    share = lost.max(axis=1)
    apart = {names[c]: float(mmd(x, generated[c])) for c, x in real.items()}
    columns = {
        "IoU": words[method],
        "taken for": lost.idxmax(axis=1).where(share > 0, ""),
        "share": share,
        "nearest": words["nearest"],
        "similarity": words["similarity"],
        "MMD": pd.Series(apart),
    }
    table = pd.DataFrame(columns, words.index)
    for column, features in {"recognised": generated, "found": real}.items():
        scored = confidences(run, method, features)
        right = scored["predicted"] == scored["class"]
        table[column] = 100 * right.groupby(scored["class"]).mean()
    table["fails at"] = np.where(table["found"] < FOUND, "generated unlike real", "")
    table.loc[table["recognised"] < RECOGNISED, "fails at"] = "telling words apart"
    return table.sort_values("IoU")
