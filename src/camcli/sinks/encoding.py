"""Pixels and raw values -> the bytes of a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from camcli.records import Attribution, Explained

if TYPE_CHECKING:
    from numpy.typing import NDArray


JPEG_QUALITY = 92


def encoded(
    picture: NDArray[np.uint8], suffix: str, quality: int = JPEG_QUALITY, *, whole_colour: bool = True
) -> bytes:
    """RGB or RGBA pixels as a file of that kind. A JPEG's colour has all its pixels, or a quarter of them."""
    import cv2

    if picture.shape[2] == 4:
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA)
    else:
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = []
    if suffix.lower() in (".jpg", ".jpeg"):
        # A quarter of the colour would smear colour-coded values over their edges.
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if whole_colour else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return bytes(cv2.imencode(suffix or ".png", bgr, options)[1])


def npz(result: Explained, attribution: Attribution) -> bytes:
    """float32 `values` (map (h, w) at the layer, saliency (3, h, w) on the view), `box`, `size`, what they answer."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        values=attribution.values,
        box=np.asarray(result.box),
        size=np.asarray(result.frame.size),
        target=np.asarray(attribution.target.entry.id if attribution.target.entry else -1),
        label=np.asarray(attribution.target.label),
        method=np.asarray(attribution.method),
        layer=np.asarray(attribution.layer or ""),
    )
    return buffer.getvalue()
