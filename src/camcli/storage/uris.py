"""Pictures and files at URIs (s3://, gs://, memory://, file://, …) through fsspec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from camcli.errors import CamcliError, InputError, RequestError, SetupError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# What file systems raise: OSError and its kind, and their libraries' own. Those of botocore, Google and aiohttp have
# nothing else in common.
_FAILURES = (Exception,)


def is_uri(name: str) -> bool:
    return _URI.match(name) is not None


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """(the file system, the path in it).

    Raises:
        RequestError: no such protocol.
        SetupError: the package for the protocol is missing, or its settings are.
    """
    from fsspec.core import url_to_fs

    try:
        found: tuple[AbstractFileSystem, str] = url_to_fs(uri)
    except ImportError as error:
        raise SetupError(f"{uri}: {error}: it is a package of its own, for `pip install`") from None
    except ValueError as error:
        raise RequestError(f"{uri}: {error}") from None
    except _FAILURES as error:
        raise SetupError(f"{uri}: {error}") from None
    fs, path = found
    # A file's URI is percent-encoded (RFC 8089), and typed by hand it is not.
    if "file" in fs.protocol and "%" in path and not os.path.exists(path):
        path = unquote(path)
    return fs, path


def walk(uri: str, *, recursive: bool) -> Iterator[str]:
    """The files at a URI: itself, those that a pattern matches, or a folder's sorted by name, then its folders'.

    Raises:
        RequestError: nothing is there.
        SetupError: it can't be listed.
    """
    fs, path = filesystem(uri)
    try:
        if fs.isfile(path):
            found = iter([path])
        elif fs.isdir(path):
            found = _below(fs, path, recursive)
        else:
            found = iter(sorted(fs.glob(path)) if re.search(r"[*?\[]", path) else [])
        first = next(found, None)
        if first is None:
            raise RequestError(f"no such file or folder, or nothing in it: {uri}")
        yield str(fs.unstrip_protocol(first))
        for name in found:
            yield str(fs.unstrip_protocol(name))
    except CamcliError:
        raise
    except _FAILURES as error:
        raise SetupError(f"can't list {uri}: {error}") from None


def _below(fs: AbstractFileSystem, folder: str, recursive: bool) -> Iterator[str]:
    entries: list[dict[str, Any]] = sorted(fs.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
    for entry in entries:
        # Object stores list the folder itself as an empty file.
        if entry["type"] == "file" and str(entry["name"]).rstrip("/") != folder.rstrip("/"):
            yield entry["name"]
    for entry in entries:
        if recursive and entry["type"] == "directory" and not entry["name"].rsplit("/", 1)[-1].startswith("."):
            yield from _below(fs, entry["name"], recursive)


def read(uri: str) -> bytes:
    """The file's bytes. Raises: InputError: it is not there or can't be read."""
    try:
        fs, path = filesystem(uri)
        content: bytes = fs.cat_file(path)
    except FileNotFoundError:
        raise InputError("open", "missing", "no such file") from None
    except PermissionError:
        raise InputError("open", "permission", "no permission to read it") from None
    except _FAILURES as error:
        raise InputError("open", "unreachable", f"can't be read: {error}") from None
    return content


def is_local(name: str) -> bool:
    """True if it is a path, or a URI of one."""
    return not is_uri(name) or name.startswith(("file://", "local://"))


def local_path(name: str) -> str | None:
    """A path as it is, or the one that a file:// URI names; None if it lies elsewhere."""
    if not is_local(name):
        return None
    return filesystem(name)[1] if is_uri(name) else name


def write(uri: str, content: bytes) -> None:
    """Writes these bytes; object stores show them whole or not at all. Raises: SetupError: it can't be written."""
    fs, path = filesystem(uri)
    try:
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        fs.pipe_file(path, content)
    except _FAILURES as error:
        raise SetupError(f"can't write {uri}: {error}") from None


@contextmanager
def opened(uri: str) -> Iterator[Any]:
    """A file to write to, which is there once the block is left. After an exception it is in no store that can take a
    write back.

    Raises: SetupError: it can't be opened or kept.
    """
    fs, path = filesystem(uri)
    try:
        file = fs.open(path, "wb")
    except _FAILURES as error:
        raise SetupError(f"can't write {uri}: {error}") from None
    try:
        yield file
    except BaseException:
        with suppress(*_FAILURES):
            file.discard()
        raise
    try:
        file.close()
    except _FAILURES as error:
        raise SetupError(f"can't write {uri}: {error}") from None
