"""A file's words for preprocessing -> fields of `Preset`: ours, timm's, or Hugging Face's.

Understood are our own flat form, timm's configs (`pretrained_cfg`) and Hugging Face's preprocessor_config.json.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from reprlib import repr as shown
from typing import Any

MAX_SIDE = 4096
MAX_CHANNELS = 16
# Of a mean, or of a std and what is divided by it.
MAX_SCALE = 1e6
INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers, from 0

_OURS = ("resize", "crop", "mean", "std", "interpolation", "squash")
_TIMM = ("input_size", "crop_pct", "crop_mode")
_HUGGING_FACE = (
    *("size", "do_resize", "do_center_crop", "crop_size", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "resample"),
)
UNDERSTOOD = _OURS + _TIMM + _HUGGING_FACE

# What some Hugging Face processors do besides: BGR, black borders, a second division by std, values below 0.
_NOT_DONE = ("do_flip_channel_order", "do_pad", "include_top", "rescale_offset")
# The processors whose bare `size` is the short side; elsewhere it is both sides.
_SHORT_SIDE = re.compile("CLIP|MobileNet|MobileViT|Bit|Hybrid|PoolFormer|ConvNext|Levit", re.IGNORECASE)
_CROP_PCT = 0.875  # where the file doesn't say: timm's, ConvNext's and LeViT's own


class WordError(ValueError):
    """What is wrong with a value, its key named, as the end of a sentence."""


def fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `data` gives, or timm's `pretrained_cfg` in it; a null says nothing, our own words win.

    Raises:
        WordError: a value of the wrong type or range, or preprocessing we can't do.
    """
    for held in (data.get("pretrained_cfg"), data.get("default_cfg"), data):
        said = {key: value for key, value in held.items() if value is not None} if isinstance(held, Mapping) else {}
        ours = {key: checked(key, said[key]) for key in _OURS if key in said}
        if fields := _hugging_face(said) | _timm(said) | ours:
            return fields
    return {}


def checked(key: str, value: object) -> Any:
    """The value as the field of that name holds it. Raises: WordError: wrong type or range."""
    if key in ("resize", "crop"):
        return _whole(key, value)
    if key in ("mean", "std"):
        return _per_channel(key, value)
    if key == "squash" and isinstance(value, bool):
        return value
    if key == "interpolation" and isinstance(value, str) and value.lower() in INTERPOLATIONS:
        return value.lower()
    allowed = {"squash": "true or false", "interpolation": f"one of {', '.join(INTERPOLATIONS)}"}
    if key not in allowed:
        raise WordError(f"{key} is no field of the preprocessing: give one of {', '.join(_OURS)}")
    raise WordError(f"{key} must be {allowed[key]}, not {shown(value)}")


def _timm(said: Mapping[str, Any]) -> dict[str, Any]:
    """timm's create_transform for evaluation: the picture is resized to floor(input / crop_pct), then cropped."""
    mode = said.get("crop_mode", "center")
    if mode not in ("center", "squash"):
        raise WordError(f"crop_mode {shown(mode)} is not supported: only 'center' and 'squash' are")
    fields: dict[str, Any] = {"squash": mode == "squash"} if "crop_mode" in said or "input_size" in said else {}
    if "input_size" in said:
        match said["input_size"]:
            case [int(), height, width] if height == width:
                side = _whole("input_size", height)
                fields |= {"resize": math.floor(side / _crop_pct(said)), "crop": side}
            case other:
                raise WordError(f"input_size must be [channels, side, side], not {shown(other)}")
    elif "crop_pct" in said and "size" not in said:
        raise WordError("crop_pct says nothing without input_size or size: give one of them")
    return fields


