"""Ref -> Frame -> View: decoding and preprocessing, with Pillow and numpy only.

The view equals torchvision's `ImageClassification` preset on the same PIL image bit for bit; the box says which
part of the frame that view is, so that a map can be painted where it belongs.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from camcli.errors import InputError
from camcli.records import Box, Fit, Frame, Preset, Ref, View

# One resized picture may not exceed this many pixels: a 65000x1 picture would otherwise become 256 x 16 million.
MAX_RESIZED_PIXELS = 64_000_000
# `--fit full` feeds the whole picture to the network, whose activations are ~100 times the picture.
MAX_FULL_ASPECT = 8.0

# What a NumPy file starts with, and the most that is read of one.
_ARRAY = b"\x93NUMPY"
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
# What Pillow's plug-ins raise on broken files; its messages carry object addresses, so ours are our own words.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error),
    *(RuntimeError, AttributeError, ImageCms.PyCMSError),  # AVIF, SPIDER, colour management; NotImplementedError: DDS
)


def read_frame(ref: Ref) -> Frame:
    """Decode one ref to an upright RGB frame.

    Raises:
        InputError: missing, unreadable, not a picture, truncated, or too large.
    """
    if ref.data == b"":
        raise InputError("open", "empty", "the file is empty")
    source = io.BytesIO(ref.data) if ref.data is not None else _readable(ref.path or Path(ref.name))
    if _is_array(source):
        return _frame_of_array(ref, source)
    try:
        with warnings.catch_warnings():
            # Pillow warns at half its limit and about odd metadata; the limit itself is an error below.
            warnings.simplefilter("ignore")
            with Image.open(source) as opened:
                rgb = np.asarray(_to_rgb(_upright(opened)))
    except UnidentifiedImageError:
        raise InputError("decode", "not-a-picture", "not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        limit = (Image.MAX_IMAGE_PIXELS or 0) * 2
        raise InputError("decode", "too-large", f"larger than {limit / 1e6:.0f} megapixels") from None
    except PermissionError:
        raise InputError("open", "permission", "no permission to read it") from None
    except MemoryError:
        raise InputError("decode", "too-large", "it doesn't fit in memory") from None
    except _BROKEN as error:
        raise InputError("decode", "broken", _in_own_words(error)) from None
    return Frame(ref, rgb)


def view_of(frame: Frame, preset: Preset, fit: Fit) -> View:
    """The network's view of a frame.

    crop: torchvision's preset: short side to `preset.resize` (both sides if the preset squashes), centre
    `preset.crop` squared. squash: the whole frame to a square, aspect lost. pad: the whole frame inside the square,
    the rest at the preset's mean. full: short side to `preset.resize`, nothing cropped, not square.

    Raises:
        InputError: the picture is too elongated to resize.
    """
    width, height = frame.size
    side = preset.crop
    if fit == "squash":
        return View(_normalised(_resized(frame, (side, side), preset), preset), (0, 0, width, height))
    if fit == "pad":
        return _padded(frame, preset)
    resized_w, resized_h = _short_side_to(preset.resize, width, height)
    if fit == "full":
        if max(width, height) > MAX_FULL_ASPECT * min(width, height):
            raise InputError("preprocess", "elongated", f"{width}x{height} is too elongated for --fit full")
        pixels = _normalised(_resized(frame, (resized_w, resized_h), preset), preset)
        return View(pixels, (0, 0, width, height))
    if preset.squash:
        resized_w = resized_h = preset.resize
    left, top = round((resized_w - side) / 2.0), round((resized_h - side) / 2.0)
    resized = _resized(frame, (resized_w, resized_h), preset)
    pixels = _normalised(resized.crop((left, top, left + side, top + side)), preset)
    scale_x, scale_y = width / resized_w, height / resized_h
    return View(pixels, _box(left * scale_x, top * scale_y, (left + side) * scale_x, (top + side) * scale_y))


def _is_array(source: io.BytesIO | Path) -> bool:
    if isinstance(source, io.BytesIO):
        return source.getbuffer()[: len(_ARRAY)] == _ARRAY
    try:
        with source.open("rb") as file:
            return file.peek(len(_ARRAY))[: len(_ARRAY)] == _ARRAY
    except OSError:
        return False  # said in full where it is decoded


def _frame_of_array(ref: Ref, source: io.BytesIO | Path) -> Frame:
    """A NumPy file (H, W, C) or (H, W): uint8, uint16, or float in [0, 1]."""
    try:
        array = np.load(source, mmap_mode=None if isinstance(source, io.BytesIO) else "r", allow_pickle=False)
        if array.size * array.itemsize > MAX_ARRAY_BYTES:
            raise InputError("decode", "too-large", f"an array larger than {MAX_ARRAY_BYTES / 1e9:.0f} GB")
        bands = np.array(array[..., None] if array.ndim == 2 else array)
    except (*_BROKEN, MemoryError):
        raise InputError("decode", "broken", "broken: no readable NumPy array") from None
    if bands.ndim != 3 or 0 in bands.shape:
        shape = "x".join(map(str, array.shape))
        raise InputError("decode", "not-a-picture", f"an array of {shape}, not (height, width, channels)")
    if bands.dtype == np.uint16:
        bands = bands.astype(np.float32) / np.float32(65535)
    elif bands.dtype != np.uint8:
        if bands.dtype.kind != "f" or not (bands.min() >= 0 and bands.max() <= 1):
            raise InputError("decode", "not-a-picture", "an array that is neither uint8, uint16 nor float in [0, 1]")
        bands = bands.astype(np.float32)
    shown = bands[..., :3] if bands.shape[2] >= 3 else bands[..., :1].repeat(3, axis=2)
    rgb = shown if shown.dtype == np.uint8 else np.rint(shown * 255).astype(np.uint8)
    return Frame(ref, np.ascontiguousarray(rgb), bands)


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
        raise InputError("open", "not-a-file", "it is a folder")
    # A pipe that nobody writes to would hang for ever; the shell's own <(…) is safe to open.
    regular = stat.S_ISREG(status.st_mode)
    if not regular and not os.fspath(path).startswith(("/dev/fd/", "/proc/self/fd/")):
        raise InputError("open", "not-a-file", "not a regular file; pipe it in instead: `camcli explain - < FILE`")
    if regular and status.st_size == 0:
        raise InputError("open", "empty", "the file is empty")
    return path


def _in_own_words(error: BaseException) -> str:
    text = str(error).lower()
    if "truncated" in text or "not enough" in text or isinstance(error, EOFError):
        return "truncated: the picture ends too early"
    return "broken: its data can't be decoded"


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _BROKEN:
        orientation = None  # unreadable metadata on a readable picture: show the picture
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image.transpose(method) if method is not None else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bit(image)).convert("RGB")
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        assert converted is not None
        return converted
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        straight = image.convert("LA") if image.mode == "La" else image
        rgba = straight.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Deep greyscale to 8 bits. Pillow's own conversion clips at 255, which turns a 16-bit photo white.

    The range is the mode's (16 bits), or for "I" and "F" the smallest of [0, 1] (F only), [0, 255], [0, 65535]
    that holds the values.
    """
    grey = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0.0, neginf=0.0)
    top = float(grey.max(initial=0.0))
    if image.mode.startswith("I;16"):
        white = 65535.0
    elif image.mode == "F" and top <= 1.0:
        white = 1.0
    else:
        white = next((w for w in (255.0, 65535.0) if top <= w), top)
    return np.asarray(np.rint(np.clip(grey / white, 0.0, 1.0) * 255.0), dtype=np.uint8)


