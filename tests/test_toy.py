"""The toy world: formats, determinism, and words that carry news about looks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat
from torchvision.datasets import VOCSegmentation

from zs3lib.classes import CONTEXT_CLASSES, VOC_CLASSES
from zs3lib.errors import ZS3Error
from zs3lib.method.deeplab import build
from zs3lib.settings import Settings
from zs3lib.storage import RESOURCES, load_weights
from zs3lib.toy import backbone, corpus, drawing, scenes, shape, strangers, world
from zs3lib.toy.attributes import ATTRIBUTES, EXTRA, SAID_AS, TABLE, made_up, vector
from zs3lib.zs3net import load_pretrained

SMALL = {"seed": 3, "train": 4, "val": 2, "short_side": 64}


@pytest.fixture(scope="module")
def small_world(tmp_path_factory) -> Path:
    return world.build(tmp_path_factory.mktemp("toy") / "w", workers=1, progress=False, **SMALL)


@pytest.fixture(scope="module")
def word_vectors():
    return corpus.train_word2vec(corpus.sentences(0), 0)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_torchvision_opens_the_voc_part_as_it_is(small_world):
    for part, count in (("train", 4), ("val", 2), ("trainval", 6)):
        data = VOCSegmentation(str(small_world), "2012", part, download=False)
        assert len(data) == count
    image, mask = data[0]
    assert image.size == mask.size and min(image.size) == 64 and mask.mode == "P"
    assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert set(np.unique(mask)) <= {*range(21), 255} and 255 in np.array(mask)
    np.testing.assert_array_equal(mask, world.voc_picture(3, 0, 64)[1])


def test_context_labels_map_back(small_world):
    codes = world.context_codes()
    lines = (small_world / "context" / "labels.txt").read_text().splitlines()
    named = {c: lines[n - 1].split(": ")[1] for c, n in zip(CONTEXT_CLASSES, codes, strict=True)}
    assert len(set(named.values())) == 60 and named["background"] == "unknown"
    assert named["diningtable"] == "table" and named["bedcloth"] == "bedclothes"
    for index, name in enumerate((small_world / "context" / "trainval.txt").read_text().split()):
        stored = loadmat(small_world / "context" / "trainval" / f"{name}.mat")["LabelMap"]
        image = Image.open(small_world / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{name}.jpg")
        assert stored.dtype == np.uint16 and stored.shape == image.size[::-1]
        np.testing.assert_array_equal(stored, codes[world.context_picture(3, index, 64)[1]])


def test_a_world_is_the_same_whatever_the_workers_and_replaced_whole(small_world, tmp_path):
    world.build(tmp_path / "w", workers=1, progress=False, **SMALL | {"seed": 4, "train": 1})
    (tmp_path / "w" / "left-over.txt").write_text("old")
    world.build(tmp_path / "w", workers=2, progress=False, **SMALL)
    assert contents(small_world) == contents(tmp_path / "w")
    assert [p.name for p in tmp_path.iterdir()] == ["w"]  # no temporary folder is left


def test_ensure_builds_only_a_missing_or_stale_world(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(world, "build", lambda root, **wanted: built.append(wanted))
    world.ensure(tmp_path, **SMALL)
    (tmp_path / "world.json").write_text(json.dumps(world.settings(**SMALL)))
    world.ensure(tmp_path, **SMALL)
    assert len(built) == 1
    world.ensure(tmp_path, **SMALL | {"seed": 4})
    assert len(built) == 2


def test_what_is_not_a_toy_world_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ZS3Error, match="not a toy world"):
        world.build(tmp_path, progress=False, **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(ZS3Error, match="short side of at least 32"):
        world.build(tmp_path / "w", short_side=16)


def test_every_word_has_looks_and_a_vector(word_vectors):
    for name in CONTEXT_CLASSES + EXTRA:
        assert TABLE[name].shape == (len(ATTRIBUTES),) and 0 < TABLE[name].max() <= 1
        assert word_vectors[name].shape == (300,)
    assert not {word for words in SAID_AS.values() for word in words} & set(TABLE)
    with pytest.raises(ValueError, match="unknown attribute"):
        vector("wings 1")


def cosines(rows) -> np.ndarray:
    unit = np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(rows), 1)]


@pytest.mark.parametrize("names", [VOC_CLASSES, CONTEXT_CLASSES])
def test_similar_words_look_alike(word_vectors, names):
    # By the square root (Hellinger): word2vec's cosines grow with the logarithm of what is said.
    said = cosines([corpus.salience(name) ** 0.5 for name in names])
    assert np.corrcoef(said, cosines([word_vectors[name] for name in names]))[0, 1] >= 0.87
    assert word_vectors.most_similar("motorbike", topn=1)[0][0] in ("car", "scooter")


def test_word_vectors_do_not_depend_on_the_hash_seed(word_vectors):
    code = (
        "from zs3lib.toy import corpus as c\n"
        "print(c.train_word2vec(c.sentences(0), 0)['cow'].tobytes().hex())"
    )
    env = os.environ | {"PYTHONHASHSEED": "77"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env)
    assert run.stdout.decode().strip() == word_vectors["cow"].tobytes().hex()


def test_made_up_looks_are_no_listed_word():
    found = made_up(np.random.default_rng(0), 50)
    assert found.shape == (50, len(ATTRIBUTES)) and found.min() >= 0 and found.max() <= 1
    assert min(np.linalg.norm(found - looks, axis=1).min() for looks in TABLE.values()) >= 0.6
    np.testing.assert_array_equal(found, made_up(np.random.default_rng(0), 50))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_small_change_of_an_attribute_is_a_small_change_of_the_picture(attribute):
    """Pixels move by little per step of 0.02, and by something over the whole range."""
    many = "animal vehicle furniture fabric backrest hollow windows wheels legs boxy furry".split()
    pictures = []
    for value in (0.0, 0.5, 0.52, 1.0):
        strengths = dict.fromkeys(many, 0.4) | {attribute: value}
        looks = vector(", ".join(f"{name} {strength}" for name, strength in strengths.items()))
        place = {"x": 0.5, "foot": 0.9, "scale": 1.4}
        thing = scenes.standing(1, looks, (96, 96), np.random.default_rng(1), **place)
        items = [scenes.region(0, vector("pale 0.5")), thing]
        picture, _ = drawing.render(items, (96, 96), np.random.default_rng(5))
        pictures.append(picture.astype(float))
    step = np.abs(pictures[2] - pictures[1]).mean()
    whole = np.abs(pictures[3] - pictures[0]).mean()
    assert step < 4 and step < whole and whole > 0.02


def test_what_draws_knows_no_class():
    for module in (drawing, shape):
        words = re.findall(r"[a-z]+", Path(module.__file__).read_text())
        assert not set(words) & set(VOC_CLASSES[1:]), module.__name__


def test_scenes_show_what_they_are_about():
    rng = np.random.default_rng(0)
    for name in CONTEXT_CLASSES:
        labels = {item.label for item in scenes.context_scene(name, (128, 154), rng)}
        assert CONTEXT_CLASSES.index(name) in labels
    for name in VOC_CLASSES[1:]:
        items = scenes.voc_scene([name], VOC_CLASSES, (128, 154), rng)
        assert VOC_CLASSES.index(name) in {item.label for item in items} and len(items) <= 5


def test_strangers_are_drawn_by_their_names():
    assert strangers.drawable(["zebra ", "cow", "zebra", "yak"]) == ["zebra"]
    names = (*VOC_CLASSES, "zebra", "van")
    image, labels = strangers.picture(["zebra", "van"], names, 0)
    assert image.shape == (*labels.shape, 3) and {0, 21, 22, 255} <= set(np.unique(labels))
    np.testing.assert_array_equal(image, strangers.picture(["zebra", "van"], names, 0)[0])
    with pytest.raises(ZS3Error, match="cannot draw 'yak'"):
        strangers.picture(["zebra", "yak"], names, 0)


def test_pretraining_learns_and_its_file_is_read_like_any_other(tmp_path):
    losses = backbone.pretrain(tmp_path / "toy.pt", images=32, epochs=4)
    assert losses[-1] < losses[0]
    settings = Settings.make(weights=str(tmp_path / "toy.pt"))
    network = build(settings, 21)
    assert load_pretrained(network, settings) == "network"
    stored = load_weights(tmp_path / "toy.pt")["decoder.fuse.0.weight"]
    assert stored.dtype == torch.float16
    assert torch.equal(network.decoder.fuse[0].weight, stored.float())


def test_the_shipped_backbone_is_small_and_fits_the_profile():
    settings = Settings.make()
    assert Path(settings.weights) == RESOURCES / "toy_backbone.pt"
    assert Path(settings.weights).stat().st_size < 2e6
    assert load_pretrained(build(settings, 21), settings) == "network"
