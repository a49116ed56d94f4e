"""All that stands on a sheet, before it is known where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camcli.drawing.colours import Pixels
from camcli.drawing.figures.elements import Colour

Line = tuple[str, Colour]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A picture of (width, height) pixels that is drawn when its place is known: `draw` takes its longer side and the
    least width of lines in it, in pixels. Below it stands the caption; `notes` are the numbers of its footnotes."""

    size: tuple[int, int]
    draw: Callable[[int, float], Pixels]
    caption: str = ""
    notes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Answers under their head, one for each column, None where there is none."""

    head: str
    tiles: Sequence[Tile | None]


@dataclass(frozen=True, slots=True)
class Block:
    """A photo over its caption, and the rows of answers beside it."""

    photo: Tile
    caption: Sequence[Line]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, eq=False)
class Bar:
    """A colour bar: its colours (n, 3), and what its ends stand for."""

    colours: Pixels
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that is compared: `heads` of the columns, blocks, bars, lines of a legend, and footnotes, from 1 on."""

    heads: Sequence[str]
    blocks: Sequence[Block]
    bars: Sequence[Bar]
    legend: Sequence[str]
    notes: Sequence[str]
