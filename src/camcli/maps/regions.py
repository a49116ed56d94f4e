"""Masks as text: COCO's compressed run-length encoding, which pycocotools and its kin read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def counts(mask: NDArray[np.bool_]) -> str:
    """The mask (h, w) as COCO's compressed counts: runs of 0 and 1 in turn, column by column, 0 first.

    A run is told as its difference to the last but one from the fourth on; numbers are written five bits a character
    from "0" on, the lowest first, the sixth bit says that more follow.
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    if flat.size and flat[0]:
        runs = [0, *runs]
    return "".join(_written(run - (runs[i - 2] if i > 2 else 0)) for i, run in enumerate(runs))


def _written(number: int) -> str:
    text = ""
    while True:
        bits = number & 31
        number >>= 5
        done = number == (-1 if bits & 16 else 0)
        text += chr(48 + (bits if done else bits | 32))
        if done:
            return text
