"""The toy world: formats, determinism, and words that carry news about looks."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from torchvision.datasets import VOCSegmentation

from zs3lib.classes import CONTEXT_CLASSES, VOC_CLASSES
from zs3lib.errors import ZS3Error
from zs3lib.toy import corpus, render, scenes, shape, texture, world
from zs3lib.toy.attributes import ATTRIBUTES, EXTRA, TABLE, made_up, vector

SMALL = dict(seed=3, train=6, val=4, short_side=64)  # noqa: C408


@pytest.fixture(scope="module")
def small_world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "world"
    world.build(root, workers=1, progress=False, **SMALL)
    return root


@pytest.fixture(scope="module")
def word_vectors():
    return corpus.train_word2vec(corpus.sentences(0), 0)


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_torchvision_opens_the_voc_part_as_it_is(small_world):
    for part, count in (("train", 6), ("val", 4), ("trainval", 10)):
        data = VOCSegmentation(str(small_world), "2012", part, download=False)
        assert len(data) == count
    image, mask = data[0]
    assert image.size == mask.size and min(image.size) == 64 and mask.mode == "P"
    assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0] and mask.getpalette()[-3:] == [224, 224, 192]


def test_masks_on_disk_are_what_was_rendered(small_world):
    folder = small_world / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    for index in range(10):
        mask = np.array(Image.open(folder / f"2012_{index + 1:06d}.png"))
        assert set(np.unique(mask)) <= {*range(21), 255} and (mask == 255).any()
        np.testing.assert_array_equal(mask, world.voc_image(3, index, 64)[1])


def test_context_labels_map_back(small_world):
    codes = world.context_codes()
    assert codes.dtype == np.uint16 and len(set(codes.tolist())) == 60
    lines = (small_world / "context" / "labels.txt").read_text().splitlines()
    named = {name: lines[code - 1].split(": ")[1] for name, code in zip(CONTEXT_CLASSES, codes, strict=True)}
    assert named["cow"] == "cow" and named["diningtable"] == "table" and named["bedcloth"] == "bedclothes"
    ids = [(small_world / "context" / f"{part}.txt").read_text().split() for part in ("train", "val")]
    assert [len(part) for part in ids] == [6, 4]
    for index, name in enumerate(ids[0] + ids[1]):
        label_map = loadmat(small_world / "context" / "trainval" / f"{name}.mat")["LabelMap"]
        image = np.array(Image.open(small_world / "VOCdevkit" / "VOC2010" / "JPEGImages" / f"{name}.jpg"))
        assert label_map.dtype == np.uint16 and label_map.shape == image.shape[:2]
        np.testing.assert_array_equal(label_map, codes[world.context_image(3, index, 64)[1]])


def test_two_builds_are_byte_identical_whatever_the_workers(small_world, tmp_path):
    world.build(tmp_path / "again", workers=2, progress=False, **SMALL)
    assert _bytes(small_world) == _bytes(tmp_path / "again")
    assert [p.name for p in tmp_path.iterdir()] == ["again"]  # no temporary folder is left


def test_ensure_builds_only_a_missing_or_stale_world(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(world, "build", lambda root, **settings: built.append(settings))
    world.ensure(tmp_path, **SMALL)
    assert len(built) == 1
    (tmp_path / "world.json").write_text(world.json.dumps(world.settings(**SMALL)))
    world.ensure(tmp_path, **SMALL)
    assert len(built) == 1
    world.ensure(tmp_path, **SMALL | {"seed": 4})
    assert len(built) == 2


def test_a_folder_that_is_not_a_toy_world_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ZS3Error, match="not a toy world"):
        world.build(tmp_path, progress=False, **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_every_class_has_attributes_and_a_vector(word_vectors):
    for name in CONTEXT_CLASSES + EXTRA:
        assert TABLE[name].shape == (len(ATTRIBUTES),) and 0 <= TABLE[name].min() and TABLE[name].max() <= 1
        assert word_vectors[name].shape == (300,)
    assert set(corpus.WORDS) == set(ATTRIBUTES)
    assert not {w for words in corpus.WORDS.values() for w in words} & set(TABLE)
    with pytest.raises(ValueError, match="unknown attribute"):
        vector(wings=1)


def test_similar_words_look_alike(word_vectors):
    assert corpus.similarity_agreement(word_vectors, VOC_CLASSES) >= 0.88
    assert corpus.similarity_agreement(word_vectors, CONTEXT_CLASSES) >= 0.88
    near = sorted(set(VOC_CLASSES) - {"motorbike"}, key=lambda name: -word_vectors.similarity("motorbike", name))
    assert near[0] == "car"
    assert set(near[:4]) < {"aeroplane", "bicycle", "boat", "bus", "car", "train"}


def test_word_vectors_do_not_depend_on_the_hash_seed(word_vectors):
    code = "from zs3lib.toy import corpus as c; print(c.train_word2vec(c.sentences(0), 0)['cow'].tobytes().hex())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONHASHSEED": "77"})  # fmt: skip
    assert run.stdout.strip() == word_vectors["cow"].tobytes().hex()


def test_made_up_vectors_are_no_listed_class():
    found = made_up(np.random.default_rng(0), 50)
    assert found.shape == (50, len(ATTRIBUTES)) and found.min() >= 0 and found.max() <= 1
    assert min(np.linalg.norm(found - listed, axis=1).min() for listed in TABLE.values()) >= 0.6
    np.testing.assert_array_equal(found, made_up(np.random.default_rng(0), 50))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_small_change_of_an_attribute_is_a_small_change_of_the_picture(attribute):
    """Pixels move by little per step of 0.02, and by something over the whole range."""
    k, box = ATTRIBUTES.index(attribute), (0.15, 0.15, 0.85, 0.85)
    base = vector(animal=0.5, vehicle=0.4, furniture=0.4, fabric=0.4, backrest=0.3, hollow=0.3, windows=0.4, wheels=0.4,
                  legs=0.4, neck=0.2, boxy=0.4, furry=0.3)  # fmt: skip
    flats = []
    for value in (0.0, 0.5, 0.52, 1.0):
        changed = base.copy()
        changed[k] = value
        rng = np.random.default_rng(5)
        item = render.Item(1, changed, box=render.place(changed, (96, 96), np.random.default_rng(1), x=0.5, foot=0.9)
                           if attribute in ("tall", "elongated", "big") else box)  # fmt: skip
        flats.append(render.render_scene([item], (96, 96), rng, backdrop=vector(pale=0.5))[0].astype(float))
    assert np.abs(flats[2] - flats[1]).mean() < 4.0
    assert np.abs(flats[3] - flats[0]).mean() > np.abs(flats[2] - flats[1]).mean()
    assert np.abs(flats[3] - flats[0]).mean() > 0.02


def test_the_renderer_knows_no_class_names():
    for module in (render, shape, texture):
        code = io.StringIO(Path(module.__file__).read_text())
        words = set()
        for token in tokenize.generate_tokens(code.readline):
            if token.type == tokenize.NAME or (token.type == tokenize.STRING and not token.string.startswith('"""')):
                words |= set(re.findall(r"[a-z]+", token.string.lower()))
        assert not words & (set(TABLE)), module.__name__


