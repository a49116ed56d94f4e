"""Pictures to explain -> refs, one picture at a time: files, pictures, arrays, tensors, and loaders of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camcli.errors import InputError, RequestError
from camcli.inputs import json_lines, refs
from camcli.inputs.memory import Normalised
from camcli.records import Ref
from camcli.storage import pipes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A loader's batch holds its pictures under the first of these keys that it has.
_KEYS = ("pixel_values", "image", "images", "pixels", "img")
_BYTES = (bytes, bytearray, memoryview)


class Pictures:
    """The pictures to explain, as refs; the first one is looked at before the others are asked for. `bound` goes with
    each that brings no other."""

    def __init__(self, pictures: Any, bound: Mapping[str, Any]) -> None:
        batch = isinstance(pictures, Mapping) or not are_many(pictures)
        self._refs = refs.apart(_numbered(_each([pictures] if batch else pictures), bound))

    def first(self) -> Ref:
        """The first ref, as a rule of a picture; `refs` gives it again. Raises: RequestError: there is none."""
        taken: list[Ref] = []
        for ref in self._refs:
            taken.append(ref)
            if not isinstance(ref.held, InputError):
                break
        if not taken:
            raise RequestError("no pictures are given")
        self._refs = chain(taken, self._refs)
        return taken[-1]

    def refs(self) -> Iterator[Ref]:
        return self._refs


def are_many(pictures: Any) -> bool:
    """True if it is a batch, a loader, a list or a folder of pictures."""
    if isinstance(pictures, Tensor):
        return pictures.ndim in (4, 5)
    if _is_several_files(pictures):
        return True
    if isinstance(pictures, np.ndarray):
        return pictures.ndim == 4
    if isinstance(pictures, Mapping):
        return are_many(_held_by(pictures))
    held_in = hasattr(pictures, "__iter__") or hasattr(pictures, "__getitem__")
    return held_in and not isinstance(pictures, (str, os.PathLike, *_BYTES, Image.Image)) and not _is_file(pictures)


def number_of(pictures: Any) -> int | None:
    """The number of pictures, if it can be told without reading them: of files, of a batch, of a list of pictures."""
    if _is_several_files(pictures):
        return sum(1 for _ in refs.expand([os.fspath(pictures)]))
    if not are_many(pictures):
        return 1
    if isinstance(pictures, (Tensor, np.ndarray)):
        return len(pictures)
    return len(pictures) if isinstance(pictures, list) and not any(map(are_many, pictures)) else None


def _is_file(given: Any) -> bool:
    """True if it is an open file, or bytes that are read as one."""
    return callable(getattr(given, "read", None))


def _is_several_files(pictures: Any) -> bool:
    """True if it is a folder, a pattern, or a list of JSON lines."""
    if not isinstance(pictures, (str, os.PathLike)):
        return False
    if json_lines.is_list(os.fspath(pictures)):
        return True
    return os.path.isdir(pictures) or (glob.has_magic(os.fspath(pictures)) and not os.path.exists(pictures))


def _each(pictures: Iterable[Any]) -> Iterator[Any]:
    """The pictures one at a time, also out of batches and samples of loaders and datasets."""
    whole = isinstance(pictures, (Tensor, np.ndarray)) or _is_several_files(pictures)
    for given in [pictures] if whole else _in_turn(pictures):
        part = given
        if isinstance(given, Mapping):
            part = _held_by(given)
        elif isinstance(given, (tuple, list)):
            part = _first_of(given)
        if are_many(part) and not _is_several_files(part):
            yield from part
        else:
            yield part


def _held_by(batch: Mapping[Any, Any]) -> Any:
    """The picture, or pictures, of a batch or sample. Raises: RequestError: none of its keys is known."""
    key = next((key for key in _KEYS if key in batch), None)
    if key is None:
        raise RequestError(f"a batch of {', '.join(map(str, batch))} holds none of {', '.join(_KEYS)}")
    return batch[key]


def _in_turn(held: Any) -> Iterator[Any]:
    """What is held, one at a time. Of a map-style dataset by its length: its `__getitem__` need not end with an
    IndexError, as Python's own way of going through it expects."""
    if hasattr(held, "__iter__") or not hasattr(held, "__len__"):
        yield from held
    else:
        yield from (held[number] for number in range(len(held)))


