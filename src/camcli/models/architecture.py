"""A network by name, before its weights: what each source of models (torchvision, timm, …) answers with."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camcli.records import Preset

if TYPE_CHECKING:
    from torch import nn

Args = dict[str, Any]

# What nearly every classifier is trained with.
USUAL_PRESET = Preset(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """How a network is made, and what belongs to the weights that were asked for.

    build: the network, in no particular state; its parameters mean nothing unless told to `initialise`.
    weights: the enum member, or "none". fetch: the file of these weights, downloaded if need be (shown if told so);
    None where `build` gives them itself (`cached` then says from which file). labels: None where only the weights
    tell. rename: names in older or foreign files -> the network's, None to drop one. probed: only a forward tells
    how its output is to be read. assumed_preset: it is the usual one, for want of a word from the network.
    package: the library that it comes from. foreign: it is code that nobody here has seen, so what is assumed of
    networks is tried on it.
    """

    name: str
    build: Callable[[bool], nn.Module]
    preset: Preset
    labels: tuple[str, ...] | None
    weights: str
    fetch: Callable[[bool], Path] | None = None
    cached: Callable[[], Path | None] | None = None
    rename: Callable[[str], str | None] = str
    fixed_size: bool = False
    probed: bool = False
    assumed_preset: bool = False
    package: str = "torchvision"
    foreign: bool = False
    remarks: tuple[str, ...] = ()


def parsed(args: Sequence[tuple[str, str]]) -> Args:
    """`--model-arg key=value` pairs: Python literals where they are some, else text."""
    return {key: _literal(value) for key, value in args}


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
