"""Ref -> Frame: a picture decoded, upright and in sRGB, with Pillow and numpy only."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.errors import InputError
from camcli.inputs import colours, deep, kinds, sandbox, tiffs
from camcli.inputs.deep import Samples
from camcli.inputs.guards import (
    NAMES_ONLY,
    PROGRAMS,
    SECONDS_PER_PIXEL,
    NoRoomError,
    Source,
    bytes_of,
    is_linear,
    pillow,
    readable,
    refusing,
    timed,
    too_long,
    whole,
)
from camcli.inputs.preprocessing import sides_of
from camcli.inputs.stills import Still
from camcli.inputs.tiffs import Tags
from camcli.records import AS_IT_IS, MAX_FILE_BYTES, MAX_PIXELS, Decoding, Frame, Ref
from camcli.storage import uris

# The most that is read of a NumPy file.
MAX_ARRAY_BYTES = 2_000_000_000

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those of them that swap width and height.
LYING = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


def read_frame(ref: Ref, decoding: Decoding = AS_IT_IS) -> Frame:
    """Decode one ref to an upright sRGB frame.

    Raises:
        InputError: missing, unreadable, not a picture, truncated, too large, or of values that are no picture's.
    """
    return read(ref, decoding)[0]


def read(
    ref: Ref,
    decoding: Decoding = AS_IT_IS,
    max_pixels: int = MAX_PIXELS,
    *,
    isolated: bool = False,
    room: Callable[[int], bool] = lambda pixels: True,
) -> tuple[Frame, Image.Image | None]:
    """The frame of `read_frame`, and Pillow's picture that it was copied from: `view_of` need not copy it back.

    A picture that may take long to decode is decoded in a process of its own, with a limit on its time and memory,
    unless this is that process. `room` is asked with the number of pixels before they are decoded.

    Raises:
        InputError: as there, more than `max_pixels`, or too slow.
        NoRoomError: `room` said no.
    """
    if ref.held is not None:
        return _in_memory(ref, decoding, max_pixels)
    source = _source(ref)
    head = _head(source)
    if head.startswith(kinds.ARRAY):
        if not room(bytes_of(source) // 3):
            raise NoRoomError
        return _frame_of_array(ref, source, decoding), None
    with pillow(max_pixels), refusing(source, head), timed(source) as file, Image.open(file) as opened:
        size = opened.size
        if (pixels := size[0] * size[1]) > max_pixels:
            raise InputError(
                "decode", "too-large", f"{size[0]}x{size[1]} is more than --max-pixels {max_pixels / 1e6:g} million"
            )
        _check_kind(opened, head)
        if opened.format == "JPEG" and (scale := decoding.scale(size)) > 1:
            opened.draft(None, (size[0] // scale, size[1] // scale))
        drafted = opened.size != size
        if not room(opened.width * opened.height):
            raise NoRoomError
        if not isolated and not is_linear(opened, pixels, source):
            asked = {"decoding": asdict(decoding), "max_pixels": max_pixels}
            rgb, full_size, note = sandbox.decoded(whole(source), asked, pixels)
            return Frame(ref, rgb, full_size=full_size, note=note, decoding=decoding), None
        file.deadline += pixels * SECONDS_PER_PIXEL
        tags = tiffs.tags_of(opened)
        tiffs.mend(opened, tags)
        samples = deep.samples_of(opened, tags, head)
        opened.load()
        turn = turn_of(opened)
        if turn in LYING:
            size = size[::-1]
        seen = _whitened(opened, source, samples, tags, decoding.white)
        image, note = colours.to_rgb(seen if turn is None else seen.transpose(turn), samples, tags, decoding.white)
        rgb = np.asarray(image)
        if tags is not None:
            with timed(source) as pages:
                said = (note, tiffs.about_bands(tags, seen), tiffs.about_pages(pages))
                note = "; ".join(filter(None, said)) or None
    return Frame(ref, rgb, full_size=size if drafted else None, note=note, decoding=decoding), image


def _check_kind(opened: Image.Image, head: bytes) -> None:
    """Raises: InputError: Pillow has a name for it, but no picture."""
    if opened.format in PROGRAMS:
        raise InputError("decode", "not-a-picture", f"{opened.format} holds a program, not pixels: convert it")
    if tiffs.is_raw(opened):
        raise InputError("decode", "unsupported", str(kinds.RAW))
    if opened.format in NAMES_ONLY:
        raise InputError("decode", "unsupported", str(kinds.named(head) or kinds.by_format(opened.format)))


def _whitened(
    opened: Image.Image, source: Source, samples: Samples | None, tags: Tags | None, white: float | None
) -> Image.Image:
    """16-bit colours scaled to that white, for which they are read once more; others as they are."""
    if white is None or samples is None or samples.low is None:
        return opened
    with timed(source) as file, Image.open(file) as again:
        tiffs.mend(again, tags)
        again.tile = [tiffs.with_rawmode(tile, samples.low) for tile in again.tile]
        again.load()
        return deep.whitened(opened, again, white)


def _source(ref: Ref) -> Source:
    """The file or the bytes to decode from: bytes for a JPEG, which is gone through twice."""
    data = uris.read(ref.uri) if ref.uri is not None else ref.data
    if data is None:
        path = readable(ref.path or Path(ref.name))
        if path.suffix.lower() not in _JPEG_SUFFIXES:
            return path
        try:
            data = whole(path)
        except OSError:
            return path  # said in full where it is decoded
    if data == b"":
        raise InputError("open", "empty", "the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise too_long(len(data))
    return data


def _head(source: Source) -> bytes:
    """The beginning of the source."""
    if isinstance(source, bytes):
        return source[: kinds.HEAD]
    try:
        with source.open("rb") as file:
            return file.read(kinds.HEAD)
    except OSError:
        return b""  # said in full where it is decoded


def _in_memory(ref: Ref, decoding: Decoding, max_pixels: int) -> tuple[Frame, Image.Image | None]:
    """The frame of a picture of Pillow's, treated as its file would be, of an array (H, W, C), as of NumPy's files, or
    of a film."""
    if isinstance(ref.held, InputError):
        raise ref.held
    if isinstance(ref.held, Still):
        still = ref.held
        return Frame(ref, still.rgb(), note=still.note, moments=(still.moment,), decoding=decoding), None
    if not isinstance(ref.held, Image.Image):
        return _of_held_array(ref, np.asarray(ref.held), decoding), None
    opened: Image.Image = ref.held
    if (pixels := opened.width * opened.height) > max_pixels:
        raise InputError("decode", "too-large", f"{pixels / 1e6:g} million pixels are more than --max-pixels")
    with refusing(b"", b""):
        samples = deep.samples_of(opened, None, b"")
        turn = turn_of(opened)
        image, note = colours.to_rgb(opened if turn is None else opened.transpose(turn), samples, None, decoding.white)
        return Frame(ref, np.array(image), note=note, decoding=decoding), None


def _frame_of_array(ref: Ref, source: Source, decoding: Decoding) -> Frame:
    """The frame of a NumPy file (H, W, C) or (H, W): uint8, uint16, or float in [0, 1]; with `white` any numbers."""
    with refusing(source, b""):
        if b"'descr': '|O'" in _head(source):
            raise InputError("decode", "not-a-picture", "an array of Python objects, not of numbers")
        if isinstance(source, bytes):
            array = np.load(io.BytesIO(source), allow_pickle=False)
        else:
            array = np.load(source, mmap_mode="r", allow_pickle=False)
        if array.size * array.itemsize > MAX_ARRAY_BYTES:
            raise InputError("decode", "too-large", f"an array larger than {MAX_ARRAY_BYTES / 1e9:.0f} GB")
        array = np.array(array)
    return _of_array(ref, array, decoding)


def _of_held_array(ref: Ref, array: NDArray[Any], decoding: Decoding) -> Frame:
    try:
        return _of_array(ref, array, decoding)
    except InputError as error:
        if array.dtype.kind != "f":
            raise
        raise InputError(error.stage, error.kind, f"{error}; if it is normalised, give a tensor (C, H, W)") from None


def _of_array(ref: Ref, array: NDArray[Any], decoding: Decoding) -> Frame:
    bands = array[..., None] if array.ndim == 2 else array
    if bands.ndim != 3 or 0 in bands.shape:
        raise InputError(
            "decode", "not-a-picture", f"an array of {sides_of(array.shape)}, not (height, width, channels)"
        )
    bands, note = deep.array_bands(bands.astype(bands.dtype.newbyteorder("="), copy=False), decoding.white)
    shown = bands[..., :3] if bands.shape[2] >= 3 else bands[..., :1].repeat(3, axis=2)
    rgb = shown if shown.dtype == np.uint8 else np.rint(shown * 255).astype(np.uint8)
    return Frame(ref, np.ascontiguousarray(rgb), bands, note=note, decoding=decoding)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """The turn that sets a loaded picture upright; None if it needs none, or does not tell."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  as when decoding
        return None  # unreadable metadata on a readable picture: show the picture
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
