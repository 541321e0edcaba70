"""Stage 2 on crafted feature caches, and interruptions at any moment; what a whole run does is in test_training."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zs3lib import Run, Settings, checkpoints, compiled, features, load_heads, split, stage1, stage2
from zs3lib.classes import UNSEEN_ORDER, VOC_CLASSES
from zs3lib.data import loading, open_data
from zs3lib.evaluate import evaluate
from zs3lib.features import FeatureCache
from zs3lib.losses import Target
from zs3lib.metrics import scores
from zs3lib.stage1 import images_without
from zs3lib.stage2 import Trainer, train_head

SPLIT = split("voc", 2)
COW, BIRD, DOG, VOID = 10, 3, 12, 255
WORDS = (
    torch.nn.functional.normalize(torch.randn(21, 300, generator=torch.Generator().manual_seed(5)), dim=1) * 300**0.5
)


def trainer(cache, settings, method, **changes) -> Trainer:
    return Trainer(method, cache, WORDS, SPLIT, settings(**changes))


def states(module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def count_updates(t, monkeypatch) -> list[float]:
    """What the loss of every generator step from here on is multiplied by."""
    steps, learn, fit = [], t.generator_step.learn, t.generator_step.fit

    def one(made, real, factor=1.0, **options):
        steps.append(factor)
        return learn(made, real, factor=factor, **options)

    def several(words, *more):
        before = len(steps)
        losses = fit(words, *more)
        steps[before:] = [1.0] * len(words)
        return losses

    monkeypatch.setattr(t.generator_step, "learn", one)
    monkeypatch.setattr(t.generator_step, "fit", several)
    return steps


# ---- which images train what -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4, 10])
def test_images_of_stage_1_hold_no_unseen_pixel(world, k):
    """Against the masks as Pillow reads them, for every image."""
    data = open_data("voc", world, "train")
    numbers = [VOC_CLASSES.index(name) for name in UNSEEN_ORDER[:k]]
    free = [i for i, path in enumerate(data.masks) if not np.isin(np.array(Image.open(path)), numbers).any()]
    assert images_without(data, split("voc", k)) == free and 0 < len(free) < len(data)


@pytest.mark.parametrize("pixel, left", [(BIRD, [0, 1, 2]), (VOID, [0, 1, 2]), (COW, [1, 2])])
def test_one_unseen_pixel_is_enough_to_leave_an_image_out(world, pixel, left):
    data = open_data("voc", world, "train").subset([0, 1, 2])
    data.load_mask = lambda i: np.array([[0, 0], [0, pixel if i == 0 else DOG]], np.uint8)
    assert images_without(data, SPLIT) == left


def cow_images(n=8):
    """Label maps that all hold a cow: cow above, bird below, some void."""
    labels = np.full((n, 32, 32), BIRD)
    labels[:, :16], labels[:, 14:18] = COW, VOID
    return labels


def test_zs3nets_generator_is_never_trained_on_images_with_an_unseen_class(make_cache, settings, monkeypatch):
    t = trainer(make_cache(cow_images()), settings, "zs3net", warmup_epochs=0)
    steps, before, classifier = count_updates(t, monkeypatch), states(t.head.generator), states(t.head.classifier)
    for _ in range(2):
        t.train_epoch()
    assert not steps and all(torch.equal(before[name], value) for name, value in states(t.head.generator).items())
    assert not torch.equal(classifier["weight"], t.head.classifier.weight)  # while the classifier did learn


@pytest.mark.parametrize("method", ["ours", "equal_weight"])
def test_recursion_starts_after_the_warm_up_and_for_unseen_classes_alone(
    make_cache, settings, monkeypatch, method, same
):
    """With tau = 0 what the classifier calls a cow counts; after the warm-up it calls every generated cow one."""
    t = trainer(
        make_cache(cow_images(), method), settings, method, tau=0, stage2_epochs=4, warmup_epochs=2, classifier_lr=0.5
    )
    steps, asked, before = count_updates(t, monkeypatch), [], states(t.head.generator)
    recurse, losses, learn = t._recurse, [], t.generator_step.learn
    monkeypatch.setattr(t, "_recurse", lambda c, *more: asked.append(c) or recurse(c, *more))
    monkeypatch.setattr(t.generator_step, "learn", lambda *a, **k: losses.append(learn(*a, **k)) or losses[-1])
    for _ in range(2):
        t.train_epoch()
        assert not steps and not asked and same(before, states(t.head.generator))
    t.train_epoch()
    assert set(asked) == {COW} and len(asked) == len(t.cache) == len(steps)  # one step per unseen class of each image
    assert not same(before, states(t.head.generator))
    assert t.history["q"][:2] == [None, None] and t.history["q"][2] >= 2
    assert t.history["recursion"][2] == pytest.approx(np.mean([loss.item() for loss in losses]), rel=1e-5)
    assert steps == [t.settings.gamma] * len(losses)


@pytest.mark.parametrize("q, steps", [(0, 0), (1, 0), (2, 8), (8, 8)])
def test_fewer_than_two_trusted_vectors_make_no_step(make_cache, settings, monkeypatch, q, steps):
    """The classifier's answers are set: q of 8 vectors are cows with confidence near 1, the others birds."""
    t = trainer(make_cache(cow_images()), settings, "ours", warmup_epochs=0, tau=0.9)
    made = count_updates(t, monkeypatch)
    answers = torch.full((8, 21), -50.0)
    answers[:q, COW] = answers[q:, BIRD] = 50.0
    original = t.head.classifier.forward
    monkeypatch.setattr(t.head.classifier, "forward", lambda x: answers if x.ndim == 2 else original(x))
    before = states(t.head.generator)
    t.train_epoch()
    assert len(made) == steps and t.history["q"] == [q]
    assert torch.equal(before["bias"], t.head.generator.bias) == (steps == 0)


