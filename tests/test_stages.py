"""Stage 1, the features that are kept, and stage 2, on crafted label maps; see test_step too."""

from __future__ import annotations

import copy
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crafted import (
    BIRD,
    BOAT,
    COW,
    DOG,
    SOFA,
    SPLIT,
    VOID,
    Source,
    features_of,
    pictures,
    state,
    stripes,
    tiny,
    trainer,
)

from zs3lib import ZS3Error, storage
from zs3lib.method import stage1
from zs3lib.method.deeplab import build, freeze, resized
from zs3lib.method.features import extract
from zs3lib.method.layout import cell_labels
from zs3lib.method.methods import METHODS
from zs3lib.method.together import Stage2
from zs3lib.runs import sources
from zs3lib.runs.sources import FeatureCache, LiveFeatures
from zs3lib.storage import Checkpoint

# ---- stage 1 ------------------------------------------------------------------------------------


def fine_tune(folder, source, **changes):
    """Stage 1 on a source; returns the network and its losses."""
    s = tiny(**changes)
    network = build(s, 21)
    checkpoint = Checkpoint(folder / "training.pt", "key")
    device = torch.device("cpu")
    losses = stage1.train(network, source, s, device=device, checkpoint=checkpoint)
    return network, losses


@pytest.mark.parametrize("pixel, allowed", [(BIRD, [0, 1, 2]), (COW, [1, 2])])
def test_one_unseen_pixel_is_enough_to_leave_an_image_out(pixel, allowed):
    presence = np.zeros((3, 21), bool)
    presence[:, [0, DOG]] = True
    presence[0, pixel] = True
    assert stage1.images_without(presence, SPLIT) == allowed
    presence[:, COW] = True
    with pytest.raises(ZS3Error, match="every training image holds an unseen class at K = 10"):
        stage1.images_without(presence, SPLIT)


