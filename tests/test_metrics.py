"""PA, MA, mIoU and hIoU against numbers worked out by hand and a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zs3lib.classes import Split
from zs3lib.evaluate import label_map
from zs3lib.metrics import class_iou, confusion_matrix, harmonic_mean, scores

THREE = Split("voc", 1, ("a", "b", "c"), (0, 1), (2,))


def test_scores_of_three_classes_by_hand():
    # rows are the truth: 60, 40 and 20 pixels; columns are predictions: 57, 50 and 13
    confusion = np.array([[50, 10, 0], [5, 30, 5], [2, 10, 8]])
    row = scores(confusion, THREE)
    iou = [50 / 67, 30 / 60, 8 / 25]
    np.testing.assert_allclose(class_iou(confusion), iou, rtol=1e-15)
    seen_miou, unseen_miou = 100 * (50 / 67 + 0.5) / 2, 32.0
    by_hand = {
        "seen_pa": 80.0,  # 80 of 100 pixels
        "seen_ma": 100 * (50 / 60 + 30 / 40) / 2,
        "seen_miou": seen_miou,
        "unseen_pa": 40.0,  # 8 of 20 pixels
        "unseen_ma": 40.0,
        "unseen_miou": unseen_miou,
        "overall_pa": 100 * 88 / 120,
        "overall_ma": 100 * (50 / 60 + 30 / 40 + 8 / 20) / 3,
        "overall_miou": 100 * (50 / 67 + 0.5 + 0.32) / 3,
        "hiou": 2 * seen_miou * unseen_miou / (seen_miou + unseen_miou),
    }
    assert row == pytest.approx(by_hand, rel=1e-12)
    assert scores(torch.tensor(confusion), THREE) == row
    assert row["hiou"] == pytest.approx(42.2852, abs=1e-4)


def test_confusion_counts_pairs_and_ignores_void():
    labels = torch.tensor([[0, 0, 1], [2, 255, 255]], dtype=torch.uint8)
    predictions = torch.tensor([[0, 1, 1], [0, 2, 0]], dtype=torch.uint8)
    expected = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    found = confusion_matrix(labels, predictions, 3)
    assert torch.equal(found, expected) and found.dtype == torch.int64


def test_a_class_nowhere_present_counts_zero():
    confusion = np.array([[4, 0, 0], [0, 6, 0], [0, 0, 0]])
    assert class_iou(confusion).tolist() == [1.0, 1.0, 0.0]
    row = scores(confusion, THREE)
    assert row["seen_miou"] == row["seen_pa"] == row["seen_ma"] == row["overall_pa"] == 100.0
    assert row["unseen_pa"] == row["unseen_ma"] == row["unseen_miou"] == row["hiou"] == 0.0
    assert row["overall_miou"] == row["overall_ma"] == pytest.approx(200 / 3)


def test_a_class_only_predicted_counts_zero_too():
    confusion = np.array([[4, 0, 4], [0, 8, 0], [0, 0, 0]])
    assert class_iou(confusion).tolist() == [0.5, 1.0, 0.0]
    assert scores(confusion, THREE)["overall_ma"] == pytest.approx(100 * (0.5 + 1 + 0) / 3)


def test_all_void_scores_zero_everywhere():
    confusion = confusion_matrix(torch.full((4, 5), 255), torch.zeros(4, 5, dtype=torch.uint8), 3)
    assert confusion.shape == (3, 3) and confusion.sum() == 0
    assert set(scores(confusion, THREE).values()) == {0.0}


def test_a_single_pixel():
    confusion = confusion_matrix(torch.tensor(2), torch.tensor(2), 3)
    assert confusion.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    row = scores(confusion, THREE)
    assert row["unseen_miou"] == row["overall_pa"] == 100.0 and row["seen_miou"] == row["hiou"] == 0.0


@pytest.mark.parametrize("seen, unseen, expected", [(0, 0, 0), (50, 0, 0), (60, 30, 40), (20, 20, 20)])
def test_harmonic_mean(seen, unseen, expected):
    assert harmonic_mean(seen, unseen) == pytest.approx(expected)


@examples(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_confusion_and_iou_against_a_loop(classes, height, width, seed):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((height, width)) < 0.2, 255, rng.integers(0, classes, (height, width))).astype(
        np.uint8
    )
    predictions = rng.integers(0, classes, (height, width)).astype(np.uint8)
    expected = np.zeros((classes, classes), int)
    for truth, guess in zip(labels.ravel(), predictions.ravel()):
        if truth != 255:
            expected[truth, guess] += 1
    found = confusion_matrix(torch.from_numpy(labels), torch.from_numpy(predictions), classes).numpy()
    np.testing.assert_array_equal(found, expected)
    for c, iou in enumerate(class_iou(found)):
        truth, guess = (labels == c), (predictions == c) & (labels != 255)
        union = (truth | guess).sum()
        assert iou == pytest.approx((truth & guess).sum() / union if union else 0.0)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("cells, size", [((6, 9), (23, 40)), ((1, 5), (7, 21)), ((5, 7), (5, 7))])
def test_label_map_upsamples_few_classes_and_finds_the_most_likely_of_all(cells, size, align_corners):
    logits = torch.randn(*cells, 12, generator=torch.Generator().manual_seed(3))
    logits[..., 4:] -= torch.linspace(0, 4, 8)  # some classes win often, some only between the cells, some never
    whole = F.interpolate(logits.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=align_corners)[0]
    found = label_map(logits, size, align_corners=align_corners)
    assert found.dtype == torch.uint8
    assert torch.equal(found.long(), whole.argmax(0))
