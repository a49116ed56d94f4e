"""A network that is in memory already: used where it is, and left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import nn

from camcli.errors import SetupError
from camcli.models.adapters import binding
from camcli.models.model import Architecture
from camcli.models.sources import user_code

# A row says this in the place of a file.
WEIGHTS = "in memory"
_UNCOPIED = (RuntimeError, TypeError, AttributeError, ValueError)


def architecture(given: nn.Module) -> Architecture:
    """The network inside any wrapper; as a copy if it is not float32 throughout, compiled in parts, or made under
    torch.inference_mode.

    Raises: SetupError: its layers can't be looked into.
    """
    net = user_code.unwrapped(given, type(given).__name__)
    found = _described(net, type(net).__name__)
    package, side = _package(net), _side_of(net)
    if found.assumed_preset and side is not None:
        found = replace(found, preset=replace(found.preset, resize=side, crop=side))
    fixed = side is not None or bool((user_code.config_of(net) or {}).get("fixed_input_size"))
    return replace(found, package=package or "torchvision", foreign=package is None, fixed_size=fixed)


def _described(net: nn.Module, name: str) -> Architecture:
    if user_code.is_plain(net):
        return user_code.described(net, name, WEIGHTS)
    try:
        return user_code.of_network(deepcopy(net), name, WEIGHTS)
    except _UNCOPIED as error:
        reason = str(error).splitlines()[0]
        raise SetupError(
            f"{name} is not float32 throughout, compiled in parts, or made under torch.inference_mode, and can't be "
            f"copied ({reason}): give it as float32, uncompiled, made outside of inference_mode"
        ) from None


@contextmanager
def tried(given: Any) -> Iterator[None]:
    """Let a network that takes more than pictures be called with pictures alone, for the length of the block."""
    handle = None
    if isinstance(given, nn.Module):
        net = user_code.unwrapped(given, type(given).__name__)
        view = user_code.described(net, "", WEIGHTS).preset.view_shape
        handle = binding.try_with_example(net, view, str(device_of(net)))
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


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


def _side_of(net: nn.Module) -> int | None:
    """The one size of pictures that torchvision's vision transformers are built for."""
    side = getattr(net, "image_size", None)
    return side if type(net).__module__ == "torchvision.models.vision_transformer" and isinstance(side, int) else None
