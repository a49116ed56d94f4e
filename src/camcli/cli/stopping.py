"""Ctrl-C and SIGTERM: the first one ends a run after the batch that is being computed, a second one at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from types import FrameType
from typing import TypeVar

from camcli.errors import ExitCode

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"  # which the progress display has hidden


class Stop:
    """The request to end a run, once a signal has made it."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._idle = True

    @property
    def code(self) -> ExitCode | None:
        """The exit code of a run that is to end; None if it goes on."""
        return None if self._number is None else ExitCode(128 + self._number)

    def until(self, items: Iterable[T], block: int) -> Iterator[T]:
        """The items in whole blocks of `block`, as long as the run may go on."""
        items = iter(items)
        while self.code is None and (part := self._next(items, block)):
            yield from part

    def _next(self, items: Iterator[T], block: int) -> list[T]:
        # Nothing is computed while the next names come in, and they may never come.
        self._idle = True
        try:
            return list(islice(items, block))
        finally:
            self._idle = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._number is not None:
            if sys.stderr.isatty():
                _say(_SHOW_CURSOR)
            os._exit(128 + number)  # not even threads are waited for
        self._number = number
        if self._idle:  # or a network is being fetched, which may take minutes
            raise KeyboardInterrupt
        _say("camcli: stopping after this batch; once more stops at once\n")


def _say(text: str) -> None:
    """Write to stderr past its buffer, which the signal may have found in the middle of a write."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), text.encode())


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Take the signals within the block; outside they do what they did."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets no other thread set handlers
        return
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