@pytest.mark.parametrize("q", [1, 5])
def test_a_gpu_skips_the_step_without_asking_for_q(make_cache, settings, monkeypatch, same, q):
    """What a GPU does (here on the CPU): the optimiser is told to skip; with q >= 2 it does what the CPU's branch does."""
    monkeypatch.setattr(compiled, "_step_loops", lambda: None)
    states_, histories = [], []
    answers = torch.full((8, 21), -50.0)
    answers[:q, COW] = answers[q:, BIRD] = 50.0
    for name, can_ask in (("a", True), ("b", False)):
        t = trainer(make_cache(cow_images(), name), settings, "ours", warmup_epochs=0, tau=0.9)
        t.can_ask = can_ask
        original = t.head.classifier.forward
        monkeypatch.setattr(t.head.classifier, "forward", lambda x, f=original: answers if x.ndim == 2 else f(x))
        before = states(t.head.generator)
        t.train_epoch()
        assert same(before, states(t.head.generator)) == (q < 2)
        states_.append(t.generator_optimiser.state_dict()["state"])
        histories.append((t.history["recursion"], t.history["q"]))
    assert histories[0] == histories[1] and (histories[0][0] == [None]) == (q < 2)
    for index, moments in states_[1].items():
        expected = states_[0].get(index, {name: torch.zeros_like(value) for name, value in moments.items()})
        assert same(expected, moments)


def test_one_draw_for_both_sides_of_equal_weight_is_no_loss(make_cache, settings, monkeypatch):
    """a = b: the loss lies at its floor, 1e-3, but for rounding."""
    for pseudo in ("same", "fresh"):
        t = trainer(make_cache(cow_images(), pseudo), settings, "equal_weight", warmup_epochs=0, pseudo=pseudo)
        steps = count_updates(t, monkeypatch)
        t.train_epoch()
        assert len(steps) == len(t.cache)
        assert (t.history["recursion"][0] < 2e-3) == (pseudo == "same")


def test_tau_of_one_trusts_nothing(make_cache, settings, monkeypatch, same):
    t = trainer(make_cache(cow_images()), settings, "ours", warmup_epochs=0, tau=1.0, classifier_lr=10)
    steps, before = count_updates(t, monkeypatch), states(t.head.generator)
    for _ in range(2):
        t.train_epoch()
    assert not steps and t.history["q"] == [0, 0] and same(before, states(t.head.generator))


