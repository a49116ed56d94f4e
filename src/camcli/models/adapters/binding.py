"""What goes into a network together with a picture, as the network itself says it: a question, a caption, a partner.

A network that takes more than pictures has

    takes: a mapping of names to examples, which the network can be tried with; None: a picture is what goes in.
    encode(**values): the tensors of one picture's values, by these names, of the same shapes for all values.

and is called with (pictures (N, C, H, W), and each of these tensors for N pictures). Without `encode` the values go in
as tensors of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from sys import stderr
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from camcli.errors import InputError, SetupError
from camcli.tasks.bound import given
from camcli.tasks.declared import said
from camcli.tasks.frozen import frozen


def taken(net: nn.Module) -> Mapping[str, Any]:
    """The names of what goes in besides the picture, each with its example."""
    takes = said(net, "takes")
    if isinstance(takes, (str, list, tuple, set)) and callable(said(net, "encode")):
        kind = type(takes).__name__
        raise SetupError(
            f"{type(net).__name__}.takes is a {kind}: write a dict, each name with an example to try it with"
        )
    return takes if isinstance(takes, Mapping) and all(isinstance(name, str) for name in takes) else {}


def encoded(net: nn.Module, values: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The tensors of one picture's values, on the CPU or wherever the network makes them.

    Raises: InputError: the network's own code does not take these values, or makes no tensors of them.
    """
    encode = said(net, "encode")
    try:
        with torch.no_grad(), frozen(net) if net.training else nullcontext(), redirect_stdout(stderr):
            made = encode(**values) if callable(encode) else tuple(map(torch.as_tensor, values.values()))
    except Exception as error:  # noqa: BLE001  code that is not ours
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        told = ", ".join(f"{name} {value!r}" for name, value in values.items() if not isinstance(value, Tensor))
        first = reason.splitlines()[0] if reason else "not taken"
        raise InputError("bind", "unfit", f"{first} ({told or 'partner'})") from None
    tensors = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        kinds = ", ".join(type(part).__name__ for part in tensors)
        raise InputError("bind", "unfit", f"encode gives {kinds}, not tensors")
    return tensors


def try_with_example(net: nn.Module, view: Sequence[int], device: str) -> RemovableHandle | None:
    """Let the network be called with pictures alone: its own examples go in with them. `view`: (C, H, W) of a picture.

    None: it takes nothing else. Raises: SetupError: its own code does not take its own examples.
    """
    example = example_of(net, view, device)
    return given(net, example) if example else None


def example_of(net: nn.Module, view: Sequence[int], device: str) -> list[Tensor]:
    """The tensors (1, …) of its own examples; none if it takes pictures alone. Raises: as `try_with_example`."""
    takes = taken(net)
    if not takes:
        return []
    noise = torch.randn(tuple(view), generator=torch.Generator().manual_seed(0)).to(device)
    values = {name: noise if example is None else example for name, example in takes.items()}
    try:
        return [tensor[None].to(device) for tensor in encoded(net, values)]
    except InputError as error:
        raise SetupError(f"{type(net).__name__} does not take its own example: {error}") from None
