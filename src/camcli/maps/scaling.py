"""Raw values -> shares of the largest: pictures, likenesses and places are made of them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from camcli.records import Kind

# A saliency's few largest values would leave the rest at zero: its scale ends at this percentile of |values|.
SALIENCY_PERCENTILE = 99.5
# The end of a saliency's scale that lets it be seen at the width of a table: two in a hundred values are beyond it.
STRETCHED_PERCENTILE = 98.0

Float = TypeVar("Float", np.float32, np.float64)


def strength(values: NDArray[np.float32], kind: Kind) -> NDArray[np.float32]:
    """The map (*grid) >= 0 itself, or of a saliency (C, *grid) the largest |value| over its channels."""
    return values if kind == "map" else np.asarray(np.abs(values).max(0))


def top_of(values: NDArray[np.float32], kind: Kind, percentile: float = SALIENCY_PERCENTILE) -> float:
    """The raw value that ends the scale: a map's maximum, a saliency's percentile of |values|; its largest if most of
    them are zero."""
    if kind == "map":
        return float(values.max(initial=0.0))
    sizes = np.abs(values)
    return float(np.percentile(sizes, percentile)) or float(sizes.max(initial=0.0))


def scaled(values: NDArray[Float], top: float) -> NDArray[Float]:
    """The values as shares of `top`; zeros if that is none."""
    return values / values.dtype.type(top) if top > 0 else np.zeros_like(values)
