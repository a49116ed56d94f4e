"""Ref -> Frame -> View: decoding and preprocessing, with Pillow and numpy only.

The view equals torchvision's `ImageClassification` preset on the same PIL image bit for bit; the box says which
part of the frame that view is, so that a map can be painted where it belongs.
"""

from __future__ import annotations

import io
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from camcli.errors import InputError
from camcli.inputs import colours, deep, kinds, lists, sandbox, tiffs
from camcli.inputs.deep import Samples
from camcli.inputs.tiffs import Tags
from camcli.records import (
    AS_IT_IS,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    Box,
    Decoding,
    Fit,
    Frame,
    Preset,
    Ref,
    Sides,
    View,
    both,
)
from camcli.storage import uris

# One resized picture may not exceed this many pixels: a 65000x1 picture would otherwise become 256 x 16 million.
MAX_RESIZED_PIXELS = 64_000_000
# `--fit full` feeds the whole picture to the network, whose activations are ~100 times the picture.
MAX_FULL_ASPECT = 8.0

# One picture, or one a band.
Bands: TypeAlias = list[Image.Image]
# What is decoded: a file, or bytes.
Source: TypeAlias = bytes | Path

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
# Of these, what turns width to height.
_LYING = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
# Ghostscript and Windows would run what these hold.
_PROGRAMS = frozenset({"EPS", "WMF"})
# Pillow knows these by name, and can't read them.
_NAMES_ONLY = frozenset({"HDF5", "GRIB", "BUFR", "MPEG"})
# What decodes in C, in a time that its pixels bound; Python's own decoders and the other formats' may take any.
_LINEAR = frozenset({"JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM"})
# Each scan of a JPEG goes over all of its pixels; cameras and encoders make up to a dozen.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 2_500_000_000
# Five times what a large PNG takes.
SECONDS_PER_PIXEL = 2e-7
_SCAN = b"\xff\xda"
_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


class NoRoomError(Exception):
    """There is no room for so many pixels now."""


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

    What may take long to decode is decoded in a process of its own, with a limit on its time and memory, unless this
    is that process. `room` is asked with the number of pixels before they are decoded.

    Raises:
        InputError: as there, more than `max_pixels`, or too slow.
        NoRoomError: `room` said no.
    """
    source = _source(ref)
    head = _head(source)
    if head.startswith(kinds.ARRAY):
        if not room(_bytes_of(source) // 3):
            raise NoRoomError
        return _frame_of_array(ref, source, decoding), None
    with _pillow(max_pixels), _refusing(source, head), _timed(source) as file, Image.open(file) as opened:
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
        if not isolated and not _is_linear(opened, pixels, source):
            asked = {"decoding": asdict(decoding), "max_pixels": max_pixels}
            rgb, full_size, note = sandbox.decoded(_whole(source), asked, pixels)
            return Frame(ref, rgb, full_size=full_size, note=note, decoding=decoding), None
        file.deadline += pixels * SECONDS_PER_PIXEL
        tags = tiffs.tags_of(opened)
        tiffs.mend(opened, tags)
        samples = deep.samples_of(opened, tags, head)
        opened.load()
        turn = _turn(opened)
        if turn in _LYING:
            size = size[::-1]
        seen = _whitened(opened, source, samples, tags, decoding.white)
        image, note = colours.to_rgb(seen if turn is None else seen.transpose(turn), samples, tags, decoding.white)
        rgb = np.asarray(image)
        if tags is not None:
            with _timed(source) as pages:
                said = (note, tiffs.about_bands(tags, seen), tiffs.about_pages(pages))
                note = "; ".join(filter(None, said)) or None
    return Frame(ref, rgb, full_size=size if drafted else None, note=note, decoding=decoding), image


def _check_kind(opened: Image.Image, head: bytes) -> None:
    """Raises: InputError: Pillow has a name for it, and no picture."""
    if opened.format in _PROGRAMS:
        raise InputError("decode", "not-a-picture", f"{opened.format} holds a program, not pixels: convert it")
    if tiffs.is_raw(opened):
        raise InputError("decode", "unsupported", str(kinds.RAW))
    if opened.format in _NAMES_ONLY:
        raise InputError("decode", "unsupported", str(kinds.named(head) or kinds.by_format(opened.format)))


def _whitened(
    opened: Image.Image, source: Source, samples: Samples | None, tags: Tags | None, white: float | None
) -> Image.Image:
    """16-bit colours with that white, for which they are read once more; others as they are."""
    if white is None or samples is None or samples.low is None:
        return opened
    with _timed(source) as file, Image.open(file) as again:
        tiffs.mend(again, tags)
        again.tile = [tiffs.with_rawmode(tile, samples.low) for tile in again.tile]
        again.load()
        return deep.whitened(opened, again, white)


class _Timed:
    """A file for one thread, whose reads fail when that has computed for too long: Pillow goes through metadata in
    Python, and a file may hold millions of parts. A disk that is slow costs nothing."""

    deadline = 0.0

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self.deadline:
            raise sandbox.too_slow()
        return super().read(size)  # type: ignore[misc,no-any-return]


class _TimedBytes(_Timed, io.BytesIO):
    pass


class _TimedFile(_Timed, io.BufferedReader):
    pass


def _timed(source: Source) -> _TimedBytes | _TimedFile:
    file = _TimedBytes(source) if isinstance(source, bytes) else _TimedFile(io.FileIO(source))
    file.deadline = time.thread_time() + sandbox.SECONDS
    return file


def _is_linear(opened: Image.Image, pixels: int, source: Source) -> bool:
    """Whether its number of pixels bounds the time that its decoder takes."""
    if opened.format not in _LINEAR or any(tile[0] in Image.DECODERS for tile in getattr(opened, "tile", ())):
        return False
    if opened.format not in ("JPEG", "MPO"):
        return True
    scans = _whole(source).count(_SCAN)
    return scans <= MAX_SCANS and scans * pixels <= MAX_SCANNED_PIXELS


@contextmanager
def _refusing(source: Source, head: bytes) -> Iterator[None]:
    """Whatever a decoder raises, as a refusal in our own words: Pillow's messages carry object addresses."""
    try:
        yield
    except UnidentifiedImageError:
        raise _unidentified(source, head) from None
    except Image.DecompressionBombError:
        limit = (Image.MAX_IMAGE_PIXELS or 0) * 2
        raise InputError("decode", "too-large", f"larger than {limit / 1e6:.0f} megapixels") from None
    except PermissionError:
        raise InputError("open", "permission", "no permission to read it") from None
    except MemoryError:
        raise InputError("decode", "too-large", "it doesn't fit in memory") from None
    except (InputError, NoRoomError):
        raise
    except Exception as error:  # noqa: BLE001  a decoder may raise anything on bytes that were made to break it
        raise InputError("decode", "broken", _in_own_words(error)) from None


