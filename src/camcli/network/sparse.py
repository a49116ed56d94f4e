"""Convolutions and linear layers whose backward is computed only where the gradient is not zero.

A detection's logit depends on one place of its level, or on one of a thousand proposals: all else that a dense backward
computes is zero. The numbers are those of the dense backward, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PAIR = (int, list, tuple)


class SparseBackward(TorchFunctionMode):
    """Swaps convolutions and linear layers, as long as it is on, for ones with a sparse backward."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.conv2d, functional.linear) or kwargs or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if args[0].requires_grad:
            if func is torch.conv2d and len(args) == 7 and isinstance(args[4], _PAIR) and args[0].ndim == 4:
                image, weight, bias, stride, padding, dilation, groups = args
                how = (_pair(stride), _pair(padding), _pair(dilation), groups)
                # Networks write into parts of what they are given, which autograd forbids of what a Function gives.
                return _Convolution.apply(image, weight, bias, *how).clone()
            if func is functional.linear and len(args) == 3:
                return _Linear.apply(*args).clone()
        return func(*args, **kwargs)


def _pair(number: int | Sequence[int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else (number[0], number[-1])


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = image.shape, how
        return torch.conv2d(image, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (weight,) = gradients, ctx.saved_tensors
        (stride, padding, dilation, groups), (pictures, channels, height, width) = ctx.how, ctx.shape
        found = gradient.new_zeros(pictures, channels, height, width)
        alive = gradient.abs().amax(1)
        rows = alive.flatten(1).any(1).nonzero()[:, 0]
        if len(rows):
            top, bottom = _ends(alive.amax((0, 2)))
            left, right = _ends(alive.amax((0, 1)))
            part = gradient[rows, :, top:bottom, left:right]
            spread = functional.conv_transpose2d(part, weight, None, stride, 0, 0, groups, dilation)
            y0, x0 = top * stride[0] - padding[0], left * stride[1] - padding[1]
            # What lies in the padding is no part of the picture.
            up, before = max(0, -y0), max(0, -x0)
            down, after = min(height - y0, spread.shape[2]), min(width - x0, spread.shape[3])
            found[rows, :, y0 + up : y0 + down, x0 + before : x0 + after] = spread[:, :, up:down, before:after]
        return found, *(None,) * 6


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(values, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (weight,) = gradients, ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        rows = flat.any(1).nonzero()[:, 0]
        found = gradient.new_zeros(len(flat), weight.shape[1])
        found[rows] = flat[rows] @ weight
        return found.view(*gradient.shape[:-1], weight.shape[1]), None, None


def _ends(alive: Tensor) -> tuple[int, int]:
    """The first place that is not zero, and the one after the last."""
    places = alive.nonzero()[:, 0]
    return int(places[0]), int(places[-1]) + 1
