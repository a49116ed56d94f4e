"""Rows as a terminal shows them: a panel for one picture, an aligned line a picture for many."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from camcli.cli import console, report
from camcli.records import Row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.padding import Padding
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

# The width of a value before its class, and of the longest bar; what else a line of the table takes.
_VALUE, _BAR, _BESIDE = 7, 24, 48


def line_of(row: Row) -> str:
    """One answered row of many: value, class and name below each other, red if the folder says another class.

    Names come last, since nobody knows how long the next one is; files are not told, since they are called like them.
    """
    from rich.text import Text

    terminal = _terminal()
    room = max(16, (terminal.width - _VALUE) // 3)
    label, value = map(console.plain, report.best(row))
    wrong = report.missed(row)
    line = Text(f"{value:>{_VALUE}}  ")
    line.append(within(label, room), style="red" if wrong else "")
    line.append(f"  {console.plain(row['input'])}{report.clock(row)}")
    for text, style in (
        (report.bound_of(row) if "bound" in row else "", ""),
        (wrong, "red"),
        (row.get("note"), "yellow"),
    ):
        if text:
            line.append(f"  {console.plain(text)}", style=style)
    return _rendered(terminal, [line])


def within(text: str, columns: int) -> str:
    """The text in so many cells of a terminal: filled up with blanks, or cut with a sign of it."""
    from rich.cells import cell_len, set_cell_size

    return set_cell_size(text, columns) if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"


def page_of(row: Row, notes: Iterable[str]) -> str:
    """The only answered row: its picture, model and best classes in a panel; its answers and files; then the notes."""
    terminal = _terminal()
    return _rendered(
        terminal, [_panel(row, terminal.width), *_answers(row), *(_wrapped(note, "dim") for note in notes)]
    )


def _panel(row: Row, width: int) -> Panel:
    from rich.console import Group
    from rich.panel import Panel

    head = [_text(row["input"], "bold"), _text(report.facts(row), "dim"), *map(_text, report.remarks(row))]
    return Panel(Group(*head, _text(""), _scores(row, width)), expand=False, border_style="dim")


def _scores(row: Row, width: int) -> Table:
    scores = report.scores(row)
    longest = min(_BAR, width - _BESIDE) if console.encodes("█") else 0
    bars = [_text("█" * round(share * longest), "cyan") for share in scores.shares] if longest > 0 else []
    if not bars:
        return report.grid(scores.titles, scores.lines, right=scores.right)
    lines = [(*line, bar) for line, bar in zip(scores.lines, bars, strict=True)]
    return report.grid((*scores.titles, ""), lines, right=scores.right)


def _answers(row: Row) -> Iterator[RenderableType]:
    """Each answer and what is to be said of it; below it its files, each the first time that it comes."""
    told: set[str] = set()
    for explanation in row["explanations"]:
        yield _text(report.about(explanation))
        if "note" in explanation:
            yield _wrapped(explanation["note"], "yellow", indent=2)
        for path in explanation["files"].values():
            if path not in told:
                told.add(path)
                yield _text(f"  {path}", "green")


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(console.plain(text), style=style, overflow="fold")


def _wrapped(text: str, style: str, *, indent: int = 0) -> Padding:
    """Text that is read and not copied: broken between words."""
    from rich.padding import Padding

    return Padding(_text(text, style), (0, 0, 0, indent), expand=False)


def _terminal() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def _rendered(terminal: Console, parts: Iterable[RenderableType]) -> str:
    """The parts as that terminal shows them. It breaks lines itself, so that a path can be copied whole."""
    from rich.text import Text

    with terminal.capture() as captured:
        for part in parts:
            terminal.print(part, soft_wrap=isinstance(part, Text))
    return captured.get().removesuffix("\n")
