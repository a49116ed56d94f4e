"""The process's streams and its one error boundary: stdout is data, stderr is people."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

import typer

from camcli.errors import CamcliError, ExitCode, of_run

P = ParamSpec("P")


def plain(text: str) -> str:
    """No control characters: names of files and classes must not drive the terminal, nor look like another line."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def out(text: str) -> None:
    """One line of data, flushed: whoever reads the pipe sees it now. Tabs separate columns."""
    sys.stdout.write(_plain_columns(text) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """One line for people. Plain: Rich would wrap it at 80 columns where stderr is a file."""
    sys.stderr.write(f"camcli: {plain(text)}\n")


def guarded(command: Callable[P, ExitCode | None]) -> Callable[P, None]:
    """The boundary around a command: each way it can end becomes one line and the exit code of the contract."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code: int = command(*args, **kwargs) or ExitCode.OK
        except CamcliError as error:
            if kwargs.get("debug"):
                traceback.print_exc()
            say(f"error: {error}")
            code = error.exit_code
        except KeyboardInterrupt:
            say("interrupted")
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            # The reader has left (`| head`): nothing to say, and the interpreter's last flush must not complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.READER_GONE
        except Exception as error:  # noqa: BLE001  the one boundary
            if kwargs.get("debug"):
                traceback.print_exc()
            known = of_run(error)
            say(f"error: {known}")
            code = known.exit_code
        if code:
            _let_go()
            raise typer.Exit(int(code))

    return run


def _let_go() -> None:
    """What stdout could not take is dropped: the interpreter's last flush must not complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class Board:
    """Where a run shows itself: `line` prints one line of data, `done` counts one more input, by its name, `step` says
    how many of how many forwards a long method has done."""

    line: Callable[[str], None]
    done: Callable[[str], None]
    step: Callable[[int, int], None]


@contextmanager
def progress(quiet: bool) -> Iterator[Board]:
    """A counter on stderr while it is a terminal, with the data lines above it where stdout is that terminal too."""
    stdout = sys.stdout  # libraries may be given another one meanwhile

    def out_there(text: str) -> None:
        stdout.write(_plain_columns(text) + "\n")
        stdout.flush()

    if quiet or not sys.stderr.isatty():
        yield Board(out_there, lambda name: None, lambda done, of: None)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)

        def above(text: str) -> None:
            console.print(_plain_columns(text), soft_wrap=True, markup=False, highlight=False)

        yield Board(
            above if stdout.isatty() else out_there,
            lambda name: bar.update(task, advance=1, description=escape(plain(name))),
            lambda done, of: bar.update(task, description=f"forward {done} of {of}"),
        )


def _plain_columns(text: str) -> str:
    return "\t".join(plain(column) for column in text.split("\t"))
