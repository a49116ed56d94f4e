"""The places of a map's outermost cells in the view, computed from the convolutions and pools that run before it.

A map is painted over the whole view. Convolutions without padding leave cells that stand nearer to its middle.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from camcli.layers.trace import Trace
from camcli.network.layer import Layer

if TYPE_CHECKING:
    from torch import nn

# A cell that is painted farther from its place than this share of the view's side is worth a note.
FAR = 1 / 16


def about(net: nn.Module, trace: Trace, layer: Layer) -> str | None:
    """The note on a map that is painted too wide; None if it is not, or if the layers before it do not tell."""
    if layer.layout.arrangement != "channels first" or len(layer.shape) != 3:
        return None
    farthest = max(_painted_beyond(net, trace, layer, axis) for axis in (0, 1))
    pixels = round(farthest * max(trace.images[2:]))
    if farthest <= FAR:
        return None
    return f"painted too wide: its outermost cells stand {pixels} pixels of the view further in, for want of padding"


def _painted_beyond(net: nn.Module, trace: Trace, layer: Layer, axis: int) -> float:
    """The way from an outermost cell's place to where it is painted, as a share of the view's side; 0 if unknown."""
    side, cells = trace.images[2 + axis], layer.shape[1 + axis]
    found = _first_cell(net, trace, layer, axis)
    if found is None:
        return 0.0
    start, stride = found
    half = side / cells / 2
    return max(start - half, (side - half) - (start + stride * (cells - 1))) / side


def _first_cell(net: nn.Module, trace: Trace, layer: Layer, axis: int) -> tuple[float, int] | None:
    """(the middle of the first cell, the way to the next one) in pixels of the view; None if some layer on the way is
    of another kind, lies in a branch, or does not give the size that it should."""
    size, start, stride = trace.images[2 + axis], 0.5, 1
    before = takewhile(lambda run: (run.name, run.call) != (layer.name, layer.call), trace.runs)
    runs = [*before, trace.runs_of(layer.name)[layer.call]]
    for run in runs:
        module = net.get_submodule(run.name)
        if len(run.shape) != 4 or next(module.children(), None) is not None:
            continue
        given = run.shape[2 + axis]
        window = _window(module, axis)
        if window is None:
            if given != size:
                return None
            continue
        if not run.on_every_path:
            return None
        for pooled in (False, True):  # pools of two by two often are functions
            sizes = size // 2 if pooled else size
            if _output(sizes, window, module) == given:
                break
        else:
            return None
        if pooled:
            start, stride = start + 0.5 * stride, stride * 2
        kernel, step, padding, dilation = window
        start += ((kernel - 1) * dilation / 2 - padding) * stride
        size, stride = given, stride * step
    return _pooled_to(layer.shape[1 + axis], size, start, stride)


def _pooled_to(cells: int, size: int, start: float, stride: int) -> tuple[float, int] | None:
    if cells == size:
        return start, stride
    return (start + 0.5 * stride, stride * 2) if cells == size // 2 else None


def _output(size: int, window: tuple[int, int, int, int], module: nn.Module) -> int:
    kernel, step, padding, dilation = window
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    return (-(-room // step) if getattr(module, "ceil_mode", False) else room // step) + 1


def _window(module: nn.Module, axis: int) -> tuple[int, int, int, int] | None:
    """(kernel, stride, padding, dilation) along that axis of a convolution or pool; None of anything else."""
    if type(module).__name__ not in ("Conv2d", "MaxPool2d", "AvgPool2d"):
        return None
    words = (module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1))
    if any(isinstance(word, str) for word in words):
        return None
    kernel, step, padding, dilation = (_along(word, axis) for word in words)
    return kernel, step, padding, dilation


def _along(word: Any, axis: int) -> int:
    return int(word[axis] if isinstance(word, tuple) else word)
