"""What holds of losses, metrics and label maps for any input: hypothesis, 500 examples each; and numerics at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zs3lib.classes import CLASSES, UNSEEN_ORDER, VOID, split
from zs3lib.data.segmentation import Context
from zs3lib.features import at_feature_resolution
from zs3lib.losses import FLOOR, kernel, mmd, zs_mmd
from zs3lib.metrics import class_iou, confusion_matrix, harmonic_mean, scores

many = examples(max_examples=500, deadline=None)
datasets, ks = st.sampled_from(sorted(CLASSES)), st.integers(1, 10)


@st.composite
def label_maps(draw, classes: int = 21):
    """A label map of any shape from one pixel on, some classes absent, perhaps void throughout; and a prediction."""
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
    present = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=4))
    values = st.sampled_from([*present, VOID]) if draw(st.booleans()) else st.just(VOID)
    labels = draw(arrays.arrays(np.uint8, shape, elements=values))
    predicted = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))
    return torch.from_numpy(labels), torch.from_numpy(predicted)


@st.composite
def feature_sets(draw):
    """a (Q, D), b (P, D), confidences c (Q,), of scale 1e-3 to 1e3, perhaps identical or all one point; float64."""
    q, p, dim = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10 ** draw(st.floats(-3, 3))
    a, b = scale * rng.standard_normal((q, dim)), scale * rng.standard_normal((p, dim))
    kind = draw(st.sampled_from(["apart", "apart", "one set", "one point"]))
    if kind == "one set":
        b = a.copy()
    elif kind == "one point":
        a, b = np.repeat(a[:1], q, 0), np.repeat(a[:1], p, 0)
    c = rng.uniform(0, 1, q) * (rng.random(q) < draw(st.sampled_from([0.0, 0.5, 1.0])))
    return torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(c)


# ---- metrics --------------------------------------------------------------------------------------------------------


@many
@given(label_maps(), ks)
def test_scores_stay_in_range_and_void_counts_nothing(maps, k):
    labels, predicted = maps
    confusion = confusion_matrix(labels, predicted, 21)
    known = labels != VOID
    assert confusion.shape == (21, 21) and int(confusion.sum()) == int(known.sum())
    row = scores(confusion, split("voc", k))
    assert len(row) == 10 and all(math.isfinite(v) and -1e-9 <= v <= 100 + 1e-9 for v in row.values())
    assert (
        min(row["seen_miou"], row["unseen_miou"]) - 1e-9
        <= row["hiou"]
        <= max(row["seen_miou"], row["unseen_miou"]) + 1e-9
    )
    assert row["hiou"] <= 2 * min(row["seen_miou"], row["unseen_miou"]) + 1e-9
    for group, count in (("pa", None), ("miou", 21), ("ma", 21)):
        if count:  # the overall mean is that of the seen and the unseen classes together
            both = (row[f"seen_{group}"] * (21 - k) + row[f"unseen_{group}"] * k) / count
            assert row[f"overall_{group}"] == pytest.approx(both, abs=1e-9)
    changed = predicted.clone()
    changed[~known] = 0
    assert torch.equal(confusion_matrix(labels, changed, 21), confusion)


@many
@given(label_maps())
def test_iou_is_that_of_the_pixel_sets(maps):
    labels, predicted = maps
    iou, known = class_iou(confusion_matrix(labels, predicted, 21).numpy()), labels != VOID
    for c in range(21):
        truth, found = (labels == c) & known, (predicted == c) & known
        union = int((truth | found).sum())
        assert iou[c] == pytest.approx(int((truth & found).sum()) / union if union else 0.0)
    perfect = class_iou(confusion_matrix(labels, labels.where(known, torch.zeros_like(labels)), 21).numpy())
    assert set(np.round(perfect, 12)) <= {0.0, 1.0}


@many
@given(st.floats(0, 100), st.floats(0, 100))
def test_the_harmonic_mean_lies_between(a, b):
    mean = harmonic_mean(a, b)
    assert mean == harmonic_mean(b, a) and min(a, b) - 1e-9 <= mean + 1e-9 and mean <= max(a, b) + 1e-9
    assert (mean == 0) == (a == 0 or b == 0) or min(a, b) < 1e-150


# ---- label maps and splits ------------------------------------------------------------------------------------------


@many
@given(datasets, ks)
def test_seen_and_unseen_part_the_classes(dataset, k):
    parts = split(dataset, k)
    assert sorted(parts.seen + parts.unseen) == list(range(len(CLASSES[dataset]))) and len(parts.unseen) == k
    assert parts.unseen_names == UNSEEN_ORDER[:k] and 0 in parts.seen
    assert k == 1 or set(split(dataset, k - 1).unseen) < set(parts.unseen)


@many
@given(arrays.arrays(np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 459)))
def test_context_labels_become_classes_by_name(context_table, labels):
    table, names = context_table
    classes = table[labels]
    assert classes.shape == labels.shape and ((classes < 60) | (classes == VOID)).all()
    assert ((classes == VOID) == (labels == 0)).all()
    for label in np.unique(labels[labels > 0]):
        c = table[label]
        assert c == 0 or names[label] in (CLASSES["context"][c], {"diningtable": "table", "clothes": "cloth",
                                                                  "bedcloth": "bedclothes"}.get(CLASSES["context"][c]))  # fmt: skip


@pytest.fixture(scope="module")
def context_table(world):
    path = world / "context" / "labels.txt"
    names = {int(n): name.strip() for n, _, name in (line.partition(":") for line in path.read_text().splitlines())}
    return Context._label_table(path), names


@many
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
                  elements=st.sampled_from([0, 3, 20, VOID])),
    st.integers(1, 6), st.integers(1, 6),
)  # fmt: skip
def test_cells_take_labels_that_are_there(labels, h, w):
    labels = torch.from_numpy(labels)
    cells = at_feature_resolution(labels, (h, w))
    assert cells.shape == (len(labels), h, w)
    assert all(set(cell.unique().tolist()) <= set(full.unique().tolist()) for cell, full in zip(cells, labels))


# ---- losses ---------------------------------------------------------------------------------------------------------


@many
@given(feature_sets(), st.booleans(), st.booleans())
def test_losses_and_gradients_are_finite_for_any_sets(sets, root, normalise):
    a, b, c = sets
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        y = b.to(dtype).requires_grad_()
        losses = {"mmd": mmd(a.to(dtype), y, root=root)}
        if not normalise or c.sum() > 1e-6:
            losses["zs"] = zs_mmd(a.to(dtype), y, c.to(dtype), root=root, normalise=normalise)
        for name, loss in losses.items():
            (grad,) = torch.autograd.grad(loss, y)
            lowest = -1e-9 if dtype == torch.float64 else -rounding(a, b)
            assert loss.isfinite() and loss.detach() >= lowest and grad.isfinite().all(), (name, dtype)
            assert grad.shape == y.shape and grad.dtype == dtype
    assert float(mmd(a, a.clone(), root=False)) == pytest.approx(0, abs=1e-9)


def rounding(*sets: torch.Tensor) -> float:
    """What float32's squared distances, |x|^2 + |y|^2 - 2 xy, may be wrong by, times the kernel's steepest slope, 0.44."""
    largest = max(float((s - sets[0].mean(0)).square().sum(1).max()) for s in sets)
    return 2e-5 + 4 * 0.44 * 8 * torch.finfo(torch.float32).eps * largest


@many
@given(feature_sets())
def test_float32_agrees_with_float64(sets):
    a, b, c = sets
    for full, half in (
        (mmd(a, b, root=False), mmd(a.float(), b.float(), root=False)),
        (zs_mmd(a, b, c, root=False), zs_mmd(a.float(), b.float(), c.float(), root=False)),
    ):
        assert float(half) == pytest.approx(float(full), rel=1e-4, abs=rounding(a, b))


@many
@given(feature_sets())
def test_the_kernel_is_symmetric_and_at_most_the_number_of_bandwidths(sets):
    a, b, _ = sets
    values = kernel(a, b)
    assert values.shape == (len(a), len(b)) and (values >= 0).all() and (values <= 6 + 1e-9).all()
    torch.testing.assert_close(values, kernel(b, a).T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(kernel(a, a).diagonal(), torch.full((len(a),), 6.0, dtype=a.dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("q", [2, 128])
def test_gradients_agree_with_float64_at_the_edges(q, scale, dtype):
    """256 dimensions, 128 generated vectors: sets apart, identical sets, and one point; half precision computes in float32."""
    torch.manual_seed(0)
    a, b = (scale * torch.randn(n, 256, dtype=torch.float64) for n in (q, 128))
    a, b = a.to(dtype).double(), b.to(dtype).double()  # what half precision stores, in both
    c = torch.rand(q, dtype=torch.float64).to(dtype).double()
    for kind, x, y in (
        ("apart", a, b),
        ("one set", b[:q], b),
        ("one point", a[:1].expand(q, -1), a[:1].repeat(128, 1)),
    ):
        for loss in (lambda x, y: mmd(x, y), lambda x, y: zs_mmd(x, y, c.to(x.dtype))):
            exact, near = y.clone().requires_grad_(), y.to(dtype).requires_grad_()
            values = loss(x, exact), loss(x.to(dtype), near)
            grads = [torch.autograd.grad(v, t)[0].double() for v, t in zip(values, (exact, near))]
            full, half = (float(v.detach()) for v in values)
            assert math.isfinite(half) and grads[1].isfinite().all()
            assert half**2 == pytest.approx(full**2, rel=1e-3, abs=rounding(x, y) + FLOOR), kind
            if kind == "apart" and full > 0.03 and scale <= 1:  # below, the root is rounding; beyond, no kernel reaches
                assert half == pytest.approx(full, rel=2e-3)
                error = (grads[0] - grads[1]).abs().max()
                assert error <= (0.01 if dtype == torch.bfloat16 else 1e-3) * grads[0].abs().max()
            if scale == 1e3:
                assert grads[1].abs().max() < 1e-4


@pytest.mark.parametrize("q", [2, 128])
def test_features_of_scale_1000_keep_their_discrepancy(q):
    """Vectors so far apart that no kernel reaches: MMD^2 is 6/Q + 6/P, which rounding of a vector's own distance would spoil."""
    torch.manual_seed(0)
    a, b = 1e3 * torch.randn(q, 256), 1e3 * torch.randn(128, 256)
    assert float(mmd(a, b, root=False)) == pytest.approx(6 / q + 6 / 128, rel=1e-5)
