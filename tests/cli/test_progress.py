"""The bar of a run: its pace, its total, and what a terminal shows of it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
from terminals import Terminal, bare, terminal

from camcli.cli.progress import Pace, progress
from camcli.errors import RequestError
from camcli.records import Moment, Ref


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_right_from_the_second_batch_on() -> None:
    """16 pictures each 2 seconds: 8 a second, though all of a batch come at once."""
    clock = Clock()
    pace = Pace(clock)
    for batch in range(1, 40):
        for _ in range(16):
            pace.add()
            clock.now += 0.001
        assert pace.rate is None if batch == 1 else pace.rate == pytest.approx(8, rel=1e-6), batch
        clock.now = 2.0 * batch
    assert pace.done == 39 * 16
    clock.now = 2.0 * 38
    assert pace.left(1000) == pytest.approx((1000 - 39 * 16) / 8)
    clock.now += 3
    assert pace.left(1000) == pytest.approx((1000 - 39 * 16) / 8 - 3)
    assert pace.left(None) is None
    assert pace.left(39 * 16) == 0


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    """What a journal gives back at once says nothing of what is computed."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(5000):
        pace.add()
    for _ in range(100):
        clock.now += 1.0
        pace.add()
    assert pace.rate == pytest.approx(1.0)


def refs(count: int) -> Iterator[Ref]:
    return (Ref(index, f"{index}.png", path=Path(f"{index}.png")) for index in range(count))


def last_line(screen: Terminal) -> str:
    """What the bar said last."""
    return [line for line in re.split(r"[\r\n]+", bare(screen.getvalue())) if line.strip()][-1].rstrip()


def test_the_bar_tells_total_pace_time_left_and_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, "stderr")
    with progress(False, lambda: refs(1000)) as board:
        board.begin()
        time.sleep(0.2)
        for _ in range(2):
            board.done("a.png")
            board.done("b.png", refused=True)
            time.sleep(0.25)
        board.done("sample_images/a rather long folder/with a rather long file name in it.png")
    last = last_line(screen)
    assert re.search(r"   5/1000 \d+(\.\d)?/s  \d:\d\d left 2 refused sample_images/a rather", last)
    assert len(last) <= 80
    assert last.endswith("…")


def test_names_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, "stderr")
    with progress(False) as board:
        board.begin()
        board.done("[red]a\x1b[2J\n{task.total}[/red]")
    assert last_line(screen).endswith("[red]a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}{task.total}[/red]")
    assert "\x1b[2J" not in screen.getvalue()


def test_a_total_that_nobody_knows_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, "stderr")

    def broken() -> Iterator[Ref]:
        yield from refs(3)
        raise RequestError("gone")

    def film() -> Iterator[Ref]:
        yield from refs(3)
        yield from repeat(Ref(3, "film.mp4", path=Path("film.mp4"), moment=Moment(0, 0.0)))

    for inputs in (None, broken, film):
        with progress(False, inputs) as board:
            board.begin()
            board.done("a.png")
            time.sleep(0.15)
        assert "1/?" in last_line(screen)


def test_what_is_shown_stands_above_the_bar_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, "stderr")
    monkeypatch.setattr(sys, "stdout", Terminal())  # the same one, as far as anybody can tell
    picture = "\x1b_Ga=T;[red]x\x1b\\" + "y" * 200
    with progress(False) as board:
        board.begin()
        board.show(picture)
        board.line("a\tb\x1b[2J[red]")
    assert picture + "\n" in screen.getvalue()
    assert "a\tb\N{REPLACEMENT CHARACTER}[2J[red]\n" in screen.getvalue()


def test_no_bar_is_shown_to_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, "stderr")
    monkeypatch.setenv("TERM", "dumb")
    with progress(False, lambda: refs(3)) as board:
        board.begin()
        board.done("a.png")
    assert screen.getvalue() == ""


def test_one_picture_gets_a_bar_for_long_methods_only(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, "stderr")
    with progress(False, single=True) as board:
        board.begin()
        board.done("a.png")
    assert screen.getvalue() == ""
    with progress(False, single=True) as board:
        board.begin()
        board.step(3, 4001)
    assert last_line(screen).endswith("forward 3 of 4001")
