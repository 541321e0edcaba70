"""VOC and Pascal-Context in their official formats, and every damaged file answered by one line that names it."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sbd_files import write_sbd
from scipy.io import loadmat, savemat
from torchvision.datasets import SBDataset, VOCSegmentation

from zs3lib import Run, ZS3Error, checkpoints
from zs3lib.classes import CONTEXT_CLASSES
from zs3lib.data import VOC, Context, open_data, sbd
from zs3lib.data.loading import Augmented
from zs3lib.words import load_word_vectors


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the tiny world that a test may damage."""
    shutil.copytree(world, tmp_path / "world")
    return tmp_path / "world"


KIT, LISTS = "VOCdevkit/VOC2012", "VOCdevkit/VOC2012/ImageSets/Segmentation"


def test_voc_reads_what_torchvision_reads(world):
    ours, theirs = VOC(world, "train"), VOCSegmentation(world, "2012", "train", download=False)
    assert len(ours) == len(theirs) == 24
    for i in range(len(ours)):
        image, mask = ours.load(i)
        assert (np.asarray(image) == np.asarray(theirs[i][0])).all() and (mask == np.asarray(theirs[i][1])).all()


def test_any_level_of_the_devkit_is_accepted(world):
    for root in (world, world / "VOCdevkit", world / KIT):
        assert len(open_data("voc", root, "val")) == 8


def test_sbd_extras_join_train_once_and_never_from_val(copy):
    kit, lists = copy / KIT, copy / LISTS
    train, val = (lists / "train.txt").read_text().split(), (lists / "val.txt").read_text().split()
    (kit / "SegmentationClassAug").mkdir()
    for i in (train[0], val[0], "2008_000001"):
        shutil.copy(kit / "SegmentationClass" / f"{train[1]}.png", kit / "SegmentationClassAug" / f"{i}.png")
    shutil.copy(kit / "JPEGImages" / f"{train[1]}.jpg", kit / "JPEGImages" / "2008_000001.jpg")
    (lists / "train_aug.txt").write_text(f"{train[0]}\n{val[0]}\n2008_000001\n")
    data = VOC(copy, "train")
    assert data.ids == [*train, "2008_000001"]
    assert data.masks[0].parent.name == "SegmentationClass" and data.masks[-1].parent.name == "SegmentationClassAug"


@pytest.mark.parametrize("place", sbd.PLACES)
def test_sbds_own_files_join_train_once_and_never_from_val(copy, place):
    lists = copy / LISTS
    train, val = (lists / "train.txt").read_text().split(), (lists / "val.txt").read_text().split()
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:30], mask[30:, 40:] = 10, 15
    write_sbd(copy / place, {name: mask for name in ("2008_000002", train[0], val[0], "2008_000001")})
    data = VOC(copy, "train")
    assert data.ids == [*train, "2008_000002", "2008_000001"]
    assert data.masks[0] == copy / KIT / "SegmentationClass" / f"{train[0]}.png"
    image, read = data.load(len(train))
    theirs = SBDataset(copy / place, image_set="train_noval", mode="segmentation")[0]
    assert (read == mask).all() and (np.asarray(theirs[1]) == read).all() and read.dtype == np.uint8
    assert (np.asarray(image) == np.asarray(theirs[0])).all()
    assert data.presence[-1].nonzero()[0].tolist() == [0, 10, 15]
    assert VOC(copy, "val").ids == val and VOC(copy, "train", extras=False).ids == train


def test_a_devkits_own_aug_folder_comes_before_sbd(copy):
    write_sbd(copy / "sbd", {"2008_000001": np.zeros((40, 50), np.uint8)})
    (copy / LISTS / "train_aug.txt").write_text("")
    assert "2008_000001" not in VOC(copy, "train").ids


def sbd_list(text):
    return lambda folder: (folder / "train_noval.txt").write_text(text)


BAD_SBD = {
    "no list": (lambda f: (f / "train_noval.txt").unlink(), "train_noval.txt"),
    "a path in the list": (sbd_list("../x\n"), "train_noval.txt"),
    "no such picture": (sbd_list("2008_000009\n"), "2008_000009.jpg"),
    "twice": (sbd_list("2008_000001\n2008_000001\n"), "twice"),
    "truncated": (lambda f: truncate(f / "cls" / "2008_000001.mat"), "2008_000001.mat"),
    "another file": (lambda f: savemat(f / "cls" / "2008_000001.mat", {"LabelMap": np.ones((4, 4))}), "GTcls"),
    "no struct": (lambda f: savemat(f / "cls" / "2008_000001.mat", {"GTcls": np.ones((4, 4))}), "GTcls.Segmentation"),
    "another size": (lambda f: Image.new("RGB", (5, 5)).save(f / "img" / "2008_000001.jpg"), "50 x 40"),
}


