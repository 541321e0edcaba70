"""The registries: what the four methods are, and one method and one dataset more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zs3lib import Run, Settings, ZS3Error, open_run, split
from zs3lib.classes import DATASETS, Dataset, register
from zs3lib.data.segmentation import SegmentationData, pair, read_ids
from zs3lib.method import methods
from zs3lib.method.methods import METHODS, Method

# Four vectors said to be of class 1: right and sure, right and unsure, wrong and sure, right.
ANSWERS = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.95, 0.05], [0.2, 0.8]])


def test_the_four_methods_of_the_tables():
    papers = {name: method for name, method in METHODS.items() if not method.extra}
    assert list(papers) == ["no_generator", "zs3net", "ours", "equal_weight"]
    assert [m.generates for m in papers.values()] == [False, True, True, True]
    assert [m.recursive for m in papers.values()] == [False, False, True, True]
    rows = {name: m.rows for name, m in METHODS.items() if m.rows}
    assert rows == {
        "zs3net": {"I": "ZS3Net", "II": "ZS3Net"},
        "ours": {"I": "Ours", "II": "Ours", "III": "Final"},
        "equal_weight": {"III": "Equal Weight"},
    }
    for name, method in METHODS.items():
        assert method.name == name and method.title and method.about
        assert "\n" not in method.about and len(method.colour) == 7


@pytest.mark.parametrize("tau, expected", [(0.7, [0.9, 0, 0, 0.8]), (0.0, [0.9, 0.6, 0, 0.8])])
def test_ours_trusts_what_is_recognised_above_tau_by_its_confidence(tau, expected):
    found = METHODS["ours"].weights(ANSWERS, 1, tau)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert METHODS["ours"].weights(ANSWERS, 1, 1.0).tolist() == [0, 0, 0, 0]
    assert METHODS["equal_weight"].weights(ANSWERS, 1, tau).tolist() == [1, 1, 1, 1]
    with pytest.raises(NotImplementedError, match="zs3net is not recursive"):
        METHODS["zs3net"].weights(ANSWERS, 1, tau)


@pytest.fixture
def registries():
    """The registries, put back after the test."""
    before = [(registry, dict(registry)) for registry in (METHODS, DATASETS)]
    yield
    for registry, content in before:
        registry.clear()
        registry.update(content)


@pytest.mark.usefixtures("registries")
def test_a_method_of_ones_own(settings, tmp_path):
    @methods.register
    class Squared(Method):
        """Trust everything, by the square of its confidence."""

        name = "squared"
        title = "Squared"
        about = "recursive training, weighing by confidence squared"
        colour = "#cc79a7"
        rows = {"III": "Squared"}
        recursive = True

        def weights(self, probabilities, c, tau):
            return probabilities[:, c] ** 2

    assert list(METHODS)[-1] == "squared"
    s = settings(k=10, methods="ours,squared", warmup_epochs=0, stage2_epochs=1)
    run = Run(s, runs_root=tmp_path, cache_root=tmp_path / "cache")
    run.train_backbone()
    history = run.train_heads()
    assert history["squared"]["q"][0] == s.samples  # all teach, and ours has its own answer
    assert history["squared"]["recursion"][0] != history["ours"]["recursion"][0]
    run.evaluate()
    record = json.loads(run.save().read_text())
    assert record["settings"]["methods"] == ["ours", "squared"] == list(record["methods"])
    assert record["methods"]["squared"]["title"] == "Squared"
    assert list(open_run(run.folder, methods=["squared"]).heads) == ["ours", "squared"]


class Shapes(SegmentationData):
    """The reader of a dataset: pictures in jpg/, label maps in masks/, lists of their names."""

    names = ("ground", "square", "disc", "ring")

    def __init__(self, root, part):
        root = Path(root)
        source = root / f"{part}.txt"
        super().__init__(pair(read_ids(source), root / "jpg", root / "masks", ".png"), source)


@pytest.mark.usefixtures("registries")
def test_a_dataset_of_ones_own(weights, tmp_path):
    entry = Dataset(
        name="shapes",
        title="Shapes",
        classes=Shapes.names,
        reader=f"{__name__}:Shapes",
        unseen_order=("ring", "disc"),
        tau_gamma={2: (0.6, 0.1)},
    )
    register(entry)
    assert split("shapes", 2).unseen_names == ("ring", "disc")
    assert split("shapes", 1).seen == (0, 1, 2)
    with pytest.raises(ZS3Error, match="K must be a whole number from 1 to 2"):
        split("shapes", 3)
    write_shapes(tmp_path)
    changes = {"crop_size": 32, "base_size": 32, "val_size": 32, "batch_size": 4, "samples": 8}
    changes |= {"stage1_steps": 2, "stage2_epochs": 1, "warmup_epochs": 0, "device": "cpu"}
    places = {"data_root": tmp_path, "word_vectors": tmp_path / "words.txt", "weights": weights}
    s = Settings.make(dataset="shapes", k=1, methods="ours", **changes, **places)
    assert (s.tau, s.gamma) == (0.6, 0.1)
    run = Run(s, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache")
    assert len(run.seen_images) == 8
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    record = json.loads(run.save().read_text())
    assert record["dataset"] == "shapes" and record["unseen"] == ["ring"]
    assert np.shape(record["methods"]["ours"]["confusion"]) == (4, 4)
    assert open_run(run.folder).name == "toy/shapes-k1-s0"


def write_shapes(root):
    """Twelve pictures of 32 x 32 to train on, four of them with a ring, and two for val."""
    random = np.random.default_rng(0)
    for folder in ("jpg", "masks"):
        (root / folder).mkdir()
    for n in range(14):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, 8:24] = 1 + n % 3
        picture = np.repeat(60 * mask[..., None], 3, 2) + random.integers(0, 20, (32, 32, 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "jpg" / f"s{n}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"s{n}.png")
    (root / "train.txt").write_text("".join(f"s{n}\n" for n in range(12)))
    (root / "val.txt").write_text("s12\ns13\n")
    rows = [" ".join([name, *map(str, random.standard_normal(300))]) for name in Shapes.names]
    (root / "words.txt").write_text("\n".join([f"{len(rows)} 300", *rows]) + "\n")
