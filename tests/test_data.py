"""VOC, SBD and Pascal-Context as published; damaged files; augmentation."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sbd_files import write_sbd
from scipy.io import savemat
from torchvision import tv_tensors
from torchvision.datasets import SBDataset, VOCSegmentation

from zs3lib import ZS3Error
from zs3lib.classes import CONTEXT_CLASSES, CONTEXT_LABEL_OF, voc_palette
from zs3lib.data import augment
from zs3lib.data.segmentation import SBD, VOC, Context, open_data, read_ids
from zs3lib.paths import RESOURCES

KIT = "VOCdevkit/VOC2012"
LISTS = f"{KIT}/ImageSets/Segmentation"
MAT = "context/trainval/2010_000001.mat"


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the tiny world that a test may damage."""
    shutil.copytree(world, tmp_path / "world")
    return tmp_path / "world"


def test_voc_reads_what_torchvision_reads(world):
    ours = VOC(world, "train")
    theirs = VOCSegmentation(world, "2012", "train", download=False)
    assert len(ours) == len(theirs) == 24
    for root in (world / "VOCdevkit", world / KIT):
        assert open_data("voc", root, "train").images == ours.images
    for i, (their_image, their_mask) in enumerate(theirs):
        image, mask = ours.load(i)
        assert (np.asarray(image) == np.asarray(their_image)).all()
        assert (mask == np.asarray(their_mask)).all() and mask.dtype == np.uint8


@pytest.mark.parametrize(
    "line, folder",
    [
        ("\n{}\n ", "SegmentationClass"),
        ("{}.jpg", "SegmentationClass"),
        ("/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png", "SegmentationClassAug"),
        ("JPEGImages/{0}.jpg\tmasks/{0}.png\r", "masks"),
    ],
)
def test_lists_in_the_forms_of_other_code(copy, world, line, folder):
    plain = VOC(world, "train")
    (copy / KIT / "SegmentationClass").rename(copy / KIT / folder)
    lines = "".join(f"{line.format(i)}\n" for i in plain.ids)
    (copy / LISTS / "train.txt").write_text(f"\ufeff{lines}", "utf-8")
    data = VOC(copy, "train")
    assert data.ids == plain.ids and (data.load(3)[1] == plain.load(3)[1]).all()
    assert {path.parent.name for path in data.masks} == {folder}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_masks_in_vocs_colours_are_its_labels(copy, mode):
    data = VOC(copy, "train")
    labels = np.arange(22, dtype=np.uint8)[:, None].repeat(3, 1)
    labels[21] = 255
    mask = Image.fromarray(labels)
    mask.putpalette(voc_palette().tobytes())
    mask.convert(mode).save(data.masks[0])
    read = data.load_mask(0)
    assert (read == labels).all() and read.dtype == np.uint8


def extras(root, place):
    """SBD's masks for a train image, a val image and two others; the mask of each."""
    train, val = (read_ids(root / LISTS / f"{part}.txt") for part in ("train", "val"))
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:30] = 10
    mask[30:, 40:] = 15
    write_sbd(root / place, dict.fromkeys(("2008_000002", train[0], val[0], "2008_000001"), mask))
    return mask


@pytest.mark.parametrize("place", SBD)
def test_sbds_own_files_join_train_once_and_never_from_val(copy, place):
    train, val = (VOC(copy, part).ids for part in ("train", "val"))
    mask = extras(copy, place)
    data = VOC(copy, "train")
    assert data.ids == [*train, "2008_000002", "2008_000001"] and VOC(copy, "val").ids == val
    assert data.masks[0] == copy / KIT / "SegmentationClass" / f"{train[0]}.png"
    image, read = data.load(len(train))
    theirs = SBDataset(copy / place, image_set="train_noval", mode="segmentation")[0]
    assert (read == mask).all() and (np.asarray(theirs[1]) == read).all()
    assert (np.asarray(image) == np.asarray(theirs[0])).all()
    assert data.presence[-1].nonzero()[0].tolist() == [0, 10, 15]


