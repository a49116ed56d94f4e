"""Hidden folders beside the files written, each of one process while it lives: for locks, and files not yet whole."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from camcli.errors import SetupError
from camcli.storage import plain

if TYPE_CHECKING:
    from filelock import BaseFileLock

PREFIX = ".camcli-"
_LOCK = "lock"


class Scratch:
    """A folder with a lock on it that the system lets go when the process ends, however it ends.

    With a `name`, only one process can have it at a time; without, it is the process's own.

    Raises:
        BlockingIOError: another process has the folder of that name.
        RequestError: a link has its name, or that of the lock in it.
        SetupError: it can't be made.
    """

    def __init__(self, output: Path, name: str | None = None) -> None:
        try:
            output.mkdir(parents=True, exist_ok=True)
            self.folder, self._lock = _claimed(output, name)
        except BlockingIOError:
            raise
        except OSError as error:
            raise SetupError(f"can't write to {output}: {error.strerror}") from None

    def close(self) -> None:
        """Removes the folder with what is left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()


def sweep(output: Path) -> None:
    """Removes what processes of this user that were killed have left in a folder; a living one's is locked."""
    with suppress(OSError), os.scandir(output) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _remove_dead(Path(entry.path))


def _remove_dead(folder: Path) -> None:
    # In a folder that all may write to, what lies there may not be what it seems.
    if hasattr(os, "geteuid") and folder.lstat().st_uid != os.geteuid():
        return
    if not stat.S_ISREG(_mode(folder / _LOCK)) and any(folder.iterdir()):
        return  # somebody's of a like name; a lock that is a link would be written to where it leads
    lock = _locked(folder)
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def _claimed(output: Path, name: str | None) -> tuple[Path, BaseFileLock]:
    while True:
        if name is None:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=output))
        else:
            folder = output / f"{PREFIX}{name}"
            if not stat.S_ISDIR(_mode(folder)):
                plain.check(folder)
            folder.mkdir(exist_ok=True)
            plain.check(folder / _LOCK)
        # Another process may take it for a dead one's and remove it, until it is locked.
        with suppress(FileNotFoundError):
            lock = _locked(folder)
            if folder.is_dir():
                _empty(folder)
                return folder, lock
            lock.release()


def _mode(path: Path) -> int:
    """What is at the path itself; 0 if nothing is."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _empty(folder: Path) -> None:
    """Removes all but the lock: of a link among it what is written here would go elsewhere."""
    for path in folder.iterdir():
        if path.name == _LOCK:
            continue
        if stat.S_ISDIR(_mode(path)):
            shutil.rmtree(path)
        else:
            path.unlink()


def _locked(folder: Path) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BlockingIOError(f"{folder} is another process's") from None
    return lock
