"""A file's words for preprocessing -> fields of `Preset`: ours, timm's, or Hugging Face's.

Understood are our own flat form, timm's configs (`pretrained_cfg`) and Hugging Face's preprocessor_config.json.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from camcli.models import containers
from camcli.models.preset_values import (
    CHECKS,
    HUGGING_FACE,
    INTERPOLATIONS,
    OURS,
    TIMM,
    UNDERSTOOD,
    WordError,
    check_rescale_factor,
    checked,
    crop_mode,
    filter_of,
    input_size,
    is_number,
    per_channel,
    share_of,
    side_of,
    switch_of,
)
from camcli.records import both

# Two words of one of these say that a file of any tool is about preprocessing. A switch alone is in many.
_SPOKEN = (
    {*OURS},
    {*TIMM, "mean", "std", "interpolation"},
    {"size", "crop_size", "crop_pct", "rescale_factor", "image_mean", "image_std", "resample"},
)
# In such a file a std below this is no picture's, except 1/255.
_LEAST_STD = 0.04
# Such a file may say it at most so far below the top.
_MAX_DEPTH = 3

# Words by which files say that the network takes blue, green, red.
_BGR = {
    **{"to_rgb": "false", "bgr_to_rgb": "false", "rgb_to_bgr": "true", "bgr": "true"},
    **{"input_space": "bgr", "color_space": "bgr", "color_order": "bgr", "channel_order": "bgr"},
}
# What some Hugging Face processors do besides: BGR, black borders, a second division by std, values below 0.
_NOT_DONE = ("do_flip_channel_order", "do_pad", "include_top", "rescale_offset")
# The processors whose bare `size` is the short side; elsewhere it is both sides.
_SHORT_SIDE = re.compile("CLIP|MobileNet|MobileViT|Bit|Hybrid|PoolFormer|ConvNext|Levit", re.IGNORECASE)
_CROP_PCT = 0.875  # if the file doesn't say: timm's, ConvNext's and LeViT's own


def fields_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `data` gives, or timm's `pretrained_cfg` in it; a null says nothing, our own words win.

    Raises:
        WordError: a value of the wrong type or range, or preprocessing we can't do.
    """
    for held in (data.get("pretrained_cfg"), data.get("default_cfg"), data):
        said = {key: value for key, value in held.items() if value is not None} if isinstance(held, Mapping) else {}
        ours = {key: checked(key, said[key]) for key in OURS if key in said}
        if fields := _hugging_face(said) | _timm(said) | ours:
            _refuse_bgr(said)
            return fields
    return {}


def meant(data: Mapping[str, Any], channels: int | None = None) -> dict[str, Any]:
    """The part of any tool's file that is about preprocessing, for a network of so many input channels.

    That is timm's `pretrained_cfg`; else the words with a value that preprocessing takes, if two of one vocabulary
    have one.
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
        CHECKS[key](key, data[key])
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
    """The number of these words that count. A mean and a std of one number each are in any report, and count as one
    unless the network takes one channel."""
    alone = {"mean", "std"} <= words and len(data["mean"]) == 1 and channels != 1
    return len(words) - alone


def normalisation_in(file: Path, data: Mapping[Any, Any]) -> str | None:
    """The place of a mean and std that could be pictures', whatever the network takes: "FILE", "FILE, config.data"."""
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
        if all(map(is_number, (*mean, *std))) and std and min(std) > 0 and (max(mean) > 1 or _is_a_pictures(min(std))):
            return True
    return False


def _refuse_bgr(said: Mapping[str, Any]) -> None:
    for key, bgr in _BGR.items():
        if key in said and str(said[key]).lower() == bgr:
            raise WordError(
                f"{key} {shown(said[key])}: the network takes blue, green, red, and pictures are given as red, green, "
                "blue: reverse the input channels of its first layer, and mean and std, and say so in a preset.json"
            )


def _timm(said: Mapping[str, Any]) -> dict[str, Any]:
    """timm's create_transform for evaluation: the picture is resized to floor(input / crop_pct), then cropped."""
    mode = crop_mode("crop_mode", said.get("crop_mode", "center"))
    fields: dict[str, Any] = {"squash": mode == "squash"} if "crop_mode" in said or "input_size" in said else {}
    if "input_size" in said:
        crop = input_size("input_size", said["input_size"])
        height, width = (math.floor(side / _crop_pct(said)) for side in both(crop))
        fields |= {"resize": height if isinstance(crop, int) else (height, width), "crop": crop}
    elif "crop_pct" in said and "size" not in said:
        raise WordError("crop_pct says nothing without input_size or size: give one of them")
    return fields


def _hugging_face(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that stand for what a Hugging Face image processor does with these settings."""
    if not any(key in said for key in HUGGING_FACE):
        return {}
    _refuse_what_we_lack(said)
    fields = _sides(said)
    fields |= {
        key: per_channel(f"image_{key}", said[f"image_{key}"]) for key in ("mean", "std") if f"image_{key}" in said
    }
    if not _flag(said, "do_normalize", default=True):
        fields |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if "resample" in said:
        fields["interpolation"] = INTERPOLATIONS[filter_of("resample", said["resample"])]
    return fields


def _refuse_what_we_lack(said: Mapping[str, Any]) -> None:
    for key in _NOT_DONE:
        if said.get(key):
            raise WordError(f"{key} is not supported: give preprocessing without it in a preset.json, if there is one")
    for key in ("do_resize", "do_rescale"):
        if not _flag(said, key, default=True) and not (key == "do_rescale" and _is_of_bytes(said)):
            raise WordError(f"{key} false is not supported: pictures are always resized, and scaled to 0-1")
    check_rescale_factor("rescale_factor", said.get("rescale_factor", 1 / 255))


def _is_of_bytes(said: Mapping[str, Any]) -> bool:
    """True if the mean is of 0-255: it then scales pixels that weren't scaled before."""
    return "image_mean" in said and "image_std" in said and max(per_channel("image_mean", said["image_mean"])) > 1


def _sides(said: Mapping[str, Any]) -> dict[str, Any]:
    processor = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
    crops = _flag(said, "do_center_crop", default=False)
    fields: dict[str, Any] = {}
    if "size" in said:
        side, form = side_of("size", said["size"])
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
    return fields | ({"crop": side_of("crop_size", said["crop_size"])[0]} if crops else {})


def _crop_pct(said: Mapping[str, Any]) -> float:
    return share_of("crop_pct", said.get("crop_pct", _CROP_PCT))


def _flag(said: Mapping[str, Any], key: str, *, default: bool) -> bool:
    return switch_of(key, said.get(key, default))
