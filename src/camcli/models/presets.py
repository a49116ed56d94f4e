"""The preprocessing that belongs to a checkpoint: read off the JSON beside it, or changed field by field."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camcli.errors import RequestError
from camcli.models import labels, preset_values, preset_words
from camcli.models.preset_values import WordError
from camcli.records import Preset, Sides, both, shortly

# `--preset` says this to leave the files beside the weights alone.
NONE = "none"
# The mean of ImageNet's blue, green and red.
_BGR_MEAN = (0.406, 0.456, 0.485)


def read(path: Path) -> dict[str, Any]:
    """The fields of `Preset` that a JSON file gives, in our words, timm's or Hugging Face's.

    Raises:
        RequestError: missing, broken, none of the keys, a value of the wrong type, or preprocessing we can't do.
    """
    fields = _given_by(path, _parsed(path))
    if not fields:
        understood = ", ".join(preset_values.UNDERSTOOD)
        raise RequestError(f"{path}: no preprocessing in it: give an object with some of {understood}")
    return fields


def beside(weights: Path, channels: int | None = None) -> tuple[Path, dict[str, Any]] | None:
    """The first JSON beside the weights that gives preprocessing, with what it gives; None without one.

    Looked at in turn: the weights' name with .json, preset.json, preprocessor_config.json, config.json. `weights`
    may be the folder itself. The first and the last may be any tool's: they need not even be JSON. One word that
    preprocessing has too says nothing in them; nor does a mean for another number of channels than `channels`.

    Raises:
        RequestError: a file gives preprocessing and gives it wrongly.
    """
    folder, own = (weights, []) if os.path.isdir(weights) else (weights.parent, [f"{weights.stem}.json"])
    for name in (*own, "preset.json", "preprocessor_config.json", "config.json"):
        path = folder / name
        if not os.path.exists(path):
            continue
        foreign = name in (*own, "config.json")
        data = _parsed(path, or_nothing=foreign)
        if foreign:
            data = preset_words.meant(data, channels) if isinstance(data, dict) else None
        try:
            fields = _given_by(path, data)
        except RequestError as error:
            raise RequestError(f"{error} (--preset {NONE} leaves the file alone)") from None
        if fields:
            return path, fields
    return None


def unused_beside(weights: Path) -> str | None:
    """The place of a mean and a std of pictures in any tool's JSON file beside the weights; None without."""
    folder, own = (weights, []) if os.path.isdir(weights) else (weights.parent, [f"{weights.stem}.json"])
    for path in (folder / name for name in (*own, "config.json")):
        data = _parsed(path, or_nothing=True) if os.path.exists(path) else None
        if isinstance(data, dict) and (place := preset_words.normalisation_in(path, data)):
            return place
    return None


def labels_beside(weights: Path) -> tuple[str, ...] | None:
    """The class names in the config.json beside the weights, or in that folder; None without them."""
    path = (weights if os.path.isdir(weights) else weights.parent) / "config.json"
    data = _parsed(path, or_nothing=True) if os.path.exists(path) else None
    return labels.found_in(data) if isinstance(data, dict) else None


def changed(preset: Preset, fields: Mapping[str, Any]) -> Preset:
    """The preset with some fields replaced; a side that is not given follows the one that is.

    A mean or std of one value, given alone, is repeated for each channel of the other.

    Raises:
        RequestError: a value of the wrong type or range, a crop larger than the resize, a std and a mean for
            different numbers of channels.
    """
    new = _checked(fields)
    new |= _sides(new, preset)
    for one, other in (("mean", "std"), ("std", "mean")):
        if len(new.get(one, ())) == 1 and other not in new:
            new[one] *= len(getattr(preset, other))
    mean, std = new.get("mean", preset.mean), new.get("std", preset.std)
    if len(mean) != len(std):
        raise RequestError(f"mean has {len(mean)} values and std {len(std)}: give both, one value per channel")
    return replace(preset, **new)


