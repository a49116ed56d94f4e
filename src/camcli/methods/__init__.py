"""The registry: a method is a pure function `Evidence -> Tensor` in a file of its own, with one decorator.

File `guided_grad_cam.py` is the method "guided-grad-cam". `names()` lists files and the entry-point group
"camcli.methods" without importing them; `get(name)` imports exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from camcli.errors import unknown
from camcli.records import Kind

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.evidence import Evidence

ENTRY_POINTS = "camcli.methods"
PAPER = ("grad-cam", "guided-backprop", "guided-grad-cam")
AT_LAYER = frozenset({"acts", "grads"})
TO_PIXELS = frozenset({"input_grads", "guided_grads", "deconv_grads"})
BENDS_RELU = frozenset({"guided_grads", "deconv_grads"})


@dataclass(frozen=True, slots=True)
class Method:
    """What the engine must know of a method. `needs` names the parts of Evidence that `function` reads."""

    name: str
    kind: Kind
    needs: frozenset[str]
    paper: str
    forwards: int
    backwards: int
    function: Callable[[Evidence], Tensor]

    @property
    def at_layer(self) -> bool:
        return bool(self.needs & AT_LAYER)

    @property
    def to_pixels(self) -> bool:
        return bool(self.needs & TO_PIXELS)

    @property
    def bends_relu(self) -> bool:
        return bool(self.needs & BENDS_RELU)

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").strip().split("\n")[0]


_registered: dict[str, Method] = {}


def method(
    *, kind: Kind, needs: set[str], paper: str, forwards: int = 1, backwards: int = 1
) -> Callable[[Callable[[Evidence], Tensor]], Callable[[Evidence], Tensor]]:
    """Register a method under its file's name; the function is returned unchanged, so that methods can build on it.

    kind "map": returns (N, h, w) >= 0 at the layer. "saliency": (N, 3, H, W), signed, on the images.
    """

    def register(function: Callable[[Evidence], Tensor]) -> Callable[[Evidence], Tensor]:
        name = function.__module__.rsplit(".", 1)[-1].replace("_", "-")
        if name in _registered:
            raise ValueError(f"two methods are called {name!r}")
        if unheard_of := needs - AT_LAYER - TO_PIXELS - {"images"}:
            raise ValueError(f"{name}: Evidence has no {', '.join(sorted(unheard_of))}")
        _registered[name] = Method(name, kind, frozenset(needs), paper, forwards, backwards, function)
        return function

    return register


def names() -> list[str]:
    """All methods, the paper's first; nothing is imported."""
    own = [info.name.replace("_", "-") for info in iter_modules(__path__)]
    return sorted(own, key=lambda name: (name not in PAPER, PAPER.index(name) if name in PAPER else name)) + sorted(
        set(_plugins()) - set(own)
    )


def get(name: str) -> Method:
    """The method of that name; its file is imported on first use. Raises: RequestError: there is none."""
    if name not in names():
        raise unknown("method", name, names(), "camcli methods")
    if name not in _registered:
        plugin = _plugins().get(name)
        if plugin is not None:
            plugin.load()
        else:
            import_module(f"{__name__}.{name.replace('-', '_')}")
    return _registered[name]


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