def test_render_attributes_labels_only_what_it_was_given():
    things = [(7, v) for v in made_up(np.random.default_rng(2), 3)]
    image, mask = render.render_attributes(things, (80, 100), np.random.default_rng(0), border=2)
    assert image.shape == (80, 100, 3) and image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 7, 255}


def test_scenes_are_balanced():
    rng = np.random.default_rng(0)
    for first in CONTEXT_CLASSES:
        items, _ = scenes.context_scene(first, (160, 213), rng)
        assert CONTEXT_CLASSES.index(first) in {item.label for item in items}
    for first in VOC_CLASSES[1:]:
        items, _, _ = scenes.voc_scene(first, (160, 213), rng)
        assert VOC_CLASSES.index(first) in {item.label for item in items} and 2 <= len(items) <= 4


def test_command_line(tmp_path, capsys):
    from zs3lib.toy.__main__ import main

    (tmp_path / "file.txt").write_text("x")
    assert main(["--root", str(tmp_path), "--quiet"]) == 2
    assert "not a toy world" in capsys.readouterr().err


def test_a_stale_world_is_replaced_whole(tmp_path):
    tiny = {"train": 1, "val": 1, "short_side": 32, "workers": 1, "progress": False}
    world.build(tmp_path / "w", seed=0, **tiny)
    (tmp_path / "w" / "left-over.txt").write_text("old")
    world.build(tmp_path / "w", seed=1, **tiny)
    assert not (tmp_path / "w" / "left-over.txt").exists() and [p.name for p in tmp_path.iterdir()] == ["w"]
