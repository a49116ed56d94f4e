"""The preset of a model: its architecture's own, changed by a file's words and by single options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from camcli.errors import RequestError
from camcli.models import preset_values, presets
from camcli.models.model import DETECTED, Architecture
from camcli.models.weights.checkpoints import Checkpoint
from camcli.records import Preset, shortly, spelled
from camcli.specs import ModelSpec
from camcli.tasks import probing

# Frames in a clip, for code that does not say how many it takes.
FRAMES = 16
# ImageNet's three means and deviations as one, for a network that takes grey pictures.
_GREY_MEAN, _GREY_STD = (0.449,), (0.226,)


def changed(preset: Preset, fields: Mapping[str, Any], remarks: list[str]) -> Preset:
    """The preset with other fields, a mean and std of 0-255 brought to shares, and one number repeated for each
    channel."""
    own, brought = presets.in_unit_range(fields)
    remarks += brought
    told = {"mean", "std"} & own.keys()
    channels = max((len(own[key]) for key in told if len(own[key]) > 1), default=len(preset.mean))
    own |= {key: own[key] * channels for key in told if len(own[key]) == 1}
    return presets.changed(preset, own)


def normalisation_of(fields: Mapping[str, Any], preset: Preset) -> dict[str, tuple[float, ...]]:
    """The mean and std of a preset that these fields have changed, where they tell them: one number, if it is one for
    whatever number of channels the network takes."""
    told = {key: getattr(preset, key) for key in ("mean", "std") if key in fields}
    return {
        key: values[:1] if preset_values.is_number(fields[key]) or len(fields[key]) == 1 else values
        for key, values in told.items()
    }


def check_channels(name: str, preset: Preset, channels: int) -> None:
    """Refuse a mean for another number of channels than the network takes. Raises: RequestError."""
    if len(preset.mean) != channels:
        takes, give = (
            ("1 input channel", "one") if channels == 1 else (f"{channels} input channels", f"one or {channels}")
        )
        raise RequestError(
            f"{name} takes {takes}, and the mean and std have {len(preset.mean)} numbers: give {give} (--mean, --std)"
        )


def check_size(name: str, preset: Preset, own: Preset) -> None:
    """Refuse another view than that of a network's own preset. Raises: RequestError."""
    if preset.view_size != own.view_size:
        raise RequestError(f"{name} takes {spelled(own.crop)} pictures only: --crop and presets can't change that")
    if preset.frames != own.frames:
        raise RequestError(f"{name} takes clips of {own.frames} frames only: leave --frames out")


def preset_of(
    arch: Architecture,
    net: nn.Module,
    spec: ModelSpec,
    checkpoint: Checkpoint | None,
    remarks: list[str],
    told: Mapping[str, Any] = MappingProxyType({}),
) -> Preset:
    """The architecture's preset, changed by the file named or found beside the weights, then by single options.
    `told`: a mean and std that the architecture's preset has been given, see `normalisation_of`."""
    preset = _of_clips(arch, spec)
    for_all = len(told.get("mean") or spec.mean or ()) == 1
    channels = _input_channels(arch, net, replace(preset, crop=spec.crop or preset.crop).view_shape, for_all)
    fields = {**told, **_told(spec, checkpoint, channels, remarks)}
    if channels == 1 and len(preset.mean) == 3:
        if not {"mean", "std"} & fields.keys():
            remarks.append("one input channel: pictures become grey, mean 0.449 and std 0.226 (--mean, --std)")
        fields = {"mean": _GREY_MEAN, "std": _GREY_STD} | fields
    for name in {"mean", "std"} & fields.keys():
        if len(fields[name]) == 1:
            fields[name] = fields[name] * channels
    if arch.assumed_preset and (assumed := _assumed(fields)):
        remarks.append(f"{arch.name}: no preset is known, so {assumed}; see --preset")
    preset = presets.changed(preset, fields)
    if arch.fixed_size:
        check_size(arch.name, preset, arch.preset)
    sized = arch.preset != DETECTED and not arch.assumed_preset
    if checkpoint is not None and sized and not {"resize", "crop"} & fields.keys():
        size = f"resize {shortly(preset.resize)}, crop {shortly(preset.crop)}"
        remarks.append(f"{arch.name}: {size}, as its own weights want; --resize and --crop, if these want another")
    check_channels(arch.name, preset, channels)
    return preset


def _of_clips(arch: Architecture, spec: ModelSpec) -> Preset:
    """The architecture's preset, with so many frames in a clip as are asked for.

    Raises: RequestError: it takes pictures.
    """
    preset = arch.preset
    if preset.frames is None and spec.task == "watch":  # the user's own code, that is said to take clips
        preset = replace(preset, frames=FRAMES)
    if spec.frames is None:
        return preset
    if preset.frames is None:
        raise RequestError(f"--frames: {arch.name} takes pictures (--task watch: if it takes clips)")
    return replace(preset, frames=spec.frames)


def _input_channels(arch: Architecture, net: nn.Module, size: tuple[int, ...], for_all: bool) -> int:
    """The number of channels: the first convolution's, as a rule. One before the stem takes more than pictures have.

    Code may cut pictures into patches before any convolution, or filter each channel: then numbers are tried out; also
    if it convolves nothing, and one mean is told `for_all` channels, so that it does not tell how many there are.
    """
    given = len(arch.preset.mean)
    convolutions = (nn.Conv2d, nn.Conv3d)
    convolved = [module.in_channels for module in net.modules() if isinstance(module, convolutions)]
    usual = next((count for count in convolved if count in (1, 3)), (convolved or [given])[0])
    if (usual == 3 and (convolved or not for_all)) or not arch.foreign:
        return usual
    # The usual pictures first: code may make them grey itself, and then runs on grey ones as well.
    likely = [count for count in (given, usual, 1) if count <= preset_values.MAX_CHANNELS]
    device = next((parameter.device for parameter in net.parameters()), None)
    tried = (count for count in likely if probing.takes(net, torch.zeros(2, count, *size[1:], device=device)))
    return next(tried, min(usual, *likely) if convolved else given)


def _assumed(fields: Mapping[str, Any]) -> str:
    """The parts of the usual preset that nobody has told otherwise, in words."""
    parts = {("resize", "crop"): "resize 256, crop 224", ("mean", "std"): "ImageNet's mean and std"}
    return ", ".join(words for keys, words in parts.items() if not {*keys} & fields.keys())


def _told(spec: ModelSpec, checkpoint: Checkpoint | None, channels: int, remarks: list[str]) -> dict[str, Any]:
    """The fields of the preset that a file gives, named or found beside the weights, and over them single options."""
    given: dict[str, Any] = {}
    if spec.preset not in (None, presets.NONE):
        given = presets.read(Path(spec.preset))
    elif spec.preset is None and checkpoint is not None:
        if beside := presets.beside(checkpoint.path, channels):
            given = presets.whole(beside[1])
            remarks.append(f"preset from {beside[0]}: {', '.join(given)}")
        said = "mean" in given or spec.mean is not None
        if not said and (unused := presets.unused_beside(checkpoint.path) or checkpoint.normalised):
            remarks.append(f"{unused}: its mean and std are not used: say them with --mean and --std")
    named = ("resize", "crop", "mean", "std", "interpolation")
    flags = {name: value for name in named if (value := getattr(spec, name)) is not None}
    fields: dict[str, Any] = {}
    for source in (given, flags):
        own, brought = presets.in_unit_range(presets.whole(source))
        fields |= own
        remarks += brought
    return fields