@pytest.mark.parametrize("case", BAD_SBD)
def test_damaged_sbd_is_answered_by_one_line_that_names_it(copy, case):
    write_sbd(copy / "sbd", {"2008_000001": np.zeros((40, 50), np.uint8)})
    damage, says = BAD_SBD[case]
    damage(copy / "sbd")
    with pytest.raises(ZS3Error) as error:
        (data := VOC(copy, "train")).load(len(data) - 1)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_context_as_zs3net_has_it_and_its_split_as_voc_2010_has_it(copy):
    plain = Context(copy, "val")
    ids, mask = plain.ids, plain.load_mask(1)
    folder = copy / "context"
    (folder / "full_annotations").mkdir()
    for name in ("trainval", "labels.txt"):
        (folder / name).rename(folder / "full_annotations" / name)
    main = copy / "VOCdevkit" / "VOC2010" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (folder / "val.txt").rename(main / "val.txt")
    moved = Context(copy, "val")
    assert moved.ids == ids and (moved.load(1)[1] == mask).all()


def test_context_maps_459_labels_by_name(copy):
    lines = (copy / "context" / "labels.txt").read_text().splitlines()
    number = {line.split(": ", 1)[1]: int(line.split(": ", 1)[0]) for line in lines}
    path = sorted((copy / "context" / "trainval").glob("*.mat"))[0]
    shape = loadmat(path)["LabelMap"].shape
    labels = np.full(shape, number["accordion"], np.uint16)
    labels[0, :5] = [number[name] for name in ("table", "bedclothes", "cloth", "aeroplane", "sky")]
    savemat(path, {"LabelMap": labels})
    data = Context(copy, "train")
    mask = data.load(data.ids.index(path.stem))[1]
    assert [CONTEXT_CLASSES[i] for i in mask[0, :5]] == ["diningtable", "bedcloth", "clothes", "aeroplane", "sky"]
    assert (mask[1:] == 0).all()


def test_every_label_of_context_has_its_official_id(copy):
    """All 459 labels in one map: the 59 classes' ids are those of the official list, everything else is background."""
    official = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    lines = (copy / "context" / "labels.txt").read_text().splitlines()
    number = {line.split(": ", 1)[1]: int(line.split(": ", 1)[0]) for line in lines}
    path = copy / "context" / "trainval" / f"{Context(copy, 'train').ids[0]}.mat"
    savemat(path, {"LabelMap": np.arange(460, dtype=np.uint16)[None]}, do_compression=True)
    mask = Context(copy, "train").load_mask(0)[0]
    expected = np.zeros(460, np.uint8)
    for index, name in enumerate(CONTEXT_CLASSES[1:], start=1):
        expected[number[official.get(name, name)]] = index
    expected[0] = 255  # no official file holds 0
    assert (mask == expected).all() and len(set(mask.tolist())) == 61


def test_holdout_splits_train_in_two(world):
    train, val, whole = (
        open_data("voc", world, s, holdout=h) for s, h in (("train", 0.25), ("val", 0.25), ("train", 0))
    )
    assert len(val) == 6 and not set(train.ids) & set(val.ids) and set(train.ids) | set(val.ids) == set(whole.ids)


def test_augmentation_depends_on_seed_epoch_and_image_alone(settings, world):
    data, s = VOC(world, "train"), settings(crop_size=48)
    first, again, later = (Augmented(data, [3, 5, 8], s, seed=1, epoch=e) for e in (0, 0, 1))
    forwards, backwards = [first[i] for i in range(3)], [again[i] for i in (2, 1, 0)][::-1]
    for (x, y), (u, v) in zip(forwards, backwards):
        assert torch.equal(x, u) and torch.equal(y, v)
    assert not torch.equal(first[0][0], later[0][0])
    assert first[0][0].shape == (3, 48, 48) and first[0][1].dtype == torch.uint8


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_pictures_are_converted(copy, mode):
    path = VOC(copy, "train").images[0]
    Image.open(path).convert(mode).save(path)
    assert VOC(copy, "train").load(0)[0].mode == "RGB"


def first(root, folder, suffix):
    name = (root / LISTS / "train.txt").read_text().split()[0]
    return root / KIT / folder / f"{name}.{suffix}"


def mask_of(root, array, mode=None):
    Image.fromarray(array, mode).save(first(root, "SegmentationClass", "png"))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def mat(root):
    return root / "context" / "trainval" / f"{(root / 'context' / 'train.txt').read_text().split()[0]}.mat"


