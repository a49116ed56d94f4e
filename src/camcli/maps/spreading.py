"""Values on a grid -> values at the pixels of a box, whole or not; bilinear, align_corners=False."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from camcli.entries import Box

# Whole pixels, half open.
Pixels: TypeAlias = tuple[int, int, int, int]


def cover(box: Box) -> Pixels:
    """The whole pixels that the box touches."""
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def is_whole(box: Box) -> bool:
    """True if the box lies on whole pixels."""
    return all(float(side).is_integer() for side in box)


def spread(values: NDArray[Any], box: Box) -> NDArray[Any]:
    """Values (h, w) or (h, w, C) that lie in the box, at the centres of the pixels of its `cover`."""
    x0, y0, x1, y1 = cover(box)
    if is_whole(box):
        import cv2

        return np.asarray(cv2.resize(values, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR))
    columns = (np.arange(x0, x1) + 0.5 - box[0]) / (box[2] - box[0]) * values.shape[1] - 0.5
    rows = (np.arange(y0, y1) + 0.5 - box[1]) / (box[3] - box[1]) * values.shape[0] - 0.5
    return _between(_between(values, columns, axis=1), rows, axis=0)


def _between(values: NDArray[Any], places: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """The values at places between those along an axis; beyond its ends, the end's."""
    places = np.clip(places, 0, values.shape[axis] - 1)
    first = np.floor(places).astype(np.intp)
    second = np.minimum(first + 1, values.shape[axis] - 1)
    shape = [1] * values.ndim
    shape[axis] = -1
    share = (places - first).astype(np.float32).reshape(shape)
    low, high = np.take(values, first, axis), np.take(values, second, axis)
    return np.asarray(low + (high - low) * share, dtype=np.float32)
