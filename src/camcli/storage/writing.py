"""Files whole or not at all: written in a hidden folder of this process, then renamed into place.

What a killed process leaves is in such a folder, and the next one that writes there removes it (`scratch`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import ENAMETOOLONG
from pathlib import Path
from threading import get_ident
from typing import BinaryIO

from camcli.errors import RequestError, SetupError
from camcli.storage import uris
from camcli.storage.scratch import Scratch, sweep

STDOUT = "-"


@contextmanager
def failing(name: str | Path) -> Iterator[None]:
    """Makes a SetupError of what the system says of a failed write to `name`: disk full, read-only, name too long."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of stdout has left
    except OSError as error:
        raise SetupError(f"can't write {name}: {error.strerror or error}") from None


@contextmanager
def whole(path: Path, scratch: Scratch | None = None, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which is at `path` once the block is left; after an exception it is nowhere.

    Without a `scratch` in the same file system it makes one beside it. `durable` as in `OutputSpec`.

    Raises: SetupError: it can't be made or put in its place; for writes that fail there is `failing`.
    """
    with whole_at(path, scratch, durable=durable) as temporary, ExitStack() as stack:
        with failing(path):
            file = temporary.open("wb")
        stack.callback(_closed, file)
        yield file
        with failing(path):
            file.close()


@contextmanager
def whole_at(path: Path, scratch: Scratch | None = None, *, durable: bool = False) -> Iterator[Path]:
    """A path in the scratch folder, for what opens its file itself: `whole` in all else."""
    with ExitStack() as stack:
        if scratch is None:
            sweep(path.parent)
            scratch = Scratch(path.parent)
            stack.callback(scratch.close)
        temporary = scratch.folder / f"{get_ident()}.tmp"
        with failing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(_dropped, temporary)
        yield temporary
        with failing(path):
            if durable:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)


def put(content: bytes, path: str, scratch: Scratch | None = None, *, durable: bool = False) -> None:
    """Writes these bytes, whole or not at all, to a path, URI or stdout. Raises: SetupError: it can't be done."""
    if path == STDOUT:
        with failing("to stdout"):
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        return
    local = uris.local_path(path)
    if local is None:
        uris.write(path, content)
        return
    with whole(Path(local), scratch, durable=durable) as file, failing(local):
        file.write(content)


def check_folder(named: str, how: str = "choose another with --output") -> None:
    """Refuse a folder that can't be made or written to. Makes nothing: a run that is refused later must not
    leave a folder.

    Raises: RequestError: for that, with `how` to go on.
    """
    local = uris.local_path(named)
    if local is None:
        uris.filesystem(named)  # refuses what it doesn't know
        return
    _check_name(local, how)
    folder = Path(local)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise RequestError(f"can't write to {folder}: {there} is not a folder; {how}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RequestError(f"can't write to {folder}: no permission in {there}; {how}")


def check_file(named: str, how: str = "choose another with --output") -> None:
    """Refuse a file that can't be made: its folder can't, or a folder has its name. Raises: RequestError."""
    local = uris.local_path(named) if named != STDOUT else None
    if local is None:
        return
    _check_name(local, how)
    check_folder(os.path.dirname(local) or ".", how)  # noqa: PTH120
    if os.path.isdir(local):
        raise RequestError(f"can't write {named}: it is a folder; {how}")


def _check_name(local: str, how: str) -> None:
    try:
        os.lstat(local)
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise RequestError(f"can't write {local}: {error.strerror}; {how}") from None


def _closed(file: BinaryIO) -> None:
    with suppress(OSError):
        file.close()


def _dropped(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink()
