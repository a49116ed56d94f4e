"""A map's fingerprint in its row: enough to tell later if another run gave the same map."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from camcli.maps import scaling

# Cells a side: finer than a shift that anyone would see, and 64 bytes a map.
_CELLS = 8


def fingerprint(values: NDArray[np.float32]) -> dict[str, str]:
    """The sha256 of the float32 bytes of a map (h, w) or a saliency (3, h, w), and its means over a coarse grid.

    The grid, as "8x8:base64", has a byte a cell from the top left by rows, 255 the largest; of a saliency it shows the
    largest |value| over the channels.
    """
    import cv2

    strength = scaling.strength(values)
    height, width = (min(_CELLS, side) for side in strength.shape)
    coarse = cv2.resize(strength, (width, height), interpolation=cv2.INTER_AREA)
    top = float(coarse.max(initial=0.0))
    levels = np.rint(coarse * (255 / top) if top > 0 else coarse).clip(0, 255).astype(np.uint8)
    return {
        "sha256": hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest(),
        "grid": f"{height}x{width}:{base64.b64encode(levels.tobytes()).decode()}",
    }


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
