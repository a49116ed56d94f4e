"""Maps of clips, frame by frame: at one moment, over time, and where they are largest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from camcli.maps import scaling
from camcli.records import Attribution


def at_frame(attribution: Attribution, frame: int, frames: int) -> Attribution:
    """A clip's answer at one of its so many frames, as a picture's: linear in time between the steps of its map
    (align_corners=False), as it is between places."""
    values = attribution.values if attribution.kind == "map" else np.moveaxis(attribution.values, 1, 0)
    steps = len(values)
    place = min(max((frame + 0.5) / frames * steps - 0.5, 0.0), steps - 1.0)
    before = int(place)
    after, share = min(before + 1, steps - 1), np.float32(place - before)
    return replace(attribution, values=values[before] + (values[after] - values[before]) * share)


def curve(attribution: Attribution, frames: int) -> NDArray[np.float32]:
    """The mean of the answer in each of the clip's frames (T,), in raw values; of a saliency the mean of the largest
    |value| over channels."""
    kind = attribution.kind
    stills = (at_frame(attribution, frame, frames) for frame in range(frames))
    return np.array([scaling.strength(still.values, kind).mean() for still in stills], dtype=np.float32)


def peak_frame(attribution: Attribution, frames: int) -> int:
    """The frame that holds the largest value; the first of several."""
    kind = attribution.kind
    stills = (at_frame(attribution, frame, frames) for frame in range(frames))
    return int(np.argmax([scaling.strength(still.values, kind).max() for still in stills]))
