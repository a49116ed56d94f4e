"""Samples of more than 8 bits -> 8 bits, by the value of white, and a note on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.errors import InputError
from camcli.inputs import tiffs
from camcli.inputs.tiffs import Tags

# A picture whose largest value is a smaller part of white is said to be dark.
DARK = 1 / 4
# Interpolation leaves so much below zero, as a part of the largest value; more is no accident.
_BELOW = 1 / 20
_OTHER_HALF = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}
_JPEG_2000 = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Samples:
    """The meaning of one number of a decoded file.

    dtype: as the file has it. white: None if the values must tell. unit: so many of the decoded numbers are one of the
    file's. zero_is_white: so in the file, and not undone by the decoder. wrapped: unsigned 32 bits, decoded as signed
    ones. low: the raw mode of the lower half of 16-bit colours; the decoder keeps the upper half.
    """

    dtype: str
    white: float | None = None
    unit: float = 1.0
    zero_is_white: bool = False
    wrapped: bool = False
    low: str | None = None


def samples_of(opened: Image.Image, tags: Tags | None, head: bytes) -> Samples | None:
    """The samples of a picture that is opened and not yet decoded; None: 8 bits, as they are."""
    grey = opened.mode in ("I", "F") or opened.mode.startswith("I;16")
    if tags is not None and grey:
        white = 2.0**tags.bits - 1 if tags.form == "uint" and tags.bits <= 16 else None
        return Samples(tags.dtype, white, zero_is_white=tags.zero_is_white, wrapped=tags.dtype == "uint32")
    if tags is not None and tags.dtype == "int8" and opened.mode == "L":
        return Samples("int8", 255.0)
    if opened.format == "PPM" and opened.mode == "I":
        decoder, _, _, arguments = opened.tile[0]  # type: ignore[attr-defined]
        # Pillow's own decoder brings the file's maximum to 65535.
        return Samples("uint16", 65535.0, unit=65535.0 / arguments[1] if decoder.startswith("ppm") else 1.0)
    if grey:
        deep = opened.mode.startswith("I;16")
        dtype = "uint16" if deep else {"I": "int32", "F": "float32"}[opened.mode]
        return Samples(dtype, 65535.0 if deep else None, unit=_unit(opened, head))
    return _of_colours(opened)


def _of_colours(opened: Image.Image) -> Samples | None:
    """The samples of 16-bit colours: Pillow keeps the upper bytes, and reads the lower ones in the other byte order."""
    raw = tiffs.rawmode(opened)
    if ";16" not in raw or opened.format not in ("PNG", "TIFF"):
        return None
    found = re.fullmatch(r"(RGB[AX]?;16)([BLN])", raw)
    return Samples("uint16", 65535.0, low=found[1] + _OTHER_HALF[found[2]] if found else None)


def _unit(opened: Image.Image, head: bytes) -> float:
    """The unit of a JPEG 2000, which says how many bits it has: Pillow shifts them up to 16. 1 for other files."""
    at = head.find(_JPEG_2000) if opened.format == "JPEG2000" else -1
    if at < 0 or len(head) < at + 43:
        return 1.0
    return float(2 ** max(0, 16 - (head[at + 42] & 127) - 1))


def eight_bit(image: Image.Image, samples: Samples, white: float | None) -> tuple[NDArray[np.uint8], str | None]:
    """Deep greyscale to 8 bits, and a note. Pillow's own conversion clips at 255, which turns a 16-bit photo white.

    If `white` is None, it is that of the file's bits. If they don't tell, it is that of 32 bits, if these are used; or
    the smallest of 1 (floats only), 255 and 65535 that no value exceeds, else the largest value.

    Raises: InputError: values below zero, and `white` is None.
    """
    values = np.asarray(image)
    if samples.wrapped:
        values = values.view(np.uint32)
    if samples.dtype == "int8":
        values = values.view(np.int8)
    grey = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    top, bottom = float(grey.max(initial=0.0)), float(grey.min(initial=0.0))
    note = None
    if white is None:
        if bottom < -_BELOW * top:
            raise InputError(
                "decode",
                "negative",
                f"{samples.dtype} values from {bottom:g} to {top:g}: say what is white with --white VALUE (below 0 is "
                "black), or give 8 bits or a .npy array",
            )
        full = samples.white or _white_for(top, samples.dtype)
        stretched = samples.white is None and full == top > 65535.0
        note = about(top / samples.unit, full / samples.unit, stretched=stretched)
    else:
        full = white * samples.unit
    shares = np.clip(grey / np.float32(full), 0.0, 1.0)
    if samples.zero_is_white:
        shares = 1.0 - shares
    return np.asarray(np.rint(shares * 255.0), dtype=np.uint8), note


def _white_for(top: float, dtype: str) -> float:
    if dtype == "uint32" and top >= DARK * 2.0**32:
        return 2.0**32
    if dtype.startswith("float") and top <= 1.0:
        return 1.0
    deep = 32767.0 if dtype == "int16" else 65535.0
    return next((white for white in (255.0, deep) if top <= white), top)


def about(top: float, white: float, *, stretched: bool = False) -> str | None:
    """A note on a picture with this largest value, if it is dark or stretched; else None."""
    if 0 < top < DARK * white:
        return f"dark: its largest value is {top:g}, and white is taken to be {white:g}; say what it is: --white VALUE"
    if stretched:
        return f"white is taken to be {top:g}, its largest value; another is said by --white VALUE"
    return None


def about_colours(image: Image.Image, samples: Samples, white: float | None) -> str | None:
    """The same note on a picture of 16-bit colours, from their upper bytes."""
    if white is not None:
        return None if samples.low else "--white does not reach such samples: they are read as 8 bits"
    extrema: Any = image.getextrema()
    top = max(high for _, high in extrema[:3])
    return about((top + 1) * 256.0 - 1, 65535.0) if top else None


def array_bands(bands: NDArray[Any], white: float | None) -> tuple[NDArray[Any], str | None]:
    """An array's values as uint8 or as float32 in [0, 1], and a note.

    Raises: InputError: they are neither, nor uint16, and `white` is None.
    """
    if bands.dtype == np.uint8:
        return bands, None
    if bands.dtype.kind not in "uif":
        raise InputError("decode", "not-a-picture", f"an array of {bands.dtype}, not of numbers")
    if white is not None:
        shares = np.nan_to_num(bands.astype(np.float32), posinf=0.0, neginf=0.0) / np.float32(white)
        return np.clip(shares, 0.0, 1.0), None
    top = float(bands.max())
    if bands.dtype == np.uint16:
        return bands.astype(np.float32) / np.float32(65535), about(top, 65535.0)
    if bands.dtype.kind != "f" or not (bands.min() >= 0 and top <= 1):
        raise InputError(
            "decode",
            "not-a-picture",
            f"an array that is neither uint8, uint16 nor float in [0, 1], but {bands.dtype} from {bands.min():g} to "
            f"{top:g}: say what is white with --white VALUE",
        )
    return bands.astype(np.float32), about(top, 1.0)


def whitened(upper: Image.Image, lower: Image.Image, white: float) -> Image.Image:
    """A picture of 16-bit colours, from their upper and lower bytes, scaled to that white; alpha's is 65535."""
    values = np.asarray(upper).astype(np.float32) * np.float32(256) + np.asarray(lower)
    whites = np.array([white, white, white, 65535.0][: values.shape[2]], dtype=np.float32)
    shares = np.clip(values / whites, 0.0, 1.0)
    made = Image.fromarray(np.rint(shares * 255.0).astype(np.uint8))
    made.info.update(upper.info)
    return made
