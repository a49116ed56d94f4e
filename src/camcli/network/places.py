"""The places of a map: the axes after the channels, (h, w) of a picture's map and (t, h, w) of a clip's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.functional import interpolate

_MODES = {2: "bilinear", 3: "trilinear"}


def axes(values: Tensor) -> tuple[int, ...]:
    """The axes of the places in (N, C, *grid)."""
    return tuple(range(2, values.ndim))


def everywhere(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers (N, C) as (N, C, 1, 1), to be multiplied with values (N, C, *grid) at every place."""
    return numbers[(...,) + (None,) * (like.ndim - 2)]


def resized(values: Tensor, size: Sequence[int]) -> Tensor:
    """Values (N, *grid) or (N, C, *grid) at another size, linearly in between (align_corners=False)."""
    if list(values.shape[-len(size) :]) == list(size):
        return values
    planes = values if values.ndim == len(size) + 2 else values[:, None]
    fine = interpolate(planes, list(size), mode=_MODES[len(size)], align_corners=False)
    return fine.view(*values.shape[: -len(size)], *size)


def each_frame(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Pictures (N, C, H, W) changed, or each frame of clips (N, C, T, H, W) as a picture."""
    if images.ndim == 4:
        return change(images)
    changed = change(images.transpose(1, 2).flatten(0, 1))
    return changed.view(len(images), images.shape[2], *changed.shape[1:]).transpose(1, 2)