def test_a_seen_image_takes_one_step_for_each_class_in_it(make_cache, settings, monkeypatch):
    labels = np.full((4, 32, 32), VOID)
    labels[0, :16], labels[0, 16:] = BIRD, DOG
    labels[1] = 0
    labels[2, :16], labels[2, 16:] = COW, DOG  # no step
    t = trainer(make_cache(labels), settings, "zs3net")
    fitted = []
    fit = t._fit

    def kept(classes, real, *more):
        fitted.extend(zip(classes, map(Target._make, zip(*real)), strict=True))
        fit(classes, real, *more)

    monkeypatch.setattr(t, "_fit", kept)
    t.train_epoch()
    assert sorted(c for c, _ in fitted) == [0, BIRD, DOG]
    cells = torch.from_numpy(np.array(t.cache.features)).float()
    for c, real in fitted:  # every vector is a real one, of that class's own pixels
        own = {0: cells[1], BIRD: cells[0, :4], DOG: cells[0, 4:]}[c].reshape(-1, 256)
        near = torch.cdist((real.x + real.centre).double(), own.double()).amin(1)
        assert real.x.shape == (8, 256) and near.max() < 1e-4 < torch.cdist(own[:1], own[1:]).min()


@pytest.mark.parametrize("loss_at", ["image", "feature"])
@pytest.mark.parametrize("method", ["zs3net", "ours", "equal_weight"])
def test_classifier_sees_generated_features_on_unseen_images_and_real_ones_elsewhere(
    make_cache, settings, monkeypatch, method, loss_at
):
    labels = np.full((2, 32, 32), BIRD)
    labels[1, :16], labels[1, 16:20] = COW, VOID
    t = trainer(make_cache(labels), settings, method, loss_at=loss_at)
    real, maps = t.cache.read(np.arange(2))
    given, lost = [], []

    class Cells(stage2.Cells):
        def __init__(self, head, real, invented, *more):
            given.append((real, invented))
            super().__init__(head, real, invented, *more)

        def at_cells(self, labels, weights):
            lost.append(labels)
            return super().at_cells(labels, weights)

        def at_pixels(self, labels, shape, *more):
            lost.append(labels)
            assert shape == (2, 8, 8)
            return super().at_pixels(labels, shape, *more)

    monkeypatch.setattr(stage2, "Cells", Cells)
    t.step(real.float(), maps, {"generator": [], "classifier": [], "recursion": [], "q": []})
    (((seen,), invented),), (labels,) = given, lost
    assert torch.equal(seen, real[0].float().flatten(0, 1))
    if loss_at == "feature":  # void left out
        assert invented.tolist() == [COW] * 32 + [BIRD] * 24
        assert labels.tolist() == [BIRD] * 64 + invented.tolist()
    else:
        assert invented.tolist() == [COW] * 32 + [VOID] * 8 + [BIRD] * 24
        assert torch.equal(labels, maps)


@pytest.mark.parametrize("loss_at", ["feature", "image"])
def test_the_floor_sees_nothing_of_unseen_images(make_cache, settings, loss_at, same):
    """Other features and other labels on images with a cow change no weight of the classifier."""
    labels = np.full((4, 32, 32), BIRD)
    labels[1:3, :16] = COW
    other = labels.copy()
    other[1:3, 16:] = DOG
    trained = []
    for name, maps, scale in (("a", labels, 1), ("b", other, 7)):
        t = trainer(make_cache(maps, name), settings, "no_generator", loss_at=loss_at)
        real, maps = t.cache.read(np.arange(4))
        real = real.float()
        real[1:3] *= scale
        generator, fresh = states(t.head.generator), states(t.head.classifier)
        t.step(real, maps, log := {"classifier": []})
        assert same(generator, states(t.head.generator)) and not same(fresh, states(t.head.classifier))
        trained.append((states(t.head.classifier), log["classifier"][0]))
    assert same(trained[0][0], trained[1][0]) and trained[0][1] == trained[1][1] > 0