def _unidentified(source: Source, head: bytes) -> InputError:
    kind = kinds.named(head)
    if head.startswith(kinds.TIFFS):
        with _timed(source) as file:
            kind = tiffs.unread(file)
    if kind is None:
        listed = ": names of files come through stdin, `camcli explain - < LIST`" if lists.names_files(head) else ""
        return InputError("decode", "not-a-picture", f"not a picture that Pillow can read{listed}")
    return InputError("decode", "unsupported" if kind.pictured else "not-a-picture", str(kind))


class _Pillow:
    """Pillow without its warnings (at half its limit, about odd metadata), and with a limit that leaves ours to decide.

    Both are the process's: the first of several threads sets them and the last one sets them back. Pillow refuses twice
    its limit, and that inside containers too, whose headers tell nothing.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()
        self._limit: int | None = None

    @contextmanager
    def __call__(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                self._limit = Image.MAX_IMAGE_PIXELS
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._filters.__exit__(None, None, None)
                    Image.MAX_IMAGE_PIXELS = self._limit


_pillow = _Pillow()


def view_of(frame: Frame, preset: Preset, fit: Fit, image: Image.Image | None = None) -> View:
    """The network's view of a frame; `image` is the frame's picture as Pillow holds it, where that is at hand.

    crop: torchvision's preset: short side to `preset.resize` (both sides if the preset squashes), the centre of
    `preset.crop`. squash: the whole frame to that size, aspect lost. pad: the whole frame inside that size, the rest
    at the preset's mean. full: short side to `preset.resize`, nothing cropped, of the frame's aspect.

    Raises:
        InputError: the picture is too elongated to resize.
    """
    width, height = frame.size
    bands = _channels(frame, image, len(preset.mean))
    high, wide = preset.view_size
    if fit == "squash":
        return View(_normalised(_resized(frame, bands, (wide, high), preset), preset), (0, 0, width, height))
    if fit == "pad":
        return _padded(frame, bands, preset)
    resized_w, resized_h = _covering(preset.resize, width, height)
    if fit == "full":
        if max(width, height) > MAX_FULL_ASPECT * min(width, height):
            raise InputError("preprocess", "elongated", f"{width}x{height} is too elongated for --fit full")
        pixels = _normalised(_resized(frame, bands, (resized_w, resized_h), preset), preset)
        return View(pixels, (0, 0, width, height))
    if preset.squash:
        resized_h, resized_w = both(preset.resize)
    left, top = round((resized_w - wide) / 2.0), round((resized_h - high) / 2.0)
    resized = _resized(frame, bands, (resized_w, resized_h), preset)
    pixels = _normalised([image.crop((left, top, left + wide, top + high)) for image in resized], preset)
    scale_x, scale_y = width / resized_w, height / resized_h
    return View(pixels, _box(left * scale_x, top * scale_y, (left + wide) * scale_x, (top + high) * scale_y))


def _source(ref: Ref) -> Source:
    """What to decode from: the bytes of a JPEG, which are gone through twice."""
    data = uris.read(ref.uri) if ref.uri is not None else ref.data
    if data is None:
        path = _readable(ref.path or Path(ref.name))
        if path.suffix.lower() not in _JPEG_SUFFIXES:
            return path
        try:
            data = _whole(path)
        except OSError:
            return path  # said in full where it is decoded
    if data == b"":
        raise InputError("open", "empty", "the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise _too_long(len(data))
    return data


def _bytes_of(source: Source) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _whole(source: Source) -> bytes:
    """Its bytes. Raises: InputError: more than `MAX_FILE_BYTES`."""
    if isinstance(source, bytes):
        return source
    if (size := _bytes_of(source)) > MAX_FILE_BYTES:
        raise _too_long(size)
    return source.read_bytes()


def _too_long(size: int) -> InputError:
    limit = MAX_FILE_BYTES / 1e9
    return InputError("decode", "too-large", f"{size / 1e9:.1f} GB: at most {limit:g} GB are read of such a file")


def _head(source: Source) -> bytes:
    """The beginning of it."""
    if isinstance(source, bytes):
        return source[: kinds.HEAD]
    try:
        with source.open("rb") as file:
            return file.read(kinds.HEAD)
    except OSError:
        return b""  # said in full where it is decoded


def _frame_of_array(ref: Ref, source: Source, decoding: Decoding) -> Frame:
    """A NumPy file (H, W, C) or (H, W): uint8, uint16, or float in [0, 1]; any numbers, if it is said what is white."""
    with _refusing(source, b""):
        if b"'descr': '|O'" in _head(source):
            raise InputError("decode", "not-a-picture", "an array of Python objects, not of numbers")
        if isinstance(source, bytes):
            array = np.load(io.BytesIO(source), allow_pickle=False)
        else:
            array = np.load(source, mmap_mode="r", allow_pickle=False)
        if array.size * array.itemsize > MAX_ARRAY_BYTES:
            raise InputError("decode", "too-large", f"an array larger than {MAX_ARRAY_BYTES / 1e9:.0f} GB")
        bands = np.array(array[..., None] if array.ndim == 2 else array)
    if bands.ndim != 3 or 0 in bands.shape:
        raise InputError("decode", "not-a-picture", f"an array of {_by(array.shape)}, not (height, width, channels)")
    bands, note = deep.array_bands(bands.astype(bands.dtype.newbyteorder("="), copy=False), decoding.white)
    shown = bands[..., :3] if bands.shape[2] >= 3 else bands[..., :1].repeat(3, axis=2)
    rgb = shown if shown.dtype == np.uint8 else np.rint(shown * 255).astype(np.uint8)
    return Frame(ref, np.ascontiguousarray(rgb), bands, note=note, decoding=decoding)


def _readable(path: Path) -> Path:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError("open", "missing", "no such file") from None
    except PermissionError:
        raise InputError("open", "permission", "no permission to read it") from None
    except (OSError, ValueError):
        raise InputError("open", "missing", "not a usable path") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError("open", "not-a-file", "it is a folder: name it on the command line")
    if not stat.S_ISREG(status.st_mode):  # a pipe that nobody writes to would hang for ever
        raise InputError("open", "not-a-file", "not a regular file; pipe it in instead: `camcli explain - < FILE`")
    if status.st_size == 0:
        raise InputError("open", "empty", "the file is empty")
    return path


def _in_own_words(error: BaseException) -> str:
    text = str(error).lower()
    if "truncated" in text or "not enough" in text or isinstance(error, EOFError):
        return "truncated: the picture ends too early"
    return f"broken: its data can't be decoded ({type(error).__name__})"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets a loaded picture upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  as when decoding
        return None  # unreadable metadata on a readable picture: show the picture
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _covering(resize: Sides, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the smallest picture of that aspect whose sides are no shorter than `resize`.

    One number is torchvision's rule, whose long side is truncated, and two are timm's, who rounds.
    """
    if not isinstance(resize, int):
        ratio = min(height / resize[0], width / resize[1])
        return round(width / ratio), round(height / ratio)
    if width <= height:
        return resize, int(resize * height / width)
    return int(resize * width / height), resize


