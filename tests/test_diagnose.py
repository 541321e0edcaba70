"""What diagnose.ipynb computes, on crafted features and confusions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zs3lib import mmd, split
from zs3lib.explore import diagnose
from zs3lib.method.generator import Head
from zs3lib.runs.finished import FinishedRun

SPLIT = split("voc", 2)  # unseen: cow (10), motorbike (14)
FEATURES = 64


@pytest.fixture
def run(settings, tmp_path):
    """A run whose classifier takes feature c for class c, with a crafted confusion matrix."""
    torch.manual_seed(0)
    words = torch.randn(21, 300)
    words[10] = 3 * (words[13] + 0.1 * torch.randn(300))  # cow's word is all but horse's, longer
    words[14] = words[0]  # motorbike's is background's, which does not count
    head = Head(words=words, feature_dim=FEATURES).eval()
    with torch.no_grad():
        head.classifier.weight.zero_()
        head.classifier.bias.zero_()
        head.classifier.weight[range(21), range(21)] = 10
    counts = np.diag(np.arange(21)) * 10
    counts[10, [10, 13, 0]] = 30, 60, 10
    counts[14] = 0
    iou = {name: float(i) for i, name in enumerate(SPLIT.names)}
    result = {"confusion": counts.tolist(), "per_class_iou": iou}
    record = {"methods": dict.fromkeys(("zs3net", "ours"), result)}
    heads = dict.fromkeys(("zs3net", "ours"), head)
    return FinishedRun(tmp_path / "toy" / "voc-k2-s0", record, settings(), SPLIT, None, heads)


def unit(*classes: int, scale: float = 1.0) -> torch.Tensor:
    """Features that the crafted classifier gives to these classes, one each."""
    rows = torch.zeros(len(classes), FEATURES)
    rows[range(len(classes)), list(classes)] = scale
    return rows


def test_confidences_and_q(run):
    scored = diagnose.confidences(run, "ours", {10: unit(10, 10, 13, 10), 3: unit(3)})
    assert scored["predicted"].tolist() == ["cow", "cow", "horse", "cow", "bird"]
    assert scored["unseen"].tolist() == [True] * 4 + [False]
    assert scored["confidence"].to_numpy() == pytest.approx(np.exp(10) / (np.exp(10) + 20))
    kept = diagnose.kept(run, scored)
    assert kept["cow"] == run.settings.samples * 0.75 and np.isnan(kept["motorbike"])
    unsure = diagnose.confidences(run, "ours", {10: unit(10, 10, scale=0.1)})
    assert diagnose.kept(run, unsure)["cow"] == 0  # right, but below tau


def test_the_projection_is_that_of_the_real_features(run):
    torch.manual_seed(1)
    real = torch.randn(100, FEATURES) * 0.01
    real[:50, 5] += 4  # two clouds, 4 apart in one direction
    frame = diagnose.projected(run, {1: real[:50], 2: real[50:]}, {"ours": {1: real[50:]}})
    centres = frame.groupby(["source", "class"])["x"].mean()
    assert abs(centres["real", "aeroplane"] - centres["real", "bicycle"]) > 3.9
    assert centres["ours", "aeroplane"] == pytest.approx(centres["real", "bicycle"])
    share = np.linalg.eigvalsh(np.cov(real.numpy().T))[::-1]
    assert frame.attrs["explained"] == pytest.approx(100 * share[:2] / share.sum(), rel=1e-3)


def test_reasons(run):
    real = {10: unit(13, 13, 13, 13, 10)}
    generated = {10: unit(*[10] * 9, 13), 14: unit(2, 2, 2, 14)}
    table = diagnose.reasons(run, "ours", real, generated)
    assert list(table.index) == ["cow", "motorbike"]  # by IoU
    cow, motorbike = table.loc["cow"], table.loc["motorbike"]
    assert cow[["taken for", "share", "nearest"]].tolist() == ["horse", 60, "horse"]
    cosine = torch.cosine_similarity(*run.heads["ours"].words[[10, 13]], dim=0)
    assert cow["similarity"] == pytest.approx(float(cosine))
    assert cow[["recognised", "found"]].tolist() == [90, 20]
    assert cow["MMD"] == pytest.approx(float(mmd(real[10], generated[10])))
    assert motorbike["nearest"] != "background" and motorbike["recognised"] == 25
    assert motorbike[["MMD", "found"]].isna().all()  # no validation image shows one
    assert table["fails at"].tolist() == ["generated unlike real", "telling words apart"]


class ColourModel(torch.nn.Module):
    """Its feature is the pixel's own colour."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def features(self, images):
        return torch.nn.functional.pad(images[:, :, 2::4, 2::4], (0, 0, 0, 0, 0, FEATURES - 3))


def test_real_and_generated_features_are_as_many_as_asked_for_and_repeatable(run):
    opened = replace(run, model=ColourModel())
    real, again = (diagnose.real_features(opened, per_class=30, images=8) for _ in range(2))
    present = opened.open_data("val").presence.any(0)
    assert set(real) <= set(np.flatnonzero(present).tolist()) and len(real[0]) == 30
    assert all(2 <= len(x) <= 30 and torch.equal(x, again[c]) for c, x in real.items())
    head = run.heads["ours"]
    first, second = (diagnose.generated_features(head, per_class=5) for _ in range(2))
    assert torch.equal(first[10], second[10]) and first[14].shape == (5, FEATURES)
    assert not torch.equal(first[10], first[14]) and not head.generator.training


def test_shown_classes_are_the_best_seen_ones_and_all_unseen_ones(run):
    titles = diagnose.shown_classes(run, "ours")
    assert list(titles) == ["tvmonitor", "train", "motorbike", "cow"]
    assert titles["cow"] == "★ cow: 10 %" and titles["train"] == "train: 19 %"
