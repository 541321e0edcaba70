"""What diagnose.ipynb computes, on crafted features and confusions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from zs3lib import diagnose, split
from zs3lib.finished import FinishedRun
from zs3lib.losses import mmd
from zs3lib.plots import diagnose as plots
from zs3lib.stage2 import Head

SPLIT = split("voc", 2)  # unseen: cow (10), motorbike (14)


@pytest.fixture
def run(settings, tmp_path):
    """A run whose classifier takes feature c (of 256) for class c, and whose record has a crafted confusion matrix."""
    torch.manual_seed(0)
    words = torch.randn(21, 300)
    words[10] = 3 * (words[13] + 0.1 * torch.randn(300))  # cow's word is all but horse's, and longer
    words[14] = words[0]  # motorbike's is background's, which does not count
    heads = {}
    for method in diagnose.METHODS:
        head = Head(words=words).eval()
        with torch.no_grad():
            head.classifier.weight.zero_()
            head.classifier.bias.zero_()
            head.classifier.weight[range(21), range(21)] = 10
        heads[method] = head
    counts = np.diag(np.arange(21)) * 10
    counts[10] = 0
    counts[10, [10, 13, 0]] = 30, 60, 10
    result = {"confusion": counts.tolist(), "per_class_iou": {n: float(i) for i, n in enumerate(SPLIT.names)}}
    record = {"methods": dict.fromkeys(diagnose.METHODS, result)}
    return FinishedRun(tmp_path / "toy" / "voc-k2-s0", record, settings(), SPLIT, None, heads)


def unit(*classes: int, scale: float = 1.0) -> torch.Tensor:
    """Features that the crafted classifier gives to these classes, one each."""
    rows = torch.zeros(len(classes), 256)
    rows[range(len(classes)), list(classes)] = scale
    return rows


def test_confusion_is_percent_of_each_true_class(run):
    table = diagnose.confusion(run, "ours")
    assert table.loc["cow", ["cow", "horse", "background"]].tolist() == [30, 60, 10]
    assert table.loc["person", "person"] == 100
    assert table.loc["background"].isna().all()  # no pixel in the crafted matrix


def test_the_nearest_seen_word_by_cosine_never_background(run):
    near = diagnose.nearest_seen(run)
    assert near.loc["cow", "nearest"] == "horse" and near.loc["cow", "similarity"] > 0.98
    words = torch.nn.functional.normalize(run.heads["ours"].words, dim=1)
    seen = [c for c in SPLIT.seen if c]
    assert near.loc["motorbike", "similarity"] == pytest.approx(float((words[seen] @ words[14]).max()))
    assert near.loc["motorbike", "nearest"] != "background"


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


def test_the_projection_is_that_of_the_real_features_with_classes_weighing_the_same():
    torch.manual_seed(1)
    many, few = torch.randn(400, 256) * 0.01, torch.randn(20, 256) * 0.01
    many[:, 5] += 4  # the classes lie 4 apart in one direction
    few[:, 7] += torch.randn(20)  # and one of them is long in another
    project = diagnose.Projection.fit({1: many, 2: few})
    assert project.centre[5] == pytest.approx(2, abs=0.01)
    first = (project(many) - project(few).mean(0))[:, 0]
    assert np.abs(first).mean() == pytest.approx(4, rel=0.05)
    assert project.explained[0] > 0.7 > project.explained[1] > 0.05
    values = torch.cat([many, few]).numpy()
    weights = np.r_[np.full(400, 1 / 800), np.full(20, 1 / 40)]
    covariance = np.cov(values.T, aweights=weights, ddof=0)
    assert project.explained[0] == pytest.approx(np.linalg.eigvalsh(covariance)[-1] / np.trace(covariance), rel=1e-4)


def test_reasons(run):
    real = {10: unit(13, 13, 13, 13, 10), 14: unit(14, 0)}
    generated = {10: unit(*[10] * 9, 13), 14: unit(2, 2, 2, 14)}
    table = diagnose.reasons(run, "ours", real, generated)
    assert list(table.index) == ["cow", "motorbike"]  # by IoU
    cow, motorbike = table.loc["cow"], table.loc["motorbike"]
    assert (cow["taken for"], cow["share"], cow["nearest seen"]) == ("horse", 60, "horse")
    assert (cow["recognised"], cow["found"], cow["fails at"]) == (90, 20, "generated unlike real")
    assert (motorbike["recognised"], motorbike["found"], motorbike["fails at"]) == (25, 50, "telling words apart")
    assert cow["MMD"] == pytest.approx(float(mmd(real[10], generated[10])))
    assert cow["mean distance"] == pytest.approx(np.hypot(0.8 - 0.1, 0.2 - 0.9))
    absent = diagnose.reasons(run, "ours", {10: real[10]}, generated).loc["motorbike"]
    assert np.isnan(absent["MMD"]) and np.isnan(absent["found"]) and absent["fails at"] == "telling words apart"


def test_real_features_are_those_of_the_labelled_pixels(run, settings, world):
    class Model(torch.nn.Module):
        """Its feature is the pixel's own colour."""

        def __init__(self):
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def features(self, images):
            return torch.nn.functional.pad(images[:, :, 2::4, 2::4], (0, 0, 0, 0, 0, 253))

    opened = replace(run, model=Model())
    real = diagnose.real_features(opened, per_class=30, images=8)
    data = opened.open_data("val")
    assert set(real) <= set(np.flatnonzero(data.presence.any(0)).tolist()) and 0 in real
    assert all(2 <= len(x) <= 30 and x.shape[1] == 256 for x in real.values())
    assert len(real[0]) == 30
    again = diagnose.real_features(opened, per_class=30, images=8)
    assert all(torch.equal(real[c], again[c]) for c in real)
    few = diagnose.real_features(opened, per_class=30, images=1)
    assert all(len(x) <= diagnose.PER_IMAGE for x in few.values())


