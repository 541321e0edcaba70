"""The registries: what the methods trust, and one method and one dataset more."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zs3lib import Run, ZS3Error, add_classes, open_run, split
from zs3lib.classes import DATASETS, Dataset, register
from zs3lib.data.segmentation import open_data
from zs3lib.method import methods
from zs3lib.method.generator import Generator, Head
from zs3lib.method.methods import METHODS, Method
from zs3lib.method.stage2 import Trainer
from zs3lib.runs import keys

README = Path(__file__).parents[1] / "README.md"

# Four vectors said to be of class 1: right and sure, right and unsure, wrong and sure, right.
ANSWERS = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.95, 0.05], [0.2, 0.8]])


@pytest.mark.parametrize("tau, expected", [(0.7, [0.9, 0, 0, 0.8]), (0.0, [0.9, 0.6, 0, 0.8])])
def test_ours_trusts_what_is_recognised_above_tau_by_its_confidence(tau, expected):
    found = METHODS["ours"].weights(ANSWERS, 1, tau)
    torch.testing.assert_close(found, torch.tensor(expected))
    assert METHODS["ours"].weights(ANSWERS, 1, 1.0).tolist() == [0, 0, 0, 0]
    assert METHODS["equal_weight"].weights(ANSWERS, 1, tau).tolist() == [1, 1, 1, 1]
    with pytest.raises(NotImplementedError, match="zs3net has no weights"):
        METHODS["zs3net"].weights(ANSWERS, 1, tau)


# ---- one's own, as the README has them ----------------------------------------------------------


@pytest.fixture
def registries(monkeypatch):
    """The registries, put back after the test."""
    for registry in (METHODS, DATASETS):
        for name in ("soft", "streets"):
            monkeypatch.setitem(registry, name, None)
            del registry[name]


def from_the_readme(start: str) -> str:
    """The code of the README that begins so."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (code,) = [block for block in blocks if block.startswith(start)]
    return code


@pytest.mark.usefixtures("registries")
def test_a_method_of_ones_own(settings, tmp_path):
    exec(from_the_readme("from zs3lib.method.methods import Method"), {})
    soft = METHODS["soft"].weights(ANSWERS, 1, 0.7)
    torch.testing.assert_close(soft, torch.tensor([0.81, 0.36, 0, 0.64]))
    s = settings(k=10, methods="ours,soft", warmup_epochs=0, stage2_epochs=1)
    run = Run(s, runs_root=tmp_path, cache_root=tmp_path / "cache")
    run.train_backbone()
    history = run.train_heads()
    assert history["soft"]["q"][0] > history["ours"]["q"][0]  # it has no threshold
    run.evaluate()
    record = json.loads(run.save().read_text())
    assert record["settings"]["methods"] == ["ours", "soft"] == list(record["methods"])
    assert record["methods"]["soft"]["title"] == "Soft weights"
    assert list(open_run(run.folder, methods=["soft"]).heads) == ["ours", "soft"]


class Narrow(Generator):
    def __init__(self, **options):
        super().__init__(hidden=7, **options)


class NarrowHead(Head):
    generator_class = Narrow


class NarrowTrainer(Trainer):
    head_class = NarrowHead

    def further_loss(self, batch):
        self.losses["beta"].append(torch.tensor(self.settings.own["beta"]))
        return 0.0


def test_a_generator_of_ones_own_is_trained_and_opened_again(settings, tmp_path, monkeypatch):
    kind = {"name": "narrow", "title": "Narrow", "trainer": f"{__name__}:NarrowTrainer"}
    monkeypatch.setitem(METHODS, "narrow", type("Narrow", (Method,), kind)())
    s = settings(k=10, methods="zs3net,narrow", options={"own": {"beta": 0.5}})
    run = Run(s, runs_root=tmp_path, cache_root=tmp_path / "cache")
    run.train_backbone()
    assert run.train_heads()["narrow"]["beta"] == [0.5] * s.stage2_epochs
    run.evaluate()
    record = json.loads(run.save().read_text())
    assert record["changed"]["own"] == {"beta": 0.5} == record["settings"]["own"]
    assert [*record["own_code"]] == [__name__]
    opened = open_run(run.folder, methods=["narrow"])
    assert len(opened.heads["narrow"].generator.model[0].bias) == 7
    added = add_classes(opened, "zebra", method="narrow")
    assert added.predict(run.val.load(0)[0]).labels.max() <= 21


