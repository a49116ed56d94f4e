"""Text on pictures, each character in the first font that has it. Free of numpy.

Tried in this order: the user's font (`--font`), DejaVu Sans, which is bundled and has Latin, Greek, Cyrillic, Hebrew
and Arabic letters, then the fonts of this system that have what those lack, such as Chinese characters.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from camcli.errors import RequestError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

# A file and the number of a font in it: a .ttc holds several.
Face: TypeAlias = tuple[str, int]
Colour: TypeAlias = str | tuple[int, int, int]

_BUNDLED: Face = (os.fspath(Path(__file__).parent / "fonts" / "DejaVuSans.ttf"), 0)
# Fonts of many scripts where macOS, Windows and Linux without fontconfig keep them.
_KNOWN = (
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/AppleSDGothicNeo.ttc",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/YuGothR.ttc",
    "C:/Windows/Fonts/malgun.ttf",
    "C:/Windows/Fonts/Nirmala.ttc",
    "C:/Windows/Fonts/LeelawUI.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
)
_FC_MATCH_SECONDS = 5
# Between the parts of a line.
SEPARATOR = "  ·  "
# Smaller letters can't be read; before they are smaller than so much of their usual size, a line is broken.
_SMALLEST, _LITTLE = 10.0, 0.75
# The size at which glyphs are compared with the one that stands for those which a font lacks.
_PROBE = 20
# No character: no font has it.
_NO_CHARACTER = "\U0010ffff"
# The replacement character, which the bundled font has.
_MARK = "\ufffd"
# They join letters of Arabic and Indic scripts, and are not printable.
_JOINERS = "\u200c\u200d"


def check(file: str) -> None:
    """Check that text can be drawn with a font. Raises: RequestError: the file is no font, or can't be read."""
    if not Path(file).is_file():
        raise RequestError(f"--font {file}: no such file")
    try:
        _opened((file, 0), _PROBE)
    except OSError:
        raise RequestError(f"--font {file}: it can't be read as a font that is scaled (.ttf, .otf, .ttc)") from None


@dataclass(frozen=True, slots=True)
class Letters:
    """The fonts for a text, the first ones first, at one size."""

    faces: tuple[Face, ...]
    size: float

    @property
    def height(self) -> int:
        """From the highest to the lowest letter, in pixels."""
        return sum(_opened(self.faces[0], self.size).getmetrics())

    def length(self, text: str) -> float:
        """The text's length, in pixels."""
        return sum(face.getlength(part) for part, face in self._runs(text))

    def write(self, canvas: ImageDraw, at: tuple[float, float], text: str, fill: Colour, anchor: str = "la") -> None:
        """Writes the text at (x, y): that is its left, middle or right ("l", "m", "r"), and its top, its middle or its
        baseline ("a", "m", "s")."""
        x = at[0] - self.length(text) * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
        ascent, descent = _opened(self.faces[0], self.size).getmetrics()
        baseline = at[1] + {"a": ascent, "m": (ascent - descent) / 2, "s": 0}[anchor[1]]
        for part, face in self._runs(text):
            canvas.text((x, baseline), part, fill=fill, font=face, anchor="ls")
            x += face.getlength(part)

    def parts(self, text: str) -> Iterator[tuple[str, Face]]:
        """The parts of the text that one font has; a mark, which is as wide wherever it is drawn, stands for what none
        has."""
        shown = "".join(one if _first(self.faces, one) else _MARK for one in text)
        for face, part in groupby(shown, key=lambda character: _first(self.faces, character) or self.faces[0]):
            yield "".join(part), face

    def _runs(self, text: str) -> Iterator[tuple[str, FreeTypeFont]]:
        return ((part, _opened(face, self.size)) for part, face in self.parts(text))


def font(text: str, size: float, file: str | None = None) -> Letters:
    """The fonts for a text; `file`: the user's, which is tried first. Raises: RequestError: it is no font."""
    faces = [_BUNDLED]
    if file is not None:
        check(file)
        faces.insert(0, (file, 0))
    for character in dict.fromkeys(text):
        if _first(faces, character) is None:
            faces += _of_system(character)
    return Letters(tuple(faces), size)


def _first(faces: Sequence[Face], character: str) -> Face | None:
    """The first font that has the character."""
    return next((face for face in faces if _has(face, character)), None)


def fitted(lines: Sequence[str], width: float, file: str | None = None) -> tuple[list[str], Letters]:
    """The lines, and letters that fit them into the width of a picture. If they are too long for one that is a little
    smaller than usual, they are broken between their parts."""
    lines = [plain(line) for line in lines]
    text, largest = "".join(lines), max(_SMALLEST, min(width / 40, 48.0))
    size = largest
    while True:
        found = font(text, size, file)
        whole = size > max(_SMALLEST, _LITTLE * largest)
        shown = lines if whole else [part for line in lines for part in _broken(line, width, found)]
        if size <= _SMALLEST or all(found.length(line) <= width for line in shown):
            return shown, found
        size = max(_SMALLEST, size - 1)


def _broken(line: str, width: float, letters: Letters) -> Iterator[str]:
    """The line in as many as it takes, none wider than a single part."""
    whole = ""
    for part in line.split(SEPARATOR):
        longer = SEPARATOR.join(filter(None, (whole, part)))
        if whole and letters.length(longer) > width:
            yield whole
            longer = part
        whole = longer
    yield whole


def plain(text: str) -> str:
    """The text on one line, a mark in place of what is none: controls, lone halves, orders to turn the direction."""
    return "".join(one if one.isprintable() or one in _JOINERS else _MARK for one in text)


def lacking(texts: Iterable[str], file: str | None = None) -> str:
    """The characters of texts that no font has, each once; `file`: the user's font."""
    characters = "".join(dict.fromkeys(plain("".join(texts))))
    faces = font(characters, _PROBE, file).faces
    return "".join(one for one in characters if _first(faces, one) is None)


def family(file: str) -> str:
    """The name of a font's family; of a font without one its file's."""
    return _opened((file, 0), _PROBE).getname()[0] or Path(file).stem


@cache
def _of_system(character: str) -> tuple[Face, ...]:
    """The system's font that has the character; none if there is none."""
    return tuple(face for face in (*_matched(character), *_known()) if _has(face, character))[:1]


def _matched(character: str) -> Iterator[Face]:
    """What fontconfig finds for a character."""
    if (program := shutil.which("fc-match")) is None:
        return
    command = [program, "-f", "%{file}\n%{index}", f"sans:charset={ord(character):x}"]
    try:
        found = subprocess.run(command, capture_output=True, timeout=_FC_MATCH_SECONDS, check=True).stdout
        file, index = os.fsdecode(found).split("\n")
        yield file, int(index) & 0xFFFF  # above stands the number of a weight
    except (OSError, subprocess.SubprocessError, ValueError):
        return


@cache
def _known() -> tuple[Face, ...]:
    return tuple((file, 0) for file in _KNOWN if os.path.exists(file))


@lru_cache(10_000)
def _has(face: Face, character: str) -> bool:
    """True if the font has a glyph for the character. What it lacks looks as if it were no character."""
    if character.isspace() or character in _JOINERS:
        return True
    try:
        drawn, none = (_opened(face, _PROBE).getmask(one) for one in (character, _NO_CHARACTER))
    except OSError:
        return False
    return drawn.size != none.size or bytes(drawn) != bytes(none)


@lru_cache(200)
def _opened(face: Face, size: float) -> FreeTypeFont:
    """Raises: OSError: it is no font, or none that can be scaled."""
    from PIL import ImageFont

    return ImageFont.truetype(face[0], size, face[1])
