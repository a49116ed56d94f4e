"""A network that was pickled whole, used as the network that it is: only of a file that the user trusts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from camcli.models import timm_zoo, user_code
from camcli.models.architecture import USUAL_PRESET, Architecture


def architecture(made: nn.Module, file: Path) -> Architecture:
    """The network itself, in float32, whatever wraps it taken off.

    Raises:
        SetupError: its layers can't be looked into.
    """
    net = user_code.unwrapped(made, str(file)).float()
    config = getattr(net, "pretrained_cfg", None) or getattr(net, "default_cfg", None)
    preset = timm_zoo.preset_of(config) if isinstance(config, Mapping) else None
    kind = f"{type(net).__module__}.{type(net).__qualname__}"
    return Architecture(
        name=type(net).__name__,
        build=lambda initialise: net,
        preset=preset or USUAL_PRESET,
        labels=None,
        weights=file.name,
        probed=True,
        assumed_preset=preset is None,
        remarks=(f"{file} is a whole pickled network ({kind}), used as it is",),
    )
