"""Marks on an overlay: a line around its strong part, dashes around what the network saw, the colour scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from camcli.drawing import lettering
from camcli.entries import Box
from camcli.maps.spreading import spread

Pixels = NDArray[np.uint8]
Place = tuple[slice, slice]
# Seen on any ground: a light line inside a dark one.
LIGHT, DARK = (255, 255, 255), (0, 0, 0)
# A line's width, as a share of the picture's longer side; a dash's length, in widths.
_WIDTH, _DASH = 1 / 800, 7
# Grey of the stripes over what a printed picture's network never saw.
_STRIPE = 190
# A picture with a shorter side than this has no room for a line around the strong part.
_LEAST = 100
# Cells of the grid on which that line is looked for: finer ones would draw each speck.
_GRID = 64
# A scale covers no more of a picture's height.
_COVERED = 0.25
# Binary places of the line's coordinates.
_SHIFT = 4


def contours(picture: Pixels, place: Place, levels: Pixels, box: Box, shares: Sequence[float], line: float) -> None:
    """Draws lines around the parts of a map, levels (h, w) in the box, that are above shares of the scale; in the place
    alone. `line`: their least width."""
    import cv2

    if min(picture.shape[:2]) < _LEAST:
        return
    rows, columns = place
    xs, ys = (_steps(box[side], box[side + 2]) - part.start for side, part in enumerate((columns, rows)))
    if max(levels.shape) > _GRID:
        grid = np.asarray(cv2.resize(levels, (_GRID, _GRID), interpolation=cv2.INTER_AREA))
    else:
        grid = spread(levels.astype(np.float32), (0, 0, _GRID, _GRID))
    # A map that is linear between its cells has corners at them: they are rounded a little.
    soft = cv2.GaussianBlur(grid.astype(np.float32), (0, 0), max(1.0, _GRID / (4 * max(levels.shape))))
    padded = np.pad(soft, 1, mode="edge").astype(np.float32)
    lines = np.concatenate([_crossings(padded, 255 * share, xs, ys) for share in shares])
    # OpenCV's pixels have their centres on whole numbers.
    points = np.rint((lines - 0.5) * (1 << _SHIFT)).astype(np.int32, order="C")  # OpenCV takes no other order
    width = _width(picture, line)
    # A thin line between two rows of pixels gives half of itself to each, so it is drawn twice.
    lights = [(LIGHT, width)] * (2 if width == 1 else 1)
    for colour, thickness in [(DARK, 2 * width), *lights]:
        cv2.polylines(picture[place], list(points), False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _steps(low: float, high: float) -> NDArray[np.float64]:
    """The centres of the grid's cells between two ends, and the ends."""
    shares = (np.arange(_GRID) + 0.5) / _GRID
    return low + (high - low) * np.concatenate([[0.0], shares, [1.0]])


def _crossings(
    values: NDArray[np.float32], level: float, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The lines (N, 2, 2), each from (x, y) to (x, y), where values (h, w) at those places cross the level: linear
    along the edges of each cell (marching squares)."""
    above = values >= level
    corners = above[:-1, :-1], above[:-1, 1:], above[1:, 1:], above[1:, :-1]
    row, column = np.nonzero(np.logical_or.reduce(corners) & ~np.logical_and.reduce(corners))
    # The corners of each cell that is crossed, once around: (4, N).
    rows, columns = row + np.array([[0], [0], [1], [1]]), column + np.array([[0], [1], [1], [0]])
    at, places = values[rows, columns], np.stack([xs[columns], ys[rows]], axis=-1)
    to = np.roll(at, -1, axis=0)
    crossed = (at >= level) != (to >= level)
    shares = np.where(crossed, (level - at) / np.where(crossed, to - at, 1), 0)[..., None]
    points = places + (np.roll(places, -1, axis=0) - places) * shares
    # The crossed edges first: two of them, or all four of a saddle.
    order = np.argsort(~crossed, axis=0, kind="stable")
    points = np.take_along_axis(points, order[..., None], axis=0).swapaxes(0, 1)
    return np.concatenate([points[:, :2], points[crossed.all(axis=0), 2:]])


def outline(picture: Pixels, place: Place, line: float = 1.0) -> None:
    """Draws dashes around a place, on the dimmed side of its edges, where they are light on darker ground. `line`: the
    least width."""
    height, width = picture.shape[:2]
    wide = _width(picture, line)
    rows, columns = place
    across = slice(max(0, columns.start - wide), min(width, columns.stop + wide))
    down = slice(max(0, rows.start - wide), min(height, rows.stop + wide))
    for start in (rows.start - wide, rows.stop):
        if 0 <= start <= height - wide:
            _dash(picture[start : start + wide, across].swapaxes(0, 1), wide)
    for start in (columns.start - wide, columns.stop):
        if 0 <= start <= width - wide:
            _dash(picture[down, start : start + wide], wide)


def _dash(line: Pixels, width: int) -> None:
    """Dashes along the first axis of a line (n, width, 3)."""
    length = _DASH * width
    for start in range(0, len(line), 2 * length):
        line[start : start + length] = LIGHT


def hatched(picture: Pixels, place: Place, line: float) -> None:
    """Bleaches all of a picture but the place, and hatches it: neither is taken for a dark value."""
    height, width = picture.shape[:2]
    outside = np.ones((height, width), dtype=bool)
    outside[place] = False
    diagonals = np.arange(height)[:, None] + np.arange(width)
    stripes = diagonals // _width(picture, line) % 8 == 0
    picture[outside] = LIGHT
    picture[outside & stripes] = _STRIPE


def legend(picture: Pixels, colours: Pixels, ends: Sequence[str], font: str | None) -> Pixels:
    """The picture with a scale of colours (n, 3) between its two ends, in the upper right corner; as it is if there is
    no room: a number that is cut off is another one."""
    from PIL import Image, ImageDraw

    width = picture.shape[1]
    size = max(10.0, width / 50)
    low, high = ends
    letters = lettering.font(low + high, size, font)
    gap, bar = round(size / 2), round(width / 6)
    before, after = (round(letters.length(end)) for end in ends)
    across, tall = before + bar + after + 4 * gap, round(1.6 * size)
    if across > width or tall > _COVERED * picture.shape[0]:
        return picture
    scale = Image.new("RGB", (across, tall), DARK)
    draw = ImageDraw.Draw(scale)
    middle = scale.height / 2
    letters.write(draw, (gap, middle), low, LIGHT, "lm")
    letters.write(draw, (scale.width - gap, middle), high, LIGHT, "rm")
    shown = np.asarray(scale).copy()
    inner = slice(round(0.4 * size), shown.shape[0] - round(0.4 * size))
    shown[inner, before + 2 * gap :][:, :bar] = colours[np.linspace(0, len(colours) - 1, bar).round().astype(int)]
    picture = picture.copy()
    picture[:tall, width - across :] = shown
    return picture


def _width(picture: Pixels, line: float) -> int:
    longer: int = max(picture.shape[:2])
    return max(math.ceil(line), round(longer * _WIDTH))
