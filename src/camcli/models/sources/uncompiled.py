"""Importing torchvision without the compiler that it imports for one function.

torchvision's roi_align asks `torch._dynamo` whether a device can be compiled for, and so every import of torchvision
loads torch's compiler: more modules than torch itself has. Meanwhile a stand-in takes its place, whose functions fetch
the real ones when they are called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_NAMES = ("torch._dynamo", "torch._dynamo.utils")


class _StandIn(ModuleType):
    """A module of functions that are not loaded yet."""

    def __getattr__(self, function: str) -> Any:
        if function.startswith("__"):
            raise AttributeError(function)

        def deferred(*args: Any, **kwargs: Any) -> Any:
            _remove()
            return getattr(import_module(self.__name__), function)(*args, **kwargs)

        return deferred


@contextmanager
def without_compiler() -> Iterator[None]:
    """Gives imports inside the block the stand-in, unless the compiler is loaded already."""
    if _NAMES[0] in sys.modules:
        yield
        return
    for name in _NAMES:
        sys.modules[name] = _StandIn(name)
    try:
        yield
    finally:
        _remove()


def _remove() -> None:
    for name in _NAMES:
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
