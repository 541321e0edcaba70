"""The generator's training step in stage 2: generate, compare, follow the gradient, without autograd.

On a GPU, and wherever the compiled loops are not to be had, torch's operations do it. On a CPU forty of them take longer to
be called than to compute, and one compiled function does the same (`generator_loops`).
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .adam import Adam
from .compiled import array, loops_for, step_loops_for
from .draws import Draws
from .generator import SLOPE, Generated, Generator
from .losses import FLOOR, Target, target, with_slope
from .threads import shared

GRADIENT_ROWS = 64  # of a layer's gradient at a time


class GeneratorStep:
    """A generator and its Adam.

    Arguments:
        generator: what learns.
        lr: Adam's.
        root: whether the loss is MMD, as ZS3Net trains with, or its square (Eq. 1 itself).
    """

    def __init__(self, generator: Generator, *, lr: float, root: bool):
        self.generator, self.root = generator, root
        self.optimiser = Adam(generator.parameters(), lr=lr)
        self.floor = np.float32(FLOOR if root else -1)
        self.memory: tuple[tuple, tuple[np.ndarray, ...]] = ((), ())

    @torch.no_grad()
    def target(self, x: Tensor, w: Tensor) -> Target:
        """`losses.target` of features x, (..., N, 256), and their weights w, (..., N)."""
        if not (loops := step_loops_for(x)):
            return target(x, w)
        x, w, (n, width), sets = x.contiguous(), w.contiguous(), x.shape[-2:], x.shape[:-2]
        parts = x.new_empty(*sets, width), torch.empty_like(x), torch.empty_like(w), x.new_empty(sets)
        shapes = (width,), (n, width), (n,), (), (n, width), (n,)
        arrays = [part.view(sets.numel(), *shape).numpy() for part, shape in zip((*parts, x, w), shapes)]
        centre, centred, squares, own, given, weights = arrays

        def one(i: int) -> None:
            own[i] = loops.target(given[i], weights[i], centre[i], centred[i], squares[i], np.empty((n, n), np.float32))

        shared(one, sets.numel())
        return Target(*parts[:3], w, parts[3])

    @torch.no_grad()
    def fit(self, words: list[Tensor], drawn: Draws, real: Target) -> list[Tensor]:
        """`generate` and `learn` towards one set after the other. Returns the losses.

        Arguments:
            words: word vector of each of F sets, (word_dim,).
            drawn: F times as many random numbers as features are generated for a set.
            real: the sets.
        """
        n = len(drawn.noise) // len(words)
        if loops := self._loops(drawn):
            losses, vectors = real.own.new_empty(len(words)), torch.stack(words).numpy()
            given = tuple(map(array, drawn)), vectors, tuple(part.numpy() for part in real[:4]), real.own.numpy()
            made = self._made(drawn.noise[:n])
            loops.fit(*given, made, *self._learning(drawn, n, real, 1, len(words)), losses.numpy())
            return list(losses)
        sets = zip(words, drawn.split(n), map(Target._make, zip(*real)))
        return [self.learn(self.generate(word, draws), to) for word, draws, to in sets]

    @torch.no_grad()
    def generate(self, word: Tensor, drawn: Draws) -> Generated:
        """Features of one word, (word_dim,), with what `learn` needs: see `Generator.generate`."""
        if not (loops := self._loops(drawn)):
            return self.generator.generate(word, drawn)
        made = self._made(drawn.noise)
        loops.generate(
            tuple(map(array, drawn)), word.numpy(), self._weights(), self._low(drawn), np.float32(SLOPE), *made
        )
        hidden, features = map(torch.from_numpy, made[1:])
        return Generated(features, word, drawn, hidden.view(drawn.noise.dtype))

    @torch.no_grad()
    def learn(self, made: Generated, real: Target, *, factor: float = 1, skip: Tensor | None = None) -> Tensor:
        """One Adam step from made features towards real ones. Returns the loss, a scalar.

        Arguments:
            factor: multiplies the loss that is learned from, not the one that is returned.
            skip: on a GPU, a scalar: where it is true the fused optimiser leaves weights and moments alone.
        """
        if skip is None and (loops := self._loops(made.drawn)):
            given = *map(array, made.drawn), made.word.numpy(), array(made.hidden), made.features.numpy()
            target = tuple(part.numpy() for part in real[:4]), np.float32(real.own)
            return torch.tensor(
                loops.learn(given, *target, *self._learning(made.drawn, len(made.features), real, factor))
            )
        loss, slope = with_slope(real, made.features, root=self.root)
        self.generator.backward(made, slope if factor == 1 else factor * slope)
        self.optimiser.found_inf = None if skip is None else skip.float()  # as mixed precision's scaler does
        self.optimiser.step()
        return loss

    # ---- compiled: arrays that `generator_loops` names --------------------------------------------------------------

    def _loops(self, drawn: Draws) -> ModuleType | None:
        """The compiled step where it can do what these draws ask for."""
        loops = step_loops_for(self.generator.bias)
        known = loops_for(drawn.noise, torch.float32, *([torch.bfloat16] if loops and loops.HAS_BFLOAT16 else []))
        return loops if loops and known and drawn.kept.is_contiguous() else None

    def _weights(self) -> tuple[np.ndarray, ...]:
        return tuple(p.detach().numpy() for p in self.generator.parameters())

    def _made(self, noise: Tensor) -> tuple[np.ndarray, ...]:
        """The hidden layer before and after LeakyReLU, the same where that is float32, and features."""
        before, features = (
            np.empty((len(noise), len(b)), np.float32) for b in (self.generator.bias, self.generator.output.bias)
        )
        return before, before if noise.dtype == torch.float32 else np.empty(before.shape, np.uint16), features

    def _low(self, drawn: Draws) -> tuple[np.ndarray, ...]:
        """Both layers' weights, or where they are rounded to the draws' type."""
        weights = self.generator.noise_weight.detach().numpy(), self.generator.output.weight.detach().numpy()
        return weights if drawn.noise.dtype == torch.float32 else tuple(np.empty(w.shape, np.uint16) for w in weights)

    def _learning(self, drawn: Draws, n: int, real: Target, factor: float, steps: int = 1) -> tuple:
        averages, squares, adam, t = self.optimiser.ahead(steps)
        constants = np.float32(SLOPE), self.floor, np.float32(factor)
        spaces = self._spaces(n, real.x.shape[-2], drawn.noise.dtype)
        return self._weights(), averages, squares, self._low(drawn), spaces, constants, adam, t

    def _spaces(self, n: int, count: int, dtype: torch.dtype) -> tuple[np.ndarray, ...]:
        """Memory for `learn`, the same from step to step: less of it passes through a core's caches."""
        key = n, count, dtype
        if self.memory[0] != key:
            width, hidden = self.generator.output.weight.shape
            shapes = (n + count, width), n + count, n + count, (n, n + count), (n, n + count), (n, width), (n, hidden)
            z, z2, w, products, pulls, slope, before = (np.empty(shape, np.float32) for shape in shapes)
            low = (x if dtype == torch.float32 else np.empty(x.shape, np.uint16) for x in (slope, before))
            parameters = list(self.generator.parameters())[1:]  # the first's gradient is not stored
            shapes = (p.shape if p.dim() == 1 else (min(len(p), GRADIENT_ROWS), p.shape[1]) for p in parameters)
            sums = (np.empty(shape, np.float32) for shape in shapes)
            self.memory = key, (z, z2, w, products, pulls, slope, before, *low, *sums)
        return self.memory[1]
