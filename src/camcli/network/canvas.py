"""The canvas on which a detector lays a picture: it resizes pictures itself, and pads them to whole strides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from camcli.entries import Box


@contextmanager
def contents(net: nn.Module) -> Iterator[list[Box]]:
    """The part of its canvas that the first picture fills, as in `Outputs`, once the network has run inside the block;
    empty if it does not tell. torchvision's transforms tell it: their output has `tensors` and the `image_sizes` in
    them; the pictures' `corners` (top, left) too, if they are not the canvas's."""
    seen: list[Box] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        for part in output if isinstance(output, tuple) else (output,):
            tensors, sizes = getattr(part, "tensors", None), getattr(part, "image_sizes", None)
            if isinstance(tensors, Tensor) and tensors.ndim == 4 and sizes:
                (height, width), (full_height, full_width) = sizes[0], tensors.shape[2:]
                top, left = getattr(part, "corners", ((0, 0),))[0]
                x0, y0 = left / full_width, top / full_height
                seen.append((x0, y0, x0 + width / full_width, y0 + height / full_height))

    with ExitStack() as stack:
        for module in net.modules():
            if not isinstance(module, nn.ModuleList):
                stack.callback(module.register_forward_hook(look).remove)
        yield seen
