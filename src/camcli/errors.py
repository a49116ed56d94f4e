"""Errors by who can mend them, and their exit codes.

A bad *request* is raised before any work starts; a machine that *can't* serve it as soon as that is known;
a bad *input* never stops the others: the engine turns it into a `Failed` record.
"""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path
from traceback import extract_tb, walk_tb

REPORT = "this is a bug in camcli: please report it with the output of --debug and `camcli doctor --json`"

# The disk is full, or this user's share of it.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


# Debian's packages of the system libraries that OpenCV's windows want.
_SYSTEM = {
    "libGL": "libgl1",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
    "libSM": "libsm6",
    "libICE": "libice6",
    "libXext": "libxext6",
    "libXrender": "libxrender1",
    "libX11": "libx11-6",
    "libxcb": "libxcb1",
}


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
    """The refusal of one picture for this error; one that nobody foresaw is a bug, and says where it came up.

    Raises: the error itself, if it is about the whole run; SetupError: for a library that can't be imported.
    """
    if isinstance(error, InputError):
        return error
    if isinstance(error, CamcliError):
        raise error
    if isinstance(error, ImportError):
        raise of_import(error) from error
    if isinstance(error, MemoryError):
        return InputError(stage, "memory", "it doesn't fit in memory")
    place = extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return InputError(stage, "bug", f"{type(error).__name__} in {where}: {error}; {REPORT}")


def of_import(error: ImportError) -> SetupError:
    """The error for a library that can't be imported: it says what to install. OpenCV often lacks a system library."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    if error.name != "cv2" and not any(
        frame.f_globals.get("__name__", "").split(".")[0] == "cv2" for frame, _ in walk_tb(error.__traceback__)
    ):
        return SetupError(f"{said}: reinstall with `pip install --force-reinstall camcli`")
    headless = "pip install opencv-python-headless"
    missing = re.match(r"lib(?:[\w+-]|\.(?!so))+", said)
    if missing is None:
        return SetupError(f"OpenCV can't be imported ({said}): `{headless}` installs one that needs no display")
    package = next((own for start, own in _SYSTEM.items() if missing[0].startswith(start)), None)
    system = f"`apt-get install {package}`" if package else f"install {missing[0]} with the system's package manager"
    return SetupError(
        f"OpenCV can't be imported ({said}): {system}, or take the OpenCV that needs no display, "
        f"`pip uninstall opencv-python && {headless}`"
    )


def of_run(error: Exception) -> CamcliError:
    """The error that ends the run; one that nobody foresaw is a bug, unless this machine has no room for the run."""
    if isinstance(error, CamcliError):
        return error
    if isinstance(error, ImportError):
        return of_import(error)
    if isinstance(error, MemoryError):
        return SetupError("memory does not suffice")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return SetupError(f"can't write{f' {error.filename}' if error.filename else ''}: {error.strerror}")
    return CamcliError(f"{type(error).__name__}: {error}; {REPORT}")


def of_code(code: int, message: str) -> CamcliError:
    """The error of another process, to end this one as it would have ended that one."""
    error = {2: RequestError, 3: SetupError}.get(code, CamcliError)(message)
    error.exit_code = code
    return error


def unknown(what: str, name: str, known: Iterable[str], listing: str) -> RequestError:
    """The error for a name that is not in `known`: at most three near ones, and the command that lists them all."""
    by_lower = {k.lower(): k for k in known}
    near = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(by_lower[n] for n in near)}? " if near else ""
    return RequestError(f"unknown {what} {name!r}: {hint}`{listing}` lists them all")
