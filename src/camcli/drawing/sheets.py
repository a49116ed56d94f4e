"""Several pictures on one sheet, each with its caption, as `camcli compare` and `--neurons` write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from camcli.drawing import overlays
from camcli.drawing.overlays import Pixels, Style
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
    return sheet([tiles[:half], tiles[half:]], ["for", "against"])


def sheet(rows: Sequence[Sequence[Tile | None]], titles: Sequence[str]) -> Pixels:
    """Rows of tiles in columns, each row under its title, (H, W, 3); None leaves a place empty."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_FONT)
    columns = max(map(len, rows))
    tiles = [tile for row in rows for tile in row if tile is not None]
    width = max(tile.picture.shape[1] for tile in tiles) + _MARGIN
    heights = [max((_height(tile) for tile in row if tile is not None), default=0) + _LINE + 4 for row in rows]
    titled = ImageFont.load_default(_FONT + 2)
    whole = max(columns * width + _MARGIN, *(round(titled.getlength(title)) + 2 * _MARGIN for title in titles))
    canvas = Image.new("RGB", (whole, sum(heights) + _MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    top = _MARGIN // 2
    for row, title, height in zip(rows, titles, heights, strict=True):
        draw.text((_MARGIN, top - 1), title, fill="black", font=titled)
        for column, tile in enumerate(row):
            if tile is None:
                continue
            left = _MARGIN + column * width
            canvas.paste(Image.fromarray(tile.picture), (left, top + _LINE))
            for line, text in enumerate(tile.caption):
                below = top + _LINE + tile.picture.shape[0] + line * _LINE
                draw.text((left, below), _cut(text, width - _MARGIN, font), fill="black", font=font)
        top += height
    return np.asarray(canvas)


def _height(tile: Tile) -> int:
    return int(tile.picture.shape[0]) + _LINE * len(tile.caption)


def _cut(text: str, width: int, font: overlays.Font) -> str:
    """The text, shortened until it fits."""
    short = text
    while font.getlength(short) > width and len(short) > 2:
        short = short[:-2] + "…"
    return short