@pytest.mark.parametrize("loss_at", ["feature", "image"])
def test_the_floor_survives_a_batch_of_unseen_images(make_cache, settings, loss_at):
    t = trainer(make_cache(cow_images(4)), settings, "no_generator", loss_at=loss_at)
    t.train_epoch()
    assert t.history["classifier"] == [0.0] and t.head.classifier.weight.isfinite().all()


def test_each_epoch_reads_one_view_of_every_image(make_cache, settings, monkeypatch):
    cache = make_cache(np.full((12, 32, 32), BIRD))
    cache.views, read, original = 3, [], cache.read
    monkeypatch.setattr(cache, "read", lambda rows: read.extend(rows.tolist()) or original(rows))
    t = trainer(cache, settings, "zs3net", stage2_epochs=4)
    for view in (0, 1, 2, 0):
        read.clear()
        t.train_epoch()
        assert sorted(read) == [view, 3 + view, 6 + view, 9 + view]


# ---- warm-up, interruptions ------------------------------------------------------------------------------------------


def mixed(n=12):
    labels = np.random.default_rng(0).choice([0, BIRD, DOG], (n, 8, 8)).repeat(4, 1).repeat(4, 2)
    labels[::3, :16] = COW
    return labels


def test_warm_up_is_trained_once_and_equals_training_alone(make_cache, settings, tmp_path, monkeypatch, same):
    cache, changes = make_cache(mixed()), {"stage2_epochs": 4, "warmup_epochs": 2, "tau": 0, "classifier_lr": 0.5}
    alone = {m: train_head(trainer(cache, settings, m, **changes), folder=tmp_path / m, key="k")
             for m in ("no_generator", "zs3net", "ours", "equal_weight")}  # fmt: skip
    epochs, original = [], Trainer.train_epoch
    monkeypatch.setattr(
        Trainer, "train_epoch", lambda t, bar=None: epochs.append((t.method, t.epoch)) or original(t, bar)
    )
    for method, head in alone.items():
        t = trainer(cache, settings, method, **changes)
        assert same(states(head), states(train_head(t, folder=tmp_path / "shared", key="k"))), method
        assert [len(values) for values in t.history.values()] == [4] * 4
    assert epochs == [(m, e) for m in ("no_generator", "zs3net") for e in range(4)] + [
        (m, e) for m in ("ours", "equal_weight") for e in (2, 3)
    ]
    assert not same(states(alone["ours"]), states(alone["zs3net"]))  # they part after the warm-up


def test_states_of_another_key_are_not_used(make_cache, settings, tmp_path, same):
    cache = make_cache(mixed())
    first = train_head(trainer(cache, settings, "ours"), folder=tmp_path / "t", key="a")
    second = train_head(trainer(cache, settings, "ours", seed=1), folder=tmp_path / "t", key="b")
    alone = train_head(trainer(cache, settings, "ours", seed=1), folder=tmp_path / "u", key="b")
    assert same(states(second), states(alone)) and not same(states(first), states(second))


