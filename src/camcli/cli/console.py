"""The process's streams and its one error boundary: stdout is data, stderr is people."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from typing import ParamSpec, TextIO

import typer

from camcli.errors import ExitCode, SetupError, of_run

P = ParamSpec("P")

# Colours of the first word that is said.
_COLOURS = {"error:": "1;31", "warning:": "33", "refused": "31"}


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


def takes_colours(stream: TextIO) -> bool:
    """True if it is a terminal that may be coloured: see no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def out(text: str, stream: TextIO | None = None) -> None:
    """Print one line of data and flush it, so that a reader of the pipe sees it now. Tabs separate columns.

    Raises: SetupError: the file that stdout leads to can't be written.
    """
    write(plain_columns(text), stream)


def write(text: str, stream: TextIO | None = None) -> None:
    """`out`, of text that may drive the terminal: all that comes from outside in it is plain already."""
    stream = stream or sys.stdout
    try:
        stream.write(text + "\n")
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
    head, space, rest = plain(text).partition(" ")
    if head in _COLOURS and takes_colours(sys.stderr):
        head = f"\x1b[{_COLOURS[head]}m{head}\x1b[0m"
    sys.stderr.write(f"camcli: {head}{space}{rest}\n")


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


def plain_columns(text: str) -> str:
    """The text as `plain` gives it, but for the tabs between its columns."""
    return "\t".join(plain(column) for column in text.split("\t"))
