"""Bytes that come through stdin: a list of names in whatever encoding and framing, or bytes that are no list."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO

from camcli.inputs import kinds

_CHUNK = 65_536
# A longer line is no path; of one without end no more is kept.
_MAX_NAME = 65_536
# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Control characters that no name has, but by accident: all but tab, newline and carriage return.
_ODD = bytes(code for code in (*range(1, 32), 127) if code not in b"\t\n\r")
# From so many bytes on their share tells a list with such an accident from anything else.
_ENOUGH_TO_TELL = 1024
_ODD_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Framing:
    """The form of a list: its separator, a mark of so many bytes before it, and its encoding if not plain bytes."""

    separator: bytes
    mark: int = 0
    encoding: str | None = None


def read_head(stream: BinaryIO) -> bytes:
    """The beginning of the input: as many bytes as tell what comes, a first entry or a picture.

    No more is waited for: a writer of a list may wait for the answer to its first entry.
    """
    head = b""
    while not _tells(head) and (chunk := stream.read1(_CHUNK)):  # type: ignore[attr-defined]
        head += chunk
    return head


def _tells(head: bytes) -> bool:
    if len(head) >= kinds.HEAD:
        return True
    head = head.lstrip(b"\r\n \t")
    if not head or head.startswith(b"\0") or kinds.may_become_one(head):
        return False
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = head[: len(head) // 2 * 2].decode("utf-16", "ignore")
        return len(head) >= 8 and (not text.startswith("{") or "\n" in text)
    if head[1:2] == b"\0" and len(head) < 8:  # a name of one letter, or the first letter in UTF-16
        return _exists(head[:1])
    first = re.split(rb"[\0\n]", head, maxsplit=1)
    if len(first) < 2 or head.startswith((b"<", b"[")):
        return len(first) > 1 and _exists(first[0].rstrip(b"\r"))
    return not head.startswith(b"{") or _is_object(first[0]) or _exists(first[0].rstrip(b"\r"))


def _is_object(line: bytes) -> bool:
    """True if it is a whole object of JSON, as in a list of them."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def framing(head: bytes) -> Framing | None:
    """The framing of a list that begins so; None if it is no list."""
    for mark, encoding in _MARKS:
        if head.startswith(mark) and b"\0" in head[len(mark) :]:
            return Framing(b"\n", len(mark), encoding) if _is_text(head[len(mark) :], encoding) else None
    if (wide := _unmarked(head)) is not None:
        return Framing(b"\n", encoding=wide) if _is_text(head, wide) else None
    found = replace(lines_in(head), separator=b"\0" if b"\0" in head else b"\n")
    return found if _is_list(head[found.mark :], found.separator) else None


def names_files(head: bytes) -> bool:
    """True if it begins with the name of a file that is there."""
    framed = framing(head)
    first = next(entries(head, framed), None) if framed is not None else None
    return first is not None and _exists(first)


def lines_in(head: bytes) -> Framing:
    """The framing of lines of plain bytes that begin so."""
    return Framing(b"\n", len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)


def entries(head: bytes, framed: Framing) -> Iterator[bytes]:
    """The entries in the head alone."""
    return names(head, BytesIO(), framed)


def all_entries(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, whatever they hold."""
    head = read_head(file)
    wide = framing(head)
    return names(head, file, wide if wide is not None and wide.encoding is not None else lines_in(head))


def names(head: bytes, stream: BinaryIO, framed: Framing) -> Iterator[bytes]:
    """Entries as they arrive; blank lines are no entries, and a line may have a Windows ending."""
    rest = b""
    for chunk in _in_bytes(_chunks(head[framed.mark :], stream), framed.encoding):
        *whole, rest = (rest + chunk).split(framed.separator)
        rest = rest[:_MAX_NAME]
        yield from _named(whole, framed.separator)
    yield from _named([rest], framed.separator)


def _chunks(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    yield head
    while chunk := stream.read1(_CHUNK):  # type: ignore[attr-defined]
        yield chunk


def _in_bytes(chunks: Iterable[bytes], encoding: str | None) -> Iterator[bytes]:
    """The chunks in the file system's encoding."""
    if encoding is None:
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(sys.getfilesystemencoding(), "replace")


def _named(entries: list[bytes], separator: bytes) -> Iterator[bytes]:
    if separator == b"\0":
        return filter(None, entries)
    return (entry.rstrip(b"\r") for entry in entries if entry.strip())


def _unmarked(head: bytes) -> str | None:
    """The encoding of UTF-16 without its mark: most letters leave every other byte NUL. Names of one letter each with
    NULs between them look the same: None if they are files that are there."""
    if len(head) < 8:
        return None
    for encoding, letters, fill in (("utf-16-le", head[::2], head[1::2]), ("utf-16-be", head[1::2], head[::2])):
        starts = not fill[:4].strip(b"\0") and 2 * fill.count(0) >= len(fill)
        if (starts or "\r\n".encode(encoding) in head) and b"\0" not in letters[: len(fill)]:
            short = [name for name in head[:8].split(b"\0") if name]
            return None if all(os.path.isfile(name) for name in short) else encoding  # noqa: PTH113  bytes
    return None


def _is_text(data: bytes, encoding: str) -> bool:
    text = data[: len(data) // 4 * 4].decode(encoding, "replace")[:-1]
    return not any(letter in text for letter in "\0\ufffd") and not _odd(text.encode("utf-8", "replace"))


def _is_list(head: bytes, separator: bytes) -> bool:
    """True if these are names: the first one is there, or reads as a name and not as another kind's beginning."""
    if head.startswith(b"\0"):
        return False
    first = next(_named(head.split(separator), separator), b"")
    if not first or _exists(first):
        return True
    if kinds.named(head) is not None:
        return False
    odd = _odd(head) + (head.count(b"\0\0") if separator == b"\0" else 0)
    if not odd:
        return True
    clean = not _odd(first) and _is_utf8(first)
    return clean and (len(head) < _ENOUGH_TO_TELL or odd < _ODD_SHARE * len(head))


def _exists(name: bytes) -> bool:
    return os.path.lexists(name)


def _odd(data: bytes) -> int:
    return len(data) - len(data.translate(None, _ODD))


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