@pytest.mark.parametrize("method", ["no_generator", "ours"])
@pytest.mark.parametrize("at", [1, 5, 7, 11])
def test_stage_2_broken_in_the_middle_of_an_epoch(make_cache, settings, tmp_path, monkeypatch, same, method, at):
    """4 epochs of 3 batches; batch `at` fails; what goes on from there has the weights and history of a straight run."""
    cache, changes = make_cache(mixed()), {"stage2_epochs": 4, "warmup_epochs": 2, "tau": 0, "classifier_lr": 0.5}
    straight = trainer(cache, settings, method, **changes)
    train_head(straight, folder=tmp_path / "straight", key="k")
    steps, original = [], Trainer.step

    def fail(t, *arguments):
        steps.append(t.epoch)
        if len(steps) == at + 1:
            raise RuntimeError("power cut")
        original(t, *arguments)

    monkeypatch.setattr(Trainer, "step", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        train_head(trainer(cache, settings, method, **changes), folder=tmp_path / "broken", key="k")
    torch.manual_seed(123), torch.rand(7)  # whatever else the process drew
    again = trainer(cache, settings, method, **changes)
    train_head(again, folder=tmp_path / "broken", key="k")
    assert same(states(straight.head), states(again.head)) and straight.history == again.history
    assert steps[at + 1] == steps[at] and len(steps) == 12 + at % 3 + 1  # only the broken epoch was done again


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_stage_1_broken_in_the_middle_of_an_epoch(settings, tmp_path, monkeypatch, same, optimiser):
    changes = {"k": 10, "stage1_epochs": 2, "dropout": True, "stage1_optimiser": optimiser}

    def opened(folder):
        return Run(settings(**changes), runs_root=tmp_path / folder, cache_root=tmp_path / folder)

    losses = (straight := opened("straight")).train_backbone()
    reads, original = [], loading.Augmented.__getitem__

    def fail(pictures, position):
        reads.append(pictures.epoch)
        if len(reads) == 14:
            raise RuntimeError("power cut")
        return original(pictures, position)

    monkeypatch.setattr(loading.Augmented, "__getitem__", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        opened("broken").train_backbone()
    assert reads[-1] == 1
    torch.manual_seed(123), torch.rand(7)
    again = opened("broken")
    assert again.train_backbone() == losses and 0 not in reads[14:]
    assert same(straight.model.state_dict(), again.model.state_dict())


@pytest.mark.parametrize("steps", [1, 2, 5, 60])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_schedules_of_any_length_rise_and_fall_to_nothing(settings, steps, optimiser):
    s = settings(stage1_optimiser=optimiser, stage1_lr=0.1)
    step, schedule = stage1._optimiser(stage1.build_model(s, 21), s, steps)
    rates = []
    for _ in range(steps):
        rates.append(step.param_groups[0]["lr"])
        step.step()
        schedule.step()
    assert all(0 < rate <= 0.1 for rate in rates)
    if steps > 2:
        assert rates[-1] < 0.3 * max(rates)


@pytest.mark.parametrize("kept", [True, False])
def test_stage_1_may_keep_the_pretrained_backbone_to_the_byte(settings, tmp_path, same, kept):
    run = Run(settings(frozen_blocks=5 * kept, frozen_bn=kept), runs_root=tmp_path, cache_root=tmp_path)
    before = {part: copy.deepcopy(getattr(run.model, part).state_dict()) for part in ("backbone", "decoder")}
    run.train_backbone()
    assert same(before["backbone"], run.model.backbone.state_dict()) == kept
    assert not same(before["decoder"], run.model.decoder.state_dict())


def test_frozen_blocks_and_statistics_of_the_backbone_stay_pretrained(settings, tmp_path, same):
    run = Run(settings(k=10, frozen_blocks=3, frozen_bn=True), runs_root=tmp_path, cache_root=tmp_path)
    before = states(run.model)
    run.train_backbone()
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("backbone.stem.", "backbone.layer1.", "backbone.layer2.")
    assert not [name for name in changed if name.startswith(frozen) or "backbone" in name and "running" in name]
    assert {"backbone.layer3.0.conv1.weight", "backbone.layer3.0.bn1.weight", "aspp.convs.0.1.running_var"} <= changed


def test_a_stride_over_cells_keeps_each_feature_with_its_label(make_cache, settings, monkeypatch):
    maps = np.random.default_rng(1).choice([0, BIRD, DOG], (4, 8, 8)).repeat(4, 1).repeat(4, 2)
    t = trainer(make_cache(maps), settings, "no_generator", cell_stride=2)
    features = torch.from_numpy(maps[:, ::4, ::4]).float()[..., None].expand(-1, -1, -1, 256).half()
    seen = []
    monkeypatch.setattr(t, "_classify", lambda f, _, layout, teach: seen.append((f, layout.cells)) or f.sum())
    for _ in range(20):
        t.step(features, torch.from_numpy(maps).to(torch.uint8), {"classifier": []})
    assert all(f.shape == (4, 4, 4, 256) and torch.equal(f[..., 0].long(), cells.long()) for f, cells in seen)
    assert len({tuple(cells.flatten().tolist()) for _, cells in seen}) == 4  # every offset comes up


def test_shared_views_give_all_seeds_one_cache(finished, settings):
    run, _ = finished
    a, b = (
        Run(settings(k=10, seed=seed, shared_views=True), runs_root=run.folder.parents[1], cache_root=run.cache_folder.parent)
        for seed in (0, 1)
    )  # fmt: skip
    assert a.cache_folder == b.cache_folder and a.head_key != b.head_key
    assert Run(settings(k=10, seed=1), runs_root=run.folder.parents[1]).cache_folder.name != a.cache_folder.name


def test_augmented_batches_do_not_depend_on_workers(settings, world):
    data, found = open_data("voc", world, "train"), []
    for workers in (0, 2):
        s = settings(workers=workers, blur=1.0)
        found.append(list(loading.batches(loading.Augmented(data, list(range(10)), s, seed=4, epoch=2), s)))
    assert [len(x) for x, _ in found[0]] == [4, 4, 2]
    assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(*found, strict=True))


# ---- the cache -------------------------------------------------------------------------------------------------------


def spoil(path, how):
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[-1] ^= 1
    path.unlink()
    if how != "remove":
        path.write_bytes(content[: len(content) // 2] if how == "cut" else content)


@pytest.mark.parametrize("name", ["features.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "remove", "empty"])
def test_any_damage_to_the_cache_is_seen(make_cache, name, how):
    cache = make_cache(mixed())
    folder = Path(cache.features.filename).parent
    spoil(folder / name, how)
    if how == "empty":
        (folder / name).write_bytes(b"")
    assert FeatureCache.open(folder) is None


def test_an_intact_cache_is_not_computed_again_and_a_broken_build_is_no_cache(settings, tmp_path, monkeypatch):
    run = Run(settings(k=10, views=2), runs_root=tmp_path, cache_root=tmp_path / "cache")
    calls, original = [], features.extract

    def extract(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(features, "extract", extract)
    run.model.eval()

    def build():
        return FeatureCache.build(run.cache_folder, run.model, run.train, run.settings, seed=1)

    with pytest.raises(KeyboardInterrupt):
        build()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [f"{run.cache_folder.name}.partial"]
    first = build()
    done = len(calls)
    assert done == 3 + 10 and list((tmp_path / "cache").iterdir()) == [run.cache_folder]  # two batches were kept
    assert len(first) == 24 and first.features.shape == (48, 8, 8, 256)
    assert (build().features == first.features).all() and len(calls) == done
    for view in (0, 1):  # row n V + v is view v of image n: Augmented's picture of epoch v
        _, labels = loading.Augmented(run.train, list(range(24)), run.settings, seed=1, epoch=view)[5]
        assert (first.labels[5 * 2 + view] == labels.numpy()).all()
    assert not (first.features[10] == first.features[11]).all()


# ---- records and saved heads -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    run = Run(settings(dataset="context", k=10), runs_root=root, cache_root=root / "cache")
    for stage in (run.train_backbone, run.train_heads, run.evaluate):
        stage()
    return run, run.save()


def test_a_context_record_follows_from_its_confusions(finished):
    run, path = finished
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert path == run.folder / "metrics.json" and path.parent.name == "context-k10-s0"
    assert list(record["methods"]) == ["no_generator", "zs3net", "ours"] == record["settings"]["methods"]
    pixels = sum(int((run.val.load_mask(i) != 255).sum()) for i in range(len(run.val)))
    for method in record["methods"].values():
        confusion = np.array(method["confusion"])
        assert confusion.shape == (60, 60) and confusion.sum() == pixels
        assert scores(confusion, run.split) == method["metrics"]
        assert all(0 <= value <= 100 for value in method["metrics"].values())
        assert np.mean(list(method["per_class_iou"].values())) == pytest.approx(method["metrics"]["overall_miou"])
    assert record["unseen"] == list(UNSEEN_ORDER) and len(record["seen"]) == 50
    assert Settings.make(**record["settings"]) == run.settings
    assert (record["train_images"], record["val_images"]) == (24, 8) and 0 < record["stage1_images"] < 24
    assert len(record["history"]["stage1"]["loss"]) == 1 and len(record["history"]["ours"]["classifier"]) == 2
    assert {"python", "zs3lib", "torch", "torchvision", "numpy"} == set(record["versions"]) - {"numba"}
    assert set(record["git"]) == {"commit", "dirty"} and record["device"].startswith("CPU")
    assert record["wall_s"] >= sum(record["seconds"].values()) > 0


def test_saving_drops_what_only_training_needs(finished):
    run, path = finished
    assert not run.cache_folder.exists() and sorted(p.name for p in path.parent.iterdir()) == [
        "heads.pt",
        "metrics.json",
    ]
    assert [p.name for p in run.backbone_folder.iterdir()] == ["backbone.pt"]


def test_every_saved_head_gives_the_runs_confusion(finished):
    run, path = finished
    model, heads = load_heads(path.parent, run.settings, 60)
    assert list(heads) == list(run.settings.methods)
    confusions = evaluate(model, {name: head.classifier for name, head in heads.items()}, run.val, run.settings)
    for name, confusion in confusions.items():
        assert confusion.tolist() == run.results[name]["confusion"]
    torch.manual_seed(0)
    again = heads["ours"].generate_class(3, 4)
    torch.manual_seed(0)
    assert torch.equal(again, run.heads["ours"].generate_class(3, 4))


def test_a_second_run_with_other_methods_reuses_the_backbone(finished, settings, monkeypatch):
    run, _ = finished
    monkeypatch.setattr("zs3lib.stage1._train_epoch", lambda *a: pytest.fail("stage 1 trained again"))
    again = Run(
        settings(dataset="context", k=10, seed=3), runs_root=run.folder.parents[1], cache_root=run.cache_folder.parent
    )
    assert again.train_backbone() == run.history["stage1"]["loss"]
    other = Run(settings(dataset="context", k=10, stage1_lr=1e-4), runs_root=run.folder.parents[1])
    assert other.backbone_key != run.backbone_key and other.head_key != run.head_key
    assert again.head_key != run.head_key and again.cache_folder != run.cache_folder
    assert checkpoints.resume(run.backbone_folder / "backbone.pt", "another key") is None


def test_a_smaller_k_starts_from_the_backbone_of_a_larger_one(settings, tmp_path, monkeypatch):
    def opened(k, from_k):
        s = settings(k=k, frozen_blocks=0, stage1_epochs=3, stage1_from_k=from_k, stage1_from_epochs=1)
        return Run(s, runs_root=tmp_path, cache_root=tmp_path)

    starts, original = [], stage1.train_backbone

    def train(model, data, indices, *rest, **kept):
        starts.append((len(indices), states(model)))
        return original(model, data, indices, *rest, **kept)

    monkeypatch.setattr(stage1, "train_backbone", train)
    run, alone = opened(2, 10), opened(2, 0)
    assert len(run.train_backbone()) == 1 and len(alone.train_backbone()) == 3
    base = opened(10, 10)
    assert len(base.train_backbone()) == 3 and len(starts) == 3  # K = 10 was there already
    (first, _), (second, start), _ = starts
    assert first == len(base.seen_images) < second == len(run.seen_images)
    assert set(base.seen_images) < set(run.seen_images)
    assert all(torch.equal(value, base.model.state_dict()[name]) for name, value in start.items())
    assert alone.backbone_key != run.backbone_key != base.backbone_key


def test_a_smaller_k_may_use_a_larger_ones_backbone_as_it_is(settings, tmp_path, monkeypatch, same):
    def opened(k):
        return Run(settings(k=k, stage1_from_k=10, stage1_from_epochs=0), runs_root=tmp_path, cache_root=tmp_path)

    small, large = opened(2), opened(10)
    small.train_backbone()
    monkeypatch.setattr(stage1, "train_backbone", lambda *a, **k: pytest.fail("stage 1 trained again"))
    large.train_backbone()
    assert same(small.model.state_dict(), large.model.state_dict())
    assert small.cache_folder == large.cache_folder and small.head_key != large.head_key
    small.settings = dataclasses.replace(small.settings, methods=("zs3net",))
    small.train_heads(), small.evaluate()
    assert small.record()["stage1_images"] == len(large.seen_images) < len(small.seen_images)
    small.save()
    model, _ = load_heads(small.folder, small.settings, 21)
    assert same(model.state_dict(), large.model.state_dict())
