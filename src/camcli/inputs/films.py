"""Moving pictures, frame by frame: films (by `streams`), animated pictures (by `animations`), folders of frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camcli.errors import InputError
from camcli.inputs import animations, decoding, kinds, streams
from camcli.inputs.guards import Source, readable, refusing
from camcli.inputs.stills import At, Film, Still, at
from camcli.records import Moment, Ref

__all__ = ["FILM_SUFFIXES", "At", "Film", "Still", "at", "is_animated", "is_film", "of_pictures", "opened"]

FILM_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .mkv .webm .avi .mpg .mpeg .m2v .ts .mts .m2ts .3gp .3g2 .ogv .wmv .asf .flv .f4v .mxf".split()
)
# A programmer's file has one of these names more often than a film does, so that a film's bytes must be in it.
_AMBIGUOUS = frozenset({".ts", ".qt"})
is_animated = animations.is_animated


def is_film(source: Source) -> bool:
    """True if the name of a file is a film's, or the bytes begin as one."""
    if isinstance(source, bytes):
        kind = kinds.named(source[: kinds.HEAD])
        return kind is not None and kind.film
    suffix = source.suffix.lower()
    if suffix in _AMBIGUOUS:
        try:
            with source.open("rb") as file:
                return is_film(file.read(kinds.HEAD))
        except OSError:
            return False
    return suffix in FILM_SUFFIXES


@contextmanager
def opened(source: Source, max_pixels: int) -> Iterator[Film]:
    """The film of a file, or of its bytes: an animated picture's, or a video's.

    It holds nothing open: each call of its `stills` opens the source for itself, and closes it when it is through.

    Raises:
        InputError: missing, not a film, a still picture, broken from the beginning on, or more than `max_pixels` in a
            frame.
        SetupError: it is a video, and PyAV is not installed.
    """
    if isinstance(source, bytes):
        if not source:
            raise InputError("open", "empty", "the file is empty")
        head = source[: kinds.HEAD]
    else:
        with refusing(source, b""), readable(source).open("rb") as file:
            head = file.read(kinds.HEAD)
    # What isn't AVIF of the files that begin as it does is a film.
    pictured = kinds.is_avif(head) if head[4:8] == b"ftyp" else kinds.is_picture(head)
    yield animations.opened(source, head, max_pixels) if pictured else streams.opened(source, head, max_pixels)


def of_pictures(paths: Sequence[Path], max_pixels: int) -> Film:
    """The film whose frames are these pictures, in this order. It has no clock: a frame's `seconds` are its number.

    A picture is read when its `rgb` is asked for, which refuses one that is broken or of another size than the first;
    the others are not touched by that.

    Raises: InputError: the first one can't be read.
    """
    first = _read(paths[0], max_pixels)
    size = (first.shape[1], first.shape[0])

    def of(path: Path) -> NDArray[np.uint8]:
        rgb = _read(path, max_pixels)
        if rgb.shape != first.shape:
            is_now, was = f"{rgb.shape[1]}x{rgb.shape[0]}", f"{size[0]}x{size[1]}"
            raise InputError("decode", "size", f"{path.name} is {is_now}, and the first frame, {paths[0].name}, {was}")
        return rgb

    def stills() -> Generator[Still, None, None]:
        for number, path in enumerate(paths):
            yield Still(Moment(number, float(number)), partial(of, path))

    return Film(size, None, len(paths), None, None, stills)


def _read(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    return decoding.read(Ref(0, path.name, path=path), max_pixels=max_pixels)[0].rgb
