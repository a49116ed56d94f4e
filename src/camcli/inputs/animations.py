"""Animated pictures (GIF, WebP, PNG, AVIF), their frames composited as a browser shows them; with Pillow only."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.errors import InputError
from camcli.inputs import colours, deep, sandbox
from camcli.inputs.decoding import LYING, turn_of
from camcli.inputs.deep import Samples
from camcli.inputs.guards import Source, pillow, refusing, timed
from camcli.inputs.stills import Film, Still, breaking_off
from camcli.records import MAX_PIXELS, Moment

FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
# Browsers take so short a duration (ms) for none, and show such a frame for a tenth of a second.
_NONE = 10
_UNTOLD = 100
# Durations are told by the frames: they are gone through, up to so many pixels, for their mean.
_MEASURED_PIXELS = 500_000_000
# The header, or the frame's, by the first byte of a GIF's block; what follows is in pieces that tell their length.
_GIF_BLOCKS = {b"!": 1, b",": 9}


def is_animated(source: Source) -> bool:
    """True if the file, or the bytes, hold a picture of several frames: a GIF, WebP, PNG or AVIF."""
    try:
        with pillow(MAX_PIXELS), timed(source) as file, Image.open(file, formats=FORMATS) as opened:
            return len(_places(source, opened)) > 1
    except Exception:  # noqa: BLE001  a decoder may raise anything; what is wrong is said where the picture is read
        return False


def opened(source: Source, head: bytes, max_pixels: int) -> Film:
    """The film of an animated picture. Its rate is by the mean duration of its frames.

    Raises: InputError: it is none, a still one, broken in its first frame, or larger than `max_pixels`.
    """
    with pillow(max_pixels), refusing(source, head), timed(source) as file, Image.open(file) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            limit = f"--max-pixels {max_pixels / 1e6:g} million"
            raise InputError("decode", "too-large", f"{width}x{height} is more than {limit}")
        frames = len(_places(source, picture)) if picture.format in FORMATS else 1
        if frames < 2:
            said = f"a still picture, of one frame ({picture.format})"
            raise InputError("open", "still", f"{said}: a clip is a film, an animated picture, or a folder of frames")
        lying = turn_of(picture) in LYING
    read = partial(_stills, source, head, max_pixels)
    mean = _mean_duration(_composited(source, head, max_pixels), max(2, _MEASURED_PIXELS // (width * height)))
    return Film((height, width) if lying else (width, height), 1 / mean, frames, mean * frames, None, read)


@dataclass(frozen=True, slots=True, eq=False)
class _Composited:
    """One frame as it is shown, before its colours are converted, and its duration."""

    image: Image.Image
    samples: Samples | None
    seconds: float

    def rgb(self) -> NDArray[np.uint8]:
        with refusing(b"", b""):
            turn = turn_of(self.image)
            upright = self.image if turn is None else self.image.transpose(turn)
            return np.asarray(colours.to_rgb(upright, self.samples, None, None)[0])


def _mean_duration(frames: Iterator[_Composited], measured: int) -> float:
    """The mean of so many frames, or of those before a broken one. Raises: InputError: the first one is broken."""
    durations: list[float] = []
    try:
        durations += (frame.seconds for frame in islice(frames, measured))
    except InputError:
        if not durations:
            raise
    return sum(durations) / len(durations)


def _stills(source: Source, head: bytes, max_pixels: int) -> Generator[Still, None, None]:
    moment = None
    number, seconds = 0, 0.0
    try:
        for composited in _composited(source, head, max_pixels):
            moment = Moment(number, seconds)
            yield Still(moment, composited.rgb)
            number, seconds = number + 1, seconds + composited.seconds
    except InputError as error:
        raise breaking_off(moment, error) from None
    if head.startswith(b"GIF") and not _gif(source)[1]:
        raise breaking_off(moment, "its end mark is missing")


def _composited(source: Source, head: bytes, max_pixels: int) -> Iterator[_Composited]:
    """The frames, one after the other. Raises: InputError: the next one is broken."""
    with ExitStack() as stack:
        with pillow(max_pixels), refusing(source, head):
            file = timed(source)
            stack.callback(file.close)
            picture = stack.enter_context(Image.open(file))
            samples = deep.samples_of(picture, None, head)
            places = _places(source, picture)
        for place in places:
            # Only while a frame is read: warnings are off then, for the process.
            with pillow(max_pixels), refusing(source, head):
                file.deadline = time.thread_time() + sandbox.SECONDS
                picture.seek(place)
                picture.load()
                shown = _Composited(picture.copy(), samples, _lasting(picture.info))
            yield shown


def _places(source: Source, picture: Image.Image) -> range:
    """The places of the frames in the file. A PNG may hold a picture before them that only shows where they can't."""
    if picture.format == "GIF":
        return range(_gif(source)[0])
    first = int(getattr(picture, "default_image", False))
    return range(first, getattr(picture, "n_frames", 1))


def _lasting(info: dict[str | tuple[int, int], Any]) -> float:
    milliseconds = float(info.get("duration", 0))
    return (milliseconds if milliseconds > _NONE else _UNTOLD) / 1000


def _gif(source: Source) -> tuple[int, bool]:
    """The number of pictures that begin in a GIF, and True if its blocks lead to its end mark: Pillow takes the end of
    the file for that, and can't count the pictures of a truncated file."""
    pictures = 0
    with timed(source) as file:
        file.seek(10)
        _skip_palette(file, file.read(3)[:1])
        while (block := file.read(1)) in _GIF_BLOCKS:
            fields = file.read(_GIF_BLOCKS[block])
            if block == b",":
                pictures += 1
                _skip_palette(file, fields[-1:])
                file.read(1)
            while length := file.read(1):
                if length == b"\0":
                    break
                file.seek(length[0], 1)
        return pictures, block == b";"


def _skip_palette(file: BinaryIO, flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 * 2 ** ((flags[0] & 7) + 1), 1)
