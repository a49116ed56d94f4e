"""Levels from 0 to 255 to colours, and photos without theirs. RGB uint8; OpenCV's BGR stays inside."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from camcli.drawing.styles import Style
from camcli.records import Kind
from camcli.specs import COLORMAP_OF

# The colours of the look for print, and the share of a photo's contrast that stays in it.
INK, _PALE = COLORMAP_OF["print"], 0.5

Pixels = NDArray[np.uint8]


def coloured(fine: Pixels, style: Style) -> Pixels:
    """Levels (H, W) in colour."""
    import cv2

    if style.colormap == "gray":
        return np.asarray(cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    # OpenCV takes the channels in any order.
    return np.asarray(cv2.applyColorMap(fine, _colours(style.colormap)[:, None]), dtype=np.uint8)


def scale_of(kind: Kind, style: Style) -> Pixels:
    """The colours of a scale from its low to its high end, (256, 3)."""
    if kind == "saliency":
        return _colours("gray")
    colours = _colours(style.colormap)
    if style.colormap != INK:
        return colours
    # As it is on white paper: no ink is darker than its opacity.
    return np.asarray(np.rint(255 - style.opacity * (255.0 - colours)), dtype=np.uint8)


def colour_bytes(colormap: str) -> bytes:
    """The colours of the 256 levels, R, G and B in turn."""
    return _colours(colormap).tobytes()


@cache
def _colours(colormap: str) -> Pixels:
    """The colour of each level, (256, 3)."""
    import cv2

    levels = np.arange(256, dtype=np.uint8)[:, None]
    if colormap in ("gray", INK):
        return (levels if colormap == "gray" else 255 - levels).repeat(3, axis=1)
    bgr = cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{colormap.upper()}"))
    return np.ascontiguousarray(bgr[:, 0, ::-1], dtype=np.uint8)


@cache
def faded(colormap: str, opacity: float) -> Pixels:
    """The colour of each level times its opacity, which grows with it up to the one given, (256, 1, 3)."""
    shares = np.arange(256)[:, None, None] / 255 * opacity
    if colormap == INK:
        shares = np.zeros_like(shares)  # ink takes light away, and has none of its own
    return np.rint(_colours(colormap)[:, None] * shares).astype(np.uint8)


def grey(photo: Pixels) -> Pixels:
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def pale(photo: Pixels) -> Pixels:
    """The photo in the upper half of the greys."""
    import cv2

    return np.asarray(cv2.convertScaleAbs(grey(photo), alpha=_PALE, beta=255 * (1 - _PALE)), dtype=np.uint8)
