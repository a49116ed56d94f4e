"""Ref -> Frame of a network that takes clips: some frames of a film, an animated picture or a folder of frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import numpy as np

from camcli.errors import InputError
from camcli.inputs import films
from camcli.inputs.films import Film, Still
from camcli.inputs.moving import NONE_BETWEEN, Sampling
from camcli.inputs.refs import pictures_in
from camcli.records import MAX_PIXELS, Frame, Preset, Ref
from camcli.storage import uris


def read(ref: Ref, preset: Preset, sampling: Sampling, max_pixels: int = MAX_PIXELS) -> Frame:
    """The clip (T, H, W, 3) of as many frames as the preset wants.

    Of a film of fewer frames some are there twice, which the frame's note says; so it does if the film breaks off.

    Raises: InputError: it is no film, has too few frames for the stride asked for, or can't be read.
    """
    wanted = preset.frames
    assert wanted is not None
    with opened(ref, max_pixels) as film:
        usual = max(1, round(film.rate / preset.rate)) if film.rate and preset.rate else 1
        stride = sampling.stride or usual
        found, broken = _stills(film, sampling, stride, wanted)
        if len(found) < wanted and sampling.stride is not None:
            raise broken or InputError(
                "decode", "short", f"{wanted} frames at a stride of {stride} are more than the {len(found)} there are"
            )
        if len(found) < wanted and stride > 1:
            count = len(_stills(film, sampling, 1, None)[0])
            stride = max(1, (count - 1) // (wanted - 1)) if wanted > 1 else 1
            found, broken = _stills(film, sampling, stride, wanted)
        if not found:
            raise broken or InputError("decode", "short", NONE_BETWEEN)
        notes = [film.note, f"the film {broken}" if broken is not None else None]
        if len(found) < wanted:
            notes.append(f"{len(found)} frames for a clip of {wanted}: some are there twice")
            found = [found[place] for place in _spread(len(found), wanted)]
        # Frames that are there twice are converted once.
        pixels = {still.moment.number: still.rgb() for still in found}
        rgb = np.stack([pixels[still.moment.number] for still in found])
        moments = tuple(still.moment for still in found)
        rate = film.rate / stride if film.rate else None
    return Frame(ref, rgb, note="; ".join(filter(None, notes)) or None, moments=moments, rate=rate)


@contextmanager
def opened(ref: Ref, max_pixels: int) -> Iterator[Film]:
    """The film of a file, of bytes, or of the pictures in a folder."""
    if ref.path is not None and os.path.isdir(ref.path):
        yield films.of_pictures(pictures_in(ref.path), max_pixels)
        return
    source = uris.read(ref.uri) if ref.uri is not None else ref.source
    with films.opened(source, max_pixels) as film:
        yield film


def _stills(film: Film, sampling: Sampling, stride: int, most: int | None) -> tuple[list[Still], InputError | None]:
    """(at most so many frames, the error that ended them if one did)."""
    found: list[Still] = []
    try:
        for still in islice(film.stills(sampling.start, sampling.end, stride), most):
            found.append(still)
    except InputError as error:
        if not found or error.kind != "broken":
            raise
        return found, error
    return found, None


def _spread(frames: int, wanted: int) -> list[int]:
    """Places of so many frames, evenly spread over fewer."""
    return [round(place) for place in np.linspace(0, frames - 1, wanted)]
