"""A file's words for preprocessing -> fields of `Preset`: ours, timm's, or Hugging Face's.

Understood are our own flat form, timm's configs (`pretrained_cfg`) and Hugging Face's preprocessor_config.json.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from camcli.models import containers
from camcli.records import Sides, both

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

# What says that a file of any tool is about preprocessing: two words of one of these. A switch alone is in many.
_SPOKEN = (
    {*_OURS},
    {*_TIMM, "mean", "std", "interpolation"},
    {"size", "crop_size", "crop_pct", "rescale_factor", "image_mean", "image_std", "resample"},
)
# In such a file a side below this is a switch or a count, and a std below that one is no picture's but for 1/255.
_LEAST_SIDE, _LEAST_STD = 8, 0.04
# So far below the top such a file may say it.
_MAX_DEPTH = 3

# How files say that the network takes blue, green, red.
_BGR = {
    **{"to_rgb": "false", "bgr_to_rgb": "false", "rgb_to_bgr": "true", "bgr": "true"},
    **{"input_space": "bgr", "color_space": "bgr", "color_order": "bgr", "channel_order": "bgr"},
}
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
            _refuse_bgr(said)
            return fields
    return {}


def meant(data: Mapping[str, Any], channels: int | None = None) -> dict[str, Any]:
    """What of a file that may be any tool's is about preprocessing, for a network of so many input channels.

    That is timm's `pretrained_cfg`; else the words that have a value of theirs, if two of one vocabulary do.
    """
    marked = {key: data[key] for key in ("pretrained_cfg", "default_cfg") if isinstance(data.get(key), Mapping)}
    known = {key for key in UNDERSTOOD if data.get(key) is not None and _has_a_value_of_its_own(key, data)}
    known -= _no_normalisation(known, data, channels)
    if not {"input_size", "size"} & known:
        known.discard("crop_pct")
    if "crop_size" not in known:
        known.discard("do_center_crop")
    if not any(_evidence(known & words, data, channels) > 1 for words in _SPOKEN):
        return marked
    return {key: value for key, value in data.items() if key in known or key not in UNDERSTOOD}


def _has_a_value_of_its_own(key: str, data: Mapping[str, Any]) -> bool:
    try:
        _CHECKS[key](key, data[key])
    except WordError:
        return False
    return True


def _no_normalisation(known: set[str], data: Mapping[str, Any], channels: int | None) -> set[str]:
    """The words for mean and std whose numbers are not those of a picture's channels: a report has such words too."""
    wrong: set[str] = set()
    for pair in (("mean", "std"), ("image_mean", "image_std")):
        mean, std = (data[key] if key in known else () for key in pair)
        counts = {len(mean), len(std)} - {0}
        fits = len(counts) < 2 and counts <= {1, channels or max(counts, default=1)}
        if not fits or (any(mean) and std and max(map(abs, mean)) <= 1 and not _is_a_pictures(min(std))):
            wrong |= set(pair)
    return wrong


def _is_a_pictures(std: float) -> bool:
    return std >= _LEAST_STD or abs(std - 1 / 255) < 1e-5


def _evidence(words: set[str], data: Mapping[str, Any], channels: int | None) -> int:
    """How many of these words count: a mean and a std of one number each are in any report, and count as one unless
    the network takes one channel."""
    alone = {"mean", "std"} <= words and len(data["mean"]) == 1 and channels != 1
    return len(words) - alone


def normalisation_in(file: Path, data: Mapping[Any, Any]) -> str | None:
    """Where a mean and a std stand that could be pictures', whatever the network takes: "FILE", "FILE, config.data"."""
    return next((", ".join(filter(None, (str(file), place))) for place in _normalising(data)), None)


def _normalising(data: Mapping[Any, Any], place: str = "", depth: int = 0) -> Iterator[str]:
    if _normalises(data):
        yield place
    for key, value in data.items():
        held = containers.plain(value)
        if depth < _MAX_DEPTH and isinstance(held, Mapping):
            yield from _normalising(held, f"{place}.{key}".removeprefix("."), depth + 1)


def _normalises(data: Mapping[Any, Any]) -> bool:
    for pair in (("mean", "std"), ("image_mean", "image_std")):
        held = [containers.plain(data.get(key)) for key in pair]
        mean, std = (list(value) if isinstance(value, (list, tuple)) else [value] for value in held)
        if all(map(_is_number, (*mean, *std))) and std and min(std) > 0 and (max(mean) > 1 or _is_a_pictures(min(std))):
            return True
    return False


def _refuse_bgr(said: Mapping[str, Any]) -> None:
    for key, bgr in _BGR.items():
        if key in said and str(said[key]).lower() == bgr:
            raise WordError(
                f"{key} {shown(said[key])}: the network takes blue, green, red, and pictures are given as red, green, "
                "blue: reverse the input channels of its first layer, and mean and std, and say so in a preset.json"
            )


