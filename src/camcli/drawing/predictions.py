"""What the network said of places, drawn on a picture: a region's outline, a detection's box and keypoints."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from camcli.drawing import lettering
from camcli.drawing.marks import DARK, LIGHT
from camcli.entries import Box, Entry, Place, Region
from camcli.records import Attribution, Frame

Pixels = NDArray[np.uint8]
# A line's width, as a share of the picture's longer side.
_WIDTH = 1 / 400


def drawn(
    picture: Pixels, entry: Entry, scale: tuple[float, float], font: str | None = None, line: float = 1.0
) -> Pixels:
    """The picture (H, W, 3) with the entry's place on it; `scale`: the picture's pixels for one of the frame's; `font`:
    a file that is tried first; `line`: the least width of a line, letters have ten times as much."""
    where = entry.where
    if where is None:
        return picture
    width = max(math.ceil(line), round(max(picture.shape[:2]) * _WIDTH))
    picture = picture.copy()
    if where.region is not None:
        _outline(picture, where.region, scale, width)
    elif where.box is not None:
        _box(picture, where.box, scale, width)
        picture = _named(picture, entry, where.box, scale, font, line)
    _points(picture, where, scale, width)
    return picture


def mask(frame: Frame, box: Box, attribution: Attribution, style: object) -> Pixels:
    """The region that is explained, white on black, at the frame's size, (H, W, 3)."""
    entry = attribution.target.entry
    assert entry is not None
    assert entry.where is not None
    assert entry.where.region is not None
    width, height = frame.size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[_covered(entry.where.region, (height, width), (1.0, 1.0)) > 0] = 255
    return picture


def _covered(region: Region, size: tuple[int, int], scale: tuple[float, float]) -> NDArray[np.uint8]:
    """1 at the pixels of a picture of (height, width) that the region covers; `scale` as above."""
    x0, y0, x1, y1 = region.box
    height, breadth = size
    # The picture's pixel centres, in cells of the mask.
    columns = ((np.arange(breadth) + 0.5) / scale[0] - x0) / (x1 - x0) * region.mask.shape[1]
    rows = ((np.arange(height) + 0.5) / scale[1] - y0) / (y1 - y0) * region.mask.shape[0]
    inside = ((rows >= 0) & (rows < len(region.mask)))[:, None] & ((columns >= 0) & (columns < region.mask.shape[1]))
    row, column = (np.clip(c, 0, n - 1).astype(int) for c, n in zip((rows, columns), region.mask.shape, strict=True))
    return np.asarray(region.mask[row[:, None], column] & inside, dtype=np.uint8)


def _outline(picture: Pixels, region: Region, scale: tuple[float, float], width: int) -> None:
    import cv2

    covered = _covered(region, (picture.shape[0], picture.shape[1]), scale)
    contours, _ = cv2.findContours(covered, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for colour, thickness in ((DARK, 3 * width), (LIGHT, width)):
        cv2.drawContours(picture, contours, -1, colour, thickness)


def _box(picture: Pixels, box: Box, scale: tuple[float, float], width: int) -> None:
    import cv2

    x0, y0, x1, y1 = _scaled(box, scale)
    for colour, thickness in ((DARK, 3 * width), (LIGHT, width)):
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness)


def labelled(picture: Pixels, text: str, font: str | None = None) -> Pixels:
    """The picture with a line of text in its lower left corner."""
    return _written(picture, text, (0, picture.shape[0]), font)


def _named(
    picture: Pixels, entry: Entry, box: Box, scale: tuple[float, float], font: str | None, line: float
) -> Pixels:
    """The entry's label and score over the box's upper edge, or inside of it if there is no room."""
    score = "" if entry.probability is None else f" {entry.probability:.2f}"
    x0, y0, *_ = _scaled(box, scale)
    return _written(picture, f"{entry.label}{score}", (x0, y0), font, line)


def _written(picture: Pixels, text: str, at: tuple[int, int], file: str | None, line: float = 1.0) -> Pixels:
    """The picture with text on a dark ground over the place (x, y), or below it if there is no room."""
    from PIL import Image, ImageDraw

    text, width = lettering.plain(text), picture.shape[1]
    letters = lettering.font(text, max(10.0 * line, min(width / 45, 40.0)), file)
    x0, y0 = at
    high, wide = letters.height + 4, round(letters.length(text)) + 8
    x, y = max(0, min(x0, width - wide)), y0 - high if y0 >= high else max(0, y0)
    label = Image.new("RGB", (wide, high), DARK)
    letters.write(ImageDraw.Draw(label), (4, 2), text, LIGHT)
    picture = picture.copy()
    place = picture[y : y + high, x : x + wide]
    place[:] = np.asarray(label)[: place.shape[0], : place.shape[1]]
    return picture


def _points(picture: Pixels, where: Place, scale: tuple[float, float], width: int) -> None:
    import cv2

    for point in where.points:
        centre = round(point.x * scale[0]), round(point.y * scale[1])
        cv2.circle(picture, centre, 3 * width, DARK, -1)
        cv2.circle(picture, centre, 2 * width, LIGHT, -1)


def _scaled(box: Box, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    return round(x0 * scale[0]), round(y0 * scale[1]), round(x1 * scale[0]), round(y1 * scale[1])