def test_generated_features_are_repeatable_and_leave_the_head_as_it_was(run):
    head = run.heads["ours"]
    state = torch.random.get_rng_state()
    first, second = (diagnose.generated_features(head, [10, 14], per_class=5) for _ in range(2))
    assert torch.equal(first[10], second[10]) and first[14].shape == (5, 256) and not torch.equal(first[10], first[14])
    assert not head.generator.training and torch.equal(state, torch.random.get_rng_state())


def test_figures(run):
    torch.manual_seed(0)
    real = {c: torch.randn(10, 256) + c for c in (0, 1, 10)}
    generated = {m: {c: torch.randn(10, 256) + c for c in range(21)} for m in diagnose.METHODS}
    iou = run.record["methods"]["ours"]["per_class_iou"]
    shown = plots.shown_classes(SPLIT.names, SPLIT.unseen_names, iou)
    assert shown == ["tvmonitor", "train", "motorbike", "cow"]
    classes = [SPLIT.names.index(name) for name in shown]
    fig = plots.projections(diagnose.Projection.fit(real), real, generated, classes, shown)
    assert [ax.get_title() for ax in fig.axes] == shown
    tables = {m: diagnose.confusion(run, m) for m in diagnose.METHODS}
    fig = plots.confusion_heatmaps(tables, SPLIT.unseen_names)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()][:3] == ["★ cow", "★ motorbike", "background"]
    assert {"30", "60", "10"} <= {t.get_text() for t in fig.axes[0].texts}
    large = pd.DataFrame(np.eye(60) * 100, *[[f"c{i}" for i in range(60)]] * 2)
    fig = plots.confusion_heatmaps({"ours": large}, ["c3", "c4"])
    assert len(fig.axes[0].get_yticklabels()) == 2 and len(fig.axes[0].get_xticklabels()) == plots.CLASSES_SHOWN
    frame = pd.DataFrame(
        {"class": ["cow", "cat"], "method": "ours", "distance": [0.1, 0.1], "IoU": [5, 5.1], "nearest": "dog"}
    )
    fig = plots.iou_over_distance(frame)
    (x, y), (x2, y2) = (text.get_position() for text in fig.axes[0].texts)
    assert abs(y - y2) > 0.05 or abs(x - x2) > 0.15  # names do not lie on one another
    scored = {(m, kind): diagnose.confidences(run, m, real) for m in diagnose.METHODS for kind in ("real", "generated")}
    assert len(plots.confidence_histograms(scored, 0.85).axes) == 4
    kept = {m: diagnose.kept(run, scored[m, "generated"]) for m in diagnose.METHODS}
    assert plots.kept_bars(kept, 48).axes[0].get_ylim()[1] == 48


def test_a_run_without_a_record_is_refused(run):
    from zs3lib import ZS3Error

    with pytest.raises(ZS3Error, match="no record yet"):
        diagnose.check(SimpleNamespace(record={}, name="toy/voc-k2-s0"))
    diagnose.check(run)
