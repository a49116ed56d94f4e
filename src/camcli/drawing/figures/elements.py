"""A page as texts, pictures and borders at their places, whatever draws it; and the lengths of texts.

Units are pixels or points, x to the right and y down.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar
from unicodedata import east_asian_width

from camcli.drawing import lettering
from camcli.drawing.colours import Pixels

T = TypeVar("T", "Text", "Picture", "Border")
Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
# Above and below the baseline, and from one baseline to the next, in sizes of the letters.
ASCENT, DESCENT, LEADING = 0.95, 0.25, 1.25
# Lengths are taken at this size: small letters are set on whole pixels, and are longer or shorter than they are.
_RULED = 64
# A line may end after these, but not inside of a number, nor beside an equals sign.
_BREAKS = re.compile(r"(?<=[_/;·])(?=\S)|(?<=[-.,:+])(?=[^\s\d])|(?<=\s)(?<!= )(?=[^\s=])")


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text; x is its left, middle or right end ("l", "m", "r"), y its baseline."""

    x: float
    y: float
    words: str
    size: float
    colour: Colour = BLACK
    anchor: Literal["l", "m", "r"] = "l"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Pixels (H, W, 3), stretched over a place; a colour bar is one row of them."""

    x: float
    y: float
    width: float
    height: float
    pixels: Pixels
    kind: Literal["photo", "bar"] = "photo"


@dataclass(frozen=True, slots=True)
class Border:
    """A black line of that thickness around a place; along one that has no height."""

    x: float
    y: float
    width: float
    height: float
    line: float


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a page: what is on it, and the room that it takes."""

    width: float = 0
    height: float = 0
    texts: tuple[Text, ...] = ()
    pictures: tuple[Picture, ...] = ()
    borders: tuple[Border, ...] = ()

    def with_at(self, x: float, y: float, other: Part) -> Part:
        """This part and another one whose corner lies at that place."""

        def moved(things: Sequence[T]) -> tuple[T, ...]:
            return tuple(replace(one, x=one.x + x, y=one.y + y) for one in things)

        return Part(
            max(self.width, x + other.width),
            max(self.height, y + other.height),
            self.texts + moved(other.texts),
            self.pictures + moved(other.pictures),
            self.borders + moved(other.borders),
        )


@dataclass(frozen=True, slots=True)
class Typeface:
    """The fonts that texts are set in; `file`: the user's, which is tried first."""

    file: str | None = None

    def length(self, words: str, size: float) -> float:
        """The length of a line. No character of Chinese, Japanese or Korean is taken for narrower than it is high, as
        whoever opens the file may have a font for it, and this system may have none."""
        letters = lettering.font(words, _RULED, self.file)
        narrow = sum(
            max(0.0, _RULED - letters.length(character)) for character in words if east_asian_width(character) in "WF"
        )
        return (letters.length(words) + narrow) * size / _RULED

    def wrapped(self, words: str, size: float, width: float) -> list[str]:
        """The text in lines that are no longer than `width`: broken between words, or inside of one that is longer than
        a line. No letter is lost."""
        lines, line = [], ""
        for piece in self._pieces(lettering.plain(words), size, width):
            if line and self.length((line + piece).rstrip(), size) > width:
                lines.append(line.strip())
                line = ""
            line += piece
        return [*lines, line.strip()]

    def _pieces(self, words: str, size: float, width: float) -> Iterator[str]:
        """What is not broken: words, or the letters of one that does not fit on a line."""
        for word in _BREAKS.split(words):
            yield from (word,) if self.length(word.rstrip(), size) <= width else word

    def column(self, lines: Sequence[tuple[str, Colour]], size: float, width: float) -> Part:
        """Texts below one another, each wrapped."""
        shown = [(line, colour) for words, colour in lines for line in self.wrapped(words, size, width)]
        texts = tuple(
            Text(0, (ASCENT + LEADING * number) * size, line, size, colour)
            for number, (line, colour) in enumerate(shown)
        )
        return Part(width, LEADING * size * len(texts), texts)