def _resized(frame: Frame, bands: Bands, size: tuple[int, int], preset: Preset) -> Bands:
    width, height = frame.size
    if size[0] * size[1] > MAX_RESIZED_PIXELS:
        raise InputError("preprocess", "elongated", f"{width}x{height} is too elongated to resize")
    by = Image.Resampling[preset.interpolation.upper()]
    return [image if image.size == size else image.resize(size, by) for image in bands]


def _channels(frame: Frame, image: Image.Image | None, wanted: int) -> Bands:
    """The frame as the network takes it: RGB, grey, or an array's own bands."""
    if frame.bands is not None:
        bands = frame.bands
        if bands.shape[2] == 1 and wanted == 3:  # as of a grey picture
            bands = bands.repeat(3, axis=2)
        if bands.shape[2] != wanted:
            raise _unfit(bands.shape, wanted)
        return [Image.fromarray(np.ascontiguousarray(bands[..., band])) for band in range(wanted)]
    rgb = image or Image.fromarray(frame.rgb)
    if wanted == 1:
        return [rgb.convert("L")]  # the luma of torchvision's Grayscale
    if wanted != 3:
        raise InputError(
            "preprocess", "channels", f"a picture has 3 channels, and the network takes {wanted}: give a .npy array"
        )
    return [rgb]


