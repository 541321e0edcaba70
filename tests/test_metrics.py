"""The ten numbers of a table row by hand and by pixel sets; evaluation at the masks' own size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crafted import tiny
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from zs3lib.classes import VOID, Split, split
from zs3lib.method.deeplab import build, freeze
from zs3lib.method.evaluate import evaluate
from zs3lib.method.features import predict
from zs3lib.method.metrics import class_iou, confusion_matrix, scores
from zs3lib.method.operating import OFFSETS, confusions, operating_point

THREE = Split("voc", 1, ("a", "b", "c"), (0, 1), (2,))


def test_scores_of_three_classes_by_hand():
    # rows are the truth: 60, 40 and 20 pixels; columns are predictions: 57, 50 and 13
    confusion = np.array([[50, 10, 0], [5, 30, 5], [2, 10, 8]])
    iou = [50 / 67, 30 / 60, 8 / 25]
    np.testing.assert_allclose(class_iou(confusion), iou, rtol=1e-15)
    seen = 100 * (50 / 67 + 0.5) / 2
    by_hand = {
        "seen_pa": 80.0,  # 80 of 100 pixels
        "seen_ma": 100 * (50 / 60 + 30 / 40) / 2,
        "seen_miou": seen,
        "unseen_pa": 40.0,  # 8 of 20 pixels
        "unseen_ma": 40.0,
        "unseen_miou": 32.0,
        "overall_pa": 100 * 88 / 120,
        "overall_ma": 100 * (50 / 60 + 30 / 40 + 8 / 20) / 3,
        "overall_miou": 100 * (50 / 67 + 0.5 + 0.32) / 3,
        "hiou": 2 * seen * 32 / (seen + 32),
    }
    row = scores(confusion, THREE)
    assert row == pytest.approx(by_hand, rel=1e-12)
    assert scores(torch.tensor(confusion), THREE) == row
    assert row["hiou"] == pytest.approx(42.2852, abs=1e-4)


@st.composite
def label_maps(draw):
    """A label map of any shape, some classes absent, perhaps void throughout; a prediction."""
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
    present = draw(st.lists(st.integers(0, 20), min_size=1, max_size=4))
    values = st.sampled_from([*present, VOID]) if draw(st.booleans()) else st.just(VOID)
    labels = draw(arrays.arrays(np.uint8, shape, elements=values))
    predicted = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 20)))
    return torch.from_numpy(labels), torch.from_numpy(predicted)


@examples(max_examples=200, deadline=None)
@given(label_maps(), st.integers(1, 10))
def test_scores_of_any_label_map_are_those_of_its_pixel_sets(maps, k):
    labels, predicted = maps
    known = labels != VOID
    confusion = confusion_matrix(labels, predicted, 21)
    assert int(confusion.sum()) == int(known.sum())
    ious = class_iou(confusion.numpy())
    for c, iou in enumerate(ious):
        truth = (labels == c) & known
        found = (predicted == c) & known
        union = int((truth | found).sum())
        assert iou == pytest.approx(int((truth & found).sum()) / union if union else 0.0)
    parts = split("voc", k)
    row = scores(confusion, parts)
    mean = {name: row[f"{name}_miou"] for name in ("seen", "unseen", "overall")}
    for name, classes in (("seen", parts.seen), ("unseen", parts.unseen), ("overall", range(21))):
        assert mean[name] == pytest.approx(100 * ious[list(classes)].mean())
    total = mean["seen"] + mean["unseen"]
    harmonic = 2 * mean["seen"] * mean["unseen"] / total if total else 0.0
    assert row["hiou"] == pytest.approx(harmonic)
    accuracy = (row["seen_ma"] * (21 - k) + row["unseen_ma"] * k) / 21
    assert row["overall_ma"] == pytest.approx(accuracy)
    assert all(0 <= v <= 100 + 1e-9 for v in row.values())


# ---- evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
def test_every_classifier_is_scored_at_the_masks_own_size(align_corners):
    """Masks larger than the picture that the network saw, of a size that is no multiple of 4."""
    s = tiny(align_corners=align_corners, amp=False)
    network = freeze(build(s, 21))
    torch.manual_seed(0)
    classifiers = {name: nn.Linear(16, 21) for name in ("a", "b")}
    images = [
        (torch.randn(1, 3, *size), torch.randint(0, 21, mask).byte())
        for size, mask in (((32, 40), (51, 67)), ((36, 32), (45, 39)))
    ]
    images[0][1][:9] = VOID
    expected = {name: np.zeros((21, 21), int) for name in classifiers}
    for image, labels in images:
        features = network.features(image).half().float()
        for name, classifier in classifiers.items():
            logits = F.conv2d(features, classifier.weight[..., None, None], classifier.bias)
            options = {"mode": "bilinear", "align_corners": align_corners}
            best = F.interpolate(logits, labels.shape, **options)[0].argmax(0)
            found = predict(network, {name: classifier}, image, tuple(labels.shape), s)[name]
            assert found.dtype == torch.uint8 and (found == best).float().mean() > 0.999
            known = labels != VOID
            np.add.at(expected[name], (labels[known].numpy(), found[known].numpy()), 1)
    confusions = evaluate(network, classifiers, images, split=split("voc", 4), settings=s)
    at_zero = {name: c[OFFSETS.index(0.0)].tolist() for name, c in confusions.items()}
    assert at_zero == {name: c.tolist() for name, c in expected.items()}


def test_an_offset_of_the_unseen_logits_is_counted_as_if_it_were_added():
    torch.manual_seed(3)
    parts = split("voc", 6)
    logits = 3 * torch.randn(21, 30, 40)
    labels = torch.randint(0, 22, (30, 40)).byte()
    labels[labels == 21] = VOID
    found = confusions(logits, labels, parts)
    unseen = torch.zeros(21, 1, 1)
    unseen[list(parts.unseen)] = 1
    for offset, confusion in zip(OFFSETS[1:-1], found[1:-1]):
        called = (logits + offset * unseen).argmax(0)
        assert torch.equal(confusion, confusion_matrix(labels, called, 21))
    for end, group in ((0, parts.seen), (-1, parts.unseen)):  # all seen, and all unseen
        assert found[end].sum(0).nonzero().flatten().tolist() == sorted(group)


def test_the_operating_point_by_hand():
    # two classes of a pixel each, the second unseen: right at one offset alone, -0.5
    right = torch.tensor([[1, 0], [0, 1]])
    seen = torch.tensor([[1, 0], [1, 0]])
    unseen = torch.tensor([[0, 1], [0, 1]])
    parts = Split("voc", 1, ("a", "b"), (0,), (1,))
    place = OFFSETS.index(-0.5)
    curve = torch.stack([seen] * place + [right] + [unseen] * (len(OFFSETS) - place - 1))
    found = operating_point(curve, curve, parts)
    assert found["offset"] == -0.5 and found["best_hiou"] == 100
    assert found["curve"]["seen_miou"] == [50] * place + [100] + [0] * (len(OFFSETS) - place - 1)
    # from (50, 0) to (100, 100) to (0, 50): 75 left of the peak, less 25 that lies below (50, 0)
    assert found["area"] == pytest.approx(50)
    assert operating_point(curve, None, parts)["best_hiou"] is None


def test_an_offset_is_chosen_on_other_images_than_it_is_judged_on():
    parts = Split("voc", 1, ("a", "b"), (0,), (1,))
    random = np.random.default_rng(0)
    val, tuning = random.integers(1, 50, (2, len(OFFSETS), 2, 2))
    found = operating_point(val, tuning, parts)
    best = max(range(1, len(OFFSETS) - 1), key=lambda i: scores(tuning[i], parts)["hiou"])
    assert found["offset"] == OFFSETS[best]
    assert found["best_hiou"] == scores(val[best], parts)["hiou"]