def _short_side_to(short: int, width: int, height: int) -> tuple[int, int]:
    """torchvision's rule: the long side is truncated, not rounded."""
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


@dataclass(frozen=True, slots=True)
class _Resized:
    """A picture at the size of the network's view: one image, or one a band."""

    images: tuple[Image.Image, ...]

    def crop(self, box: Box) -> _Resized:
        return _Resized(tuple(image.crop(box) for image in self.images))


def _resized(frame: Frame, size: tuple[int, int], preset: Preset) -> _Resized:
    width, height = frame.size
    if size[0] * size[1] > MAX_RESIZED_PIXELS:
        raise InputError("preprocess", "elongated", f"{width}x{height} is too elongated to resize")
    images = _channels(frame, len(preset.mean))
    if size != (width, height):
        by = Image.Resampling[preset.interpolation.upper()]
        images = tuple(image.resize(size, by) for image in images)
    return _Resized(images)


def _channels(frame: Frame, wanted: int) -> tuple[Image.Image, ...]:
    """The frame as the network takes it: RGB, grey, or an array's own bands."""
    if frame.bands is not None:
        given = frame.bands.shape[2]
        if given != wanted:
            raise InputError("preprocess", "channels", f"{given} channels, and the network takes {wanted}")
        return tuple(Image.fromarray(np.ascontiguousarray(frame.bands[..., band])) for band in range(given))
    rgb = Image.fromarray(frame.rgb)
    if wanted == 1:
        return (rgb.convert("L"),)  # the luma of torchvision's Grayscale
    if wanted != 3:
        raise InputError(
            "preprocess", "channels", f"a picture has 3 channels, and the network takes {wanted}: give a .npy array"
        )
    return (rgb,)


def _normalised(resized: _Resized, preset: Preset) -> NDArray[np.float32]:
    # The order and the float32 arithmetic are torchvision's; each step in place keeps one copy of the view.
    bands = [np.asarray(image) for image in resized.images]
    stacked = bands[0].transpose(2, 0, 1) if bands[0].ndim == 3 else np.stack(bands)
    white = np.float32(255 if stacked.dtype == np.uint8 else 1)
    pixels = stacked.astype(np.float32) / white
    pixels -= np.asarray(preset.mean, dtype=np.float32)[:, None, None]
    pixels /= np.asarray(preset.std, dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(pixels)


def _padded(frame: Frame, preset: Preset) -> View:
    width, height = frame.size
    side = preset.crop
    scale = side / max(width, height)
    inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - inner_w) // 2, (side - inner_h) // 2
    pixels = np.zeros((len(preset.mean), side, side), dtype=np.float32)
    inner = _normalised(_resized(frame, (inner_w, inner_h), preset), preset)
    pixels[:, top : top + inner_h, left : left + inner_w] = inner
    scale_x, scale_y = width / inner_w, height / inner_h
    return View(pixels, _box(-left * scale_x, -top * scale_y, (side - left) * scale_x, (side - top) * scale_y))


def _box(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Nearest whole pixels (at most half a frame pixel off), never empty."""
    left, top = round(x0), round(y0)
    return left, top, max(left + 1, round(x1)), max(top + 1, round(y1))
