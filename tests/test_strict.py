"""protocol="strict": what stage 2 may not read, and how its layouts come about."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from zs3lib import Run, ZS3Error, split
from zs3lib.classes import VOID
from zs3lib.data import strict
from zs3lib.data.segmentation import open_data

SPLIT = split("voc", 10)


def without_unseen(data, parts) -> list[int]:
    shown = data.presence[:, list(parts.unseen)].any(1)
    return np.flatnonzero(~shown).tolist()


@pytest.fixture(scope="module")
def data(world):
    return open_data("voc", world, "train")


@pytest.fixture(scope="module")
def seen(data):
    return without_unseen(data, SPLIT)


def train(settings, root, out, protocol, *, damage=None) -> torch.Tensor:
    """All weights of the heads of a tiny run; `damage(run)` comes between opening and training."""
    chosen = settings(k=10, data_root=str(root), methods="zs3net,ours", protocol=protocol)
    run = Run(chosen, runs_root=out, cache_root=out)
    if damage:
        damage(run)
    run.train_backbone()
    run.train_heads()
    values = [value for head in run.heads.values() for value in head.state_dict().values()]
    return torch.cat([value.flatten() for value in values])


def noise(run):
    """Other pictures and other label maps in every image with an unseen class."""
    random = np.random.default_rng(7)
    for i in set(range(len(run.train))) - set(run.seen_images):
        width, height = Image.open(run.train.images[i]).size
        picture = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        labels = random.choice(SPLIT.unseen, (height, width)).astype(np.uint8)
        Image.fromarray(picture).save(run.train.images[i])
        Image.fromarray(labels).save(run.train.masks[i])


def test_images_with_unseen_classes_change_nothing_in_stage_2(settings, world, tmp_path):
    """Under the paper's protocol they do: the same damage shows."""
    for protocol in ("strict", "paper"):
        untouched = train(settings, world, tmp_path / protocol, protocol)
        root = shutil.copytree(world, tmp_path / protocol / "world")
        damaged = train(settings, root, tmp_path / protocol / "damaged", protocol, damage=noise)
        assert torch.equal(damaged, untouched) == (protocol == "strict")


def test_whole_classes_become_one_unseen_class_each_and_nothing_else_changes(data, seen):
    images = strict.training(data, SPLIT, seen, seed=1)
    assert len(images) == len(data) > len(seen)
    assert images.ids[: len(seen)] == [data.ids[i] for i in seen]
    kept = 0
    for position, name in enumerate(images.ids):
        before = data.load_mask(data.ids.index(name))
        after = images.load_mask(position)
        new = {c: np.unique(after[before == c]) for c in np.unique(before)}
        assert all(len(values) == 1 for values in new.values())
        became = [values[0] for c, values in new.items() if values[0] != c]
        assert bool(became) == (position >= len(seen))
        assert set(became) <= set(SPLIT.unseen) and len(set(became)) == len(became)
        assert (after == before)[(before == 0) | (before == VOID)].all()
        kept += position >= len(seen) and len(np.setdiff1d(before, [0, VOID])) - len(became)
    assert kept > 0, "some seen classes beside background must stay"


def test_every_unseen_class_gets_layouts_and_they_belong_to_the_seed(data, seen):
    prints = [strict.training(data, SPLIT, seen, seed=s).fingerprint for s in (1, 2, 1)]
    assert prints[0] == prints[2] != prints[1]
    many = np.stack([strict.training(data, SPLIT, seen, seed=s).relabel for s in range(30)])
    changed = many[many != np.arange(256, dtype=np.uint8)]
    share = np.bincount(changed, minlength=21)[list(SPLIT.unseen)] / len(changed)
    assert share.sum() == pytest.approx(1) and (share > 0.05).all() and (share < 0.15).all()


def test_one_unseen_class_no_image_to_take_layouts_from_and_none_to_replace(data, seen):
    one = split("voc", 1)
    known = without_unseen(data, one)
    layouts = strict.training(data, one, known, seed=3).relabel[len(known) :]
    assert set(layouts[layouts != np.arange(256)]) == set(one.unseen)
    part = data.subset([seen[0], next(i for i in range(len(data)) if i not in seen)])
    part.presence[0, 1:] = False
    with pytest.raises(ZS3Error, match="background alone"):
        strict.training(part, SPLIT, [0], seed=0)
    same = strict.training(data.subset(seen), SPLIT, list(range(len(seen))), seed=0)
    assert same.ids == [data.ids[i] for i in seen]
