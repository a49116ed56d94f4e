"""The backward rule of ReLU, bent without touching the model: it makes Guided Backprop and the deconvnet.

A TorchFunctionMode swaps each call of ReLU or ReLU6, module or functional, in place or not, for one autograd function
whose rule is chosen when the gradient is taken, so one forward serves all of them (arXiv:1412.6806, fig. 1):

gradient: R = (output > 0) * g. guided: R = (output > 0) * (g > 0) * g. deconvnet: R = (g > 0) * g.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# torch.nn.functional names of activations that the guided rule does not bend.
_OTHER_ACTIVATIONS = frozenset(
    (
        "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu mish prelu rrelu selu sigmoid silu softplus tanh"
    ).split()
)


class _Rectifier(torch.autograd.Function):
    """min(max(x, 0), high) whose backward rule is looked up in `bent` when it runs, so one graph serves all rules."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, high: float | None, inplace: bool, bent: BentReLU) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        output = x.clamp_(0, high) if inplace else x.clamp(0, high)
        ctx.save_for_backward(output)
        ctx.high, ctx.bent = high, bent
        return output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None, None]:
        (gradient,) = grad_outputs
        (output,) = ctx.saved_tensors
        if ctx.bent.rule == "deconvnet":
            return gradient.clamp(min=0), None, None, None
        if ctx.high is None:
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        else:
            gradient = torch.ops.aten.hardtanh_backward(gradient, output, 0, ctx.high)
        return gradient.clamp_(min=0) if ctx.bent.rule == "guided" else gradient, None, None, None


class BentReLU(TorchFunctionMode):
    """Swaps every ReLU and ReLU6 call for a `_Rectifier`, whose rule is ReLU's own except within `bent`."""

    def __init__(self) -> None:
        super().__init__()
        self.rule = "gradient"

    @contextmanager
    def bent(self, rule: str) -> Iterator[None]:
        """Makes all that is differentiated meanwhile follow the rule: gradient, guided or deconvnet."""
        self.rule = rule
        try:
            yield
        finally:
            self.rule = "gradient"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        rectifier = _as_rectifier(func, args, kwargs or {})
        if rectifier is None:
            return func(*args, **(kwargs or {}))
        return _Rectifier.apply(*rectifier, self)


class ActivationCounter(TorchFunctionMode):
    """Counts the activations that the picture passes through; not those that shape a weight (Swin v2's position
    bias runs ReLUs on a constant table: bending them guides nothing)."""

    def __init__(self) -> None:
        super().__init__()
        self.rectifiers = 0
        self.others: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        rectifier = _as_rectifier(func, args, kwargs or {})
        x = rectifier[0] if rectifier else next(iter(args), None)
        if isinstance(x, Tensor) and x.requires_grad:
            if rectifier:
                self.rectifiers += 1
            elif name in _OTHER_ACTIVATIONS:
                self.others[name] += 1
        return func(*args, **(kwargs or {}))


_RELU = (torch.relu, Tensor.relu, functional.relu)
_RELU_IN_PLACE = (torch.relu_, Tensor.relu_)
_HARDTANH = (functional.hardtanh, functional.hardtanh_)


def _as_rectifier(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Tensor, float | None, bool] | None:
    """(input, upper bound, in place) if the call is a ReLU, a ReLU6 or another hardtanh from 0."""
    if func in _RELU_IN_PLACE:
        return (args[0] if args else kwargs["input"]), None, True
    if func not in (*_RELU, functional.relu6, *_HARDTANH):
        return None
    names = ("input", "min_val", "max_val", "inplace") if func in _HARDTANH else ("input", "inplace")
    given = {"inplace": func is functional.hardtanh_} | dict(zip(names, args, strict=False)) | kwargs
    high = None
    if func is functional.relu6:
        high = 6.0
    elif func in _HARDTANH:
        if given.get("min_val", -1.0) != 0:
            return None
        high = given.get("max_val", 1.0)
    return given["input"], high, given["inplace"]
