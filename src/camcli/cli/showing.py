"""`--show`: the overlays of a run as small pictures on the terminal, above the lines that they belong to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from camcli.cli import console, styled
from camcli.cli.progress import Board
from camcli.drawing import terminal
from camcli.drawing.terminal import FINE, GAP, HALVES
from camcli.records import Attribution, Explained, Result, Row
from camcli.sinks import Files, rows
from camcli.sinks.encoding import encoded

Way = Literal["kitty", "iterm2", "24-bit", "256"]

# The most cells (columns, lines) of the only picture of a run, and of one of many.
_ONE, _OF_MANY = (60, 20), (32, 12)
# Pictures stand side by side if each has so many columns.
_LEAST = 24
# Overlays are drawn with a longer side of so many pixels, and then made as small as their cells.
_SIDE = 480


def way_of(environment: Mapping[str, str]) -> Way | None:
    """How that terminal shows pictures; None if it is to have no colours.

    The environment alone tells: a terminal that is asked would answer into stdin, which is data. tmux and screen pass
    on text only.
    """
    get = environment.get
    if get("NO_COLOR") or get("TERM", "dumb") == "dumb":
        return None
    if not (get("TMUX") or get("STY") or get("TERM", "").startswith(("tmux", "screen"))):
        if get("TERM") in ("xterm-kitty", "xterm-ghostty") or get("TERM_PROGRAM") in ("ghostty", "WezTerm"):
            return "kitty"
        if get("TERM_PROGRAM") == "iTerm.app" or get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
        if get("KITTY_WINDOW_ID"):
            return "kitty"
    return "24-bit" if get("COLORTERM") in ("truecolor", "24bit") else "256"


@contextmanager
def shown(files: Files, *, wanted: bool, single: bool) -> Iterator[Shown]:
    """The sink of a run, which shows its overlays if that is wanted; a word why, if this terminal can't."""
    if not wanted:
        yield Shown(files, None, _ONE)
        return
    way = way_of(os.environ)
    why = None
    if not sys.stdout.isatty():
        why = "stdout is no terminal"
    elif way is None:
        why = "this terminal is to have no colours (NO_COLOR, TERM)"
    elif way in ("24-bit", "256") and not console.encodes("▀"):
        why = "the encoding of stdout has no half blocks"
    if why is not None:
        console.say(f"warning: --show: {why}, so that no pictures are shown")
    yield Shown(files, None if why else way, _ONE if single else _OF_MANY)


class Shown:
    """Keeps small pictures of each result until its row has come; none without a `way`."""

    def __init__(self, files: Files, way: Way | None, most: tuple[int, int]) -> None:
        self._files, self._way = files, way
        size = shutil.get_terminal_size()
        self._columns = size.columns
        self._most = min(most[0], size.columns), max(2, min(most[1], size.lines - 4))
        self._drawn: dict[rows.Input, str] = {}

    def draw(self, result: Result) -> None:
        """Make the small pictures of a result, from any thread."""
        if self._way is not None and isinstance(result, Explained) and result.attributions:
            self._drawn[rows.key_of(result.ref)] = self._text(result)

    def show(self, row: Row, board: Board) -> None:
        """Show the small pictures of a row's answers; there are none of a row that a run before has recorded."""
        if (text := self._drawn.pop(rows.key(row), None)) is not None:
            board.show(text)

    def _text(self, result: Explained) -> str:
        """The overlays, as many side by side as there is room for, with captions if they are several."""
        answers = result.attributions
        across = max(1, min(len(answers), (self._columns + GAP) // (_LEAST + GAP)))
        most = min(self._most[0], (self._columns - GAP * (across - 1)) // across), self._most[1]
        cells = terminal.cells_of(result.frame.size, *most)
        dots = HALVES if self._way in ("24-bit", "256") else FINE
        parts = []
        for start in range(0, len(answers), across):
            together = answers[start : start + across]
            strip = terminal.side_by_side(self._files.thumbnails(result, together, _SIDE), cells, dots)
            parts.append(self._drawing(strip, strip.shape[1] // dots[0]))
            parts += _captions(together, answers, cells[0])
        # A blank line tells which line is its own, the one below.
        return "\n".join(["", *parts])

    def _drawing(self, strip: terminal.Pixels, columns: int) -> str:
        if self._way == "kitty":
            return terminal.kitty(encoded(strip, ".png"), columns)
        if self._way == "iterm2":
            return terminal.iterm2(encoded(strip, ".png"), columns)
        return terminal.half_blocks(strip, true_colour=self._way == "24-bit")


def _captions(together: Sequence[Attribution], answers: Sequence[Attribution], columns: int) -> Iterator[str]:
    """What tells the pictures of a line from all others, below each: method, target, layer."""
    told: tuple[Callable[[Attribution], str], ...] = (
        lambda one: one.method,
        lambda one: one.target.name,
        lambda one: one.layer or "",
    )
    for of in told:
        if len({of(answer) for answer in answers} - {""}) > 1:
            yield (" " * GAP).join(styled.within(console.plain(of(answer)), columns) for answer in together)
