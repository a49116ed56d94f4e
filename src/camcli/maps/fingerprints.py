"""A map's fingerprint in its row: enough to tell later if another run gave the same map."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from camcli.maps import scaling
from camcli.records import Kind

# Cells a side: finer than a shift that anyone would see, and 64 bytes a map.
CELLS = 8
_GRID = re.compile(r"(\d{1,4}(?:x\d{1,4}){1,2}):([A-Za-z0-9+/=]*)")


def fingerprint(values: NDArray[np.float32], kind: Kind = "map") -> dict[str, str]:
    """The sha256 of the float32 bytes of a map (h, w) or a saliency (3, h, w), and its means over a coarse grid.

    The grid, as "8x8:base64", has a byte a cell from the top left by rows, 255 the largest; of a saliency it shows the
    largest |value| over the channels. A clip's has an axis of time before that, "8x8x8:base64".
    """
    return {
        "sha256": sha256(values),
        "grid": grid(scaling.strength(values, kind)),
    }


def sha256(values: NDArray[np.float32]) -> str:
    """The sha256 of the values' float32 bytes."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()


def grid(strength: NDArray[np.float32], cells: int = CELLS) -> str:
    """The means of a map (h, w) or a clip's (t, h, w) over a grid of at most so many cells a side, as text."""
    coarse = _means(strength, cells)
    top = float(coarse.max(initial=0.0))
    levels = np.rint(coarse * (255 / top) if top > 0 else coarse).clip(0, 255).astype(np.uint8)
    return f"{'x'.join(map(str, levels.shape))}:{base64.b64encode(levels.tobytes()).decode()}"


def _means(strength: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    import cv2

    height, width = (min(cells, side) for side in strength.shape[-2:])
    if strength.ndim == 2:
        return np.asarray(cv2.resize(strength, (width, height), interpolation=cv2.INTER_AREA))
    steps = min(cells, len(strength))
    by_step = np.stack([_means(step, cells).ravel() for step in strength])
    coarse = cv2.resize(by_step, (height * width, steps), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse, dtype=np.float32).reshape(steps, height, width)


def is_grid(text: str) -> bool:
    """True if it is a grid as `grid` writes it: as many levels as its sides say."""
    found = _GRID.fullmatch(text)
    if found is None:
        return False
    sides, encoded = found.groups()
    try:
        return len(base64.b64decode(encoded, validate=True)) == math.prod(map(int, sides.split("x")))
    except ValueError:
        return False


def deviation(one: Mapping[str, str], other: Mapping[str, str]) -> float:
    """The largest difference between two maps, each scaled to its own maximum, in [0, 1]; 0 for identical ones.

    Raises: ValueError: not a fingerprint.
    """
    if one == other:
        return 0.0
    shape, levels = _grid(one["grid"])
    other_shape, other_levels = _grid(other["grid"])
    if shape != other_shape or len(levels) != len(other_levels):
        return 1.0
    return float(np.abs(levels - other_levels).max(initial=0.0)) / 255


def _grid(text: str) -> tuple[str, NDArray[np.int16]]:
    shape, _, encoded = text.partition(":")
    return shape, np.frombuffer(base64.b64decode(encoded, validate=True), dtype=np.uint8).astype(np.int16)