@pytest.mark.parametrize("steps", [1, 2, 60])
def test_a_cycle_of_any_length_falls_to_nearly_nothing(steps):
    s = tiny(stage1_optimiser="adamw", stage1_lr=0.1)
    optimiser, schedule = stage1.optimisation(build(s, 21), s, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert all(0 < rate <= 0.1 for rate in rates)
    assert steps < 3 or rates[-1] < 0.1 * max(rates)


def test_frozen_blocks_and_statistics_stay_as_they_were(tmp_path):
    before = build(tiny(), 21).state_dict()
    network, _ = fine_tune(tmp_path, pictures(), frozen_blocks=4, frozen_bn=True)
    after = network.state_dict().items()
    changed = {name for name, value in after if not torch.equal(value, before[name])}
    kept = tuple(f"backbone.{name}." for name in ("conv1", "bn1", "layer1", "layer2"))
    assert not [n for n in changed if n.startswith(kept) or "backbone" in n and "running" in n]
    assert {"backbone.layer3.0.conv1.weight", "aspp.convs.0.1.running_var"} <= changed


@pytest.mark.parametrize("stop", [(0, 1), (1, 0), (2, 1)])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_broken_stage_1_goes_on_to_the_same_bits(tmp_path, same, optimiser, stop):
    changes = {"stage1_optimiser": optimiser, "stage1_epochs": 3, "dropout": True}
    straight, losses = fine_tune(tmp_path / "straight", pictures(), **changes)
    assert len(losses) == 3 and losses[-1] < losses[0]
    source = pictures()
    source.stop_at = stop
    with pytest.raises(RuntimeError, match="power cut"):
        fine_tune(tmp_path / "broken", source, **changes)
    source.stop_at = None
    torch.rand(7)  # whatever else the process drew
    again, others = fine_tune(tmp_path / "broken", source, **changes)
    assert losses == others and same(straight.state_dict(), again.state_dict())


# ---- features -----------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("pixels", [64, 78, 312, 513])
def test_a_cell_has_the_label_of_a_pixel_that_its_logits_are_shown_at(pixels, align_corners):
    n = -(-pixels // 4)
    labels = torch.arange(pixels).repeat(pixels, 1)[None]  # a pixel's label is its column
    taken = cell_labels(labels, (n, n), align_corners=align_corners)[0, 0]
    one_hot = torch.eye(n)[:, None].expand(n, n, n)  # channel c is 1 in the c-th column of cells
    shown = resized(one_hot[None], (pixels, pixels), align_corners)[0, :, 0]
    inside = torch.arange(1, n - 1)  # at the border upsampling repeats the last cell
    assert (shown[inside, taken[1:-1]] >= shown[1:-1].max(1).values - 1e-5).all()
    if align_corners and pixels == 513:  # DeepLab's size: cell i lies at pixel 4i
        assert taken.tolist() == list(range(0, 513, 4))
    if not align_corners and pixels == 64:
        assert taken.tolist() == list(range(2, 64, 4))  # the middle


@pytest.fixture(scope="module")
def network():
    return freeze(build(tiny(), 21))


def images_of(view):
    return torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(view))


class Views:
    """Batches of ten images in any view; `made` counts the images asked for."""

    made = 0

    def __call__(self, view, order):
        labels = torch.arange(10, dtype=torch.uint8)[:, None, None].expand(10, 32, 32)
        for images in order:
            self.made += len(images)
            yield images_of(view)[images], labels[images] + 10 * view


IDS = [f"image{n}" for n in range(10)]


def cache_in(folder, **changes):
    return FeatureCache(folder / "f.bin", IDS, tiny(**({"views": 2} | changes)))


@pytest.fixture(scope="module")
def whole(network, tmp_path_factory):
    """The cache's file as an uninterrupted run leaves it."""
    cache = cache_in(tmp_path_factory.mktemp("whole"))
    cache.fill(network, Views())
    return cache


def test_the_cache_holds_what_the_frozen_network_says(network, whole):
    features, labels = whole.read([0, 15])
    assert features.dtype == torch.float16 and features.shape == (2, 8, 8, 16)
    assert labels.dtype == torch.uint8 and labels[:, 0, 0].tolist() == [0, 15]
    expected = [extract(network, images_of(0)[:4], tiny())[0]]
    expected.append(extract(network, images_of(1)[4:8], tiny())[1])
    assert torch.equal(features, torch.stack(expected))
    assert not list(whole.path.parent.glob("*.partial"))


def test_every_epoch_shows_each_image_once_in_one_view(whole):
    shown = {e: [labels[:, 0, 0].tolist() for _, labels in whole.epoch(e)] for e in range(4)}
    for epoch, batches in shown.items():
        assert [len(batch) for batch in batches] == [4, 4, 2] and whole.batches == 3
        assert sorted(sum(batches, [])) == [n + 10 * (epoch % 2) for n in range(10)]
        ids = [whole.ids(epoch, step) for step in range(3)]
        assert ids == [[f"image{n % 10}" for n in batch] for batch in batches]
    again = [labels[:, 0, 0].tolist() for _, labels in whole.epoch(0)]
    assert again == shown[0] != shown[2]


@pytest.mark.parametrize("share", [0, 0.1, 0.37, 0.5, 0.68, 0.999, 1])
def test_a_cache_cut_at_any_byte_is_gone_on_with_to_the_same_bytes(network, whole, tmp_path, share):
    content = whole.path.read_bytes()
    kept = int(share * len(content))
    cache = cache_in(tmp_path)
    cache.path.with_suffix(".partial").write_bytes(content[:kept])
    views = Views()
    cache.fill(network, views)
    assert cache.path.read_bytes() == content
    assert views.made <= 20 - kept // cache.row.itemsize + 3  # only a broken batch is made again
    cache_in(tmp_path).fill(None, None)  # an intact one is not computed again


def test_a_cache_that_lacks_rows_is_computed_again(network, whole, tmp_path):
    content = whole.path.read_bytes()
    cache = cache_in(tmp_path)
    cache.path.write_bytes(content[: len(content) // 2])
    cache.fill(network, Views())
    assert cache.path.read_bytes() == content


def test_what_another_process_is_at_work_in_is_not_discarded(tmp_path):
    folder = tmp_path / "features"
    with storage.locked(folder):
        storage.discard(folder)
        assert folder.is_dir()
    storage.discard(folder)
    assert not folder.exists()


def test_a_full_disk_is_answered_and_leaves_no_rest(network, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources.os, "fsync", full)
    with pytest.raises(ZS3Error, match="f.bin cannot be written .No space left on device.: free"):
        cache_in(tmp_path).fill(network, Views())
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_read_is_not_told_as_a_full_disk(network, tmp_path):
    def broken(view, order):
        yield from Views()(view, order[:1])
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        cache_in(tmp_path).fill(network, broken)
    cache_in(tmp_path).fill(network, Views())  # what was written is gone on with


@pytest.mark.parametrize("frozen_training", [False, True])
def test_live_features_are_those_of_fresh_views_and_repeat(network, whole, frozen_training):
    """In training mode they have dropout and the batch's statistics, and the network stays."""
    before = copy.deepcopy(network.state_dict())
    settings = tiny(frozen_training=frozen_training, batch_size=4)
    live = LiveFeatures(network, IDS, Views(), settings)
    assert live.batches == whole.batches and live.ids(1, 2) == whole.ids(1, 2)
    for epoch in (1, 5):
        first, again = list(live.epoch(epoch)), list(live.epoch(epoch))
        for step, (features, labels) in enumerate(first):
            images = live.order(epoch)[step]
            assert torch.equal(features, again[step][0])  # as a resumed run has them
            assert labels[:, 0, 0].tolist() == [n + 10 * epoch for n in images]
            expected = extract(network, images_of(epoch)[images], settings)
            assert torch.equal(features, expected) != frozen_training
    alone = [extract(network, images_of(0)[:1], settings, training=x) for x in (False, True)]
    assert torch.equal(*alone) and not network.training  # of one image there is no variance
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) or name.endswith("num_batches_tracked")


def test_features_that_are_not_finite_name_the_image(tmp_path):
    network = freeze(build(tiny(), 21))
    network.decoder.fuse[4].weight.data.fill_(float("nan"))
    with pytest.raises(ZS3Error, match="the features of image image0 are not finite"):
        cache_in(tmp_path).fill(network, Views())


def test_memory_holds_a_batch_and_not_the_file(tmp_path):
    cache = cache_in(tmp_path, crop_size=512, views=4)  # a file of 30 MiB
    with open(cache.path, "wb") as file:
        file.truncate(40 * cache.row.itemsize)
    cache.fill(None, None)
    tracemalloc.start()
    for epoch in range(4):
        for features, _ in cache.epoch(epoch):
            assert features.shape[1:] == (128, 128, 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * cache.row.itemsize  # two batches of four


# ---- stage 2: what a step may see and change ----------------------------------------------------


def step(t, labels, features=None, seed=0):
    """One step on label maps, with draws of its own; the losses as numbers."""
    labels = torch.stack(labels)
    features = features_of(labels) if features is None else features
    torch.manual_seed(seed)
    losses = t.step(t.batch(features, labels))
    return {name: [float(value) for value in values] for name, values in losses.items()}


def test_an_object_smaller_than_a_cell_makes_an_image_one_with_an_unseen_class():
    small = stripes(DOG)
    small[0, 0] = COW
    losses = step(trainer("equal_weight"), [small])
    assert list(losses) == ["classifier"]  # and no cell shows it: nothing to recurse on


def test_one_draw_for_both_sides_of_equal_weight_is_no_loss():
    for pseudo, floor in (("same", True), ("fresh", False)):
        losses = step(trainer("equal_weight", pseudo=pseudo), [stripes(COW)])
        assert (losses["recursion"][0] < 2e-3) == floor


READINGS = [  # what of the step, a loss of it under two settings, and how these are related
    ("generator", BIRD, {"mmd_root": True}, {"mmd_root": False}, lambda root: root**2),
    ("recursion", COW, {"mmd_root": True}, {"mmd_root": False}, lambda root: root**2),
    ("classifier", BIRD, {}, {"classifier_loss": "sum"}, lambda mean: 64 * mean),
    ("generator", BIRD, {"noise": "gaussian"}, {"noise": "uniform"}, None),
    ("recursion", COW, {"zs_weights": "paper"}, {"zs_weights": "normalised"}, None),
]


@pytest.mark.parametrize("kind, c, one, other, related", READINGS)
def test_the_readings_of_what_the_paper_leaves_open_reach_the_step(kind, c, one, other, related):
    losses = []
    for changes in (one, other):
        t = trainer("ours", tau=0.0, **changes)
        with torch.no_grad():
            t.head.classifier.bias[COW] += 3  # it recognises some cows, and is not sure
        losses += step(t, [stripes(c)])[kind]
    if related:
        assert losses[1] == pytest.approx(related(losses[0]), rel=1e-4)
    else:
        assert losses[1] != pytest.approx(losses[0], rel=1e-3)


def test_with_corners_aligned_a_loss_at_the_image_is_that_of_the_upsampled_logits():
    t = trainer("no_generator", loss_at="image", align_corners=True)
    labels = stripes(BIRD, VOID, DOG, 0)[None]
    features = features_of(labels)
    logits = t.head.classifier(features).permute(0, 3, 1, 2)
    logits = F.interpolate(logits, (32, 32), mode="bilinear", align_corners=True)
    expected = F.cross_entropy(logits, labels.long(), ignore_index=VOID).item()
    assert step(t, [*labels], features) == {"classifier": [pytest.approx(expected)]}


@pytest.mark.parametrize("q", [0, 1, 2, 8])
def test_fewer_than_two_teachers_leave_the_generator_as_it_was(q, same, monkeypatch):
    t = trainer("ours")
    step(t, [stripes(BIRD)])  # Adam has momentum now: any step of it would show
    before = state(t.head.generator)
    forward = t.head.classifier.forward
    answers = torch.full((8, 21), -50.0)
    answers[:q, COW] = 50.0
    answers[q:, BIRD] = 50.0
    monkeypatch.setattr(
        t.head.classifier, "forward", lambda x: answers if x.ndim == 2 else forward(x)
    )
    assert step(t, [stripes(COW)])["q"] == [q]
    assert same(before, state(t.head.generator)) == (q < 2)


def test_recursion_at_gamma_0_is_not_zs3net(same):
    """Adam takes a step by its momentum: a control of its own for what feeding back is worth."""
    ends = []
    for method in ("zs3net", "ours"):
        t = trainer(method, gamma=0.0, tau=0.0, pseudo="same")
        for seed in range(3):
            step(t, [stripes(BIRD, DOG), stripes(COW)], seed=seed)
        ends.append(state(t.head.generator))
    assert not same(*ends)


@pytest.mark.parametrize("loss_at", ["feature", "image"])
def test_the_floor_sees_nothing_of_images_with_unseen_classes(loss_at, same):
    learned = []
    for third, scale in ((DOG, 1), (BOAT, 7)):
        labels = [stripes(BIRD), stripes(COW, third)]
        features = features_of(torch.stack(labels))
        features[1] *= scale
        t = trainer("no_generator", loss_at=loss_at)
        generator = state(t.head.generator)
        losses = step(t, labels, features)
        assert same(generator, state(t.head.generator)) and list(losses) == ["classifier"]
        learned.append(state(t.head.classifier))
    assert same(*learned)
    assert step(t, [stripes(COW), stripes(SOFA)]) == {}  # a batch of them alone


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss_at", ["feature", "image"])
def test_a_batch_of_void_is_a_loss_of_zero(method, loss_at):
    t = trainer(method, loss_at=loss_at)
    kind = "projection" if method == "projection" else "classifier"
    assert step(t, [stripes(VOID), stripes(VOID)]) == {kind: [0.0]}
    assert all(p.isfinite().all() for p in t.head.parameters())


def test_what_is_fitted_and_fed_back_in_an_image_with_an_unseen_class():
    labels = torch.stack([stripes(COW, DOG), stripes(BIRD, DOG)])
    choices = [
        ({}, [[], [BIRD, DOG]], [[COW], []]),
        ({"fit_mixed": True}, [[DOG], [BIRD, DOG]], [[COW], []]),
        ({"feed_back": "all"}, [[], [BIRD, DOG]], [[COW, DOG], []]),
    ]
    for changes, real, recursed in choices:
        t = trainer("ours", tau=0.0, **changes)
        t.recursing = True
        batch = t.batch(features_of(labels), labels)
        assert [sorted(image.real) for image in batch.images] == [sorted(r) for r in real]
        assert [sorted(i.recursed) for i in batch.images] == [sorted(r) for r in recursed]
        losses = t.step(batch)
        assert len(losses["generator"]) == sum(map(len, real))
        assert len(losses["recursion"]) == sum(map(len, recursed))


def test_a_stride_over_cells_keeps_each_feature_with_its_label():
    labels = torch.from_numpy(np.random.default_rng(1).choice([0, BIRD, DOG], (4, 8, 8)))
    labels = labels.byte().repeat_interleave(4, 1).repeat_interleave(4, 2)
    features = cell_labels(labels, (8, 8), align_corners=False).float()
    features = features[..., None].expand(-1, -1, -1, 16)
    t = trainer("zs3net", cell_stride=2)
    seen = set()
    for _ in range(20):
        batch = t.batch(features, labels)
        assert batch.features.shape == (4, 4, 4, 16)
        assert torch.equal(batch.features[..., 0].long(), batch.cells)
        seen.add(tuple(batch.cells.flatten().tolist()))
        for image in batch.images:
            for c, drawn in image.real.items():
                assert (drawn == c).all()
    assert len(seen) == 4  # every offset comes up


# ---- stage 2: epochs, warm-up, interruptions ----------------------------------------------------

LONG = {"stage2_epochs": 4, "warmup_epochs": 2, "tau": 0.0, "classifier_lr": 0.5}


def mixed() -> Source:
    """Twelve images, three batches: seen ones, some with a cow, some with a sofa."""
    kinds = [stripes(BIRD, DOG), stripes(COW, BIRD), stripes(0, BOAT), stripes(SOFA, DOG)]
    labels = torch.stack([kinds[n % 4] for n in range(12)])
    return Source(features_of(labels), labels)


def train(folder, methods=tuple(METHODS), source=None, **changes) -> Stage2:
    source = source or mixed()
    steps = source.batches * (LONG | changes)["stage2_epochs"]
    trainers = {name: trainer(name, steps=steps, **(LONG | changes)) for name in methods}
    stage2 = Stage2(trainers, source)
    stage2.train(Checkpoint(folder / "training.pt", "key"))
    return stage2


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """All methods trained side by side."""
    return train(tmp_path_factory.mktemp("together"))


def test_no_method_depends_on_those_trained_beside_it(together, tmp_path, same):
    heads = {name: state(t.head) for name, t in together.trainers.items()}
    assert not same(heads["ours"], heads["zs3net"])
    assert not same(heads["ours"], heads["equal_weight"])
    for name in METHODS:
        alone = train(tmp_path / name, methods=(name,))
        assert same(state(alone.trainers[name].head), heads[name])
        assert alone.history[name] == together.history[name]


def test_a_tau_of_one_trusts_nothing_and_has_no_loss(tmp_path):
    history = train(tmp_path, methods=("ours",), tau=1.0).history["ours"]
    assert history["recursion"] == [None] * 4 and history["q"] == [None, None, 0, 0]


def test_recursion_starts_after_the_warm_up_and_until_then_all_are_equal(together, tmp_path, same):
    warm = train(tmp_path, stage2_epochs=2)
    heads = {name: state(t.head) for name, t in warm.trainers.items()}
    assert same(heads["zs3net"], heads["ours"]) and same(heads["ours"], heads["equal_weight"])
    assert not same(heads["zs3net"], heads["no_generator"])
    for name, history in together.history.items():
        recursive = METHODS[name].recursive
        assert history["q"][:2] == [None, None]
        assert [q is not None for q in history["q"][2:]] == [recursive, recursive]
        kind = "projection" if name == "projection" else "classifier"
        assert all(loss > 0 for loss in history[kind])
        assert len(history["generator"]) == len(history["recursion"]) == 4


@pytest.mark.parametrize("stop", [(0, 1), (1, 0), (2, 2), (3, 1)])
def test_a_broken_stage_2_goes_on_to_the_same_bits(together, tmp_path, same, stop):
    source = mixed()
    source.stop_at = stop
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, source=source)
    source.stop_at = None
    torch.rand(7)
    again = train(tmp_path, source=source)
    assert again.history == together.history
    for name, t in together.trainers.items():
        assert same(state(t.head), state(again.trainers[name].head))
        schedules = [part.schedule.get_last_lr() for part in (t, again.trainers[name])]
        assert schedules[0] == schedules[1]


def test_a_training_of_another_key_is_not_gone_on_with(tmp_path):
    Checkpoint(tmp_path / "t.pt", "key").save({"epochs": 1})
    assert Checkpoint(tmp_path / "t.pt", "other").load() is None
    assert Checkpoint(tmp_path / "t.pt", "key").load()["epochs"] == 1
    (tmp_path / "t.pt").write_bytes((tmp_path / "t.pt").read_bytes()[:99])
    with pytest.warns(UserWarning, match="t.pt is damaged and is not used"):
        assert Checkpoint(tmp_path / "t.pt", "key").load() is None


def test_methods_that_share_batches_agree_on_what_these_hold():
    apart = {"zs3net": trainer("zs3net"), "ours": trainer("ours", fit_mixed=True)}
    with pytest.raises(ValueError, match="must agree on .*fit_mixed"):
        Stage2(apart, mixed())


def test_a_classifier_that_starts_from_uniform_numbers(same):
    small, uniform = (trainer("zs3net", classifier_init=name) for name in ("small", "uniform"))
    assert small.head.classifier.weight.abs().max() <= 1 / 4  # 1 / sqrt(16)
    for parameter in uniform.head.classifier.parameters():
        assert 0 <= parameter.min() and 0.8 < parameter.max() <= 1
    assert same(state(small.head.generator), state(uniform.head.generator))


# ---- losses that are not finite -----------------------------------------------------------------


class Spoiled(Source):
    """NaN in the second batch of the second epoch."""

    def epoch(self, epoch):
        for n, (inputs, labels) in enumerate(super().epoch(epoch)):
            yield inputs * (float("nan") if (epoch, n) == (1, 1) else 1), labels


def nan_at(stage: str, kind: str) -> str:
    return (
        rf"{stage}: the {kind} loss is nan at step 2 of epoch 2, on the images "
        r"image4, image5, image6, image7: look at them, or lower \w+.*; "
        r"the last good state, after epoch 1, is \S+training\.pt$"
    )


def test_nan_stops_stage_1_naming_step_images_and_what_is_saved(tmp_path):
    good = pictures()
    with pytest.raises(ZS3Error, match=nan_at("stage 1", "backbone")):
        fine_tune(tmp_path, Spoiled(good.inputs, good.labels), stage1_epochs=3)


@pytest.mark.parametrize("method, kind", [("no_generator", "classifier"), ("ours", "generator")])
def test_nan_stops_stage_2_too(tmp_path, method, kind):
    good = mixed()
    with pytest.raises(ZS3Error, match=nan_at(f"stage 2, {method}", kind)):
        train(tmp_path, methods=(method,), source=Spoiled(good.inputs, good.labels))
    assert Checkpoint(tmp_path / "training.pt", "key").load()["epochs"] == 1


def test_nan_in_the_recursion_stops_stage_2_too(tmp_path):
    t = trainer("ours", steps=12, **(LONG | {"warmup_epochs": 0}))
    t.head.words = t.head.words.index_fill(0, torch.tensor(COW), float("nan"))
    labels = stripes(COW).repeat(12, 1, 1)
    told = "stage 2, ours: the recursion loss is nan at step 1 of epoch 1, .*; no epoch is saved"
    stage2 = Stage2({"ours": t}, Source(features_of(labels), labels))
    with pytest.raises(ZS3Error, match=told):
        stage2.train(Checkpoint(tmp_path / "training.pt", "key"))
