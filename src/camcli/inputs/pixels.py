"""A video's decoded frame -> upright sRGB pixels."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from camcli.errors import InputError
from camcli.inputs import colours

if TYPE_CHECKING:
    from av import VideoFrame
    from numpy.typing import NDArray

# AVColorRange, and the matrices of AVColorSpace as swscale numbers them.
_FULL = 2
BT709, _FCC, _BT601, _SMPTE240M, _BT2020 = 1, 4, 5, 7, 9
_MATRICES = {1: BT709, 4: _FCC, 5: _BT601, 6: _BT601, 7: _SMPTE240M, 9: _BT2020, 10: _BT2020}
# Larger than the standard definition of Europe, 720x576: BT.709 if nothing is said, as players take it.
_SD = (1280, 576)


def matrix_of(width: int, height: int) -> int:
    """The matrix of a video of that size that names none: BT.601 for standard definition, else BT.709."""
    return BT709 if width >= _SD[0] or height > _SD[1] else _BT601


def rgb(frame: VideoFrame, lock: Lock) -> NDArray[np.uint8]:
    """The pixels uint8 (H, W, 3), turned as the display matrix says, alpha over white.

    The matrix and range are those that the frame names. Halved chroma is repeated, not smoothed: as fast as can be, and
    the same for 8 bits and for more. `lock`: the conversion changes the frame while it lasts.

    Raises: InputError: it can't be converted.
    """
    from av.video.reformatter import Interpolation

    try:
        has_alpha = any(component.is_alpha for component in frame.format.components) or frame.format.has_palette
        full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
        with lock:
            converted = frame.reformat(
                format="rgba" if has_alpha else "rgb24",
                src_colorspace=_MATRICES.get(frame.colorspace, matrix_of(frame.width, frame.height)),
                src_color_range=_FULL if full else 1,
                dst_color_range=_FULL,
                interpolation=Interpolation.POINT,
            ).to_ndarray()
    except Exception as error:  # noqa: BLE001  a frame may be in a format that is not converted
        why = f"its pixels, {frame.format.name}, can't be converted ({type(error).__name__})"
        raise InputError("decode", "unsupported", why) from None
    shown = np.asarray(converted, dtype=np.uint8)
    if has_alpha:
        shown = np.asarray(colours.to_rgb(Image.fromarray(shown), None, None, None)[0])
    swapped, mirrored, flipped = _turn(frame)
    upright = shown.swapaxes(0, 1) if swapped else shown
    return np.ascontiguousarray(upright[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """(width, height) once it is turned."""
    return (frame.height, frame.width) if _turn(frame)[0] else (frame.width, frame.height)


def _turn(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """(swapped, mirrored, flipped): rows and columns swap first, then it is mirrored left to right, flipped top to
    bottom. By the display matrix, whose upper left part takes (x, y) to (ax + cy, bx + dy); skewed ones are left."""
    found: Any = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return False, False, False
    a, b, _, c, d, *_ = np.frombuffer(bytes(found), "=i4").tolist()
    if a == d == 0:
        return True, c < 0, b < 0
    return (False, a < 0, d < 0) if b == c == 0 else (False, False, False)
