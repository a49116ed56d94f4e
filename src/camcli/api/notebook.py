"""The notebook around this process, if there is one; and the progress of a run, there or on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Seconds between two pictures of the progress.
_PACE = 0.2


def notebook() -> Any:
    """IPython's display, if a notebook runs this process; else None. Imports nothing that is not there already."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return ipython.display if ipython is not None and hasattr(shell, "kernel") else None


class Bar:
    """The progress of a run, as a notebook and a terminal show it. `total` is None if nobody knows it."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._total = total
        self._done = self._refused = 0

    def count(self, *, refused: bool) -> None:
        """Count one more picture."""
        self._done += 1
        self._refused += refused
        if self._total is not None and self._done > self._total:
            self._total = None  # some of what was given held several

    def __repr__(self) -> str:
        of = f" of {self._total}" if self._total is not None else ""
        gone = self._clock() - self._began
        told = [f"{self._done}{of} pictures", f"{gone:.0f} s"]
        if self._done and gone > 0:
            told.append(f"{self._done / gone:.2g}/s" if self._done < 100 * gone else f"{self._done / gone:.0f}/s")
        if self._refused:
            told.append(f"{self._refused} refused")
        return ", ".join(told)

    def _repr_html_(self) -> str:
        value = f" value='{self._done}'" if self._total is not None else ""
        return f"<progress max='{self._total or 1}'{value}></progress> {self!r}"


@contextmanager
def progress(wanted: bool, total: int | None) -> Iterator[Callable[[bool], None]]:
    """A function to call after each picture, with True if it is refused. In a notebook a bar, on a terminal a line on
    stderr; elsewhere nothing is shown."""
    show = _shower() if wanted else None
    if show is None:
        yield lambda refused: None
        return
    bar = Bar(total)
    shown = -_PACE

    def done(refused: bool) -> None:
        nonlocal shown
        bar.count(refused=refused)
        if time.monotonic() - shown >= _PACE:
            show(bar, False)
            shown = time.monotonic()

    show(bar, False)
    try:
        yield done
    finally:
        show(bar, True)


def _shower() -> Callable[[Bar, bool], None] | None:
    """A way to show a bar, again and again, and for the last time; None if there is none."""
    display = notebook()
    if display is not None:
        handles: list[Any] = []

        def in_notebook(bar: Bar, last: bool) -> None:
            if handles:
                handles[0].update(bar)
            else:
                handles.append(display.display(bar, display_id=True))

        return in_notebook
    if sys.stderr is None or not sys.stderr.isatty():
        return None

    def on_terminal(bar: Bar, last: bool) -> None:
        sys.stderr.write(f"\r{bar!r:<60}" + ("\n" if last else ""))
        sys.stderr.flush()

    return on_terminal
