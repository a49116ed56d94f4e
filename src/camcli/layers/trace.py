"""The module runs of one forward, in order: the record that a layer is chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from camcli.layers.layouts import Joined
from camcli.network.layer import Layout


@dataclass(frozen=True, slots=True)
class Run:
    """One module's output in one forward. Equal `tensor` numbers mean the same tensor; -1: not a tensor or no graph.

    `call`: the number of the module's run in this forward, from 0. `reaches`: a path leads from it to the score.
    `on_every_path`: every path from the picture's positions to the score crosses it. `in_attention`: the module is part
    of an attention, so its output may be queries or keys. `never_negative`: it is on every path and holds no number
    below zero, whatever the picture. `layouts`: its readings as a map larger than 1x1, the likeliest first: shapes
    alone can leave two.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    tensor: int
    call: int
    reaches: bool
    on_every_path: bool
    in_attention: bool
    never_negative: bool = False
    layouts: tuple[Layout, ...] = ()

    @property
    def layout(self) -> Layout | None:
        """The likeliest reading as a map; None if it is no map."""
        return next(iter(self.layouts), None)


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward: module runs in the order they finished, and all that the guided rule would find.

    `images` is the shape of the input: several pictures if that can be, so that a table of (1, h, w, C) is no picture's
    map. `narrowed`: the score is read from a class token, so the patches don't count after the last attention.
    `rectifiers` counts ReLU and ReLU6 calls, `others` the calls of other activations by name. `normalised` names each
    convolution that only a batch norm reads, and that batch norm, if both run once. `frozen` names modules that ran
    without a graph because forward switches it off (torch.no_grad); `cut` says why no gradient reaches the picture, ""
    if one does. `scripted` names modules that TorchScript has compiled. `joined`: class tokens and registers put beside
    the patches, in order. `read`: the class token that the score is read from, by the number of tokens. `scores`: the
    number of classes that have one; 0: another number is explained. `levels`: the places among `runs` of the maps that
    a detector's scores and boxes are read from, before its head. `headless`: the network gives an embedding, so
    none of its modules is a head.
    """

    images: tuple[int, ...]
    runs: tuple[Run, ...]
    narrowed: bool
    rectifiers: int
    others: dict[str, int]
    normalised: tuple[tuple[str, str], ...] = ()
    frozen: tuple[str, ...] = ()
    scripted: tuple[str, ...] = ()
    cut: str = ""
    joined: tuple[Joined, ...] = ()
    read: Mapping[int, int] = field(default_factory=dict)
    scores: int = 0
    levels: tuple[int, ...] = ()
    headless: bool = False

    def runs_of(self, name: str) -> list[Run]:
        """All runs of one module, in order."""
        return [run for run in self.runs if run.name == name]

    def last(self, name: str) -> Run | None:
        return next((run for run in reversed(self.runs) if run.name == name), None)
