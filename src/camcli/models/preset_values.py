"""The words that presets are written in, and their values, checked one by one.

Raises, everywhere: WordError: a value of the wrong type or range.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from reprlib import repr as shown
from typing import Any, get_args

from camcli.records import Sides, both
from camcli.specs import Interpolation

MAX_SIDE = 4096
# The largest mean, the largest std, and the largest factor that a small std makes.
MAX_SCALE = 1e6
MAX_CHANNELS = 16
OURS = ("resize", "crop", "mean", "std", "interpolation", "squash")
# What a `Preset` of ours says of clips.
OF_CLIPS = ("frames", "rate")
TIMM = ("input_size", "crop_pct", "crop_mode")
HUGGING_FACE = (
    *("size", "do_resize", "do_center_crop", "crop_size", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "resample"),
)
UNDERSTOOD = OURS + TIMM + HUGGING_FACE
# In a file that may be any tool's a side below this is a switch or a count.
LEAST_SIDE = 8
INTERPOLATIONS = get_args(Interpolation)


class WordError(ValueError):
    """A fault in a value, its key named, as the end of a sentence."""


def checked(key: str, value: object) -> Any:
    """The value as the field of that name holds it. Raises: WordError: wrong type or range."""
    if key in ("resize", "crop"):
        return _sides_in(key, value)
    if key in ("mean", "std"):
        return per_channel(key, [value] if is_number(value) else value)
    if key in ("squash", "antialias") and isinstance(value, bool):
        return value
    if key in OF_CLIPS and (value is None or (isinstance(value, int | float) and value > 0)):
        return value
    if key == "interpolation" and isinstance(value, str) and value.lower() in INTERPOLATIONS:
        return value.lower()
    allowed = {"squash": "true or false", "interpolation": f"one of {', '.join(INTERPOLATIONS)}"}
    if key not in allowed:
        raise WordError(f"{key} is no field of the preprocessing: give one of {', '.join(OURS)}")
    raise WordError(f"{key} must be {allowed[key]}, not {shown(value)}")


def side_of(key: str, value: object) -> tuple[Sides, str]:
    """The sides, and their meaning: the "short" one's length, that of "both", or untold ("bare")."""
    match value:
        case {"shortest_edge": side, **rest} if not rest:
            return _whole(key, side), "short"
        case {"height": height, "width": width, **rest} if not rest:
            return _rectangle(key, height, width), "both"
        case dict():
            raise WordError(f"{key} must be a shortest_edge or a height and width, not {shown(value)}")
    return _whole(key, value), "bare"


def input_size(key: str, value: object) -> Sides:
    """timm's [channels, height, width] as sides."""
    match value:
        case [int(), height, width]:
            return _rectangle(key, height, width)
    raise WordError(f"{key} must be [channels, height, width], not {shown(value)}")


def _rectangle(key: str, height: object, width: object) -> Sides:
    """The sides; one number if they are equal."""
    sides = _whole(key, height), _whole(key, width)
    return sides if sides[0] != sides[1] else sides[0]


def crop_mode(key: str, value: object) -> str:
    """timm's crop mode, if it is one of ours."""
    if value not in ("center", "squash"):
        raise WordError(f"{key} {shown(value)} is not supported: only 'center' and 'squash' are")
    return str(value)


def share_of(key: str, value: Any) -> float:
    """A share, above 0 and up to 1."""
    if not is_number(value) or not 0 < value <= 1:
        raise WordError(f"{key} must be a number above 0 and up to 1, not {shown(value)}")
    return float(value)


def filter_of(key: str, value: object) -> int:
    """Pillow's number of an interpolation."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(INTERPOLATIONS):
        raise WordError(f"{key} must be Pillow's number of a filter, 0 to 5, not {shown(value)}")
    return value


def check_rescale_factor(key: str, value: Any) -> None:
    """Refuse any factor but the one that makes shares of bytes."""
    if not is_number(value) or abs(value - 1 / 255) > 1e-6:
        raise WordError(f"{key} must be 1/255, not {shown(value)}: other ranges are not supported")


def _sides_in(key: str, value: object) -> Sides:
    """Our own word for sides: a number, or height and width in a list, even if they are equal."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return _whole(key, value[0]), _whole(key, value[1])
    if isinstance(value, (list, tuple)):
        raise WordError(f"{_not_whole(key, value)}: a rectangle is [height, width]")
    return _whole(key, value)


def _not_whole(key: str, value: object) -> str:
    return f"{key} must be a whole number from 1 to {MAX_SIDE}, not {shown(value)}"


def _whole(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE:
        raise WordError(_not_whole(key, value))
    return value


def per_channel(key: str, value: object) -> tuple[float, ...]:
    """The value as one number a channel."""
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_CHANNELS or not all(map(is_number, value)):
        raise WordError(f"{key} must be 1 to {MAX_CHANNELS} numbers, one per channel, not {shown(value)}")
    if key.endswith("std") and min(value) <= 0:
        raise WordError(f"{key} must be above 0, not {shown(value)}")
    if max(map(abs, value)) > MAX_SCALE or (key.endswith("std") and min(value) < 1 / MAX_SCALE):
        raise WordError(f"{key} is beyond what pixels can be scaled by: {shown(value)}")
    return tuple(map(float, value))


def is_number(value: object) -> bool:
    """True if the value is a finite number and no flag."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def switch_of(key: str, value: object) -> bool:
    """True if the switch is on."""
    if not isinstance(value, bool):
        raise WordError(f"{key} must be true or false, not {shown(value)}")
    return value


def _large_sides(key: str, value: object) -> None:
    if key in OURS:
        sides = _sides_in(key, value)
    else:
        sides = input_size(key, value) if key == "input_size" else side_of(key, value)[0]
    if min(both(sides)) < LEAST_SIDE:
        raise WordError(f"{key} {shown(value)} is no picture's side")


# The check of each word on its own.
CHECKS: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(UNDERSTOOD, switch_of),
    **dict.fromkeys(("resize", "crop", "size", "crop_size", "input_size"), _large_sides),
    **dict.fromkeys(("mean", "std", "image_mean", "image_std"), per_channel),
    **dict.fromkeys(("interpolation", "squash"), checked),
    **{"crop_mode": crop_mode, "crop_pct": share_of, "rescale_factor": check_rescale_factor, "resample": filter_of},
}
