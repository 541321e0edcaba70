"""The pseudo-feature generator and the head it belongs to; its losses compiled."""

from __future__ import annotations

import shutil

import pytest
import torch
from crafted import BIRD, COW, features_of, stripes, trainer

from zs3lib.method.generator import Generator
from zs3lib.method.losses import zs_mmd
from zs3lib.method.stage2 import compiled


def test_weights_start_as_xavier_has_them_with_a_bias_of_a_hundredth():
    for weight, bias in zip(*[iter(Generator(feature_dim=16).parameters())] * 2):
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.98 * bound < weight.abs().max() <= bound
        assert (bias == 0.01).all()


@pytest.mark.parametrize("kind, mean, std", [("gaussian", 0, 1), ("uniform", 0.5, 12**-0.5)])
def test_noise_is_what_it_says(kind, mean, std):
    torch.manual_seed(0)
    noise = Generator(noise=kind).sample_noise(400)
    assert noise.shape == (400, 300) and noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(mean, abs=0.01)
    assert noise.std().item() == pytest.approx(std, abs=0.01)
    assert kind == "gaussian" or 0 <= noise.min() < noise.max() <= 1


def test_half_of_the_hidden_units_are_dropped_in_training_alone():
    generator = Generator(feature_dim=8)
    hidden = torch.ones(200, 256)
    dropped = generator.model[2](hidden)
    assert set(dropped.unique().tolist()) == {0, 2}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(generator.eval().model[2](hidden), hidden)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler, g++")
def test_a_compiled_step_is_the_step(monkeypatch):
    # Trying out what the CPU can do takes torch longer than compiling.
    monkeypatch.setattr("torch._inductor.config.cpp.vec_isa_ok", True)
    labels = torch.stack([stripes(BIRD, COW), stripes(BIRD)])
    found = []
    for compiles in (False, True):
        t = trainer("ours", compile=compiles, tau=0.0)
        torch.manual_seed(1)  # noise and dropout are the same
        losses = [t.step(t.batch(features_of(labels, n), labels)) for n in range(2)]
        found.append([losses, dict(t.head.generator.named_parameters())])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert compiled(zs_mmd, "auto", torch.device("cpu")) is zs_mmd  # not where nobody asked for it
