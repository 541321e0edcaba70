"""The toy world: formats, determinism, and words that carry news about looks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import VOCSegmentation

from zs3lib.classes import CONTEXT_CLASSES, VOC_CLASSES
from zs3lib.data.segmentation import open_data
from zs3lib.errors import ZS3Error
from zs3lib.method.deeplab import build
from zs3lib.runs.zs3net import load_pretrained
from zs3lib.settings import Settings
from zs3lib.toy import backbone, corpus, drawing, scenes, shape, world
from zs3lib.toy.attributes import EXTRA, SAID_AS, TABLE, made_up

SMALL = {"seed": 3, "train": 20, "val": 2, "short_side": 48}


@pytest.fixture(scope="module")
def small_world(tmp_path_factory) -> Path:
    return world.ensure(tmp_path_factory.mktemp("toy") / "w", workers=1, progress=False, **SMALL)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_every_class_of_voc_is_in_it_in_its_palette(small_world):
    parts = [VOCSegmentation(str(small_world), "2012", part) for part in ("train", "val")]
    assert [len(part) for part in parts] == [20, 2]
    image, mask = parts[0][0]
    assert image.size == mask.size and min(image.size) == 48
    assert mask.mode == "P" and mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert {*np.concatenate([np.unique(m) for _, m in parts[0]])} == {*range(21), 255}


def test_context_is_stored_as_its_reader_expects(small_world):
    data = open_data("context", small_world, "train")
    for index in range(10):
        np.testing.assert_array_equal(data.load_mask(index), world.context_picture(3, index, 48)[1])


def test_a_world_has_the_same_bytes_in_every_process_and_is_replaced_whole(small_world, tmp_path):
    root = tmp_path / "w"
    root.mkdir()
    for name in ("world.json", "left-over.txt"):
        (root / name).write_text("of an old world")
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "zs3lib", "toy", "--quiet", f"--root={root}", *sizes]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "77"})
    assert contents(root) == contents(small_world)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]  # no temporary folder is left
    (root / "left-over.txt").write_text("kept where the world is up to date")
    world.ensure(root, progress=False, **SMALL)
    assert (root / "left-over.txt").exists()


def test_what_is_not_a_toy_world_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ZS3Error, match="not a toy world"):
        world.ensure(tmp_path, **SMALL)
    with pytest.raises(ZS3Error, match="short side of at least 32"):
        world.ensure(tmp_path / "w", short_side=16)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def cosines(rows) -> np.ndarray:
    unit = np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(rows), 1)]


def test_similar_words_look_alike():
    vectors = corpus.train_word2vec(corpus.sentences(0), 0)
    for names in (VOC_CLASSES, CONTEXT_CLASSES):
        # By the square root (Hellinger): word2vec's cosines grow with the logarithm of what is said
        said = cosines([corpus.salience(name) ** 0.5 for name in names])
        assert np.corrcoef(said, cosines([vectors[name] for name in names]))[0, 1] >= 0.87
    assert set(EXTRA) <= set(vectors.key_to_index)
    assert not {word for words in SAID_AS.values() for word in words} & set(TABLE)


def test_pretraining_and_drawing_know_no_class():
    found = made_up(np.random.default_rng(0), 50)
    assert min(np.linalg.norm(found - looks, axis=1).min() for looks in TABLE.values()) >= 0.6
    for module in (drawing, shape):
        words = re.findall(r"[a-z]+", Path(module.__file__).read_text())
        assert not set(words) & set(VOC_CLASSES[1:]), module.__name__


def test_strangers_are_drawn_by_their_names():
    assert scenes.drawable(["zebra ", "cow", "zebra", "yak"]) == ["zebra"]
    names = (*VOC_CLASSES, "zebra", "van")
    image, labels = scenes.stranger(["zebra", "van"], names, 0)
    assert image.shape == (*labels.shape, 3) and {0, 21, 22, 255} <= set(np.unique(labels))
    np.testing.assert_array_equal(image, scenes.stranger(["zebra", "van"], names, 0)[0])
    with pytest.raises(ZS3Error, match="cannot draw 'yak'"):
        scenes.stranger(["zebra", "yak"], names, 0)


def test_pretraining_learns_and_its_file_is_read_like_any_other(tmp_path):
    losses = backbone.pretrain(tmp_path / "toy.pt", images=32, epochs=4)
    assert losses[-1] < losses[0]
    for settings in (Settings.make(weights=str(tmp_path / "toy.pt")), Settings.make()):
        assert load_pretrained(build(settings, 21), settings) == "network"
        assert Path(settings.weights).stat().st_size < 2e6
