"""Several pictures on one sheet, each with its caption, as strips, `--neurons` and notebooks show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from camcli.drawing import lettering, overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.lettering import Letters
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.records import Attribution, Frame

_MARGIN = 6
_FONT = 13
_LINE = 18


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One picture (H, W, 3) over the lines of its caption."""

    picture: Pixels
    caption: Sequence[str] = ()


def neurons(frame: Frame, box: Box, attribution: Attribution, style: Style) -> Pixels:
    """The maps of the channels that weigh most for the target, over those that weigh most against it, largest first.

    Each map, its negative part cut off, is scaled to its own maximum.
    """
    style = replace(style, top=None, max_side=min(style.max_side or 200, 200))
    tiles = []
    for neuron in attribution.neurons:
        own = replace(attribution, kind="map", values=neuron.values.clip(min=0), note=None, neurons=(), sanity=())
        caption = (f"channel {neuron.channel}", f"alpha {neuron.weight:.3g}")
        tiles.append(Tile(overlays.overlay(frame, box, own, style), caption))
    half = len(tiles) // 2
    return sheet([tiles[:half], tiles[half:]], ["for", "against"], style.font)


def wrapped(tiles: Sequence[Tile], columns: int, title: str, font: str | None = None) -> Pixels:
    """Tiles under one title, so many in a line, (H, W, 3). `font`: a file that is tried first."""
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    return sheet(rows, [title, *[""] * (len(rows) - 1)], font)


def sheet(rows: Sequence[Sequence[Tile]], titles: Sequence[str], font: str | None = None) -> Pixels:
    """Rows of tiles in columns, each row under its title, (H, W, 3). `font`: a file that is tried first."""
    from PIL import Image, ImageDraw

    columns = max(map(len, rows))
    width = max(tile.picture.shape[1] for row in rows for tile in row) + _MARGIN
    heights = [max(map(_height, row), default=0) + _LINE + 4 for row in rows]
    titles = [lettering.plain(title) for title in titles]
    titled = [lettering.font(title, _FONT + 2, font) for title in titles]
    lengths = (letters.length(title) for letters, title in zip(titled, titles, strict=True))
    whole = max(columns * width + _MARGIN, *(round(length) + 2 * _MARGIN for length in lengths))
    canvas = Image.new("RGB", (whole, sum(heights) + _MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    top = _MARGIN // 2
    for row, title, letters, height in zip(rows, titles, titled, heights, strict=True):
        letters.write(draw, (_MARGIN, top - 1), title, "black")
        for column, tile in enumerate(row):
            left = _MARGIN + column * width
            canvas.paste(Image.fromarray(tile.picture), (left, top + _LINE))
            for line, text in enumerate(tile.caption):
                below = top + _LINE + tile.picture.shape[0] + line * _LINE
                text = lettering.plain(text)
                small = lettering.font(text, _FONT, font)
                small.write(draw, (left, below), _cut(text, width - _MARGIN, small), "black")
        top += height
    return np.asarray(canvas)


def _height(tile: Tile) -> int:
    return int(tile.picture.shape[0]) + _LINE * len(tile.caption)


def _cut(text: str, width: int, letters: Letters) -> str:
    """The text, shortened until it fits."""
    short = text
    while letters.length(short) > width and len(short) > 2:
        short = short[:-2] + "…"
    return short
