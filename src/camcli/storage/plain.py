"""Files that are opened where they lie, and not replaced: a folder of somebody's may hold a link of that name.

A link would have camcli write to a file elsewhere, and a pipe would have it wait for ever.
"""

from __future__ import annotations

import os
import stat

from camcli.errors import RequestError

_KINDS = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISREG, ""))


def check(path: str | os.PathLike[str]) -> None:
    """Refuse what is there and is no regular file, such as a link. Raises: RequestError; OSError: nobody can tell."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "a device or pipe")
    if kind:
        raise RequestError(
            f"{os.fspath(path)} is {kind}, and camcli writes to a file of that name: remove it, or choose another "
            "folder with --output"
        )


def opener(path: str, flags: int) -> int:
    """The `opener` of `open` for a path that was checked: it follows no link that has come since, where the system can
    tell. Raises: OSError."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def maker(path: str, flags: int) -> int:
    """As `opener`; a file that is not there is made."""
    return opener(path, flags | os.O_CREAT)
