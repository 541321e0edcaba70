"""The pseudo-feature generator and the head it belongs to; its losses compiled."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from crafted import BIRD, COW, SPLIT, VOID, WORDS, features_of, stripes, trainer

from zs3lib.method.features import cell_labels
from zs3lib.method.generator import Generator, Head
from zs3lib.method.losses import zs_mmd


def by_the_book(state, words, noise):
    """[word vector | noise] -> Linear -> LeakyReLU 0.2 -> Linear, as ZS3Net writes it."""
    joined = torch.cat([words, noise], dim=1)
    hidden = F.leaky_relu(F.linear(joined, state["model.0.weight"], state["model.0.bias"]), 0.2)
    return F.linear(hidden, state["model.3.weight"], state["model.3.bias"])


def test_its_layers_are_zs3nets_by_name_and_shape():
    shapes = {name: tuple(value.shape) for name, value in Generator().state_dict().items()}
    assert shapes == {
        "model.0.weight": (256, 600),
        "model.0.bias": (256,),
        "model.3.weight": (256, 256),
        "model.3.bias": (256,),
    }


def test_weights_start_as_xavier_has_them_with_a_bias_of_a_hundredth():
    for weight, bias in zip(*[iter(Generator(features=16).parameters())] * 2):
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.98 * bound < weight.abs().max() <= bound
        assert (bias == 0.01).all()


@pytest.mark.parametrize("several", [False, True])
def test_features_are_those_of_word_and_noise_joined(several):
    generator = Generator(features=16).double().eval()
    words = WORDS.double()
    noise = torch.randn(12, 300, dtype=torch.float64)
    index = torch.arange(12) % 5 if several else torch.full((12,), 3)
    found = generator(words, noise, index) if several else generator(words[3], noise)
    torch.testing.assert_close(found, by_the_book(generator.state_dict(), words[index], noise))


@pytest.mark.parametrize("kind, mean, std", [("gaussian", 0, 1), ("uniform", 0.5, 12**-0.5)])
def test_noise_is_what_it_says(kind, mean, std):
    torch.manual_seed(0)
    noise = Generator(noise=kind).sample_noise(400)
    assert noise.shape == (400, 300) and noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(mean, abs=0.01)
    assert noise.std().item() == pytest.approx(std, abs=0.01)
    assert kind == "gaussian" or 0 <= noise.min() < noise.max() <= 1


def test_half_of_the_hidden_units_are_dropped_in_training_alone():
    generator = Generator(features=8)
    hidden = torch.ones(200, 256)
    dropped = generator.model[2](hidden)
    assert set(dropped.unique().tolist()) == {0, 2}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(generator.eval().model[2](hidden), hidden)


def test_a_generated_map_has_a_feature_of_each_cells_class_and_zeros_at_void():
    head = Head(words=WORDS, features=16).eval()
    cells = cell_labels(torch.stack([stripes(COW, VOID), stripes(BIRD, COW)]), (8, 8)).long()
    torch.manual_seed(1)
    made = head.generate_map(cells, VOID)
    torch.manual_seed(1)
    noise = head.generator.sample_noise(2 * 8 * 8)
    words = WORDS[cells.flatten().clamp_max(20)]
    expected = by_the_book(head.generator.state_dict(), words, noise).view(2, 8, 8, 16)
    expected[cells == VOID] = 0
    torch.testing.assert_close(made, expected)


def test_a_head_classifies_and_generates_every_class():
    head = Head(words=WORDS, features=16).eval()
    assert head.classifier(torch.zeros(2, 16)).shape == (2, len(SPLIT.names))
    torch.manual_seed(1)
    made = head.generate(COW, 5)
    torch.manual_seed(1)
    assert torch.equal(made, head.generator(WORDS[COW], head.generator.sample_noise(5)))


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
    assert trainer("ours")._zs_mmd is zs_mmd  # not on a CPU, unless asked for