def checked(key: str, value: object) -> Any:
    """The value as the field of that name holds it. Raises: WordError: wrong type or range."""
    if key in ("resize", "crop"):
        return _sides_in(key, value)
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
    mode = _crop_mode("crop_mode", said.get("crop_mode", "center"))
    fields: dict[str, Any] = {"squash": mode == "squash"} if "crop_mode" in said or "input_size" in said else {}
    if "input_size" in said:
        crop = _input_size("input_size", said["input_size"])
        height, width = (math.floor(side / _crop_pct(said)) for side in both(crop))
        fields |= {"resize": height if isinstance(crop, int) else (height, width), "crop": crop}
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
        fields["interpolation"] = INTERPOLATIONS[_filter("resample", said["resample"])]
    return fields


def _refuse_what_we_lack(said: Mapping[str, Any]) -> None:
    for key in _NOT_DONE:
        if said.get(key):
            raise WordError(f"{key} is not supported: give preprocessing without it in a preset.json, if there is one")
    for key in ("do_resize", "do_rescale"):
        if not _flag(said, key, default=True) and not (key == "do_rescale" and _is_of_bytes(said)):
            raise WordError(f"{key} false is not supported: pictures are always resized, and scaled to 0-1")
    _rescale_factor("rescale_factor", said.get("rescale_factor", 1 / 255))


def _is_of_bytes(said: Mapping[str, Any]) -> bool:
    """Whether the mean is of 0-255: what isn't scaled before it is then scaled with it."""
    return "image_mean" in said and "image_std" in said and max(_per_channel("image_mean", said["image_mean"])) > 1


def _sides(said: Mapping[str, Any]) -> dict[str, Any]:
    processor = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
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
            assert isinstance(side, int)
            warps = side >= 384 and not crops
            fields |= {"squash": True} if warps else {"resize": int(side / _crop_pct(said))}
    if crops and "crop_size" not in said:
        raise WordError("do_center_crop says nothing without crop_size: give it")
    return fields | ({"crop": _side("crop_size", said["crop_size"])[0]} if crops else {})


def _side(key: str, value: object) -> tuple[Sides, str]:
    """The sides, and whether they are the "short" one's length, that of "both", or don't say ("bare")."""
    match value:
        case {"shortest_edge": side, **rest} if not rest:
            return _whole(key, side), "short"
        case {"height": height, "width": width, **rest} if not rest:
            return _rectangle(key, height, width), "both"
        case dict():
            raise WordError(f"{key} must be a shortest_edge or a height and width, not {shown(value)}")
    return _whole(key, value), "bare"


def _input_size(key: str, value: object) -> Sides:
    match value:
        case [int(), height, width]:
            return _rectangle(key, height, width)
    raise WordError(f"{key} must be [channels, height, width], not {shown(value)}")


def _rectangle(key: str, height: object, width: object) -> Sides:
    """One number if the sides are equal."""
    sides = _whole(key, height), _whole(key, width)
    return sides if sides[0] != sides[1] else sides[0]


def _crop_mode(key: str, value: object) -> str:
    if value not in ("center", "squash"):
        raise WordError(f"{key} {shown(value)} is not supported: only 'center' and 'squash' are")
    return str(value)


def _crop_pct(said: Mapping[str, Any]) -> float:
    return _share("crop_pct", said.get("crop_pct", _CROP_PCT))


def _share(key: str, value: Any) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise WordError(f"{key} must be a number above 0 and up to 1, not {shown(value)}")
    return float(value)


def _filter(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(INTERPOLATIONS):
        raise WordError(f"{key} must be Pillow's number of a filter, 0 to 5, not {shown(value)}")
    return value


def _rescale_factor(key: str, value: Any) -> None:
    if not _is_number(value) or abs(value - 1 / 255) > 1e-6:
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
    return _switch(key, said.get(key, default))


def _switch(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise WordError(f"{key} must be true or false, not {shown(value)}")
    return value


def _large_sides(key: str, value: object) -> None:
    if key in _OURS:
        sides = _sides_in(key, value)
    else:
        sides = _input_size(key, value) if key == "input_size" else _side(key, value)[0]
    if min(both(sides)) < _LEAST_SIDE:
        raise WordError(f"{key} {shown(value)} is no picture's side")


# How each word is looked at on its own.
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(UNDERSTOOD, _switch),
    **dict.fromkeys(("resize", "crop", "size", "crop_size", "input_size"), _large_sides),
    **dict.fromkeys(("mean", "std", "image_mean", "image_std"), _per_channel),
    **dict.fromkeys(("interpolation", "squash"), checked),
    **{"crop_mode": _crop_mode, "crop_pct": _share, "rescale_factor": _rescale_factor, "resample": _filter},
}
