"""A file's tensors put in their places in a network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from camcli.errors import SetupError
from camcli.models.weights.fitting import MAX_LISTED, Fit, Rename, last_part, meet, shapes_of, sizes_in
from camcli.models.weights.heads import Head
from camcli.models.weights.misfits import differences, hint, in_the_way


def fill(
    net: nn.Module, tensors: Mapping[str, Tensor], what: str, rename: Rename = str, *, as_it_is: bool = False
) -> Fit:
    """Hand all tensors of a file to the network, the head rebuilt if the file's is another, but not `as_it_is`.

    `what` starts the error: "weights.pth does not fit resnet18".

    Raises:
        SetupError: a tensor is missing, left over or of another shape, beyond a rebuilt head; or it is not known which
            of several networks in the file is meant.
    """
    own = net.state_dict()
    fit, tensors = meet(shapes_of(own), tensors, rename, as_it_is=as_it_is)
    if fit.problems:
        found = differences(fit, limit=MAX_LISTED) + hint(fit, own, shapes_of(tensors))
        raise SetupError(f"{what}: {found}; see `camcli inspect`")
    if obstacle := in_the_way(fit, tensors):
        raise SetupError(f"{what} as it is: {obstacle}")
    for head in fit.heads:
        if not _can_stand_in(net.get_submodule(head.path), head):
            kind = type(net.get_submodule(head.path)).__name__
            raise SetupError(
                f"{what}: the head {head.path} is a {kind}, which a plain Linear "
                f"({head.weight} {sizes_in(head.shape)}) can't stand in for: "
                "make the network with the file's number of classes (--model-arg)"
            )
    for head in fit.heads:
        _put(net, head)
    if fit.stem is not None:
        _widen(net.get_submodule(fit.stem.rpartition(".")[0]), tensors[fit.names[fit.stem]])
    state = OrderedDict((name, _shaped(tensors[theirs], own.get(name))) for name, theirs in fit.names.items())
    state.update(
        (name, torch.zeros_like(v))
        for name, v in own.items()
        if last_part(name) == "num_batches_tracked" and name not in state
    )
    state._metadata = _versions(net, tensors, fit.prefix)  # type: ignore[attr-defined]
    net.load_state_dict(state, strict=True, assign=True)
    net.float()  # half-precision files; a no-op otherwise
    return fit


@contextmanager
def no_initialisation() -> Iterator[None]:
    """Construct networks without drawing random weights that `fill` would throw away (seconds for VGG)."""
    with ExitStack() as stack:
        for name in dir(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(patch.object(nn.init, name, _unchanged))
        yield


def _shaped(value: Tensor, own: Tensor | None) -> Tensor:
    """The value; one number alone, or in a list of one, stands as the network has it."""
    return value if own is None or value.ndim + own.ndim != 1 else value.reshape(own.shape)


def _can_stand_in(module: nn.Module, head: Head) -> bool:
    """True if a plain Linear, or 1x1 convolution, computes what the module there does, weights apart.

    A class of the user's own may compute anything with a weight of that shape.
    """
    if head.flattened:
        return type(module) is nn.Sequential
    ours = type(module).__module__.startswith(("torch.", "timm."))
    return ours and isinstance(module, nn.Conv2d if len(head.shape) == 4 else nn.Linear)


def _put(net: nn.Module, head: Head) -> None:
    """Puts an empty module for the head's tensors in its place."""
    classes, features = head.shape[:2]
    with no_initialisation():
        module: nn.Module = nn.Linear(features, classes, bias=head.bias is not None)
        if len(head.shape) == 4:
            module = nn.Conv2d(features, classes, 1, bias=head.bias is not None)
    net.set_submodule(head.path, nn.Sequential(nn.Flatten(1), module) if head.flattened else module)


def _widen(stem: nn.Module, weight: Tensor) -> None:
    assert isinstance(stem, nn.Conv2d)
    stem.in_channels = weight.shape[1] * stem.groups
    stem.weight = nn.Parameter(torch.empty_like(weight), requires_grad=False)


def _versions(net: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, dict[str, int]]:
    """The modules' versions, the file's or else today's: modules that changed over the years read them."""
    today: dict[str, dict[str, int]] = getattr(net.state_dict(), "_metadata", {})
    saved: dict[str, dict[str, int]] = getattr(tensors, "_metadata", {})
    below = prefix.removesuffix(".")
    return today | {
        name.removeprefix(below).removeprefix("."): value for name, value in saved.items() if name.startswith(below)
    }


def _unchanged(tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
    return tensor
