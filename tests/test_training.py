"""What each stage may see and change, that runs repeat and resume to the same digits, and what a record holds."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

from zs3lib import Run, ZS3Error, checkpoints, features, load_heads
from zs3lib.data import loading
from zs3lib.evaluate import predict
from zs3lib.features import FeatureCache, at_feature_resolution
from zs3lib.stage2 import Trainer, train_head


def digest(module) -> bytes:
    return b"".join(t.cpu().contiguous().numpy().tobytes() for t in module.state_dict().values())


@pytest.fixture
def run(settings, tmp_path):
    """Open a tiny run under tmp_path; keyword arguments change its settings."""

    def open_run(folder="a", **changes):
        return Run(settings(k=10, **changes), runs_root=tmp_path / folder, cache_root=tmp_path / folder / "cache")

    return open_run


def whole(r):
    """All of a run; its results and trained weights, without times (so small a network may predict one class alone)."""
    r.train_backbone()
    r.train_heads()
    results = r.evaluate()
    return {name: (v["metrics"], v["confusion"], digest(r.heads[name]), digest(r.model)) for name, v in results.items()}


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    r = Run(settings(k=10), runs_root=root, cache_root=root / "cache")
    return r, whole(r), r.save(keep_cache=True)


def test_stage_1_never_reads_an_image_with_an_unseen_class(run, monkeypatch):
    r, read = run(), []
    original = type(r.train).load
    monkeypatch.setattr(type(r.train), "load", lambda self, i: read.append(i) or original(self, i))
    r.train_backbone()
    unseen = list(r.split.unseen)
    assert read and not r.train.presence[sorted(set(read))][:, unseen].any()
    assert r.train.presence[:, unseen].any(), "the world must hold unseen classes for this test to mean anything"


def test_stage_2_leaves_the_backbone_byte_for_byte(run):
    r = run()
    r.train_backbone()
    before = digest(r.model)
    r.train_heads()
    assert digest(r.model) == before
    assert not any(p.requires_grad for p in r.model.parameters())


def crafted(finished, method, labels, **changes):
    """A trainer past its warm-up on one batch whose every pixel is of the given classes (one an image)."""
    r = finished[0]
    settings = type(r.settings)(**{**vars(r.settings), "warmup_epochs": 0, **changes})
    cache = FeatureCache(r.cache_folder)
    torch.manual_seed(3)
    trainer = Trainer(method, cache, torch.from_numpy(r.words), r.split, settings)
    maps = torch.tensor(labels, dtype=torch.uint8)[:, None, None].expand(len(labels), 32, 32).contiguous()
    return trainer, torch.rand(len(labels), 8, 8, 256), maps


def step(trainer, features, maps):
    log = {name: [] for name in ("generator", "classifier", "recursion", "q")}
    trainer.step(features, maps, log)
    return log


def test_only_recursion_trains_the_generator_on_unseen_images(finished):
    unseen = list(finished[0].split.unseen)[:2]
    for method, steps in (("zs3net", 0), ("equal_weight", 2)):
        trainer, features, maps = crafted(finished, method, unseen)
        before = digest(trainer.head.generator)
        log = step(trainer, features, maps)
        assert (digest(trainer.head.generator) == before) == (steps == 0)
        assert len(log["recursion"]) == steps and not log["generator"]


def test_no_step_when_fewer_than_two_vectors_pass_tau(finished):
    unseen = list(finished[0].split.unseen)[:2]
    trainer, features, maps = crafted(finished, "ours", unseen, tau=1.0)
    before = digest(trainer.head.generator)
    log = step(trainer, features, maps)
    assert digest(trainer.head.generator) == before and not log["recursion"] and max(log["q"]) < 2


def test_ours_takes_a_step_when_the_classifier_is_confident(finished):
    c = finished[0].split.unseen[0]
    trainer, features, maps = crafted(finished, "ours", [c])
    with torch.no_grad():
        trainer.head.classifier.bias[c] += 50  # every generated vector is now recognised with confidence 1
    log = step(trainer, features, maps)
    assert len(log["recursion"]) == 1 and log["q"][0] == trainer.settings.samples


def test_classifier_sees_real_features_of_seen_images_and_generated_ones_of_others(finished):
    seen, unseen = finished[0].split.seen[1], finished[0].split.unseen[0]
    _, features, maps = crafted(finished, "zs3net", [seen, unseen])
    heads = []
    for image in (None, 1, 0):  # the features of which image are other ones
        trainer, _, _ = crafted(finished, "zs3net", [seen, unseen])
        other = features.clone()
        if image is not None:
            other[image] = 7
        torch.manual_seed(4)
        step(trainer, other, maps)
        heads.append(digest(trainer.head.classifier))
    same, changed = heads[1] == heads[0], heads[2] != heads[0]
    assert same and changed  # the real features of the image with an unseen class are never looked at


def test_the_floor_ignores_images_with_unseen_classes(finished):
    trainer, features, maps = crafted(finished, "no_generator", [finished[0].split.unseen[0]])
    before = trainer.head.classifier.weight.grad
    assert step(trainer, features, maps)["classifier"][0] == 0 and before is None
    assert trainer.head.classifier.weight.grad.abs().sum() == 0


def test_a_batch_of_void_alone_is_no_loss_and_no_nan(finished):
    for at in ("feature", "image"):
        trainer, features, maps = crafted(finished, "ours", [255, 255], loss_at=at)
        assert step(trainer, features, maps)["classifier"][0] == 0
        assert all(torch.isfinite(p).all() for p in trainer.head.parameters())


@pytest.mark.parametrize("kind", ["generator", "classifier", "recursion"])
def test_a_loss_that_is_not_finite_stops_stage_2_naming_the_step_the_images_and_what_is_saved(
    finished, kind, tmp_path, monkeypatch
):
    trainer, _, _ = crafted(finished, "ours", [1], batch_size=5, stage2_epochs=2)
    name = {"generator": "fit", "classifier": "_classify", "recursion": "_recurse"}[kind]
    owner = trainer.generator_step if kind == "generator" else trainer
    original, step, batches = getattr(owner, name), trainer.step, []
    monkeypatch.setattr(trainer, "step", lambda *arguments: batches.append(1) or step(*arguments))

    def spoiled(*arguments):
        """The first such loss from the third step of the second epoch on is NaN."""
        late = len(batches) >= trainer.batches + 3
        if kind == "recursion":
            original(*arguments)
            return arguments[-1]["recursion"].append(torch.tensor(float("nan") if late else 1.0))
        found, factor = original(*arguments), float("nan") if late else 1.0
        return [loss * factor for loss in found] if kind == "generator" else found * factor

    monkeypatch.setattr(owner, name, spoiled)
    with pytest.raises(ZS3Error) as caught:
        train_head(trainer, folder=tmp_path, key="key")
    message = str(caught.value)
    found = re.search(
        r"stage 2, ours: the (\w+) loss is nan at step (\d+) of epoch 2, on the images ([\w, ]+):", message
    )
    assert found and found[1] == kind and int(found[2]) >= 3 and (kind == "recursion" or found[2] == "3"), message
    assert len(found[3].split(", ")) == 5 and set(found[3].split(", ")) <= set(finished[0].train.ids)
    assert message.endswith(f"the last good state, after epoch 1, is {tmp_path / 'ours.pt'}")
    assert checkpoints.resume(tmp_path / "ours.pt", "key")["trainer"]["epoch"] == 1


def test_the_same_seed_repeats_every_digit_and_another_does_not(run, finished):
    assert whole(run()) == finished[1]
    other = whole(run("b", seed=1))
    assert other["zs3net"] != finished[1]["zs3net"]


@pytest.mark.parametrize("stage", ["backbone", "heads"])
def test_an_interrupted_run_says_what_is_saved_and_goes_on_to_the_same_digits(run, stage, monkeypatch, capsys):
    changes = dict(stage1_epochs=3, stage2_epochs=3)
    expected = whole(run("straight", **changes))
    calls, original = [], checkpoints.save

    def fail_after_two(path, state):
        if (path.name == "training.pt") == (stage == "backbone") and path.name != "backbone.pt":
            calls.append(path)
            if len(calls) == 3:
                raise KeyboardInterrupt
        original(path, state)

    monkeypatch.setattr(checkpoints, "save", fail_after_two)
    with pytest.raises(KeyboardInterrupt):
        whole(run("broken", **changes))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("interrupted; ")]
    expected_file = "training.pt" if stage == "backbone" else "training: no_generator)"
    assert expected_file in line and line.endswith("the same command goes on from there")
    monkeypatch.setattr(checkpoints, "save", original)
    again = run("broken", **changes)
    assert whole(again) == expected and again.interrupted


def test_sharing_the_warm_up_changes_nothing(run, finished):
    r = run("alone", methods="ours")
    assert whole(r)["ours"] == finished[1]["ours"]


@pytest.mark.parametrize("damage", ["a byte", "half the file", "no meta"])
def test_a_damaged_cache_is_rebuilt_not_read(run, damage):
    r = run()
    r.train_backbone()
    r.train_heads()
    before = np.load(r.cache_folder / "features.npy").copy()
    path = r.cache_folder / ("meta.json" if damage == "no meta" else "features.npy")
    content = bytearray(path.read_bytes())
    if damage == "a byte":
        content[-100] ^= 0xFF
    elif damage == "half the file":
        content = content[: len(content) // 2]
    path.unlink()
    if damage != "no meta":
        path.write_bytes(content)
    assert FeatureCache.open(r.cache_folder) is None
    seed = loading.stream(r.settings.seed, 30)
    cache = FeatureCache.build(r.cache_folder, r.model, r.train, r.settings, seed=seed)
    assert (cache.features == before).all()


def test_nearest_cells_are_the_centres():
    labels = torch.arange(8, dtype=torch.uint8).repeat(8, 1)[None]
    assert at_feature_resolution(labels, (2, 2)).tolist() == [[[2, 6], [2, 6]]]


def test_a_record_is_strict_json_and_says_all_that_a_row_needs(finished):
    r, results, path = finished
    assert not r.interrupted
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert {
        "schema", "profile", "dataset", "k", "seed", "settings", "methods", "versions", "git", "device", "wall_s",
        "train_images", "stage1_images", "val_images", "data_fingerprint", "seen", "unseen",
    } <= set(record)  # fmt: skip
    for name, method in record["methods"].items():
        assert len(method["metrics"]) == 10 and set(method["per_class_iou"]) == set(record["seen"] + record["unseen"])
        assert np.sum(method["confusion"]) == np.sum(results[name][1])


def test_saved_heads_predict_what_the_run_predicted(finished):
    r, _, path = finished
    model, heads = load_heads(path.parent, r.settings, 21)
    image = r.val.load_image(0)
    ours = {"x": r.heads["ours"].classifier}
    loaded = {"x": heads["ours"].classifier}
    assert torch.equal(predict(r.model, ours, image, r.settings)["x"], predict(model, loaded, image, r.settings)["x"])


def test_word_vectors_of_the_record_list_substitutions(finished):
    assert json.loads(finished[2].read_text())["word_substitutions"] == {}


@pytest.mark.parametrize("stop", [2, 5])
def test_an_interrupted_cache_keeps_what_was_computed(run, stop, monkeypatch):
    """48 rows in batches of 7: four to a view, the last of 3; interrupted in the batch `stop` of the first or second view."""
    r = run(batch_size=7, views=2)
    r.train_backbone()
    seed, calls, original = 5, [], features.extract

    def build(limit=None):
        def extract(*arguments):
            calls.append(1)
            if len(calls) == limit:
                raise KeyboardInterrupt
            return original(*arguments)

        calls.clear()
        monkeypatch.setattr(features, "extract", extract)
        cache = FeatureCache.build(r.cache_folder, r.model, r.train, r.settings, seed=seed)
        return np.array(cache.features), np.array(cache.labels)

    straight = build()
    assert len(calls) == 8
    shutil.rmtree(r.cache_folder)
    with pytest.raises(KeyboardInterrupt):
        build(stop)
    assert FeatureCache.open(r.cache_folder) is None
    again = build()
    assert len(calls) == 8 - (stop - 1)
    assert all((x == y).all() for x, y in zip(straight, again))
    assert not list(r.cache_folder.parent.glob("*.partial"))


def test_features_that_are_not_finite_name_the_image(run, monkeypatch):
    r = run(batch_size=7)
    r.train_backbone()
    original = features.extract

    def extract(*arguments):
        values = original(*arguments).clone()
        values[3, 2, 2, 2] = float("inf")
        return values

    monkeypatch.setattr(features, "extract", extract)
    with pytest.raises(ZS3Error, match=f"features of image {r.train.ids[3]} are not finite"):
        r.train_heads()
