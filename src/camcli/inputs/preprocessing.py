"""Frame -> View, the network's part of the picture, with Pillow, numpy and OpenCV only.

The view equals torchvision's `ImageClassification` preset on the same PIL image bit for bit. The box says which part of
the frame that view is, so that a map can be painted where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.entries import Box
from camcli.errors import InputError
from camcli.records import Fit, Frame, Preset, Sides, View, both

# One resized picture may not exceed this many pixels: a 65000x1 picture would otherwise become 256 x 16 million.
MAX_RESIZED_PIXELS = 64_000_000
# `--fit full` feeds the whole picture to the network, whose activations are ~100 times the picture.
MAX_FULL_ASPECT = 8.0
# One picture, or one a band.
Bands: TypeAlias = list[Image.Image]


def view_of(frame: Frame, preset: Preset, fit: Fit, image: Image.Image | None = None) -> View:
    """The network's view of a frame; `image` is the frame's picture as Pillow holds it, if that is at hand.

    crop: torchvision's preset: short side to `preset.resize` (both sides if the preset squashes), the centre of
    `preset.crop`. squash: the whole frame to that size, aspect lost. pad: the whole frame inside that size, the rest at
    the preset's mean. full: short side to `preset.resize`, nothing cropped, of the frame's aspect.
    whole: the frame as it is, for networks that resize pictures themselves. Of a clip each frame is treated so.

    Raises:
        InputError: the picture is too elongated to resize.
    """
    if frame.frames is not None:
        views = [view_of(frame.still(index), preset, fit) for index in range(frame.frames)]
        return View(np.stack([view.pixels for view in views], axis=1), views[0].box)
    width, height = frame.size
    bands = _channels(frame, image, len(preset.mean))
    high, wide = preset.view_size
    if fit == "whole":
        return View(_normalised(bands, preset), (0, 0, width, height))
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


def _covering(resize: Sides, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the smallest picture of that aspect whose sides are no shorter than `resize`.

    One number is torchvision's rule, which truncates the long side; two numbers are timm's, which rounds.
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
    if not preset.antialias:
        return [image if image.size == size else _between_nearest(image, size) for image in bands]
    by = Image.Resampling[preset.interpolation.upper()]
    return [image if image.size == size else image.resize(size, by) for image in bands]


def _between_nearest(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at another size, linearly between the nearest pixels, as torchvision resizes frames of clips."""
    import cv2

    values = np.asarray(image)
    fine = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return Image.fromarray(np.rint(fine).astype(values.dtype) if values.dtype == np.uint8 else fine)


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
    said = f"an array of {sides_of(shape)}, (height, width, channels), and the network takes {channels}"
    if shape[0] == wanted:
        said += ": its channels come first, transpose it"
    return InputError("preprocess", "channels", said)


def sides_of(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _normalised(resized: Bands, preset: Preset) -> NDArray[np.float32]:
    """The bands as (C, h, w), the channels last in memory, as decoders give them and the fastest kernels take them."""
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
    """The value of each of the 256 levels in each channel, (256, 1, C)."""
    levels = np.arange(256, dtype=np.uint8)[:, None, None]
    return _standardised(np.repeat(levels, len(mean), axis=-1), mean, std)


def _standardised(levels: NDArray[Any], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """The levels (…, C), in the order and the float32 arithmetic of torchvision; each step in place keeps one copy."""
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
    """The box in nearest whole pixels (at most half a frame pixel off), never empty."""
    left, top = round(x0), round(y0)
    return left, top, max(left + 1, round(x1)), max(top + 1, round(y1))
