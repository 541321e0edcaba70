"""protocol="strict": what stage 2 may not read, how its layouts come about, and records that do not mix."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from zs3lib import Run, ZS3Error, protocols, split
from zs3lib.classes import VOID
from zs3lib.data import open_data, strict
from zs3lib.records import name, read_records
from zs3lib.seal import sealed
from zs3lib.stage1 import images_without

SPLIT = split("voc", 10)


@pytest.fixture(scope="module")
def data(world):
    return open_data("voc", world, "train")


@pytest.fixture(scope="module")
def seen(data):
    return images_without(data, SPLIT)


def train(settings, root, out, *, damage=None, **changes):
    """All heads of a tiny run on the world at `root`; `damage(run)` comes between opening and training."""
    run = Run(settings(k=10, data_root=str(root), methods="zs3net,ours", **changes), runs_root=out, cache_root=out)
    if damage:
        damage(run)
    run.train_backbone()
    run.train_heads()
    return run


def weights_of(run) -> list[torch.Tensor]:
    return [value for head in run.heads.values() for value in head.state_dict().values()]


def equal(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))


# ---- what is read ---------------------------------------------------------------------------------------------------


def noise(run):
    """Other pictures and other label maps in every image with an unseen class."""
    random = np.random.default_rng(7)
    for i in set(range(len(run.train))) - set(run.seen_images):
        size = run.train.load_image(i).size
        Image.fromarray(random.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(run.train.images[i])
        Image.fromarray(random.choice(SPLIT.unseen, size[::-1]).astype(np.uint8)).save(run.train.masks[i])


def nothing_left(run):
    """No picture and no label map at all where an unseen class is."""
    for i in set(range(len(run.train))) - set(run.seen_images):
        run.train.images[i].unlink()
        run.train.masks[i].write_bytes(b"")


@pytest.fixture(scope="module")
def untouched(settings, world, tmp_path_factory):
    return {p: train(settings, world, tmp_path_factory.mktemp(p), protocol=p) for p in ("paper", "strict")}


@pytest.mark.parametrize("damage", [noise, nothing_left])
def test_images_with_unseen_classes_change_nothing_in_stage_2(settings, world, tmp_path, untouched, damage):
    shutil.copytree(world, tmp_path / "world")
    damaged = train(settings, tmp_path / "world", tmp_path / "out", damage=damage, protocol="strict")
    assert equal(damaged, untouched["strict"])


def test_under_the_papers_protocol_they_do(settings, world, tmp_path, untouched):
    """The test above can fail: the same damage shows where their label maps are used."""
    shutil.copytree(world, tmp_path / "world")
    damaged = train(settings, tmp_path / "world", tmp_path / "out", damage=noise, protocol="paper")
    assert not equal(damaged, untouched["paper"])
    assert not equal(untouched["strict"], untouched["paper"])


def test_strict_layouts_belong_to_the_seed(settings, world, tmp_path, untouched):
    again = train(settings, world, tmp_path, protocol="strict")
    assert equal(again, untouched["strict"])


# ---- the layouts ----------------------------------------------------------------------------------------------------


def test_as_many_images_and_layouts_as_under_the_papers_protocol(data, seen):
    images = strict.training(data, SPLIT, seen, seed=1)
    assert len(images) == len(data) and images.layouts == len(data) - len(seen) > 0
    assert images.ids[: len(seen)] == [data.ids[i] for i in seen]
    assert set(images.ids) == {data.ids[i] for i in seen}
    has_unseen = images.presence[:, list(SPLIT.unseen)].any(1)
    assert not has_unseen[: len(seen)].any() and has_unseen[len(seen) :].all()


def test_seen_images_stay_as_they_are(data, seen):
    images = strict.training(data, SPLIT, seen, seed=1)
    for position, i in enumerate(seen):
        assert (images.load(position)[1] == data.load(i)[1]).all()


def test_whole_classes_become_one_unseen_class_each_and_nothing_else_changes(data, seen):
    images = strict.training(data, SPLIT, seen, seed=1)
    kept = 0
    for position in range(len(seen), len(images)):
        before, after = data.load_mask(data.ids.index(images.ids[position])), images.load_mask(position)
        changed = before != after
        assert not changed[(before == 0) | (before == VOID)].any() and changed.any()
        new = {}
        for c in np.unique(before):
            assert len(values := np.unique(after[before == c])) == 1
            if values[0] != c:
                new[c] = values[0]
        kept += len(np.setdiff1d(before, [0, VOID])) - len(new)
        assert set(new.values()) <= set(SPLIT.unseen) and len(set(new.values())) == len(new)
    assert kept > 0, "some seen classes beside background must stay"


def test_every_unseen_class_gets_layouts_and_seeds_differ(data, seen):
    first, second = (strict.training(data, SPLIT, seen, seed=s).relabel for s in (1, 2))
    assert (first != second).any()
    same, other, again = (strict.training(data, SPLIT, seen, seed=s).fingerprint for s in (1, 2, 1))
    assert same == again != other
    many = np.stack([strict.training(data, SPLIT, seen, seed=s).relabel for s in range(30)])
    changed = many[many != np.arange(256, dtype=np.uint8)]
    share = np.bincount(changed, minlength=21)[list(SPLIT.unseen)] / len(changed)
    assert share.sum() == pytest.approx(1) and (share > 0.05).all() and (share < 0.15).all()


def test_fewer_unseen_classes_than_classes_to_relabel(data):
    one = split("voc", 1)
    images = strict.training(data, one, images_without(data, one), seed=3)
    assert set(images.relabel[images.relabel != np.arange(256)]) == set(one.unseen)


def test_no_image_to_take_layouts_from(data, seen):
    part = data.subset([seen[0], next(i for i in range(len(data)) if i not in seen)])
    part.presence[0, 1:] = False
    with pytest.raises(ZS3Error, match="more than background"):
        strict.training(part, SPLIT, [0], seed=0)


def test_nothing_to_drop(data, seen):
    images = strict.training(data.subset(seen), SPLIT, list(range(len(seen))), seed=0)
    assert len(images) == len(seen) and images.layouts == 0


# ---- records --------------------------------------------------------------------------------------------------------


def test_runs_of_the_two_protocols_and_held_out_runs_do_not_collide(untouched, settings):
    paper, other = untouched["paper"], untouched["strict"]
    assert paper.folder.name == "voc-k10-s0" and other.folder.name == "voc-k10-s0-strict"
    assert settings(holdout=0.2, protocol="strict").run_name == "voc-k2-s0-strict-holdout"
    assert paper.backbone_key == other.backbone_key and paper.head_key != other.head_key
    assert paper.cache_folder.name != other.cache_folder.name


def record(protocol, seed=0, hiou=20.0, dataset="voc", k=10, **changes):
    metrics = [f"{g}_{m}" for g in ("seen", "unseen", "overall") for m in ("pa", "ma", "miou")] + ["hiou"]
    result = {"metrics": dict.fromkeys(metrics, 10.0) | {"hiou": hiou}, "per_class_iou": {"cow": 1.0}}
    return sealed({
        "profile": "toy", "dataset": dataset, "k": k, "seed": seed, "protocol": protocol,
        "settings": {"protocol": protocol, "tau": 0.85, "gamma": 0.025, "holdout": 0.0} | changes,
        "methods": {"ours": result, "zs3net": result}, "versions": {"zs3lib": "0.1.0"}, "git": {}, "device": "CPU",
        "wall_s": 1.0, "stage1_images": 8, "train_images": 24, "val_images": 8, "data_fingerprint": "f", "inputs": {},
    })  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    def write(*records):
        for r in records:
            (folder := tmp_path / "runs" / name(r)).mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps(r))
        return tmp_path / "runs"

    return write


def test_tables_read_one_protocol_and_not_held_out_runs(runs):
    root = runs(record("paper"), record("strict"), record("paper", seed=1, holdout=0.1))
    assert [name(r) for r in read_records(root, "toy")] == ["toy/voc-k10-s0"]
    assert [name(r) for r in read_records(root, "toy", protocol="strict")] == ["toy/voc-k10-s0-strict"]
    assert len(read_records(root, "toy", protocol=None)) == 2
    assert [name(r) for r in read_records(root, "toy", [1])] == ["toy/voc-k10-s1-holdout"]


def test_both_protocols_in_one_table(runs, tmp_path):
    values = {("paper", 0): 20.0, ("paper", 1): 22.0, ("strict", 0): 17.0, ("strict", 1): 18.0, ("paper", 2): 99.0}
    root = runs(*(record(p, s, h) for (p, s), h in values.items()), record("paper", k=2), record("strict", k=4))
    csv, md = protocols.write(root, tmp_path / "tables", "toy")
    text = md.read_text()
    assert "| voc | 10 | Ours | 10.0 ± 0.0 |" in text and "21.0 ± 1.4 | 17.5 ± 0.7 | -3.5 |" in text
    assert "NOT the paper's setting" in text and "8 of 24 training images" in text and "seeds 0, 1." in text
    frame = pd.read_csv(csv)
    assert frame["protocol"].tolist() == ["paper", "strict"] * 2 and frame["hiou"].tolist() == [21.0, 17.5] * 2
    assert set(frame["seeds"]) == {2} and frame["hiou_std"].tolist() == pytest.approx([2**0.5, 0.5**0.5] * 2, abs=1e-3)


def test_no_table_without_a_pair_and_none_of_unlike_runs(runs, tmp_path, capsys):
    root = runs(record("paper"), record("strict", seed=1))
    assert protocols.write(root, tmp_path / "tables", "toy") == []
    assert (
        protocols.main(["--runs", str(root), "--tables", str(tmp_path)]) == 2
        and "make protocol" in capsys.readouterr().err
    )
    with pytest.raises(ZS3Error, match="tau is"):
        protocols.write(runs(record("strict", tau=0.7)), tmp_path / "tables", "toy")


def test_what_an_interruption_says_names_the_strict_runs_folder(tmp_path):
    from zs3lib.notebooks import _run_folder
    from zs3lib.progress import saved

    given = {"k": 4, "protocol": "strict", "options": {"holdout": 0.1}, "runs_root": str(tmp_path)}
    folder = _run_folder(given)
    assert folder == tmp_path / "toy" / "voc-k4-s0-strict-holdout"
    assert _run_folder({"runs_root": str(tmp_path), "protocol": None}).name == "voc-k10-s0"
    (stage1 := tmp_path / "toy" / "backbones" / "voc-k4-abc").mkdir(parents=True)
    (stage1 / "backbone.pt").touch()
    assert str(stage1 / "backbone.pt") in saved(folder)
