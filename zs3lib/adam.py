"""Torch's fused Adam without what costs as much as the steps themselves on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.optim.adam import adam


class Adam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` of one group, the same to the last bit; `found_inf` as mixed precision's scaler sets it.

    Torch looks its parameters and options up anew before each step, for longer than a generator step's update takes.
    """

    def __init__(self, parameters, lr: float):
        super().__init__(parameters, lr=lr, fused=True)
        self.found_inf: torch.Tensor | None = None
        self.arrays: list[tuple[np.ndarray, ...]] | None = None  # the state's memory

    @torch.no_grad()
    def step(self) -> None:
        (group,) = self.param_groups
        parameters = group["params"]
        if not self.state:  # made by torch at the first step
            super().step()
            return
        names = ("exp_avg", "exp_avg_sq", "step")
        average, square, steps = ([self.state[p][name] for p in parameters] for name in names)
        beta1, beta2 = group["betas"]
        adam(
            parameters, [p.grad for p in parameters], average, square, [], steps, fused=True, found_inf=self.found_inf,
            amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=0.0, eps=group["eps"], maximize=False,
        )  # fmt: skip

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.arrays = None

    def ahead(self, steps: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], tuple[float, ...], int]:
        """For who computes the next steps on the CPU himself: both moments of each parameter; lr, beta1, beta2 and eps; the
        first step's number. The steps are counted as taken."""
        (group,) = self.param_groups
        if self.arrays is None:
            for p in group["params"]:
                if p not in self.state:
                    zeros = torch.zeros_like(p), torch.zeros_like(p)
                    self.state[p] = dict(zip(("step", "exp_avg", "exp_avg_sq"), (torch.zeros(()), *zeros)))
            states = [self.state[p] for p in group["params"]]
            self.arrays = [tuple(s[name].numpy() for s in states) for name in ("exp_avg", "exp_avg_sq", "step")]
        averages, squares, counts = self.arrays
        for count in counts:
            count += steps
        return averages, squares, (group["lr"], *group["betas"], group["eps"]), int(counts[0]) - steps + 1


def adamw(groups: list[dict], weight_decay: float) -> torch.optim.AdamW:
    """Torch's fused AdamW; parameters that are stored channels last are updated where they are.

    On a CPU it would copy each of them, its gradient and its moments to another order and back at every step. Clear
    gradients by the model's `zero_grad`: the optimiser knows views of its parameters.
    """
    pairs = []

    def in_order(p: nn.Parameter) -> nn.Parameter:
        if p.is_contiguous() or not p.is_contiguous(memory_format=torch.channels_last):
            return p
        view = nn.Parameter(p.detach().permute(0, 2, 3, 1))  # the same memory
        pairs.append((p, view))
        return view

    def give_gradients(*_: object) -> None:
        for p, view in pairs:
            view.grad = None if p.grad is None else p.grad.permute(0, 2, 3, 1).contiguous()

    def take_gradients(*_: object) -> None:  # or they would stay in memory until the next step
        for _, view in pairs:
            view.grad = None

    groups = [group | {"params": [in_order(p) for p in group["params"]]} for group in groups]
    optimiser = torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    optimiser.register_step_pre_hook(give_gradients)
    optimiser.register_step_post_hook(take_gradients)
    return optimiser
