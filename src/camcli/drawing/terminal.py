"""RGB pixels -> text that a terminal shows as a picture: half blocks, or the protocols of kitty and iTerm2.

kitty's: sw.kovidgoyal.net/kitty/graphics-protocol; iTerm2's: iterm2.com/documentation-images.html.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# Pixels (width, height) of a cell: of half blocks, and of pictures that a terminal shows at its screen's own pixels.
HALVES, FINE = (1, 2), (8, 16)
# Cells between pictures side by side.
GAP = 2
# Steps of the 256 colours: a cube of six, and greys.
_CUBE = np.array([0, 95, 135, 175, 215, 255])
_GREYS = np.arange(8, 239, 10)
_KITTY_CHUNK = 4096


def cells_of(size: tuple[int, int], columns: int, lines: int) -> tuple[int, int]:
    """The most cells (columns, lines) that a picture of that (width, height) fills with its aspect kept."""
    width, height = size
    wide = min(columns, 2 * lines * width / height)
    return max(1, round(wide)), max(1, round(wide * height / width / 2))


def side_by_side(pictures: Sequence[Pixels], cells: tuple[int, int], dots: tuple[int, int]) -> Pixels:
    """Pictures (H, W, 3), each in so many cells of `dots` pixels, with a transparent gap between them, (h, w, 4)."""
    import cv2

    width, height = cells[0] * dots[0], cells[1] * dots[1]
    strip = np.zeros((height, len(pictures) * (width + GAP * dots[0]) - GAP * dots[0], 4), np.uint8)
    for index, picture in enumerate(pictures):
        start = index * (width + GAP * dots[0])
        strip[:, start : start + width, :3] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        strip[:, start : start + width, 3] = 255
    return strip


def half_blocks(strip: Pixels, *, true_colour: bool) -> str:
    """RGBA pixels (an even height) as text, two of them in a cell, one above the other; a blank if transparent.

    In 24-bit colours, or in the nearest of the 256 that older terminals have.
    """
    colours = strip[..., :3] if true_colour else _nearest(strip[..., :3])[..., None]
    kind = "2" if true_colour else "5"
    lines = []
    for above, below, seen in zip(colours[::2], colours[1::2], strip[::2, :, 3], strict=True):
        cells, before = [], ""
        for top, bottom, opaque in zip(above.tolist(), below.tolist(), seen.tolist(), strict=True):
            code = f"38;{kind};{_joined(top)};48;{kind};{_joined(bottom)}" if opaque else "0"
            cells.append(("" if code == before else f"\x1b[{code}m") + ("▀" if opaque else " "))
            before = code
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def _joined(colour: Sequence[int]) -> str:
    return ";".join(map(str, colour))


def _nearest(rgb: Pixels) -> NDArray[np.int64]:
    """The nearest of the 256 colours of xterm that are the same everywhere, 16 to 255, (H, W)."""
    wide = rgb.astype(np.int64)
    steps = np.abs(wide[..., None] - _CUBE).argmin(-1)
    grey = np.abs(wide.mean(-1)[..., None] - _GREYS).argmin(-1)
    of_cube = ((_CUBE[steps] - wide) ** 2).sum(-1)
    of_greys = ((_GREYS[grey][..., None] - wide) ** 2).sum(-1)
    return np.asarray(np.where(of_greys < of_cube, 232 + grey, 16 + steps @ [36, 6, 1]), dtype=np.int64)


def kitty(png: bytes, columns: int) -> str:
    """A PNG, so many cells wide, for kitty, Ghostty and WezTerm. They are told not to answer: stdin is data."""
    text = b64encode(png).decode()
    parts = [text[start : start + _KITTY_CHUNK] for start in range(0, len(text), _KITTY_CHUNK)]
    heads = [f"a=T,f=100,c={columns},q=2,", *["q=2,"] * (len(parts) - 1)]
    more = [*[1] * (len(parts) - 1), 0]
    return "".join(f"\x1b_G{head}m={m};{part}\x1b\\" for head, m, part in zip(heads, more, parts, strict=True))


def iterm2(png: bytes, columns: int) -> str:
    """A PNG, so many cells wide, for iTerm2."""
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns}:{b64encode(png).decode()}\x07"
