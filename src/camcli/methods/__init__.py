"""The registry: a method is a pure function `Evidence -> Tensor` in a file of its own, with one decorator.

File `guided_grad_cam.py` is the method "guided-grad-cam". `names()` lists files and the entry-point group
"camcli.methods" without importing them; `get(name)` imports exactly one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from camcli.errors import SetupError, unknown
from camcli.network import parts
from camcli.records import Kind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from torch import Tensor

    from camcli.network.evidence import Evidence

ENTRY_POINTS = "camcli.methods"
Cost = int | str
# Stands for every method that applies to the model and goes with the other flags.
ALL = "all"
# The share of a score that rounding may be: if nothing changes it by more, there is nothing to show.
ROUNDING = 1e-6
PAPER = ("grad-cam", "guided-backprop", "guided-grad-cam")


@dataclass(frozen=True, slots=True)
class Method:
    """A method: facts that the engine needs, and facts for people who choose one.

    `needs` names the parts of Evidence that `function` reads (`camcli.network.parts`).
    forwards, backwards: passes for one target, through the whole network or from the layer on, the prediction's own
    forward included. heads: runs of the part after the layer. Each is a number, or a formula in C, the layer's
    channels. caveat: when not to use it. signed: why activations below zero, if there are any, put its answer in
    doubt. rounding: why rounding always puts it so. pooled: it weighs channels by a mean over all places, which can't
    tell one place of the picture from another. A row says which of them holds for it.
    """

    name: str
    kind: Kind
    needs: frozenset[str]
    paper: str
    caveat: str
    forwards: Cost
    backwards: Cost
    heads: Cost
    function: Callable[[Evidence], Tensor]
    signed: str = ""
    rounding: str = ""
    pooled: bool = False

    @property
    def at_layer(self) -> bool:
        return bool(self.needs & (parts.AT_LAYER | parts.AT_STAGES))

    @property
    def at_stages(self) -> bool:
        return bool(self.needs & parts.AT_STAGES)

    @property
    def sums_products(self) -> bool:
        """True if its map is a sum of products of A and the target's own dy/dA, and has their size."""
        return self.needs - parts.COMBINES == {"acts", "grads"}

    @property
    def bends_relu(self) -> bool:
        return bool(self.needs & parts.BENDS_RELU)

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").strip().split("\n")[0]


_registered: dict[str, Method] = {}


def method(
    *,
    kind: Kind,
    needs: set[str],
    paper: str,
    caveat: str = "",
    signed: str = "",
    rounding: str = "",
    pooled: bool = False,
    forwards: Cost = 1,
    backwards: Cost = 1,
    heads: Cost = 0,
) -> Callable[[Callable[[Evidence], Tensor]], Callable[[Evidence], Tensor]]:
    """Register a method under its file's name; the function is returned unchanged, so that methods can build on it.

    kind "map": returns (N, h, w) >= 0, at the layer or on the images. "saliency": (N, 3, H, W), signed, on the images.
    """

    def register(function: Callable[[Evidence], Tensor]) -> Callable[[Evidence], Tensor]:
        name = function.__module__.rsplit(".", 1)[-1].replace("_", "-")
        if name in _registered:
            raise ValueError(f"two methods are called {name!r}")
        if unheard_of := needs - parts.ALL:
            raise ValueError(f"{name}: Evidence has no {', '.join(sorted(unheard_of))}")
        _registered[name] = Method(
            name, kind, frozenset(needs), paper, caveat, forwards, backwards, heads, function, signed, rounding, pooled
        )
        return function

    return register


def names() -> list[str]:
    """All methods, the paper's first, other packages' last; nothing is imported."""
    own = _own()
    return [*PAPER, *sorted(own.keys() - set(PAPER)), *sorted(_plugins().keys() - own.keys())]


def canonical(name: str) -> str:
    """A method's own name, from any spelling of it: GradCAM, grad_cam, Grad-CAM++. Other words stay as they are."""
    known = [*names(), ALL]
    if name in known:
        return name
    alike = [own for own in known if _plain(own) == _plain(name)]
    return alike[0] if len(alike) == 1 else name


def asked(given: Iterable[str]) -> tuple[str, ...]:
    """The methods' own names, each once; `ALL` alone if it is among them."""
    own = tuple(dict.fromkeys(map(canonical, given)))
    return (ALL,) if ALL in own else own


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\+\+|plus[-_ ]?plus", "pp", name.lower()))


def get(name: str) -> Method:
    """The method of that name, however it is spelled; its file is imported on first use.

    Raises:
        RequestError: there is none.
        SetupError: another package offers it, and its code raises or registers no such method.
    """
    name = canonical(name)
    if name not in names():
        raise unknown("method", name, names(), "camcli methods")
    if name not in _registered:
        if name in (own := _own()):
            import_module(own[name])
        else:
            _load(_plugins()[name])
    return _registered[name]


def _load(plugin: EntryPoint) -> None:
    try:
        plugin.load()
    except Exception as error:  # anything at all may come out of code that is not ours
        raise SetupError(f"method {plugin.name}: {plugin.value} raised {type(error).__name__}: {error}") from error
    if plugin.name not in _registered:
        raise SetupError(f"method {plugin.name}: {plugin.value} registers no method of that name")


def _own() -> dict[str, str]:
    return {info.name.replace("_", "-"): f"{__name__}.{info.name}" for info in iter_modules(__path__)}


@cache
def _plugins() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # reading it takes as long as all else that help imports

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