def _first_of(sample: Sequence[Any]) -> Any:
    """The picture, or pictures, of a sample or batch. Raises: RequestError: other parts may be pictures as well."""
    first, *others = sample or [None]
    for other in others:
        if isinstance(other, (Image.Image, bytes)) or (isinstance(other, (Tensor, np.ndarray)) and other.ndim > 2):
            raise RequestError(
                f"a {type(sample).__name__} of {len(sample)} parts holds several pictures: give each as one of the "
                "whole, or only those that are to be explained"
            )
    return first


def _numbered(each: Iterable[Any], bound: Mapping[str, Any]) -> Iterator[Ref]:
    """The refs of the pictures; those in memory are called by their place among all."""
    place = 0
    for given in each:
        for ref in _refs(given, place):
            yield replace(ref, bound={**bound, **ref.bound})
            place += 1


def _refs(given: Any, place: int) -> Iterator[Ref]:
    """The refs of what is given in one place.

    Raises: RequestError: the first one is no picture. A later one, and None, which stands for a picture that somebody
        could not make, is refused in its place.
    """
    if _is_several_files(given):
        yield from refs.expand([os.fspath(given)])
        return
    if isinstance(given, (str, os.PathLike)):
        yield refs.ref_named(place, os.fspath(given))
        return
    name = f"picture {place}"
    try:
        yield _in_memory(given, place, name)
    except RequestError as error:
        if place == 0 and given is not None:
            raise
        yield Ref(place, name, held=InputError("decode", "not-a-picture", str(error)))


def _in_memory(given: Any, place: int, name: str) -> Ref:
    """The ref of a picture that is no path. Raises: RequestError: it is no picture."""
    if isinstance(given, _BYTES):
        return Ref(place, name, data=bytes(given))
    if isinstance(given, Image.Image):
        return Ref(place, _file_of(getattr(given, "filename", "")) or name, held=given)
    if isinstance(given, np.ndarray):
        return Ref(place, name, held=given)
    if isinstance(given, Tensor):
        return Ref(place, name, held=_of_tensor(given))
    if _is_file(given):
        return Ref(place, _file_of(getattr(given, "name", "")) or name, data=_read(given))
    told = "None" if given is None else f"a {type(given).__name__}"
    raise RequestError(
        f"{told} is no picture: give a file, bytes, a PIL image, an array (H, W, 3) of uint8 or a normalised tensor "
        "(C, H, W)"
    )


def _file_of(name: Any) -> str:
    """The path that something was opened from; empty if it has none."""
    return os.fspath(name) if isinstance(name, (str, os.PathLike)) else ""


def _read(file: Any) -> bytes:
    """All of an open file, from its beginning, as Pillow reads it. Raises: RequestError: it can't be read as bytes."""
    try:
        if getattr(file, "seekable", bool)():
            file.seek(0)
        return pipes.read(file)
    except (OSError, ValueError, TypeError) as error:
        reason = "it is open as text" if isinstance(error, TypeError) else str(error)
        raise RequestError(f"a {type(file).__name__} can't be read ({reason}): open the file with mode 'rb'") from None


def _of_tensor(given: Tensor) -> Normalised | NDArray[np.uint8]:
    """A normalised view from a tensor of floats, or a picture from one of bytes, as torchvision.io reads them."""
    if given.ndim not in (3, 4):
        raise RequestError(f"a tensor of {tuple(given.shape)} is no picture (C, H, W) and no clip (C, T, H, W)")
    if given.dtype == torch.uint8 and given.ndim == 3:
        return np.ascontiguousarray(given.permute(1, 2, 0).cpu().numpy())
    if not given.is_floating_point():
        raise RequestError(f"a tensor of {given.dtype} is no picture: give uint8, or normalised floats")
    return Normalised(given.detach().float().cpu().numpy())
