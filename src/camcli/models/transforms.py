"""Other libraries' preprocessing -> fields of `Preset`: torchvision's transforms, timm's, processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camcli.errors import RequestError
from camcli.models import preset_values, preset_words

# Steps that leave the picture's geometry and colours as they are, but for numbers in [0, 1] in place of bytes.
_TO_NUMBERS = frozenset(
    {"ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ToImage", "ToPureTensor", "ToDtype"}
    | {"ConvertImageDtype", "ConvertDtype", "Identity", "RGB"}
)


def fields_of(given: Any) -> dict[str, Any]:
    """The fields that a transform, a timm or Hugging Face config, or a processor gives.

    Raises: RequestError: a step, or a word, that can't be read as a resize, a crop of the centre or a normalisation.
    """
    if isinstance(given, Mapping):
        return _of_words(given, "the preset")
    if callable(to_dict := getattr(given, "to_dict", None)):
        return _of_words(to_dict(), type(given).__name__)
    if hasattr(given, "crop_size") and hasattr(given, "resize_size"):  # torchvision's own presets
        return {
            **_resize(given, given.resize_size, given.interpolation),
            "crop": _side(given, given.crop_size),
            "mean": _numbers(given.mean),
            "std": _numbers(given.std),
        }
    return _of_steps(_steps(given))


def _of_words(words: Mapping[str, Any], what: str) -> dict[str, Any]:
    try:
        fields = preset_words.fields_of(dict(words))
    except preset_values.WordError as error:
        raise RequestError(f"{what}: {error}") from None
    if not fields:
        raise RequestError(f"{what} gives no preprocessing: give some of {', '.join(preset_values.UNDERSTOOD)}")
    return fields


def _steps(given: Any) -> list[Any]:
    """The steps of a Compose, also of those inside it."""
    name = type(given).__name__
    inside = getattr(given, "transforms", None)
    if name in ("Compose", "Sequential") and isinstance(inside, Sequence):
        return [step for part in inside for step in _steps(part)]
    if name == "Sequential":
        return [step for part in given for step in _steps(part)]
    return [given]


def _of_steps(steps: Sequence[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for step in steps:
        fields |= _of_step(step, fields)
    if "resize" not in fields:
        raise RequestError("the transform has no Resize: give the pictures as the tensors that it makes")
    if "crop" not in fields:
        if not fields["squash"]:
            raise RequestError(
                "the transform resizes the short side and crops nothing: give the pictures as the tensors that it makes"
            )
        fields["crop"] = fields["resize"]
    if "mean" not in fields:  # nothing is normalised, in whatever number of channels
        fields |= {"mean": (0.0,), "std": (1.0,)}
    return fields


def _of_step(step: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one step, after those given `before`: a resize, a crop, and a normalisation, in that order."""
    name = type(step).__name__
    known = type(step).__module__.partition(".")[0] in ("torchvision", "timm", "torch")
    if known and name == "Resize" and not before:
        if getattr(step, "max_size", None) is not None:
            raise _unread(step, "its max_size")
        return _resize(step, step.size, step.interpolation)
    if known and name == "CenterCrop" and not {"crop", "mean"} & before.keys():
        return {"crop": _side(step, step.size)}
    if known and name == "Normalize" and "mean" not in before:
        return {"mean": _numbers(step.mean), "std": _numbers(step.std)}
    if not known or name not in _TO_NUMBERS:
        raise _unread(step, "it")
    return {}


def _resize(step: Any, size: Any, interpolation: Any) -> dict[str, Any]:
    """The fields of a resize. One number is the short side; (height, width) the whole picture, its aspect lost."""
    name = str(getattr(interpolation, "value", interpolation))
    if name not in preset_values.INTERPOLATIONS:
        raise _unread(step, f"its interpolation {name}")
    whole = isinstance(size, Sequence) and len(size) == 2
    return {"resize": _side(step, size), "squash": whole, "interpolation": name}


def _side(step: Any, size: Any) -> int | tuple[int, int]:
    match size:
        case int(side) | (int(side),):
            return side
        case (int(height), int(width)):
            return height if height == width else (height, width)
    raise _unread(step, f"its size {size}")


def _numbers(values: Any) -> tuple[float, ...]:
    """The values as Python's numbers, one for all channels if it is a single one; a tensor of float32 holds no more
    digits than these."""
    if hasattr(values, "tolist"):
        plain = values.tolist()
        return tuple(float(f"{value:.7g}") for value in (plain if isinstance(plain, list) else [plain]))
    return (float(values),) if isinstance(values, (int, float)) else tuple(map(float, values))


def _unread(step: Any, what: str) -> RequestError:
    return RequestError(
        f"the transform's {step!r}: {what} can't be read as a resize, a crop of the centre or a normalisation. "
        "Give the pictures as the tensors that it makes, or preset= these numbers as a dict"
    )
