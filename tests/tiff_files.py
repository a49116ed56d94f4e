"""TIFFs written byte by byte, so that no reader that is tested has made them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMS = {"u": 1, "i": 2, "f": 3}


def tiff(
    array: NDArray[Any],
    *,
    order: str = "<",
    photometric: int | None = None,
    apart: bool = False,
    extra: int | None = None,
    zipped: bool = False,
    twelve: bool = False,
    tags: Mapping[int, tuple[int, ...]] | None = None,
) -> bytes:
    """One strip, or one a plane. `extra`: what ExtraSamples says of the last band; `twelve`: 12 bits of each sample."""
    bands = array[..., None] if array.ndim == 2 else array
    height, width, count = bands.shape
    planes = [bands[..., band] for band in range(count)] if apart else [bands]
    strips = [_packed(plane, twelve) or plane.astype(plane.dtype.str.replace("<", order)).tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if zipped else strips
    bits = 12 if twelve else array.dtype.itemsize * 8
    offsets = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    entries: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (bits,) * count,
        259: (8 if zipped else 1,),
        262: ((2 if count >= 3 else 1) if photometric is None else photometric,),
        273: tuple(offsets),
        277: (count,),
        278: (height,),
        279: tuple(map(len, strips)),
        284: (2 if apart else 1,),
        339: (_FORMS[array.dtype.kind],) * count,
        **({} if extra is None else {338: (extra,)}),
        **(tags or {}),
    }
    data = b"".join(strips)
    directory, values = b"", b""
    after = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            values, packed = values + packed, struct.pack(f"{order}I", after + len(values))
        directory += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(entries)) + directory + bytes(4) + values


def _packed(plane: NDArray[Any], twelve: bool) -> bytes:
    """Two samples of 12 bits in three bytes."""
    if not twelve:
        return b""
    first, second = plane.reshape(-1, 2).astype(np.uint32).T
    whole = (first << 12) | second
    return np.stack([whole >> 16, (whole >> 8) & 255, whole & 255], axis=-1).astype(np.uint8).tobytes()
