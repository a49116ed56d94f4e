"""What can go wrong, by who can mend it, and the exit code that says so.

A bad *request* is raised before any work starts; a machine that *cannot* is raised as soon as it is known;
a bad *input* never stops the others: the engine turns it into a `Failed` record.
"""

import errno
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path
from traceback import extract_tb

REPORT = "this is a bug in camcli: please report it with the output of --debug and `camcli doctor --json`"

# The disk is full, or this user's share of it.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class ExitCode(IntEnum):
    """The public contract of the process; see the README's table."""

    OK = 0
    BUG = 1
    REQUEST = 2
    SETUP = 3
    SOME_FAILED = 4
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


class CamcliError(Exception):
    """Anything the user can act on; the message says what to type next."""

    exit_code: int = ExitCode.BUG


class RequestError(CamcliError):
    """The request is wrong (flag, name, path): nothing was run."""

    exit_code: int = ExitCode.REQUEST


class SetupError(CamcliError):
    """The request is right but this machine or model can't serve it."""

    exit_code: int = ExitCode.SETUP


class InputError(CamcliError):
    """One picture can't be explained. `stage` is where it stopped, `kind` a stable word for programs."""

    exit_code: int = ExitCode.SOME_FAILED

    def __init__(self, stage: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.kind = kind


def of_input(error: Exception, stage: str) -> InputError:
    """What went wrong with one picture, as its refusal; what nobody foresaw is a bug, and says where it came up.

    Raises: the error itself, where it is about the whole run.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, CamcliError):
        raise error
    if isinstance(error, MemoryError):
        return InputError(stage, "memory", "it doesn't fit in memory")
    place = extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return InputError(stage, "bug", f"{type(error).__name__} in {where}: {error}; {REPORT}")


def of_run(error: Exception) -> CamcliError:
    """What ends the run; what nobody foresaw is a bug, unless this machine has no room for it."""
    if isinstance(error, CamcliError):
        return error
    if isinstance(error, MemoryError):
        return SetupError("memory does not suffice")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return SetupError(f"can't write{f' {error.filename}' if error.filename else ''}: {error.strerror}")
    return CamcliError(f"{type(error).__name__}: {error}; {REPORT}")


def of_code(code: int, message: str) -> CamcliError:
    """An error of another process, which ends this one as it would have ended that one."""
    error = {2: RequestError, 3: SetupError}.get(code, CamcliError)(message)
    error.exit_code = code
    return error


def unknown(what: str, name: str, known: Iterable[str], listing: str) -> RequestError:
    """The error for a name that is not in `known`: at most three near ones, and the command that lists them all."""
    by_lower = {k.lower(): k for k in known}
    near = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(by_lower[n] for n in near)}? " if near else ""
    return RequestError(f"unknown {what} {name!r}: {hint}`{listing}` lists them all")