def _unfit(shape: tuple[int, ...], wanted: int) -> InputError:
    channels = "1 channel" if wanted == 1 else f"{wanted} channels"
    said = f"an array of {_by(shape)}, (height, width, channels), and the network takes {channels}"
    if shape[0] == wanted:
        said += ": its channels come first, transpose it"
    return InputError("preprocess", "channels", said)


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _normalised(resized: Bands, preset: Preset) -> NDArray[np.float32]:
    """(C, h, w), the channels last in memory, as decoders give them and the fastest kernels take them."""
    import cv2

    bands = [np.asarray(image) for image in resized]
    stacked = bands[0] if len(bands) == 1 else np.stack(bands, axis=-1)
    if stacked.dtype == np.uint8 and len(bands) == 1:
        pixels = np.asarray(cv2.LUT(stacked, _table(preset.mean, preset.std)), dtype=np.float32)
    else:
        pixels = _standardised(stacked.reshape(*stacked.shape[:2], -1), preset.mean, preset.std)
    return pixels.reshape(*stacked.shape[:2], -1).transpose(2, 0, 1)


@lru_cache(maxsize=8)
def _table(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What each of the 256 levels becomes in each channel, (256, 1, C)."""
    levels = np.arange(256, dtype=np.uint8)[:, None, None]
    return _standardised(np.repeat(levels, len(mean), axis=-1), mean, std)


def _standardised(levels: NDArray[Any], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """(…, C), in the order and the float32 arithmetic of torchvision; each step in place keeps one copy."""
    pixels: NDArray[np.float32] = levels.astype(np.float32)
    pixels /= np.float32(255 if levels.dtype == np.uint8 else 1)
    pixels -= np.asarray(mean, dtype=np.float32)
    pixels /= np.asarray(std, dtype=np.float32)
    return pixels


def _padded(frame: Frame, bands: Bands, preset: Preset) -> View:
    width, height = frame.size
    high, wide = preset.view_size
    scale = min(wide / width, high / height)
    inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (wide - inner_w) // 2, (high - inner_h) // 2
    pixels = np.zeros((high, wide, len(preset.mean)), dtype=np.float32).transpose(2, 0, 1)
    inner = _normalised(_resized(frame, bands, (inner_w, inner_h), preset), preset)
    pixels[:, top : top + inner_h, left : left + inner_w] = inner
    scale_x, scale_y = width / inner_w, height / inner_h
    return View(pixels, _box(-left * scale_x, -top * scale_y, (wide - left) * scale_x, (high - top) * scale_y))


def _box(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Nearest whole pixels (at most half a frame pixel off), never empty."""
    left, top = round(x0), round(y0)
    return left, top, max(left + 1, round(x1)), max(top + 1, round(y1))
