"""The preprocessing that belongs to a checkpoint: read off the JSON beside it, or changed field by field."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from camcli.errors import RequestError
from camcli.models import labels, preset_words
from camcli.models.preset_words import WordError
from camcli.records import Preset


def read(path: Path) -> dict[str, Any]:
    """The fields of `Preset` that a JSON file gives, in our words, timm's or Hugging Face's.

    Raises:
        RequestError: missing, broken, none of the keys, a value of the wrong type, or preprocessing we can't do.
    """
    fields = _given_by(path, _parsed(path))
    if not fields:
        understood = ", ".join(preset_words.UNDERSTOOD)
        raise RequestError(f"{path}: no preprocessing in it: give an object with some of {understood}")
    return fields


def beside(weights: Path) -> tuple[Path, dict[str, Any]] | None:
    """The first JSON beside the weights that gives preprocessing, with what it gives; None without one.

    Looked at in turn: the weights' name with .json, preset.json, preprocessor_config.json, config.json. `weights`
    may be the folder itself. The first and the last may be any tool's, so they need not even be JSON.

    Raises:
        RequestError: a file gives preprocessing and gives it wrongly.
    """
    folder, own = (weights, []) if os.path.isdir(weights) else (weights.parent, [f"{weights.stem}.json"])
    for name in (*own, "preset.json", "preprocessor_config.json", "config.json"):
        path = folder / name
        foreign = name in (*own, "config.json")
        if os.path.exists(path) and (fields := _given_by(path, _parsed(path, or_nothing=foreign))):
            return path, fields
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
    try:
        new = {key: preset_words.checked(key, value) for key, value in fields.items()}
    except WordError as error:
        raise RequestError(str(error)) from None
    resize, crop = new.get("resize", preset.resize), new.get("crop", preset.crop)
    if crop > resize and "resize" in new and "crop" in new:
        raise RequestError(f"crop {crop} is larger than resize {resize}: give a crop of at most {resize}")
    if crop > resize:
        new["resize"] = new["crop"] = crop if "crop" in new else resize
    for one, other in (("mean", "std"), ("std", "mean")):
        if len(new.get(one, ())) == 1 and other not in new:
            new[one] *= len(getattr(preset, other))
    mean, std = new.get("mean", preset.mean), new.get("std", preset.std)
    if len(mean) != len(std):
        raise RequestError(f"mean has {len(mean)} values and std {len(std)}: give both, one value per channel")
    return replace(preset, **new)


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