@pytest.mark.usefixtures("registries")
def test_the_key_of_a_run_holds_the_code_of_ones_own_method_and_of_what_it_extends(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    method = 'from mine_base import *\n\n\n@register\nclass Soft(Base):\n    name = "soft"\n'
    (tmp_path / "mine.py").write_text(method)
    codes = []
    for power in ("2", "2  # a comment", "3"):
        base = f"class Base(Method):\n    power = {power}\n"
        (tmp_path / "mine_base.py").write_text(f"from zs3lib.method.methods import *\n\n\n{base}")
        for name in ("mine", "mine_base"):
            sys.modules.pop(name, None)
        importlib.import_module("mine")
        codes.append(keys.own_code(["soft"]))
    assert [*codes[0]] == ["mine", "mine_base"]
    assert codes[0] == codes[1] != codes[2]
    assert keys.own_code(["ours", "projection"]) == {}


def test_an_entry_point_registers_a_method_for_every_command(tmp_path):
    (tmp_path / "soft.py").write_text(from_the_readme("from zs3lib.method.methods import Method"))
    installed = tmp_path / "soft-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: soft\nVersion: 1.0\n")
    words = "check --profile toy --datasets voc --ks 2 --seeds 0 -p methods zs3net,soft".split()

    places = os.pathsep.join(map(str, (README.parent, tmp_path)))
    environment = os.environ | {"PYTHONPATH": places}

    def answer() -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "zs3lib", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert "unknown method 'soft'" in answer().stderr
    (installed / "entry_points.txt").write_text("[zs3lib]\nsoft = soft\nlost = lost:Lost\n")
    answered = answer()
    assert (
        answered.returncode == 0 and "'lost:Lost', named for zs3lib, is left out" in answered.stderr
    )


def test_parts_of_ones_own_that_do_not_fit_are_told_by_name(world, monkeypatch):
    for name in ("", "ours"):
        with pytest.raises(ZS3Error, match=f"Mine has the name '{name}': give it one"):
            methods.register(type("Mine", (Method,), {"name": name}))
    monkeypatch.setitem(METHODS, "lost", type("Lost", (Method,), {"trainer": "zs3lib:Lost"})())
    with pytest.raises(ZS3Error, match="the trainer of method lost, 'zs3lib:Lost', cannot be had"):
        methods.trainer_of("lost")
    farm = Dataset("farm", "A farm", ("barn", "cow"), reader="zs3lib.data.segmentation:VOC")
    for change, problem in {"unseen_order": ("zebra",), "tau_gamma": {}}.items():
        with pytest.raises(ZS3Error, match="dataset farm: ('zebra' is unseen|tau_gamma is empty)"):
            register(replace(farm, **{"unseen_order": ("cow",), change: problem}))
    monkeypatch.setitem(DATASETS, "farm", farm)
    with pytest.raises(ZS3Error, match="segmentation:VOC has other names than dataset farm"):
        open_data("farm", world, "val")


def write_streets(root: Path) -> None:
    """Twelve pictures of 32 x 32 to train on, a third of them without a bus or car; two for val."""
    random = np.random.default_rng(0)
    for folder in ("jpg", "masks"):
        (root / folder).mkdir()
    for n in range(14):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, 8:24] = 2 + n % 3
        picture = np.repeat(60 * mask[..., None], 3, 2) + random.integers(0, 20, (32, 32, 3))
        Image.fromarray(picture.astype(np.uint8)).save(root / "jpg" / f"s{n}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"s{n}.png")
    (root / "train.txt").write_text("".join(f"s{n}\n" for n in range(12)))
    (root / "val.txt").write_text("s12\ns13\n")


@pytest.mark.usefixtures("registries")
def test_a_dataset_of_ones_own(settings, tmp_path, monkeypatch):
    (tmp_path / "streets.py").write_text(from_the_readme("from pathlib import Path"))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("streets")
    assert split("streets", 2).unseen_names == ("bus", "car")
    assert split("streets", 1).seen == (0, 1, 2, 3)
    with pytest.raises(ZS3Error, match="K must be a whole number from 1 to 2"):
        split("streets", 3)
    write_streets(tmp_path)
    s = settings(dataset="streets", k=2, methods="ours", data_root=str(tmp_path), stage1_steps=2)
    assert (s.tau, s.gamma) == (0.85, 1 / 40)
    run = Run(s, runs_root=tmp_path / "runs", cache_root=tmp_path / "cache")
    assert len(run.seen_images) == 4
    run.train_backbone()
    run.train_heads()
    run.evaluate()
    record = json.loads(run.save().read_text())
    assert record["dataset"] == "streets" and record["unseen"] == ["bus", "car"]
    assert np.shape(record["methods"]["ours"]["confusion"]) == (5, 5)
    assert open_run(run.folder).name == "toy/streets-k2-s0"
