"""A network that is in memory already: used where it is, and left as it was."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import torch
from torch import nn

from camcli.errors import SetupError
from camcli.models.model import USUAL_PRESET, Architecture
from camcli.models.sources import timm, user_code
from camcli.records import Preset

# A row says this in the place of a file.
WEIGHTS = "in memory"
_UNCOPIED = (RuntimeError, TypeError, AttributeError, ValueError)


def architecture(given: nn.Module) -> Architecture:
    """The network inside any wrapper; as a copy if it is not float32 throughout, or compiled in parts.

    Raises: SetupError: its layers can't be looked into.
    """
    net = user_code.unwrapped(given, type(given).__name__)
    name = type(net).__name__
    package = _package(net)
    if not user_code.is_plain(net):
        try:
            found = user_code.of_network(deepcopy(net), name, WEIGHTS)
        except _UNCOPIED as error:
            reason = str(error).splitlines()[0]
            raise SetupError(
                f"{name} is not float32 throughout, or compiled in parts, and can't be copied ({reason}): "
                "give it as float32, uncompiled"
            ) from None
    else:
        config = getattr(net, "pretrained_cfg", None) or getattr(net, "default_cfg", None)
        preset = timm.preset_of(config) if isinstance(config, Mapping) else None
        found = Architecture(
            name=name,
            build=lambda initialise: net,
            preset=preset or _sized(net),
            labels=None,
            weights=WEIGHTS,
            probed=True,
            assumed_preset=preset is None,
        )
    return replace(found, package=package or "torchvision", foreign=package is None, fixed_size=_is_of_one_size(net))


def device_of(net: nn.Module) -> torch.device:
    """The device of its first tensor; the CPU if it has none."""
    return next((tensor.device for tensor in chain(net.parameters(), net.buffers())), torch.device("cpu"))


def _package(net: nn.Module) -> str | None:
    """The library whose architecture it is, changed by torch's own layers at most: that is tested here. Else None."""
    package = type(net).__module__.partition(".models.")[0]
    if package not in ("torchvision", "timm"):
        return None
    libraries = ("torch", package)
    own = all(
        type(module).__module__.partition(".")[0] in libraries
        and "forward" not in vars(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
        for module in net.modules()
    )
    return package if own else None


def _is_of_one_size(net: nn.Module) -> bool:
    config = getattr(net, "default_cfg", None)
    known = bool(config.get("fixed_input_size")) if isinstance(config, Mapping) else False
    return known or _side_of(net) is not None


def _sized(net: nn.Module) -> Preset:
    side = _side_of(net)
    return USUAL_PRESET if side is None else replace(USUAL_PRESET, resize=side, crop=side)


def _side_of(net: nn.Module) -> int | None:
    """The one size of pictures that torchvision's vision transformers are built for."""
    side = getattr(net, "image_size", None)
    return side if type(net).__module__ == "torchvision.models.vision_transformer" and isinstance(side, int) else None