def whole(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one source; a rectangle alone means the whole picture made that large."""
    given = dict(fields)
    if isinstance(given.get("crop"), (list, tuple)):
        given.setdefault("resize", given["crop"])
    if isinstance(given.get("resize"), (list, tuple)):
        given.setdefault("squash", True)
    return given


def in_unit_range(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(the fields of one source with a mean and std of 0-255 brought to 0-1, remarks on them).

    A mean above 1 can't be of 0-1, and a std above 2 in every channel isn't; a std of 1 beside such a mean is Caffe's.

    Raises:
        RequestError: a value of the wrong type or range, of neither 0-1 nor 0-255, or one of each.
    """
    given = _checked({key: fields[key] for key in ("mean", "std") if key in fields})
    mean, std = given.get("mean", ()), given.get("std", ())
    most, least = max(map(abs, mean), default=0.0), min(std, default=0.0)
    said = []
    if most > 1 or least > 2:
        named = " and ".join(f"{key} {','.join(f'{value:g}' for value in given[key])}" for key in given)
        if max((most, *std)) > 255:
            raise RequestError(f"{named}: of neither 0-1 nor 0-255: divide by what the pixels were divided by")
        if (std and most > 1 and least < 1) or 0 < most <= 1:
            raise RequestError(f"{named}: one is of 0-255 and one of 0-1: give both in one of them")
        # Rounded: 123.675 / 255 is meant to be 0.485.
        given = {key: tuple(round(value / 255, 12) for value in values) for key, values in given.items()}
        said.append(f"{named}: of 0-255, divided by 255")
    if _is_bgr(given.get("mean", ())):
        said.append(
            "the mean is ImageNet's in the order blue, green, red; pictures are given as red, green, blue: "
            "a network that takes blue first sees other colours"
        )
    return {**fields, **given}, said


def sides(flag: str, text: str) -> Sides:
    """ "256" as a number, "256x128" as (height, width).

    Raises:
        RequestError: neither.
    """
    if found := re.fullmatch(r"\s*([0-9]{1,9})(?:\s*[xX×]\s*([0-9]{1,9}))?\s*", text):
        return (int(found[1]), int(found[2])) if found[2] else int(found[1])
    raise RequestError(f"{flag} {text!r}: give a number of pixels, or HEIGHTxWIDTH like 256x128")


def numbers(text: str) -> tuple[float, ...]:
    """ "0.485,0.456,0.406" or "0.5" as numbers.

    Raises:
        RequestError: not finite numbers with commas between.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise RequestError(f"{text!r} is not a list of numbers: give one, or one per channel like 0.485,0.456,0.406")
    return values


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {key: preset_values.checked(key, value) for key, value in fields.items()}
    except WordError as error:
        raise RequestError(str(error)) from None


def _sides(new: Mapping[str, Any], preset: Preset) -> dict[str, Sides]:
    """The sides that must follow a new one, so that the crop lies within the resized picture."""
    resize, crop = new.get("resize", preset.resize), new.get("crop", preset.crop)
    if all(inner <= outer for inner, outer in zip(both(crop), both(resize), strict=True)):
        return {}
    if "resize" in new and ("crop" in new or (isinstance(resize, int) and not isinstance(crop, int))):
        inner, outer = shortly(crop), shortly(resize)
        raise RequestError(f"crop {inner} is larger than resize {outer}: give a crop of at most {outer}")
    follows = crop if "crop" in new else resize
    return {"resize": follows, "crop": follows}


def _is_bgr(mean: tuple[float, ...]) -> bool:
    return len(mean) == 3 and all(abs(own - blue) < 0.01 for own, blue in zip(mean, _BGR_MEAN, strict=True))


def _parsed(path: Path, *, or_nothing: bool = False) -> object:
    try:
        return json.loads(labels.text_of(path))
    except RequestError:
        if or_nothing:
            return None
        raise
    except (ValueError, RecursionError) as error:
        if or_nothing:
            return None
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(f"{path}: broken JSON{where}: mend it") from None


def _given_by(path: Path, data: object) -> dict[str, Any]:
    try:
        return preset_words.fields_of(data) if isinstance(data, dict) else {}
    except WordError as error:
        raise RequestError(f"{path}: {error}") from None
