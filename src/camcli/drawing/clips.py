"""A clip's answer, frame by frame: all frames on one sheet, or as pictures that follow each other. One scale holds for
all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from camcli.drawing import captions, overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.sheets import Tile, wrapped
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.maps import moments, scaling
from camcli.records import Attribution, Frame

# Frames on a strip, in so many columns; of longer clips some, evenly spread.
_SHOWN, _COLUMNS = 16, 8
_SIDE = 220
# Frames a second of a clip that has no clock.
CLOCK = 8.0
# Height of the bar that tells a frame's share of the answer, and the width of the frame around the peak.
_BAR, _EDGE = 8, 4
_BAR_COLOUR, _EMPTY, _PEAK = (35, 105, 190), (225, 225, 225), (190, 0, 0)


def frames(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Iterator[tuple[Pixels, float]]:
    """The overlay of each frame of a clip, (H, W, 3), and its time in seconds from the first."""
    assert frame.frames is not None
    style = overlays.on_one_scale(attribution, style)
    times = _times(frame)
    for index in range(frame.frames):
        picture = overlays.overlay(frame.still(index), box, moments.at_frame(attribution, index, frame.frames), style)
        yield picture, times[index]


def _times(frame: Frame) -> list[float]:
    """The time of each frame of a clip from its first, in seconds; evenly apart if it has no clock, or frames twice."""
    own = [moment.seconds - frame.moments[0].seconds for moment in frame.moments]
    if frame.rate is not None and all(before < after for before, after in pairwise(own)):
        return own
    return [index / (frame.rate or CLOCK) for index in range(len(frame.moments))]


def strip(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The overlays of a clip's frames on one sheet, over their times. A bar under each tells its mean, as a share of
    the largest; the frame with the largest value has a red edge."""
    assert frame.frames is not None
    style = replace(overlays.on_one_scale(attribution, style), max_side=min(style.max_side or _SIDE, _SIDE))
    curve = moments.curve(attribution, frame.frames)
    shares = scaling.scaled(curve, float(curve.max(initial=0.0)))
    peak = moments.peak_frame(attribution, frame.frames)
    tiles = []
    for index in _shown(frame.frames, peak):
        still = moments.at_frame(attribution, index, frame.frames)
        picture = overlays.overlay(frame.still(index), box, still, style)
        picture = _edged(picture) if index == peak and attribution.values.any() else picture
        moment = frame.moments[index]
        clock = f"{moment.seconds:.2f} s  " if frame.rate else ""
        tiles.append(Tile(_over_bar(picture, float(shares[index])), (f"{clock}frame {moment.number}",)))
    return wrapped(tiles, _COLUMNS, captions.caption(attribution), style.font)


def _shown(frames: int, peak: int) -> list[int]:
    """The frames on the strip: all, or some evenly spread, of which the nearest one gives way to the peak."""
    if frames <= _SHOWN:
        return list(range(frames))
    places = [round(place) for place in np.linspace(0, frames - 1, _SHOWN)]
    places[min(range(_SHOWN), key=lambda i: abs(places[i] - peak))] = peak
    return places


def _edged(picture: Pixels) -> Pixels:
    import cv2

    height, width = picture.shape[:2]
    inner = _EDGE // 2
    corner = (width - 1 - inner, height - 1 - inner)
    return np.asarray(cv2.rectangle(picture.copy(), (inner, inner), corner, _PEAK, _EDGE), dtype=np.uint8)


def _over_bar(picture: Pixels, share: float) -> Pixels:
    bar = np.full((_BAR, picture.shape[1], 3), _EMPTY, dtype=np.uint8)
    bar[1:-1, : round(share * picture.shape[1])] = _BAR_COLOUR
    return np.concatenate([picture, bar])
