"""The canvas on which a detector lays a picture: it resizes pictures itself, and pads them to whole strides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def contents(net: nn.Module) -> Iterator[list[tuple[float, float]]]:
    """The shares (x, y) of its canvas that the first picture fills, once the network has run inside the block; empty if
    it pads nothing. torchvision's transforms tell it: their output has `tensors` and the `image_sizes` in them."""
    seen: list[tuple[float, float]] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        for part in output if isinstance(output, tuple) else (output,):
            tensors, sizes = getattr(part, "tensors", None), getattr(part, "image_sizes", None)
            if isinstance(tensors, Tensor) and tensors.ndim == 4 and sizes:
                (height, width), (full_height, full_width) = sizes[0], tensors.shape[2:]
                seen.append((width / full_width, height / full_height))

    with ExitStack() as stack:
        for module in net.modules():
            if not isinstance(module, nn.ModuleList):
                stack.callback(module.register_forward_hook(look).remove)
        yield seen
