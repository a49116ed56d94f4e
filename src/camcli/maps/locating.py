"""The places that a map points to, in pixels of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from camcli.entries import Box
from camcli.maps import scaling
from camcli.maps.spreading import Pixels, cover, spread
from camcli.records import Attribution

# The paper's share of the maximum that a localisation box keeps (arXiv:1610.02391 sec. 4.1).
BOX_SHARE = 0.15
# Side at which peaks and boxes are looked for: finer than any layer's map, cheap for any picture.
_SIDE = 256


def locate(attribution: Attribution, box: Box, size: tuple[int, int]) -> tuple[tuple[int, int] | None, Pixels | None]:
    """(peak, bbox) of a map in frame pixels: its maximum, and the box of the largest connected part above 15 % of it.

    A saliency has a peak (its largest |value| over channels) and no bbox; a blank answer has neither.
    arXiv:1610.02391 sec. 4.1. `size` is the frame's (width, height).
    """
    import cv2

    strength = scaling.strength(attribution.values, attribution.kind)
    x0, y0, x1, y1 = attribution.box or box
    scale = min(1.0, _SIDE / max(x1 - x0, y1 - y0))
    shape = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    fine = cv2.resize(strength, shape, interpolation=cv2.INTER_LINEAR)
    step_x, step_y = (x1 - x0) / shape[0], (y1 - y0) / shape[1]
    # With `pad` the view sticks out of the frame: what lies outside is no place in the picture.
    centre_x = x0 + (np.arange(shape[0]) + 0.5) * step_x
    centre_y = y0 + (np.arange(shape[1]) + 0.5) * step_y
    fine[:, (centre_x < 0) | (centre_x >= size[0])] = 0
    fine[(centre_y < 0) | (centre_y >= size[1])] = 0
    top = float(fine.max(initial=0.0))
    if top <= 0:
        return None, None
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    peak = int(centre_x[column]), int(centre_y[row])
    if attribution.kind != "map":
        return peak, None
    inside = (fine >= BOX_SHARE * top).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(inside, 8, cv2.CV_16U, cv2.CCL_BBDT)
    largest = 1 + int(stats[1:count, cv2.CC_STAT_AREA].argmax())
    left, up, width, height = (int(v) for v in stats[largest, :4])
    bbox = (
        max(0, round(x0 + left * step_x)),
        max(0, round(y0 + up * step_y)),
        min(size[0], round(x0 + (left + width) * step_x)),
        min(size[1], round(y0 + (up + height) * step_y)),
    )
    return peak, bbox


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """The intersection over union of two boxes."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else float(list(one) == list(other))


def at_size(values: NDArray[np.float32], box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
    """Values (…, h, w) in a box of a picture of `size` (width, height), at its pixels, (…, H, W); 0 outside the box.

    Bilinear (align_corners=False), as overlays are.
    """
    x0, y0, x1, y1 = cover(box)
    planes = values.reshape(-1, *values.shape[-2:])
    left, top, right, bottom = max(0, x0), max(0, y0), min(size[0], x1), min(size[1], y1)
    placed = np.zeros((len(planes), size[1], size[0]), dtype=np.float32)
    for plane, place in zip(planes, placed, strict=True):
        place[top:bottom, left:right] = spread(plane, box)[top - y0 : bottom - y0, left - x0 : right - x0]
    return placed.reshape(*values.shape[:-2], size[1], size[0])