def _hugging_face(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a Hugging Face image processor does with these settings."""
    if not any(key in said for key in _HUGGING_FACE):
        return {}
    _refuse_what_we_lack(said)
    fields = _sides(said)
    fields |= {
        key: _per_channel(f"image_{key}", said[f"image_{key}"]) for key in ("mean", "std") if f"image_{key}" in said
    }
    if not _flag(said, "do_normalize", default=True):
        fields |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if "resample" in said:
        number = said["resample"]
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(INTERPOLATIONS):
            raise WordError(f"resample must be Pillow's number of a filter, 0 to 5, not {shown(number)}")
        fields["interpolation"] = INTERPOLATIONS[number]
    return fields


def _refuse_what_we_lack(said: Mapping[str, Any]) -> None:
    for key in _NOT_DONE:
        if said.get(key):
            raise WordError(f"{key} is not supported: give preprocessing without it in a preset.json, if there is one")
    for key in ("do_resize", "do_rescale"):
        if not _flag(said, key, default=True):
            raise WordError(f"{key} false is not supported: pictures are always resized, and scaled to 0-1")
    factor = said.get("rescale_factor", 1 / 255)
    if not _is_number(factor) or abs(factor - 1 / 255) > 1e-6:
        raise WordError(f"rescale_factor must be 1/255, not {shown(factor)}: other ranges are not supported")


def _sides(said: Mapping[str, Any]) -> dict[str, Any]:
    processor = str(said.get("image_processor_type", said.get("feature_extractor_type", "")))
    crops = _flag(said, "do_center_crop", default=False)
    fields: dict[str, Any] = {}
    if "size" in said:
        side, form = _side("size", said["size"])
        by_share = "crop_pct" in said or re.search("ConvNext|Levit", processor)
        if by_share and form == "both":
            raise WordError("crop_pct says nothing for a height and width: give size as a shortest_edge")
        short = form == "short" or by_share or _SHORT_SIDE.search(processor) or (crops and not processor)
        fields = {"resize": side, "crop": side, "squash": form == "both" or not short}
        if by_share:
            # ConvNext at 384 and above warps the whole picture; below it resizes and crops.
            warps = side >= 384 and not crops
            fields |= {"squash": True} if warps else {"resize": int(side / _crop_pct(said))}
    if crops and "crop_size" not in said:
        raise WordError("do_center_crop says nothing without crop_size: give it")
    return fields | ({"crop": _side("crop_size", said["crop_size"])[0]} if crops else {})


def _side(key: str, value: object) -> tuple[int, str]:
    """One side's length, and whether it is the "short" one, that of "both", or doesn't say ("bare")."""
    match value:
        case {"shortest_edge": side, **rest} if not rest:
            return _whole(key, side), "short"
        case {"height": height, "width": width, **rest} if height == width and not rest:
            return _whole(key, height), "both"
        case dict():
            raise WordError(f"{key} must be a shortest_edge or an equal height and width, not {shown(value)}")
    return _whole(key, value), "bare"


def _crop_pct(said: Mapping[str, Any]) -> float:
    share = said.get("crop_pct", _CROP_PCT)
    if not _is_number(share) or not 0 < share <= 1:
        raise WordError(f"crop_pct must be a number above 0 and up to 1, not {shown(share)}")
    return float(share)


def _whole(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE:
        raise WordError(f"{key} must be a whole number from 1 to {MAX_SIDE}, not {shown(value)}")
    return value


def _per_channel(key: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_CHANNELS or not all(map(_is_number, value)):
        raise WordError(f"{key} must be 1 to {MAX_CHANNELS} numbers, one per channel, not {shown(value)}")
    if key.endswith("std") and min(value) <= 0:
        raise WordError(f"{key} must be above 0, not {shown(value)}")
    if max(map(abs, value)) > MAX_SCALE or (key.endswith("std") and min(value) < 1 / MAX_SCALE):
        raise WordError(f"{key} is beyond what pixels can be scaled by: {shown(value)}")
    return tuple(map(float, value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _flag(said: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = said.get(key, default)
    if not isinstance(value, bool):
        raise WordError(f"{key} must be true or false, not {shown(value)}")
    return value
