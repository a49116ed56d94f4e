"""Small scenes of coloured shapes: what the other examples train their networks on.

    python examples/shapes.py scenes/

A scene has 32x32 pixels: up to three circles, squares and triangles in red, green and blue, apart from each other, on a
dark background of noise. One seed always gives the same scenes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

COLOURS = ("red", "green", "blue")
SHAPES = ("circle", "square", "triangle")
SIDE = 32
# How camcli preprocesses pictures for these networks, in timm's words. `pictures` does the same.
PREPARED = {
    "input_size": (3, SIDE, SIDE),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape in a scene: `box` is x0, y0, x1, y1 in pixels, its far edges not included; `mask` is (32, 32)."""

    colour: str
    shape: str
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scene:
    """Pixels, uint8 (32, 32, 3), and what was drawn there."""

    pixels: NDArray[np.uint8]
    things: tuple[Thing, ...]


def scenes(count: int, seed: int, things: int = 3, columns: int = 1) -> list[Scene]:
    """So many scenes of so many things each, each as `scene` draws it."""
    rng = np.random.default_rng(seed)
    return [scene(rng, things, columns) for _ in range(count)]


def scene(rng: np.random.Generator, things: int = 3, columns: int = 1) -> Scene:
    """A scene of things that don't touch, of any colours and shapes: two may be alike.

    The first thing lies in the first of the columns, the next one in the next, and so on, around.
    """
    placed: list[Thing] = []
    while len(placed) < things:
        thing = _thing(rng, len(placed) % columns, SIDE // columns)
        if all(_apart(thing.box, other.box) for other in placed):
            placed.append(thing)
    pixels = rng.integers(10, 60, (SIDE, SIDE, 3))
    for thing in placed:
        pixels[thing.mask] += 10
        pixels[thing.mask, COLOURS.index(thing.colour)] += 160
    return Scene(pixels.astype(np.uint8), tuple(placed))


def pictures(drawn: Iterable[Scene]) -> Tensor:
    """What a network takes of the scenes: (N, 3, 32, 32) from -1 to 1."""
    return prepared(np.stack([one.pixels for one in drawn]))


def prepared(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, 3, H, W) from -1 to 1 of pixels (N, H, W, 3)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def save(pixels: Sequence[NDArray[np.uint8]], folder: Path) -> list[str]:
    """The names under which the pictures are written: 0001.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:04}.png" for number in range(1, len(pixels) + 1)]
    for one, name in zip(pixels, names, strict=True):
        Image.fromarray(one).save(folder / name)
    return names


def _thing(rng: np.random.Generator, column: int, width: int) -> Thing:
    colour, shape = COLOURS[rng.integers(3)], SHAPES[rng.integers(3)]
    side = int(rng.integers(7, 11))
    x0 = column * width + int(rng.integers(width - side + 1))
    y0 = int(rng.integers(SIDE - side + 1))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0 : y0 + side, x0 : x0 + side] = _outline(shape, side)
    return Thing(colour, shape, (x0, y0, x0 + side, y0 + side), mask)


@cache
def _outline(shape: str, side: int) -> NDArray[np.bool_]:
    # Across and down the box, from -1 to 1.
    down, across = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    inside = np.ones((side, side), bool)
    if shape == "circle":
        inside &= across**2 + down**2 <= 1
    if shape == "triangle":
        inside &= abs(across) <= (down + 1) / 2
    return inside


def _apart(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return box[0] > other[2] or other[0] > box[2] or box[1] > other[3] or other[1] > box[3]


if __name__ == "__main__":
    save([one.pixels for one in scenes(12, seed=0)], Path(sys.argv[1]))