BAD_VOC = {
    "no split file": (lambda r: (r / LISTS / "train.txt").unlink(), "train.txt"),
    "empty split": (lambda r: (r / LISTS / "train.txt").write_text("\n"), "train.txt"),
    "an id twice": (lambda r: (r / LISTS / "train.txt").write_text("2012_000001\n2012_000001\n"), "twice"),
    "an id that is a path": (lambda r: (r / LISTS / "train.txt").write_text("../../etc/passwd\n"), "train.txt"),
    "image without mask": (lambda r: first(r, "SegmentationClass", "png").unlink(), "2012_000001.png"),
    "mask without image": (lambda r: first(r, "JPEGImages", "jpg").unlink(), "2012_000001.jpg"),
    "truncated picture": (lambda r: truncate(first(r, "JPEGImages", "jpg")), "2012_000001.jpg"),
    "empty picture": (lambda r: first(r, "JPEGImages", "jpg").write_bytes(b""), "2012_000001.jpg"),
    "no picture at all": (lambda r: first(r, "JPEGImages", "jpg").write_text("<html>"), "2012_000001.jpg"),
    "RGB mask": (lambda r: mask_of(r, np.zeros((64, 64, 3), np.uint8)), "RGB"),
    "16-bit mask": (lambda r: mask_of(r, np.zeros((64, 64), np.uint16)), "I;16"),
    "label 77": (lambda r: mask_of(r, np.full((64, 64), 77, np.uint8)), "label 77"),
    "mask of another size": (lambda r: mask_of(r, np.zeros((10, 12), np.uint8)), "12 x 10"),
    "truncated mask": (lambda r: truncate(first(r, "SegmentationClass", "png")), "2012_000001.png"),
}
BAD_CONTEXT = {
    "no LabelMap": (lambda r: savemat(mat(r), {"map": np.ones((4, 4))}), "LabelMap"),
    "label 460": (lambda r: savemat(mat(r), {"LabelMap": np.full((64, 64), 460, np.uint16)}), "460"),
    "truncated .mat": (lambda r: truncate(mat(r)), ".mat"),
    "458 labels": (lambda r: (r / "context/labels.txt").write_text("1: sky\n"), "labels.txt"),
    "no labels.txt": (lambda r: (r / "context/labels.txt").unlink(), "labels.txt"),
}


@pytest.mark.parametrize("dataset, case", [("voc", c) for c in BAD_VOC] + [("context", c) for c in BAD_CONTEXT])
def test_damaged_data_is_answered_by_one_line_that_names_it(copy, dataset, case):
    damage, says = (BAD_VOC if dataset == "voc" else BAD_CONTEXT)[case]
    damage(copy)
    with pytest.raises(ZS3Error) as error:
        open_data(dataset, copy, "train").load(0)
    assert says in str(error.value) and "\n" not in str(error.value)


class Bomb:
    def __reduce__(self):
        return print, ("code from a pickle ran",)


def bad_weights(kind, path, weights):
    if kind == "truncated":
        path.write_bytes(weights.read_bytes()[:5000])
    elif kind == "a pickle with code":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "another layout":
        torch.save({"w": torch.zeros(3)}, path)
    elif kind == "another backbone":
        from torchvision.models import mobilenet_v2

        torch.save(mobilenet_v2().state_dict(), path)
    elif kind == "a part missing":
        state = checkpoints.load_weights(weights)
        torch.save({k: v for k, v in state.items() if k != "aspp.project.0.weight"}, path)


@pytest.mark.parametrize(
    "kind", ["missing", "truncated", "a pickle with code", "another layout", "another backbone", "a part missing"]
)
def test_weights_that_do_not_fit_are_refused_and_run_no_code(settings, weights, tmp_path, capsys, kind):
    path = tmp_path / "weights.pt"
    bad_weights(kind, path, weights)
    with pytest.raises(ZS3Error) as error:
        Run(settings(weights=str(path)), runs_root=tmp_path)
    assert "weights.pt" in str(error.value) and "\n" not in str(error.value)
    assert "code from a pickle ran" not in capsys.readouterr().out


def write_words(path, names, dim=300, value=0.5, header=None):
    rows = [f"{name} " + " ".join([str(value)] * dim) for name in names]
    path.write_text("\n".join([header or f"{len(rows)} {dim}", *rows]) + "\n")
    return str(path)


def test_other_spellings_are_used_and_reported(tmp_path):
    source = write_words(tmp_path / "w.txt", ["airplane", "motorcycle", "potted", "plant", "cow"])
    table, used = load_word_vectors(source, ("aeroplane", "motorbike", "pottedplant", "cow"))
    assert used == {"aeroplane": "airplane", "motorbike": "motorcycle", "pottedplant": "potted + plant"}
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)
    noise, _ = load_word_vectors(source, ("cow",), norm="noise")
    assert np.linalg.norm(noise) == pytest.approx(300**0.5, rel=1e-5)
    assert load_word_vectors(source, ("cow",), norm="none")[0][0, 0] == 0.5


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda p: str(p / "none.txt"), "not found"),
        (lambda p: write_words(p / "w.txt", ["cow"], dim=50), "50 dimensions"),
        (lambda p: write_words(p / "w.txt", ["cow"], value="nan"), "not finite"),
        (lambda p: write_words(p / "w.txt", ["cows"]), "no vector for 'cow'; nearest spellings there: cows"),
        (lambda p: write_words(p / "w.txt", ["cow"], header="not a header"), "word2vec format"),
    ],
)
def test_bad_word_vectors_are_answered_by_one_line(tmp_path, make, says):
    with pytest.raises(ZS3Error, match=says) as error:
        load_word_vectors(make(tmp_path), ("cow",))
    assert "\n" not in str(error.value)


def test_no_data_root(settings, tmp_path):
    with pytest.raises(ZS3Error, match="no VOCdevkit/VOC2012 under data_root"):
        Run(settings(data_root=str(tmp_path / "nowhere")), runs_root=tmp_path)
