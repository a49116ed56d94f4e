"""A sheet -> its pages: where each picture and each line of text lies.

Nothing is cut: what is too long is wrapped, what is too much goes to the next page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from camcli.drawing.figures.contents import Bar, Block, Sheet, Tile
from camcli.drawing.figures.elements import ASCENT, BLACK, LEADING, Border, Part, Picture, Text, Typeface

# A part of a page, and the numbers of the notes that it cites.
_Piece: TypeAlias = tuple[Part, tuple[int, ...]]
# Millimetres in an inch, points in an inch.
_INCH, _POINTS = 25.4, 72.0
# A page that is 183 mm wide has so many for its height in the journals that say it.
_PAGE_MM = 247.0
# The height of a page of pixels, after which another one begins.
_PAGE_PIXELS = 3000
# Letters in points: journals want 5 to 7. From this width on, the larger ones.
_WIDE_MM = 120.0
# Least width of a column, in sizes of the letters; the largest height of a picture, in widths of its column.
_NARROWEST, _TALLEST = 7.0, 1.5
# Size of the letters on a picture of so many pixels, and the least.
_LETTERS, _LEAST_LETTERS = 1 / 18, 10.0
# Lines and letters in pictures are 0.5 and 5 points or more: so are 1 and 10 pixels at this resolution.
_COARSE_DPI = 144
# The width of a colour bar, in sizes of the letters.
_BAR = 12.0


@dataclass(frozen=True, slots=True)
class Measures:
    """The sizes of a page, in units that are pixels, or points of a page that is printed.

    `size` of letters; `side`: the longer one of each picture, None: as the page's width has room for; `columns` of
    answers in a line at most; `tall`: the height of a page at most; `scale`: pixels for a unit.
    """

    size: float
    columns: int
    tall: float
    scale: float = 1.0
    side: int | None = None
    width: float | None = None

    @classmethod
    def of_pixels(cls, side: int, columns: int) -> Measures:
        """Of pages of pixels, whose pictures have that longer side."""
        return cls(max(_LEAST_LETTERS, side * _LETTERS), columns, _PAGE_PIXELS, side=side)

    @classmethod
    def of_print(cls, width_mm: float, dpi: int, columns: int) -> Measures:
        """Of pages of that width in millimetres, in points."""
        point = _POINTS / _INCH
        size = 7.0 if width_mm >= _WIDE_MM else 6.0
        return cls(size, columns, _PAGE_MM * point, dpi / _POINTS, width=width_mm * point)

    @property
    def gap(self) -> float:
        """The room between two columns, and around the page."""
        return self.size / 2

    @property
    def thinnest(self) -> float:
        """The least width of lines in a picture, in its pixels."""
        return max(1.0, self.scale * _POINTS / _COARSE_DPI) if self.width else 1.0

    @property
    def most_pixels(self) -> int:
        """The longer side, in pixels, that no picture will exceed."""
        return self.side or round(_TALLEST * (self.width or 0) / 2 * self.scale)


def arranged(sheet: Sheet, measures: Measures, face: Typeface) -> list[Part]:
    """The pages of a sheet."""
    return list(_Arranger(sheet, measures, face).pages())


def _stacked(photo: Part, strips: Sequence[_Piece], gap: float) -> _Piece:
    """Lines of answers below one another, beside the photo."""
    part, height = photo, 0.0
    notes: list[int] = []
    for strip, cited in strips:
        part = part.with_at(0, height, strip)
        height += strip.height + gap
        notes += cited
    return replace(part, height=part.height + gap), tuple(notes)


@dataclass
class _Arranger:
    sheet: Sheet
    of: Measures
    face: Typeface
    _notes: dict[tuple[int, ...], Part] = field(default_factory=dict)

    @cached_property
    def columns(self) -> int:
        """Answers in a line."""
        wanted = min(self.of.columns, max(1, len(self.sheet.heads)))
        if self.of.width is None:
            return wanted
        room = self.of.width - self.of.gap
        return max(1, min(wanted, int(room / (_NARROWEST * self.of.size + self.of.gap)) - 1))

    @cached_property
    def cell(self) -> float:
        """The width of a column."""
        if self.of.width is not None:
            return (self.of.width - self.of.gap) / (self.columns + 1) - self.of.gap
        widest = max(self.shown(block.photo)[0] for block in self.sheet.blocks)
        return max(widest, _NARROWEST * self.of.size)

    @cached_property
    def inner(self) -> float:
        """The width of a page inside of its margins."""
        return self.left(self.columns + 1) - 2 * self.of.gap

    def left(self, column: int) -> float:
        """The left edge of a column; the photo's is 0."""
        return self.of.gap + column * (self.cell + self.of.gap)

    def shown(self, tile: Tile) -> tuple[float, float]:
        """The width and height of a picture on the page."""
        width, height = tile.size
        if self.of.side is not None:
            share = self.of.side / max(width, height)
        else:
            share = min(self.cell / width, _TALLEST * self.cell / height)
        return max(1.0, width * share), max(1.0, height * share)

    def tile(self, tile: Tile) -> Part:
        width, height = self.shown(tile)
        pixels = tile.draw(max(1, round(max(width, height) * self.of.scale)), self.of.thinnest)
        part = Part(width, height, pictures=(Picture(0, 0, width, height, pixels),))
        if not tile.caption:
            return part
        return part.with_at(0, height, self.face.column([(tile.caption, BLACK)], self.small, self.cell))

    def heads(self, names: Sequence[str]) -> Part:
        """The heads of columns, on one last line."""
        wrapped = [self.face.wrapped(name, self.of.size, self.cell) for name in names]
        most = max(map(len, wrapped), default=0)
        texts = [
            Text(
                self.left(column), (ASCENT + LEADING * (most - len(lines) + number)) * self.of.size, line, self.of.size
            )
            for column, lines in enumerate(wrapped, 1)
            for number, line in enumerate(lines)
        ]
        high = LEADING * self.of.size * most + self.of.gap / 4
        rule = Border(self.left(1), high, self.left(len(names)) + self.cell - self.left(1), 0, self.line)
        return Part(self.inner, high + self.of.gap / 2, tuple(texts), borders=(rule,))

    @cached_property
    def bands(self) -> list[slice]:
        """The columns of each line, if they are more than fit into one."""
        step = self.columns
        return [slice(at, at + step) for at in range(0, max(1, len(self.sheet.heads)), step)]

    def strips(self, block: Block) -> Iterator[_Piece]:
        """The lines of answers of a block under their heads, and the notes of each."""
        for band in self.bands:
            shown = [row for row in block.rows if any(row.tiles[band]) or (band.start == 0 and not any(row.tiles))]
            for number, row in enumerate(shown):
                part = self.heads(self.sheet.heads[band]) if len(self.bands) > 1 and number == 0 else Part()
                words = self.face.column([(row.head, BLACK)], self.of.size, self.left(self.columns) - 2 * self.of.gap)
                part = part.with_at(self.left(1), part.height, words)
                top = part.height + self.of.gap / 4
                tiles = [(column, tile) for column, tile in enumerate(row.tiles[band], 1) if tile is not None]
                for column, tile in tiles:
                    part = part.with_at(self.left(column), top, self.tile(tile))
                yield part, tuple(note for _, tile in tiles for note in tile.notes)

    def photo(self, block: Block, lowered: float) -> Part:
        """The photo over its caption, its upper edge that of the answers beside it."""
        part = self.tile(block.photo)
        caption = self.face.column(block.caption, self.of.size, self.cell)
        return Part().with_at(self.of.gap, lowered, part.with_at(0, part.height + self.of.gap / 4, caption))

    def foot(self, notes: Sequence[int]) -> Part:
        """Bars, legend and footnotes, of those numbers."""
        key = tuple(sorted(set(notes)))
        if key not in self._notes:
            part = self.bars()
            numbered = [f"[{number}] {self.sheet.notes[number - 1]}" for number in key]
            lines = [(line, BLACK) for line in (*self.sheet.legend, *numbered)]
            self._notes[key] = part.with_at(0, part.height, self.face.column(lines, self.small, self.inner))
        return self._notes[key]

    @property
    def small(self) -> float:
        """The size of the letters of the foot."""
        return self.of.size - 1 if self.of.width is not None else max(_LEAST_LETTERS, 0.85 * self.of.size)

    @property
    def line(self) -> float:
        """The thickness of lines: 0.5 points, or a pixel."""
        return 0.5 if self.of.width is not None else 1.0

    def bars(self) -> Part:
        """The colour bars between what their ends stand for, side by side if there is room."""
        size, part, x, y = self.small, Part(), 0.0, 0.0
        for bar in self.sheet.bars:
            own = self.bar(bar)
            if x and x + own.width > self.inner:
                x, y = 0.0, part.height
            part = part.with_at(x, y, own)
            x += own.width + 2 * size
        return replace(part, height=part.height + self.of.gap / 2) if self.sheet.bars else part

    def bar(self, bar: Bar) -> Part:
        size = self.small
        left = self.face.length(bar.low, size) + size / 2
        wide = min(_BAR * size, self.inner / 3)
        right = left + wide + size / 2
        high = self.face.column([(bar.high, BLACK)], size, max(size, self.inner - right))
        place = (left, (LEADING - 0.8) / 2 * size, wide, 0.8 * size)
        own = Part(
            texts=(Text(0, ASCENT * size, bar.low, size),),
            pictures=(Picture(*place, bar.colours[None], "bar"),),
            borders=(Border(*place, self.line),),
        ).with_at(right, 0, high)
        return replace(own, width=right + max(self.face.length(text.words, size) for text in high.texts))

    def parts(self, block: Block) -> Iterator[_Piece]:
        """The block in one piece, or in as many as take a page each; the photo is in all of them."""
        strips = list(self.strips(block))
        lowered = min((picture.y for strip, _ in strips[:1] for picture in strip.pictures), default=0.0)
        photo = self.photo(block, lowered)
        group: list[_Piece] = []
        for strip in strips:
            if group and not self.fits(self.head, _stacked(photo, [*group, strip], self.of.gap)):
                yield _stacked(photo, group, self.of.gap)
                group = []
            group.append(strip)
        yield _stacked(photo, group, self.of.gap)

    @cached_property
    def head(self) -> Part:
        """The heads of the columns, if they are the same for all blocks."""
        return Part().with_at(0, self.of.gap, self.heads(self.sheet.heads) if len(self.bands) == 1 else Part())

    def fits(self, page: Part, piece: _Piece, cited: Sequence[int] = ()) -> bool:
        """True if there is room on the page for a piece and the foot that it then has."""
        part, notes = piece
        high = page.height + part.height + self.of.gap + self.foot([*cited, *notes]).height
        return high <= self.of.tall

    def pages(self) -> Iterator[Part]:
        page = self.head
        cited: list[int] = []
        for block in self.sheet.blocks:
            for part, notes in self.parts(block):
                if page is not self.head and not self.fits(page, (part, notes), cited):
                    yield self.finished(page, cited)
                    page, cited = self.head, []
                page = page.with_at(0, page.height, part)
                cited = [*cited, *notes]
        yield self.finished(page, cited)

    def finished(self, page: Part, cited: Sequence[int]) -> Part:
        """The page with its foot."""
        whole = page.with_at(self.of.gap, page.height, self.foot(cited))
        width = self.of.width or self.inner + 2 * self.of.gap
        return replace(whole, width=width, height=whole.height + self.of.gap)
