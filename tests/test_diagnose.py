"""What diagnose.ipynb computes, on crafted features and confusions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from zs3lib import ZS3Error, mmd, plots, split
from zs3lib.explore import diagnose
from zs3lib.finished import FinishedRun
from zs3lib.method.generator import Head

SPLIT = split("voc", 2)  # unseen: cow (10), motorbike (14)
FEATURES = 64


@pytest.fixture
def run(settings, tmp_path):
    """A run whose classifier takes feature c for class c, with a crafted confusion matrix."""
    torch.manual_seed(0)
    words = torch.randn(21, 300)
    words[10] = 3 * (words[13] + 0.1 * torch.randn(300))  # cow's word is all but horse's, longer
    words[14] = words[0]  # motorbike's is background's, which does not count
    head = Head(words=words, features=FEATURES).eval()
    with torch.no_grad():
        head.classifier.weight.zero_()
        head.classifier.bias.zero_()
        head.classifier.weight[range(21), range(21)] = 10
    counts = np.diag(np.arange(21)) * 10
    counts[10] = 0
    counts[10, [10, 13, 0]] = 30, 60, 10
    iou = {name: float(i) for i, name in enumerate(SPLIT.names)}
    result = {"confusion": counts.tolist(), "per_class_iou": iou}
    record = {"methods": dict.fromkeys(diagnose.METHODS, result)}
    heads = dict.fromkeys(diagnose.METHODS, head)
    return FinishedRun(tmp_path / "toy" / "voc-k2-s0", record, settings(), SPLIT, None, heads)


def unit(*classes: int, scale: float = 1.0) -> torch.Tensor:
    """Features that the crafted classifier gives to these classes, one each."""
    rows = torch.zeros(len(classes), FEATURES)
    rows[range(len(classes)), list(classes)] = scale
    return rows


def test_confusion_is_percent_of_each_true_class(run):
    table = diagnose.confusion(run, "ours")
    assert table.loc["cow", ["cow", "horse", "background"]].tolist() == [30, 60, 10]
    assert table.loc["person", "person"] == 100
    assert table.loc["background"].isna().all()  # no pixel in the crafted matrix


def test_the_nearest_seen_word_by_cosine_never_background(run):
    table = diagnose.words_and_iou(run)
    assert table.loc["cow", "nearest"] == "horse" and table.loc["cow", "distance"] < 0.02
    assert table.loc["motorbike", "nearest"] != "background"
    assert table["ours"].tolist() == [10, 14]


def test_confidences_and_q(run):
    scored = diagnose.confidences(run, "ours", {10: unit(10, 10, 13, 10), 3: unit(3)})
    assert scored["predicted"].tolist() == ["cow", "cow", "horse", "cow", "bird"]
    assert scored["unseen"].tolist() == [True] * 4 + [False]
    expected = np.exp(10) / (np.exp(10) + 20)
    np.testing.assert_allclose(scored["confidence"], expected, rtol=1e-5)
    kept = diagnose.kept(run, scored)
    assert kept["cow"] == run.settings.samples * 0.75 and np.isnan(kept["motorbike"])
    unsure = diagnose.confidences(run, "ours", {10: unit(10, 10, scale=0.1)})
    assert diagnose.kept(run, unsure)["cow"] == 0  # right, but below tau


def test_the_projection_is_that_of_the_real_features_with_classes_weighing_the_same(run):
    torch.manual_seed(1)
    many = torch.randn(400, FEATURES) * 0.01
    few = torch.randn(20, FEATURES) * 0.01
    many[:, 5] += 4  # the classes lie 4 apart in one direction
    few[:, 7] += torch.randn(20)  # and one of them is long in another
    frame = diagnose.projected(run, {1: many, 2: few}, {"ours": {1: few}})
    centres = frame.groupby(["source", "class"])["x"].mean()
    apart = abs(centres["real", "aeroplane"] - centres["real", "bicycle"])
    assert apart == pytest.approx(4, rel=0.05)
    assert centres["ours", "aeroplane"] == centres["real", "bicycle"]
    weights = np.r_[np.full(400, 1 / 800), np.full(20, 1 / 40)]
    covariance = np.cov(torch.cat([many, few]).numpy().T, aweights=weights, ddof=0)
    share = 100 * np.linalg.eigvalsh(covariance)[::-1] / np.trace(covariance)
    assert frame.attrs["explained"] == pytest.approx(share[:2], rel=1e-4)


def test_reasons(run):
    real = {10: unit(13, 13, 13, 13, 10), 14: unit(14, 0)}
    generated = {10: unit(*[10] * 9, 13), 14: unit(2, 2, 2, 14)}
    table = diagnose.reasons(run, "ours", real, generated)
    assert list(table.index) == ["cow", "motorbike"]  # by IoU
    cow = table.loc["cow"]
    assert cow[["taken for", "share", "nearest"]].tolist() == ["horse", 60, "horse"]
    assert cow[["recognised", "found"]].tolist() == [90, 20]
    assert cow["MMD"] == pytest.approx(float(mmd(real[10], generated[10])))
    assert cow["mean distance"] == pytest.approx(np.hypot(0.8 - 0.1, 0.2 - 0.9))
    assert table.loc["motorbike", ["recognised", "found"]].tolist() == [25, 50]
    assert table["fails at"].tolist() == ["generated unlike real", "telling words apart"]


@pytest.mark.parametrize("real", [{10: unit(13, 10)}, {3: unit(3, 3)}])
def test_unseen_classes_that_no_image_shows_are_told_and_drawn(run, real):
    generated = {10: unit(10, 10), 14: unit(2, 14), 3: unit(3, 3)}
    table = diagnose.reasons(run, "ours", real, generated).loc["motorbike"]
    assert np.isnan(table["MMD"]) and np.isnan(table["found"])
    assert len(
        plots.projections(diagnose.projected(run, real, {"ours": generated}), {"cow": "c"}).axes
    )
    scored = {("ours", "real"): diagnose.confidences(run, "ours", real)}
    scored["ours", "generated"] = diagnose.confidences(run, "ours", generated)
    frame = pd.concat(scored, names=["method", "kind", "row"]).reset_index()
    seen, unseen = (ax.get_title() for ax in plots.confidence_histograms(frame, 0.85).axes)
    assert seen.startswith("Ours, seen classes") and "generated 100 % right" in seen
    assert ("real 50 % right" in unseen) == (10 in real) and "generated 75 % right" in unseen


class ColourModel(torch.nn.Module):
    """Its feature is the pixel's own colour."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def features(self, images):
        return torch.nn.functional.pad(images[:, :, 2::4, 2::4], (0, 0, 0, 0, 0, FEATURES - 3))


