"""Things saved beside weights by training loops, read without running any: arguments, paths, dates, numpy's numbers.

torch's own reader of weights takes a list of names that a pickle may ask for. The names here are read as stand-ins of
this file, never as what they name: nothing is imported for them, no default factory is kept, a path never meets a
disk, and numpy's dtypes, which a pickle can make unsafe, are read by their names alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_DTYPE = re.compile(r"[?]|[biufcSU][0-9]{1,6}")


class Attributes:
    """An object that is nothing but its attributes: argparse's Namespace, types' SimpleNamespace."""

    def __init__(self, *ignored: object) -> None:
        self.held: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        self.held = dict(state) if isinstance(state, dict) else {}


class Text(str):
    """A class of texts: torch's version."""

    def __new__(cls, text: object = "", *ignored: object) -> Text:
        return super().__new__(cls, text if isinstance(text, str) else "")


class Dtype:
    """numpy's dtype: its name and byte order."""

    def __init__(self, name: object = "", *ignored: object) -> None:
        self.name, self.order = name if isinstance(name, str) else "", "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]

    def read(self, data: object) -> np.ndarray | None:
        """The numbers or texts in these bytes; None if they are of a kind that is not read."""
        import numpy as np

        if not _DTYPE.fullmatch(self.name) or not isinstance(data, bytes):
            return None
        return np.frombuffer(data, np.dtype(self.order + self.name)) if data else np.zeros(0)


class Array:
    """numpy's array, as the list of its elements."""

    def __init__(self) -> None:
        self.elements: list[Any] = []
        self.shape: tuple[int, ...] = ()

    def __setstate__(self, state: object) -> None:
        """Takes numpy's own: (version, shape, dtype, whether Fortran's order, bytes or the list of objects)."""
        if not isinstance(state, tuple) or len(state) != 5:
            return
        self.shape = tuple(state[1]) if isinstance(state[1], tuple) else ()
        read = state[2].read(state[4]) if isinstance(state[2], Dtype) else None
        self.elements = list(state[4]) if isinstance(state[4], list) else [] if read is None else read.tolist()


def plain(value: Any) -> Any:
    """The value as dicts, lists, texts and numbers, as far as it is read."""
    if isinstance(value, Attributes):
        return value.held
    if isinstance(value, Array):
        return value.elements
    return str(value) if isinstance(value, PurePath) else value


def _scalar(dtype: object = None, data: object = b"", *ignored: object) -> object:
    read = dtype.read(data) if isinstance(dtype, Dtype) else None
    return read[0].item() if read is not None and len(read) == 1 else None


def _array(*ignored: object) -> Array:
    return Array()


def _dict(*ignored: object) -> dict[Any, Any]:
    return {}


def _list(items: object = (), *ignored: object) -> list[Any]:
    return list(items) if isinstance(items, (list, tuple)) else []


def _bytes(*ignored: object) -> bytes:
    return b""


def _unread(*ignored: object) -> None:
    """Stands for a class named as a value (a default factory, the type of an option) or a date: nothing looks at it."""


_STAND_INS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("argparse.Namespace", "types.SimpleNamespace"), Attributes),
    "collections.defaultdict": _dict,
    **dict.fromkeys(("collections.deque", "builtins.frozenset"), _list),
    **{f"pathlib{module}.{name}PosixPath": PurePosixPath for module in ("", "._local") for name in ("", "Pure")},
    **{f"pathlib{module}.{name}WindowsPath": PureWindowsPath for module in ("", "._local") for name in ("", "Pure")},
    **{f"datetime.{name}": _unread for name in ("datetime", "date", "time", "timedelta", "timezone")},
    **{f"builtins.{name}": _unread for name in ("int", "float", "str", "bool", "list", "tuple", "dict")},
    "builtins.bytes": _bytes,  # an empty one
    "torch.torch_version.TorchVersion": Text,
    "numpy.dtype": Dtype,
    "numpy.ndarray": Array,
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
}


def allowed() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The stand-ins that torch's reader may hand out, as `torch.serialization.safe_globals` takes them."""
    return [(stand_in, name) for name, stand_in in _STAND_INS.items()]


def knows(name: str) -> bool:
    return name in _STAND_INS
