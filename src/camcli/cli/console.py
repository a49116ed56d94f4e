"""The process's streams and its one error boundary: stdout is data, stderr is people."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from io import TextIOWrapper
from typing import ParamSpec, TextIO

import typer

from camcli.errors import ExitCode, SetupError, of_run

P = ParamSpec("P")


def plain(text: str) -> str:
    """The text without control characters: names of files and classes must not drive the terminal, nor fake a line."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def encodes(text: str) -> bool:
    """True if stdout can show it: a Windows console, a redirected one or LC_ALL=C may know few characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeError:
        return False
    return True


def replace_what_cannot_be_encoded() -> None:
    """Make the process's streams show "?" for characters that they don't know; Python would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def out(text: str, stream: TextIO | None = None) -> None:
    """Print one line of data and flush it, so that a reader of the pipe sees it now. Tabs separate columns.

    Raises: SetupError: the file that stdout leads to can't be written.
    """
    stream = stream or sys.stdout
    try:
        stream.write(_plain_columns(text) + "\n")
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _abandon(stream)
        raise SetupError(f"can't write to stdout: {error.strerror}") from error


def _abandon(stream: TextIO) -> None:
    """Send nothing more there, and keep the interpreter's last flush from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """Print one line for people. Plain: Rich would wrap it at 80 columns if stderr is a file."""
    sys.stderr.write(f"camcli: {plain(text)}\n")


def guarded(command: Callable[P, ExitCode | None]) -> Callable[P, None]:
    """The boundary around a command: each way it can end becomes one line and the exit code of the contract."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code: int = command(*args, **kwargs) or ExitCode.OK
        except KeyboardInterrupt:
            say("interrupted")
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            _abandon(sys.stdout)  # the reader has left (`| head`): nothing to say
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
    """Drop what stdout could not take."""
    try:
        sys.stdout.flush()
    except OSError:
        _abandon(sys.stdout)


@dataclass(frozen=True, slots=True)
class Board:
    """The display of a run: `line` prints one line of data, `done` counts one more input, by its name, `step` says how
    many of how many forwards a long method has done."""

    line: Callable[[str], None]
    done: Callable[[str], None]
    step: Callable[[int, int], None]


@contextmanager
def progress(quiet: bool) -> Iterator[Board]:
    """A counter on stderr if that is a terminal, with the data lines above it if stdout is that terminal too."""
    stdout = sys.stdout  # libraries may be given another one meanwhile
    out_there = partial(out, stream=stdout)
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
