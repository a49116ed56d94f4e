"""The arguments of `explain`, and those of them that a `Spec` holds."""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from reprlib import repr as shown
from typing import Any, SupportsIndex, TypeAlias, TypedDict

from torch import Tensor, nn

from camcli.errors import RequestError
from camcli.models import Model
from camcli.records import Fit
from camcli.specs import TARGETS, Augment, Fuse, Precision, Sanity

# One class or several: an id (NumPy's and a tensor's too), a name, "top1", "top3", …; or a function of what the network
# returned, (N,).
Target: TypeAlias = "str | SupportsIndex | Sequence[str | SupportsIndex] | Callable[[Any], Tensor]"
# Names by id, or a file of them.
Labels: TypeAlias = "Sequence[str] | Mapping[int, str] | str | os.PathLike[str] | None"
Network: TypeAlias = "str | nn.Module | Model | None"


class Options(TypedDict, total=False):
    """Further options, as in `camcli.Spec`.

    device: the device of a network that is named by its name. model_args: arguments of its constructor. multi_label:
    each class has a sigmoid of its own. output_key: the one of several outputs that holds the scores. quantity:
    "softmax": the probability; or another number of the task's, such as "value" of a policy. counterfactual: the
    evidence against the class. contrast: two classes, the evidence for the first rather than the second. similar_to: a
    picture's file that each picture is compared with. augment, fuse, eigen_smooth, neurons, sanity, seed, precision,
    exact: see `Spec`. task: "watch" for a network of your own that takes clips (N, C, T, H, W); frames, stride, start,
    end: the frames of a film that make a clip. bound: what goes into the network with each picture, by name: a
    question, a caption, the file of a partner.
    """

    device: str
    model_args: Mapping[str, Any]
    weights_key: str
    trust_checkpoint: bool
    multi_label: bool
    output_key: str | int
    quantity: str
    counterfactual: bool
    contrast: tuple[str | int, str | int]
    output_index: int
    similar_to: str | os.PathLike[str]
    augment: Sequence[Augment]
    eigen_smooth: bool
    fuse: Fuse
    neurons: bool
    sanity: Sanity
    seed: int
    precision: Precision
    exact: bool
    draft: int
    white: float
    task: str
    frames: int
    stride: int
    start: str
    end: str
    bound: Mapping[str, Any]


class How(Options, total=False):
    """All arguments of `explain` but the pictures and the model."""

    method: str | Sequence[str]
    target: Target
    layer: str | nn.Module | Sequence[str | nn.Module] | None
    preset: Any
    labels: Labels
    weights: str
    top: int
    fit: Fit
    batch_size: int | None
    progress: bool


def spec_fields(target: Target, options: Options) -> dict[str, Any]:
    """The fields of a `Spec` that the arguments give, in its own types."""
    fields: dict[str, Any] = dict(options)
    if unknown := fields.keys() - Options.__annotations__.keys():
        raise TypeError(f"explain() got an unexpected keyword argument {min(unknown)!r}")
    if fields.get("quantity", "logit") in TARGETS:
        fields["target"] = fields.pop("quantity", "logit")
    if callable(target):
        fields["target"] = f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}"
    elif not {"contrast", "output_index", "similar_to"} & fields.keys():
        several = isinstance(target, Iterable) and not isinstance(target, str) and getattr(target, "ndim", 1) > 0
        chosen: Any = target if several else [target]
        fields["classes"] = tuple(_class("target", one) for one in chosen)
    if "contrast" in fields:
        fields["contrast"] = tuple(_class("contrast", one) for one in fields["contrast"])
    if "model_args" in fields:
        fields["model_args"] = tuple((key, str(value)) for key, value in fields["model_args"].items())
    if "output_key" in fields:
        fields["output_key"] = str(fields["output_key"])
    if "similar_to" in fields:
        fields["similar_to"] = os.fspath(fields["similar_to"])
    if "augment" in fields:
        fields["augment"] = tuple(fields["augment"])
    fields["bound"] = tuple((name, str(value)) for name, value in bound(options).items())
    return fields


def bound(options: Options) -> dict[str, Any]:
    """What goes in with each picture. Raises: RequestError: it is no JSON data and no name of a file."""
    told = {
        name: os.fspath(own) if isinstance(own, os.PathLike) else own for name, own in options.get("bound", {}).items()
    }
    for name, value in told.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise RequestError(
                f"bound: {name} is a {kind}: give text, numbers, lists of them, or a file's name"
            ) from None
    return told


def _class(argument: str, asked: Any) -> str:
    """A class as a `Spec` names it, from its name or its id: Python's, NumPy's, or a tensor's only number.

    Raises: RequestError: it is neither.
    """
    if isinstance(asked, str):
        return asked
    if not isinstance(asked, bool) and not str(getattr(asked, "dtype", "")).endswith("bool"):
        with suppress(TypeError):
            return f"id:{operator.index(asked)}"
    raise RequestError(
        f"{argument}: {shown(asked)} is no class: give an id, which is a whole number, or a name, or several of these"
    )


def names(labels: Sequence[str] | Mapping[int, str]) -> tuple[str, ...]:
    if isinstance(labels, Mapping):
        ids = {int(key): str(name) for key, name in labels.items()}
        if sorted(ids) != list(range(len(ids))):
            raise RequestError("labels: ids from 0 on, each once, are to be given names")
        return tuple(ids[i] for i in range(len(ids)))
    return tuple(map(str, labels))


def layers(asked: Any, net: nn.Module, given: Any) -> tuple[str, ...]:
    """The layers' names in the network, which has been taken out of any wrapper `given`, and may be a copy.

    Raises: RequestError: a module is none of the network's.
    """
    if asked is None:
        return ()
    return tuple(_layer_name(one, net, given) for one in ([asked] if isinstance(asked, (str, nn.Module)) else asked))


def _layer_name(layer: str | nn.Module, net: nn.Module, given: Any) -> str:
    name = layer if isinstance(layer, str) else _name_of(layer, net)
    if name is None and isinstance(given, nn.Module):
        name = _name_of(layer, given)
    if not name and not isinstance(layer, str):
        raise RequestError(f"layer: {type(layer).__name__} is no module of the network")
    known = dict(net.named_modules())
    bare = re.sub(r"^(?:(?:module|_orig_mod)\.)+", "", str(name))  # DataParallel and torch.compile put these before
    return bare if name not in known and bare in known else str(name)


def _name_of(module: Any, net: nn.Module) -> str | None:
    return next((name for name, own in net.named_modules() if own is module), None)
