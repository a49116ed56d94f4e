"""The display of a run: a bar on stderr if that is a terminal, with what is shown above it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from camcli.cli import console
from camcli.errors import CamcliError
from camcli.records import Ref

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Seconds that the pace is measured over; pictures that come in so short a time come at once.
_WINDOW = 30.0
_AT_ONCE = 0.1


class Done(Protocol):
    """Counts one more input, by its name."""

    def __call__(self, name: str, *, refused: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Board:
    """The display of a run: `show` prints text that may drive the terminal, `line` a line of data. `begin` shows the
    bar: not before weights are fetched, which has a bar of its own. `done` counts one more input, `step` says how many
    of how many forwards a long method has done, and shows the bar if nothing else has."""

    show: Callable[[str], None]
    begin: Callable[[], None]
    done: Done
    step: Callable[[int, int], None]

    def line(self, text: str) -> None:
        self.show(console.plain_columns(text))


class Pace:
    """Pictures per second over the last half minute.

    Pictures come in batches: those that come at once are one sample, or the first batch would count as if it had taken
    no time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()  # when a batch came, and how many were done with it
        self.done = 0

    def add(self) -> None:
        """Count one more picture."""
        now = self._clock()
        self.done += 1
        if self._samples and now - self._samples[-1][0] < _AT_ONCE:
            self._samples[-1] = self._samples[-1][0], self.done
            return
        self._samples.append((now, self.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()

    @property
    def rate(self) -> float | None:
        """Pictures per second; None before the second batch."""
        if len(self._samples) < 2:
            return None
        (first, before), (last, done) = self._samples[0], self._samples[-1]
        return (done - before) / (last - first)

    def left(self, total: int | None) -> float | None:
        """Seconds until `total` pictures are done; None if that can't be told."""
        if total is None or (rate := self.rate) is None:
            return None
        return max(0.0, (total - self.done) / rate - (self._clock() - self._samples[-1][0]))


@contextmanager
def progress(
    quiet: bool, inputs: Callable[[], Iterable[Ref]] | None = None, *, single: bool = False
) -> Iterator[Board]:
    """A bar on stderr if that is a terminal, with what is shown above it if stdout is that terminal too.

    `inputs` lists them once more, beside the run, to tell how many there are. A `single` one needs no bar, but for a
    long method.
    """
    stdout = sys.stdout  # libraries may be given another one meanwhile
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        show_there = partial(console.write, stream=stdout)
        yield Board(show_there, lambda: None, lambda name, *, refused=False: None, lambda done, of: None)
        return
    pace, refusals, ended = Pace(), 0, threading.Event()
    bar = _bar(pace)
    task = bar.add_task("", total=1 if single else None, refused="")

    def done(name: str, *, refused: bool = False) -> None:
        nonlocal refusals
        refusals += refused
        pace.add()
        told = f"{refusals} refused" if refusals else ""
        bar.update(task, advance=1, refused=told, description=console.plain(name))

    def begin() -> None:
        bar.start()
        if inputs is not None:
            threading.Thread(target=_count, args=(bar, task, inputs, ended), daemon=True).start()

    def step(done: int, of: int) -> None:
        bar.start()
        bar.update(task, description=f"forward {done} of {of}")

    def show(text: str) -> None:
        if stdout.isatty() and bar.live.is_started:
            _above(bar, text)
        else:
            console.write(text, stdout)

    try:
        yield Board(show, (lambda: None) if single else begin, done, step)
    finally:
        ended.set()
        bar.stop()


def _bar(pace: Pace) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Clock(ProgressColumn):
        """Pictures a second and the time left; the time gone as long as that can't be told."""

        def render(self, task: Task) -> Text:
            rate, left = pace.rate, pace.left(None if task.total is None else int(task.total))
            speed = "" if rate is None else f"{rate:.0f}/s  " if rate >= 100 else f"{rate:.2g}/s  "
            clock = _clock(task.elapsed or 0.0) if left is None else f"{_clock(left)} left"
            return Text(speed + clock)

    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        Clock(),
        TextColumn("{task.fields[refused]}", style="red", markup=False),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        expand=True,
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _above(bar: Progress, text: str) -> None:
    """Print text above the bar, as it is: Rich neither wraps nor changes a control code."""
    from rich.control import Control
    from rich.segment import ControlType, Segment

    raw = Control()
    raw.segment = Segment(text + "\n", None, [(ControlType.CARRIAGE_RETURN,)])
    bar.console.print(raw, soft_wrap=True)


def _count(bar: Progress, task: TaskID, inputs: Callable[[], Iterable[Ref]], ended: threading.Event) -> None:
    """Tell the bar how many inputs there are; films are not read for that, and no name is kept."""
    total = 0
    with suppress(CamcliError, OSError):  # the run itself says what is wrong with its inputs
        for ref in inputs():
            if ended.is_set() or ref.moment is not None:
                return
            total += 1
        bar.update(task, total=total)
