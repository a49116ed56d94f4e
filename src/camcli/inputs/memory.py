"""Views that are in memory already, given in the place of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camcli.errors import InputError
from camcli.records import Frame, Moment, Preset, Ref, View


@dataclass(frozen=True, slots=True, eq=False)
class Normalised:
    """A view without a picture: float32 (C, h, w), or a clip (C, T, h, w), as the network takes it."""

    pixels: NDArray[np.float32]


def seen(ref: Ref, held: Normalised, preset: Preset) -> tuple[Frame, View]:
    """The frame that it shows once the preset's normalisation is undone, and the view, which is all of it.

    Raises: InputError: it has more or fewer channels than the preset has numbers for.
    """
    channels, *frames, height, width = held.pixels.shape
    if channels != len(preset.mean):
        raise InputError(
            "preprocess", "channels", f"it has {channels} channels, and the network takes {len(preset.mean)}"
        )
    mean, std = (
        np.asarray(numbers, dtype=np.float32).reshape(-1, *[1] * (held.pixels.ndim - 1))
        for numbers in (preset.mean, preset.std)
    )
    shares = np.nan_to_num(held.pixels * std + mean).clip(0, 1)
    shown = shares[:3] if channels >= 3 else shares[:1].repeat(3, axis=0)
    rgb = np.ascontiguousarray(np.moveaxis(np.rint(shown * 255).astype(np.uint8), 0, -1))
    # A tensor has no clock: its frames' seconds are their numbers.
    moments = tuple(Moment(number, float(number)) for count in frames for number in range(count))
    return Frame(ref, rgb, moments=moments), View(held.pixels, (0, 0, width, height))
