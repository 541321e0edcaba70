"""A GPU that is not there: what is asked of it is checked, and worked out by shapes alone."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
LIKE_ANY = [Tensor, nn.Parameter, FakeTensor]  # optimisers take a fake one for a strange kind
COPIES = (aten._to_copy.default, aten.copy_.default)


class Misuse(AssertionError):
    """Tensors of two devices in one operation, or a wait for the GPU."""


class Watch(TorchDispatchMode):
    """Raises `Misuse` where an operation mixes devices, or would wait for the GPU.

    Operations on CPU tensors alone are done; the others give fake tensors.

    Attributes:
        may_wait: whether what is on the GPU may be fetched; zeros come then.
        operations: how many the GPU was asked for.
    """

    def __init__(self):
        super().__init__()
        self.may_wait = False
        self.operations = 0
        self.pinned: dict[int, Tensor] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        places = {tensor.device.type for tensor in tensors}
        target = torch.device(kwargs.get("device") or "cpu").type
        if function.namespace == "prim":  # what fake tensors ask about themselves
            return function(*args, **kwargs)
        if function is aten._pin_memory.default:
            with unset_fake_temporarily():
                copy = args[0].clone()
            self.pinned[copy.untyped_storage().data_ptr()] = copy
            return copy
        if "cuda" not in places | {target}:
            with unset_fake_temporarily():
                return function(*args, **kwargs)
        self.operations += 1
        if "cpu" in places:
            self._from_cpu(function, tensors, kwargs)
        elif function is aten._to_copy.default and kwargs.get("device") and target == "cpu":
            return self._fetched(args[0], kwargs)
        elif self.may_wait and function is aten.bincount.default:
            return args[0].new_empty(kwargs.get("minlength") or args[2])
        try:
            return function(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise Misuse(f"{function} waits for the GPU") from error

    def _from_cpu(self, function, tensors, kwargs) -> None:
        source = next(tensor for tensor in tensors if tensor.device.type == "cpu")
        if function not in COPIES and source.ndim:
            raise Misuse(f"{function} mixes devices")
        pinned = source.untyped_storage().data_ptr() in self.pinned
        if not self.may_wait and not (pinned and kwargs.get("non_blocking")):
            raise Misuse(f"{function} waits until its pageable memory is copied")

    def _fetched(self, tensor: Tensor, kwargs) -> Tensor:
        if not self.may_wait:
            raise Misuse("a tensor is fetched from the GPU")
        with unset_fake_temporarily():
            return torch.zeros(tensor.shape, dtype=kwargs.get("dtype") or tensor.dtype)


def backward(loss: Tensor) -> None:
    """`loss.backward()`, node by node: torch's own asks the driver for the GPU's streams."""
    edges = Counter()
    found = [loss.grad_fn]
    for node in found:  # grows
        for after, _ in node.next_functions:
            if after and not edges[after]:
                found.append(after)
            edges[after] += 1
    gradients = defaultdict(dict)
    gradients[loss.grad_fn][0] = torch.ones_like(loss)
    ready = [loss.grad_fn]
    while ready:
        node = ready.pop()
        given = [gradients[node].get(n) for n in range(len(node._input_metadata))]
        if hasattr(node, "variable"):  # a parameter; torch's own takes the gradient as it is
            before = node.variable.grad
            node.variable.grad = given[0] if before is None else before + given[0]
            continue
        made = node(*given)
        made = made if isinstance(made, tuple) else (made,)
        for (after, n), gradient in zip(node.next_functions, made):
            if gradient is not None and after:
                wanted = after._input_metadata[n]  # what was broadcast, or cast
                gradient = gradient.sum_to_size(wanted.shape).to(wanted.dtype)
                before = gradients[after].get(n)
                gradients[after][n] = gradient if before is None else before + gradient
            edges[after] -= 1
            if after and not edges[after]:
                ready.append(after)


@contextmanager
def fake_gpu() -> Iterator[Watch]:
    """Device "cuda" for the tests; computes in bfloat16."""
    watch = Watch()
    optimisers = sys.modules["torch.optim.optimizer"]  # torch.optim itself does not name it
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with (
            patch.object(optimisers, "_foreach_supported_types", LIKE_ANY),
            patch("torch.Tensor.backward", torch.no_grad()(backward)),
            patch("torch.cuda.is_bf16_supported", lambda **_: True),
            patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            FakeTensorMode(allow_non_fake_inputs=True),
            watch,
        ):
            yield watch
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
