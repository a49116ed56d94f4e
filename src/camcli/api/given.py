"""Pictures to explain -> refs, one picture at a time: files, pictures, arrays, tensors, and loaders of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from camcli.errors import RequestError
from camcli.inputs import json_lines, refs
from camcli.inputs.memory import Normalised
from camcli.records import Ref

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A loader's batch holds its pictures under the first of these keys that it has.
_KEYS = ("pixel_values", "image", "images", "pixels", "img")


class Pictures:
    """The pictures to explain, as refs; the first one is looked at before the others are asked for. `bound` goes with
    each that brings no other."""

    def __init__(self, pictures: Any, bound: Mapping[str, Any]) -> None:
        numbers = count()
        each = _each(pictures if are_many(pictures) else [pictures])
        named = (replace(ref, bound={**bound, **ref.bound}) for given in each for ref in _refs(given, numbers))
        self._refs = refs.apart(named)

    def first(self) -> Ref:
        """The first ref; `refs` gives it again. Raises: RequestError: there is none."""
        first = next(self._refs, None)
        if first is None:
            raise RequestError("no pictures are given")
        self._refs = chain([first], self._refs)
        return first

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
    held_in = hasattr(pictures, "__iter__") or hasattr(pictures, "__getitem__")
    return held_in and not isinstance(pictures, (str, os.PathLike, bytes, Image.Image))


def number_of(pictures: Any) -> int | None:
    """The number of pictures, if it can be told without reading them: of files, of a batch, of a list of pictures."""
    if _is_several_files(pictures):
        return sum(1 for _ in refs.expand([os.fspath(pictures)]))
    if not are_many(pictures):
        return 1
    if isinstance(pictures, (Tensor, np.ndarray)):
        return len(pictures)
    return len(pictures) if isinstance(pictures, list) and not any(map(are_many, pictures)) else None


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
            key = next((key for key in _KEYS if key in given), None)
            if key is None:
                raise RequestError(f"a batch of {', '.join(map(str, given))} holds none of {', '.join(_KEYS)}")
            part = given[key]
        elif isinstance(given, (tuple, list)):
            part = _first_of(given)
        if are_many(part) and not _is_several_files(part):
            yield from part
        else:
            yield part


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


def _refs(given: Any, numbers: Iterator[int]) -> Iterator[Ref]:
    if isinstance(given, (str, os.PathLike)):
        name = os.fspath(given)
        if _is_several_files(given):
            yield from refs.expand([name])
        else:
            yield refs.ref_named(0, name)
        return
    number = next(numbers)
    name = f"picture {number}"
    if isinstance(given, bytes):
        yield Ref(number, name, data=given)
    elif isinstance(given, Image.Image):
        file = getattr(given, "filename", "")
        yield Ref(number, os.fspath(file) if isinstance(file, (str, os.PathLike)) and file else name, held=given)
    elif isinstance(given, np.ndarray):
        yield Ref(number, name, held=given)
    elif isinstance(given, Tensor):
        yield Ref(number, name, held=_of_tensor(given))
    else:
        raise RequestError(
            f"a {type(given).__name__} is no picture: give a file, bytes, a PIL image, an array (H, W, 3) of uint8 or "
            "a normalised tensor (C, H, W)"
        )


def _of_tensor(given: Tensor) -> Normalised | NDArray[np.uint8]:
    """A normalised view from a tensor of floats, or a picture from one of bytes, as torchvision.io reads them."""
    if given.ndim not in (3, 4):
        raise RequestError(f"a tensor of {tuple(given.shape)} is no picture (C, H, W) and no clip (C, T, H, W)")
    if given.dtype == torch.uint8 and given.ndim == 3:
        return np.ascontiguousarray(given.permute(1, 2, 0).cpu().numpy())
    if not given.is_floating_point():
        raise RequestError(f"a tensor of {given.dtype} is no picture: give uint8, or normalised floats")
    return Normalised(given.detach().float().cpu().numpy())
