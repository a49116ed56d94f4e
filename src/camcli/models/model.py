"""A network by name, before its weights (each source of models gives one), and a network that is loaded."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camcli.records import Preset

if TYPE_CHECKING:
    from torch import nn

    from camcli.models.weights.checkpoints import Digest
    from camcli.tasks.task import Task

Args = dict[str, Any]

# Detectors resize and normalise pictures themselves. The size is that of the picture that they are tried with,
# which is no square, so that padding to one shows.
DETECTED = Preset((240, 320), (240, 320), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")

# Nearly every classifier is trained with this.
USUAL_PRESET = Preset(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


def _as_it_is(net: nn.Module) -> nn.Module:
    return net


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """The making of a network, and what belongs to the weights that were asked for.

    build: the network, in no particular state; its parameters mean nothing unless told to `initialise`.
    weights: the enum member, or "none". fetch: the file of these weights, downloaded if need be (shown if told so);
    None if `build` gives them itself (`cached` then says from which file). labels: None if only the weights
    tell. rename: names in older or foreign files -> the network's, None to drop one. probed: only a forward tells
    how its output is to be read. assumed_preset: it is the usual one, since the network names none.
    read: gives the reading of a built network's output and the number of classes, told whether several labels can be
    true; None: its last layer tells, or it is probed. bind: puts what goes in with each picture, such as texts, into
    the network once it has its weights. whole: a file must hold all that it is of; no other head is put in. package:
    the library that it comes from. foreign: it is code that nobody here has seen, so assumptions about networks are
    tried on it.
    """

    name: str
    build: Callable[[bool], nn.Module]
    preset: Preset
    labels: tuple[str, ...] | None
    weights: str
    fetch: Callable[[bool], Path] | None = None
    cached: Callable[[], Path | None] | None = None
    rename: Callable[[str], str | None] = str
    read: Callable[[nn.Module, bool], tuple[Task, int]] | None = None
    bind: Callable[[nn.Module], nn.Module] = _as_it_is
    whole: bool = False
    fixed_size: bool = False
    probed: bool = False
    assumed_preset: bool = False
    package: str = "torchvision"
    foreign: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded classifier: `net` in eval mode, frozen, on `device`; `weights` the enum member, file name or "none".

    task: how its output is read. fixed_size: the network takes only the preset's crop size. alone: it takes one
    picture at a time. foreign: it is the user's own code. wordnet_ids: of its classes, if they are ImageNet's.
    digest: of the file of the weights. package: the library that the architecture comes from. remarks: what the user
    should know.
    """

    name: str
    net: nn.Module
    preset: Preset
    labels: tuple[str, ...]
    weights: str
    task: Task
    device: str = "cpu"
    fixed_size: bool = False
    alone: bool = False
    foreign: bool = False
    wordnet_ids: tuple[str, ...] | None = None
    digest: Digest | None = None
    package: str = "torchvision"
    remarks: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """True if all that is done to it is tested on this very architecture: torchvision's, and the bundled one."""
        return not self.foreign and self.package != "timm"


def parsed(args: Sequence[tuple[str, str]]) -> Args:
    """The values of `--model-arg key=value` by key: Python literals if they are such, else text."""
    return {key: _literal(value) for key, value in args}


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