@pytest.mark.parametrize("line", ["{}", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png"])
def test_a_devkits_own_aug_folder_comes_before_sbd(copy, line):
    train, val = (VOC(copy, part).ids for part in ("train", "val"))
    extras(copy, "sbd")
    shutil.copytree(copy / KIT / "SegmentationClass", copy / KIT / "SegmentationClassAug")
    for file, folder in (("jpg", "JPEGImages"), ("png", "SegmentationClassAug")):
        source = copy / KIT / folder / f"{train[1]}.{file}"
        shutil.copy(source, source.with_name(f"2009_000001.{file}"))
    listed = "".join(f"{line.format(i)}\n" for i in (train[0], val[0], "2009_000001"))
    (copy / LISTS / "train_aug.txt").write_text(listed)
    data = VOC(copy, "train")
    assert data.ids == [*train, "2009_000001"]
    assert data.masks[0].parent.name == "SegmentationClass"
    assert data.masks[-1].parent.name == "SegmentationClassAug"


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_pictures_are_converted(copy, mode):
    path = VOC(copy, "train").images[0]
    Image.open(path).convert(mode).save(path)
    assert VOC(copy, "train").load(0)[0].mode == "RGB"


@pytest.mark.parametrize("own_list", [True, False])
def test_every_label_of_context_has_its_official_id(copy, own_list):
    """The 59 classes have the ids of the official list of 459, all else is background."""
    lines = (RESOURCES / "context_labels_459.txt").read_text().splitlines()
    number = {line.split(": ")[1]: int(line.split(": ")[0]) for line in lines}
    if not own_list:  # as from Pascal-Context's archive and VOC 2010's, which has the split
        main = copy / "VOCdevkit/VOC2010/ImageSets/Main"
        main.mkdir(parents=True)
        (copy / "context" / "train.txt").rename(main / "train.txt")
    savemat(copy / MAT, {"LabelMap": np.arange(460, dtype=np.uint16)[None]}, do_compression=True)
    data = Context(copy, "train")
    mask = data.load_mask(data.ids.index("2010_000001"))[0]
    expected = np.zeros(460, np.uint8)
    for index, name in enumerate(CONTEXT_CLASSES[1:], start=1):
        expected[number[CONTEXT_LABEL_OF.get(name, name)]] = index
    expected[0] = 255  # no official file holds 0
    assert (mask == expected).all() and len(set(mask.tolist())) == 61


def test_holdout_splits_train_in_two(world):
    train, val = (open_data("voc", world, part, holdout=0.25) for part in ("train", "val"))
    assert len(val) == 6 and sorted(train.ids + val.ids) == sorted(VOC(world, "train").ids)
    assert train.fingerprint != val.fingerprint != VOC(world, "train").fingerprint


def test_presence_is_what_the_label_maps_hold(world):
    for dataset in ("voc", "context"):
        data = open_data(dataset, world, "val")
        for i, row in enumerate(data.subset([3, 1]).presence):
            held = np.setdiff1d(data.load_mask([3, 1][i]), [255])
            assert row.nonzero()[0].tolist() == held.tolist()


def listed(text):
    return lambda root: (root / "sbd" / "train_noval.txt").write_text(text)


def spoiled(**content):
    return lambda root: savemat(root / CLS, content)


CLS = "sbd/cls/2008_000001.mat"
BAD_SBD = {  # VOC's and Pascal-Context's own files are in bad_inputs.py
    "no list": (lambda r: (r / "sbd/train_noval.txt").unlink(), "train_noval.txt"),
    "no such picture": (listed("2008_000009\n"), "2008_000009.jpg"),
    "another file": (spoiled(LabelMap=np.ones((4, 4))), "GTcls"),
    "no struct": (spoiled(GTcls=np.ones((4, 4))), "GTcls.Segmentation"),
    "another size": (
        lambda r: Image.new("RGB", (5, 5)).save(r / "sbd/img/2008_000001.jpg"),
        "50 x 40",
    ),
}


@pytest.mark.parametrize("case", BAD_SBD)
def test_damaged_sbd_is_answered_by_one_line_that_names_it(copy, case):
    write_sbd(copy / "sbd", {"2008_000001": np.zeros((40, 50), np.uint8)})
    damage, says = BAD_SBD[case]
    damage(copy)
    with pytest.raises(ZS3Error) as error:
        data = VOC(copy, "train")
        data.load(len(data) - 1)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_augmentation_depends_on_seed_epoch_and_image_alone(settings, world):
    data = VOC(world, "train")
    chosen = settings(crop_size=48)
    first, again, later = (
        augment.Augmented(data, [3, 5, 8], chosen, seed=1, epoch=epoch) for epoch in (0, 0, 1)
    )
    forwards = [first[i] for i in (0, 1, 2)]
    backwards = [again[i] for i in (2, 1, 0)]
    for (x, y), (u, v) in zip(forwards, backwards[::-1]):
        assert torch.equal(x, u) and torch.equal(y, v)
    assert not torch.equal(first[0][0], later[0][0])
    assert first[0][0].shape == (3, 48, 48) and first[0][1].dtype == torch.uint8
    batches = augment.batches(first, chosen, [[2, 0], [1]])
    assert torch.equal(next(iter(batches))[0], torch.stack([forwards[2][0], forwards[0][0]]))


def test_labels_stay_on_their_pixels(settings):
    """Of a picture whose grey is its label, made smaller, hardly a pixel has another label."""
    labels = torch.zeros(96, 96, dtype=torch.uint8)
    labels[31:, 45:] = 200
    resize = augment.augmentation(settings(base_size=32, crop_size=32)).transforms[0]
    picture = tv_tensors.Image(labels.expand(3, -1, -1))
    resized = [resize(picture, tv_tensors.Mask(labels)) for _ in range(20)]
    assert all(image.shape[1:] == mask.shape for image, mask in resized)
    assert all(((image[0] > 100) != (mask == 200)).sum() <= 1 for image, mask in resized)
    # as PIL's nearest, and so as published code resizes masks
    noise = torch.randint(0, 21, (53, 71), dtype=torch.uint8)
    for _ in range(20):
        mask = resize(tv_tensors.Mask(noise))
        theirs = Image.fromarray(noise.numpy()).resize(mask.shape[::-1], Image.Resampling.NEAREST)
        assert np.array_equal(mask, theirs)


def test_validation_batches_are_single_images_with_labels_at_their_own_size(settings, world):
    data = VOC(world, "val")
    found = list(augment.validation_batches(data, settings(val_size=40, workers=1)))
    assert len(found) == len(data) == 8
    for i, (image, labels) in enumerate(found):
        picture, mask = data.load(i)
        assert torch.equal(image, augment.validation_input(picture, settings(val_size=40)))
        assert image.shape[:2] == (1, 3) and min(image.shape[2:]) == 40
        assert labels.dtype == torch.uint8 and (labels.numpy() == mask).all()
