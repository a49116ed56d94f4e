"""Masks as text: COCO's compressed run-length encoding, which pycocotools and its kin read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camcli.entries import Region


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


def mask(text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of `size` (height, width) that such counts tell. Raises: ValueError: they are no mask of that size."""
    runs: list[int] = []
    at = 0
    while at < len(text):
        number, bits, more = 0, 0, True
        while more:
            if at == len(text) or not 0 <= (code := ord(text[at]) - 48) < 64:
                raise ValueError("no counts of a mask")
            number |= (code & 31) << bits
            bits += 5
            at += 1
            more = bool(code & 32)
        if code & 16:
            number -= 1 << bits
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError("no counts of a mask of that size")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[1], size[0]).T


def outlines(region: Region) -> list[list[float]]:
    """The region's outlines in frame pixels, x and y in turn, to a hundredth of its mask's longer side."""
    import cv2

    filled = region.mask.astype(np.uint8)
    found, _ = cv2.findContours(filled, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    x0, y0, x1, y1 = region.box
    step = np.array([(x1 - x0) / filled.shape[1], (y1 - y0) / filled.shape[0]])
    traced = []
    for points in found:
        near = cv2.approxPolyDP(points, max(filled.shape) / 100, closed=True).reshape(-1, 2)
        if len(near) > 2:
            traced.append(np.round((near + 0.5) * step + (x0, y0), 1).ravel().tolist())
    return traced


def _written(number: int) -> str:
    text = ""
    while True:
        bits = number & 31
        number >>= 5
        done = number == (-1 if bits & 16 else 0)
        text += chr(48 + (bits if done else bits | 32))
        if done:
            return text
