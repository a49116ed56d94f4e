"""Tensors that go into a network beside its pictures, although it is called with pictures alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def given(net: nn.Module, bound: Sequence[Tensor]) -> RemovableHandle:
    """Give tensors (M, …) to a network beside the pictures that it is called with: M of them, or whole repeats of M.

    A call that has more than pictures already stays as it is: what is given last counts.
    """

    def with_bound(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(args) > 1:
            return args
        (images,) = args
        repeats = [len(images) // len(tensor) for tensor in bound]
        return images, *(
            t.repeat(n, *[1] * (t.ndim - 1)).to(images.device) for t, n in zip(bound, repeats, strict=True)
        )

    return net.register_forward_pre_hook(with_bound, prepend=True)
