"""Whatever a user can get wrong ends in one line that names the file or the setting, beyond what test_data damages."""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from zs3lib import Run, Settings, ZS3Error, load_heads, split, stage1
from zs3lib.checkpoints import load_weights, resume
from zs3lib.data import open_data
from zs3lib.devices import device

LISTS = "VOCdevkit/VOC2012/ImageSets/Segmentation"
MASK = "VOCdevkit/VOC2012/SegmentationClass/2012_000001.png"
MAT = "context/trainval/2010_000001.mat"


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the tiny world that a test may damage."""
    shutil.copytree(world, tmp_path / "world")
    return tmp_path / "world"


def one_line(call) -> str:
    with pytest.raises(ZS3Error) as caught:
        call()
    message = str(caught.value)
    assert message and "\n" not in message
    assert caught.value._render_traceback_() == [f"ZS3Error: {message}"]
    return message


# ---- data -----------------------------------------------------------------------------------------------------------


def only_cows(root):
    for path in (root / "VOCdevkit/VOC2012/SegmentationClass").glob("*.png"):
        mask = np.array(Image.open(path))
        mask[5, 5] = 10
        Image.fromarray(mask).save(path)


def picture(mode):
    return lambda root: Image.new(mode, (64, 64)).save(root / MASK)


def relabel(change):
    """Rewrite context/labels.txt line by line: change(number, line) -> line or None."""

    def damage(root):
        path = root / "context" / "labels.txt"
        lines = [change(n, line) for n, line in enumerate(path.read_text().splitlines(), start=1)]
        path.write_text("".join(f"{line}\n" for line in lines if line is not None))

    return damage


def an_extra_twice(root):
    (root / LISTS / "train_aug.txt").write_text("2008_000001\n2008_000001\n")


OPENED_BY_RUN = {
    "every training image has an unseen class": ("voc", only_cows, "unseen class"),
    "no val split": ("voc", lambda r: (r / LISTS / "val.txt").unlink(), "val.txt"),
    "empty val split": ("voc", lambda r: (r / LISTS / "val.txt").write_text(""), "val.txt"),
    "two extras of one id": ("voc", an_extra_twice, "2008_000001"),
    "an extra without its mask": (
        "voc",
        lambda r: (r / LISTS / "train_aug.txt").write_text("2012_009999\n"),
        "2012_009999",
    ),
    "an absolute path as id": ("voc", lambda r: (r / LISTS / "train.txt").write_text("/etc/passwd\n"), "train.txt"),
    "no VOC2012": ("voc", lambda r: shutil.rmtree(r / "VOCdevkit/VOC2012"), "VOC2012"),
    "no masks at all": ("voc", lambda r: shutil.rmtree((r / MASK).parent), "SegmentationClass"),
    "black-and-white mask": ("voc", picture("1"), "2012_000001.png"),
    "mask with alpha": ("voc", picture("RGBA"), "2012_000001.png"),
    "grey mask with alpha": ("voc", picture("LA"), "2012_000001.png"),
    "text for a mask": ("voc", lambda r: (r / MASK).write_text("mask"), "2012_000001.png"),
    "no Context split": ("context", lambda r: (r / "context/train.txt").unlink(), "train.txt"),
    "no VOC2010": ("context", lambda r: shutil.rmtree(r / "VOCdevkit/VOC2010"), "VOC2010"),
    "no .mat": ("context", lambda r: (r / MAT).unlink(), "2010_000001.mat"),
    "empty .mat": ("context", lambda r: (r / MAT).write_bytes(b""), "2010_000001.mat"),
    "text for a .mat": ("context", lambda r: (r / MAT).write_text("LabelMap"), "2010_000001.mat"),
    "a volume for a LabelMap": (
        "context",
        lambda r: savemat(r / MAT, {"LabelMap": np.ones((4, 4, 3))}),
        "2010_000001.mat",
    ),
    "458 labels": ("context", relabel(lambda n, line: None if n == 459 else line), "458"),
    "a number twice": ("context", relabel(lambda n, line: line if n != 7 else "8: sevenish"), "labels.txt"),
    "a class under another name": ("context", relabel(lambda n, line: line.replace(": cow", ": ox")), "'cow'"),
}


@pytest.mark.parametrize("case", OPENED_BY_RUN)
def test_wrong_data_is_found_before_any_training(copy, settings, tmp_path, case):
    dataset, damage, names = OPENED_BY_RUN[case]
    damage(copy)
    assert names in one_line(lambda: Run(settings(dataset=dataset, data_root=str(copy)), runs_root=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_mask_of_another_size_names_both_files_and_sizes(copy):
    Image.new("L", (7, 9)).save(copy / MASK)
    message = one_line(lambda: open_data("voc", copy, "train").load(0))
    assert "2012_000001.png is 7 x 9" in message and "2012_000001.jpg is" in message


def test_a_context_map_of_another_size(copy):
    savemat(copy / MAT, {"LabelMap": np.ones((7, 9), np.uint16)})
    assert "2010_000001.mat is 9 x 7" in one_line(lambda: open_data("context", copy, "train").load(0))


def test_a_damaged_picture_stops_stage_1_by_name(copy, settings, tmp_path):
    run = Run(settings(data_root=str(copy), k=10), runs_root=tmp_path, cache_root=tmp_path)
    for i in run.seen_images[:3]:  # the last batch is dropped when it is not full: one of three is read in any order
        path = run.train.images[i]
        path.write_bytes(path.read_bytes()[:300])
    assert len(run.seen_images) % 4 < 3
    message = one_line(run.train_backbone)
    assert any(run.train.images[i].name in message for i in run.seen_images[:3])


# ---- weights, word vectors, device ----------------------------------------------------------------------------------


class Code:
    def __reduce__(self):
        return exec, ("import zs3lib; zs3lib.code_ran = True",)


def half(path, weights):
    path.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def nested(path, weights):
    torch.save({"model": load_weights(weights)}, path)


def wider(path, weights):
    state = load_weights(weights)
    state["decoder.reduce.0.weight"] = torch.zeros(48, 65, 1, 1)
    torch.save(state, path)


def unknown_tensor(path, weights):
    torch.save(load_weights(weights) | {"decoder.more": torch.zeros(1)}, path)


WEIGHTS = {
    "empty": lambda path, _: path.write_bytes(b""),
    "text": lambda path, _: path.write_text("weights"),
    "half": half,
    "a folder": lambda path, _: path.mkdir(),
    "code beside tensors": lambda path, weights: torch.save(load_weights(weights) | {"x": Code()}, path),
    "a tensor": lambda path, _: torch.save(torch.zeros(3), path),
    "a list": lambda path, _: torch.save([1, 2], path),
    "nothing": lambda path, _: torch.save({}, path),
    "under a key": nested,
    "another size": wider,
    "a tensor too many": unknown_tensor,
    "the toy network's ASPP for other rates": None,
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit(settings, weights, tmp_path, case):
    import zs3lib

    path, changes = tmp_path / "mine.pt", {}
    if WEIGHTS[case]:
        WEIGHTS[case](path, weights)
    else:
        shutil.copy(weights, path)
        changes = {"aspp_rates": (6, 12)}
    assert "mine.pt" in one_line(lambda: Run(settings(weights=str(path), **changes), runs_root=tmp_path))
    assert not hasattr(zs3lib, "code_ran")


def test_imagenet_weights_fit_their_backbone_and_no_other(settings, tmp_path):
    from torchvision import models

    for name, other in (("resnet18", "mobilenet_v2"), ("mobilenet_v2", "resnet18")):
        torch.save(getattr(models, name)(weights=None).state_dict(), path := tmp_path / f"{name}.pth")
        run = Run(settings(backbone=name, weights=str(path)), runs_root=tmp_path)
        state, part = load_weights(path), run.model.backbone
        loaded, given = (
            (part.stem[0].weight, state["conv1.weight"]) if name == "resnet18"
            else (part.high[17 - 4].conv[2].weight, state["features.17.conv.2.weight"])
        )  # fmt: skip
        assert torch.equal(loaded, given)
        assert path.name in one_line(partial(Run, settings(backbone=other, weights=str(path)), runs_root=tmp_path))


def test_word_vectors_are_checked_before_training(settings, world, tmp_path):
    lines = (world / "wordvectors.txt").read_text().splitlines()
    short = [line for line in lines[1:] if not line.startswith("sofa ")]
    (tmp_path / "w.txt").write_text("\n".join([f"{len(short)} 300", *short]) + "\n")
    for source, names in ((tmp_path / "w.txt", "'sofa'"), (tmp_path / "none.txt", "none.txt")):
        assert names in one_line(partial(Run, settings(word_vectors=str(source)), runs_root=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu"])
def test_a_device_that_is_not_there(settings, name):
    assert f"'{name}'" in one_line(lambda: device(settings(device=name)))


def test_a_damaged_training_state_is_told_and_not_used(tmp_path):
    (tmp_path / "training.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.warns(UserWarning, match="training.pt is damaged"):
        assert resume(tmp_path / "training.pt", "key") is None
    torch.save({"key": "other"}, tmp_path / "training.pt")
    assert resume(tmp_path / "training.pt", "key") is None and resume(tmp_path / "none.pt", "key") is None


# ---- order of things ------------------------------------------------------------------------------------------------


def test_a_record_before_its_results(settings, tmp_path):
    run = Run(settings(), runs_root=tmp_path)
    message = one_line(run.record)
    assert all(name in message for name in run.settings.methods)
    assert not run.folder.exists()


def test_heads_of_a_run_that_is_not_there(settings, tmp_path):
    assert "heads.pt" in one_line(lambda: load_heads(tmp_path / "voc-k2-s0", settings(), 21))


def test_a_loss_that_is_not_finite_stops_stage_1_naming_the_step_the_images_and_what_is_saved(settings, tmp_path):
    run = Run(settings(k=10, stage1_epochs=2, batch_size=2), runs_root=tmp_path, cache_root=tmp_path)
    steps, original = [], run.model.features

    def features(images):
        steps.append(original(images))
        return steps[-1] * (float("nan") if len(steps) == per_epoch + 2 else 1.0)

    per_epoch = len(run.seen_images) // 2
    run.model.features = features
    message = one_line(run.train_backbone)
    assert "the backbone loss is nan at step 2 of epoch 2" in message and "stage1_lr" in message
    named = [i for i in run.train.ids if i in message]
    assert len(named) == 2 and set(named) <= {run.train.ids[i] for i in run.seen_images}
    assert str(run.backbone_folder / "training.pt") in message and not (run.backbone_folder / "backbone.pt").exists()
    assert len(resume(run.backbone_folder / "training.pt", run.backbone_key)["losses"]) == 1


def test_a_picture_of_void_alone_is_no_loss_and_no_nan(settings, tmp_path):
    run = Run(settings(k=10, batch_size=2), runs_root=tmp_path, cache_root=tmp_path)
    run.train.load_mask = lambda i: np.full(run.train.load_image(i).size[::-1], 255, np.uint8)
    assert run.train_backbone() == [0.0]


def test_images_without_says_which_k(world):
    data = open_data("voc", world, "train")
    data.presence[:] = True
    assert "K = 4" in one_line(lambda: stage1.images_without(data, split("voc", 4)))


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        ("methods", "ours,zs4net"), ("methods", 5), ("tau", "nan"), ("tau", -0.1), ("tau", float("inf")), ("tau", True),
        ("tau", [0.5]), ("gamma", "1/40"), ("gamma", float("inf")), ("gamma", float("nan")), ("stage1_epochs", 0),
        ("stage2_epochs", 2.5), ("stage2_epochs", float("inf")), ("stage2_epochs", "ten"), ("warmup_epochs", -1),
        ("seed", 2**40), ("seed", True), ("crop_size", 8), ("val_size", 0), ("views", 0), ("scale_min", 0),
        ("scale_max", 0.1), ("holdout", 1.5), ("momentum", 1), ("unseen_weight", -1), ("classifier_lr", -1),
        ("generator_lr", "fast"), ("word_norm", "l1"), ("classifier_loss", "max"), ("loss_at", "pixel"),
        ("zs_weights", "none"), ("pseudo", "old"), ("protocol", "loose"), ("stage1_optimiser", "lion"),
        ("mmd_root", "maybe"), ("amp", 2), ("workers", -1), ("aspp_rates", "2,x"), ("aspp_rates", 6),
        ("multi_grid", "1.5"), ("k", 2.0), ("k", None), ("k", -1),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_named(name, value):
    message = one_line(lambda: Settings.make(**{name: value}))
    assert {"methods": "method"}.get(name, name) in message


@pytest.mark.parametrize(
    "name, given, meant",
    [
        ("seed", "3", 3), ("seed", 3.0, 3), ("tau", 1, 1.0), ("mmd_root", "False", False), ("mmd_root", "true", True),
        ("mmd_root", 0, False), ("methods", ["ours"], ("ours",)), ("gamma", "1e-3", 1e-3), ("stage1_steps", "1e2", 100),
        ("tau", "", 0.85), ("tau", None, 0.85), ("methods", "", ("no_generator", "zs3net", "ours", "equal_weight")),
    ],
)  # fmt: skip
def test_papermills_values_are_understood(name, given, meant):
    value = getattr(Settings.make(**{name: given}), name)
    assert value == meant and type(value) is type(meant)


@pytest.mark.parametrize("profile", ["toy", "lite", "paper"])
def test_a_records_settings_make_the_same_settings(profile):
    for dataset in ("voc", "context"):
        s = Settings.make(profile=profile, dataset=dataset, k=3, seed=5)
        assert Settings.make(**s.as_dict()) == s
