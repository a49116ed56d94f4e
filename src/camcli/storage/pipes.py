"""Data from a pipe, whose length nobody knows before."""

from __future__ import annotations

from typing import BinaryIO

from camcli.records import MAX_FILE_BYTES

_CHUNK = 1 << 20
_OPEN = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")


def is_open(name: str) -> bool:
    """True if a path names a file that the shell has opened for us, as by <(…): another one each time."""
    return name.startswith(_OPEN)


def read(stream: BinaryIO, head: bytes = b"") -> bytes:
    """`head` and all that follows, or `MAX_FILE_BYTES` and one more: then it is too large for a picture."""
    chunks = [head]
    left = MAX_FILE_BYTES + 1 - len(head)
    while left > 0 and (chunk := stream.read(min(left, _CHUNK))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)