def test_real_features_are_those_of_the_labelled_pixels(run):
    opened = replace(run, model=ColourModel())
    real = diagnose.real_features(opened, per_class=30, images=8)
    data = opened.open_data("val")
    assert set(real) <= set(np.flatnonzero(data.presence.any(0)).tolist()) and len(real[0]) == 30
    assert all(2 <= len(x) <= 30 and x.shape[1] == FEATURES for x in real.values())
    again = diagnose.real_features(opened, per_class=30, images=8)
    assert all(torch.equal(real[c], again[c]) for c in real)
    few = diagnose.real_features(opened, per_class=30, images=1)
    assert all(len(x) <= diagnose.PER_IMAGE for x in few.values())


def test_generated_features_are_repeatable_and_leave_the_head_as_it_was(run):
    head = run.heads["ours"]
    state = torch.random.get_rng_state()
    first, second = (diagnose.generated_features(head, per_class=5) for _ in range(2))
    assert torch.equal(first[10], second[10]) and first[14].shape == (5, FEATURES)
    assert not torch.equal(first[10], first[14])
    assert not head.generator.training and torch.equal(state, torch.random.get_rng_state())


def test_shown_classes_are_the_best_seen_ones_and_all_unseen_ones(run):
    titles = diagnose.shown_classes(run)
    assert list(titles) == ["tvmonitor", "train", "motorbike", "cow"]
    assert titles["cow"] == "★ cow: 10 %" and titles["train"] == "train: 19 %"
    real = {c: torch.randn(10, FEATURES) for c in (0, 1, 10)}
    generated = {m: {c: torch.randn(10, FEATURES) for c in range(21)} for m in diagnose.METHODS}
    fig = plots.projections(diagnose.projected(run, real, generated), titles)
    assert [ax.get_title() for ax in fig.axes] == list(titles.values())
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["real, every class", "real", "ZS3Net", "Ours"]


def test_a_run_without_a_record_is_refused(run):
    with pytest.raises(ZS3Error, match="toy/voc-k2-s0 has no record yet"):
        diagnose.shown_classes(replace(run, record={}))
