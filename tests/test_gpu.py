"""On a GPU no step mixes devices or waits, shown on one that is not there (`fake_gpu.py`)."""

from __future__ import annotations

import pytest
import torch
from benchmarks.fake_gpu import Misuse, fake_gpu
from crafted import BIRD, COW, DOG, SPLIT, WORDS, Source, features_of, stripes, tiny
from torch import nn
from tqdm.auto import tqdm

from zs3lib.method import stage1
from zs3lib.method.deeplab import build, freeze
from zs3lib.method.evaluate import evaluate
from zs3lib.method.features import predict
from zs3lib.method.methods import METHODS
from zs3lib.method.stage2 import Trainer
from zs3lib.method.together import Stage2
from zs3lib.runs.sources import LiveFeatures

GPU = torch.device("cuda")
LABELS = torch.stack([stripes(BIRD, DOG), stripes(COW, BIRD)]).repeat(4, 1, 1)


@pytest.fixture
def watch():
    """The watch over the GPU; until it is told otherwise, waiting is allowed."""
    with fake_gpu() as found:
        found.may_wait = True
        yield found


class Pinned(Source):
    """Batches in pinned memory, as the loader leaves them; after the last the GPU may be asked."""

    def __init__(self, watch):
        super().__init__(torch.randn(8, 3, 32, 32), LABELS)
        self.watch = watch

    def epoch(self, epoch):
        self.watch.may_wait = False
        for inputs, labels in super().epoch(epoch):
            yield inputs.pin_memory(), labels.pin_memory()
        self.watch.may_wait = True


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_stage_1_waits_once_an_epoch(watch, optimiser):
    settings = tiny(stage1_optimiser=optimiser, dropout=True)
    network = build(settings, 21).to(GPU)
    parts = stage1.optimisation(network, settings, 2)
    bar = tqdm(disable=True)
    losses = stage1.train_epoch(network, Pinned(watch), settings, *parts, 0, bar)
    assert losses.shape == (2,) and losses.device.type == "cpu"


def trainers(**changes) -> dict[str, Trainer]:
    settings = tiny(stage2_epochs=2, warmup_epochs=1, **changes)
    return {
        name: Trainer(method, WORDS, SPLIT, settings, steps=10, device=GPU)
        for name, method in METHODS.items()
        if not method.extra  # those have trainers of their own, which may wait once a batch
    }


@pytest.mark.parametrize("changes", [{"loss_at": "image"}, {"cell_stride": 2, "pseudo": "same"}])
@pytest.mark.parametrize("features", ["live", "cached"])
def test_no_step_of_stage_2_waits(watch, features, changes):
    stage2 = Stage2(trainers(frozen_training=True, **changes), None)
    source = Pinned(watch)
    if features == "live":
        network = freeze(build(stage2.settings, 21)).to(GPU)
        ids = [f"image{n}" for n in range(8)]
        source = LiveFeatures(
            network, ids, lambda view, order: Pinned(watch).epoch(0), stage2.settings
        )
    else:
        source.inputs = features_of(LABELS)
    stage2.source = source
    stage2.epochs = 1  # past the warm-up
    steps = stage2.train_epoch(tqdm(disable=True))
    kinds = {name: sorted(losses[0]) for name, losses in steps.items()}
    assert kinds == {
        "no_generator": ["classifier"],
        "zs3net": ["classifier", "generator"],
        "ours": ["classifier", "generator", "q", "recursion"],
        "equal_weight": ["classifier", "generator", "q", "recursion"],
    }
    assert all(loss.device.type == "cuda" for step in steps["ours"] for loss in step.values())


def test_evaluation_and_prediction_run(watch):
    settings = tiny()
    network = freeze(build(settings, 21)).to(GPU)
    classifiers = {"ours": nn.Linear(16, 21).to(GPU)}
    image = torch.randn(1, 3, 40, 48)
    found = predict(network, classifiers, image, (50, 60), settings)
    assert found["ours"].shape == (50, 60) and found["ours"].device.type == "cuda"
    images = [(image, LABELS[0])]
    counts = evaluate(network, classifiers, images, split=SPLIT, settings=settings)
    assert counts["ours"].shape[1:] == (21, 21) and counts["ours"].device.type == "cpu"


@pytest.mark.parametrize(
    "how, says",
    [
        (lambda real: real.sum().item(), "_local_scalar_dense.* waits for the GPU"),
        (lambda real: real[real > 0], "index.* waits for the GPU"),
        (lambda real: real.detach().cpu().numpy(), "fetched from the GPU"),
        (lambda real: real[[0, 1]], "waits until its pageable memory is copied"),
        (lambda real: real * torch.ones(16), "mul.* mixes devices"),
    ],
)
def test_what_waits_or_mixes_is_found(watch, monkeypatch, how, says):
    trainer = trainers()["zs3net"]
    watch.may_wait = False
    trainer.step(trainer.batch(features_of(LABELS), LABELS))
    monkeypatch.setattr(trainer, "fit_generator", lambda c, real: how(real))
    with pytest.raises(Misuse, match=says):
        trainer.step(trainer.batch(features_of(LABELS), LABELS))
