"""The file of a journal's rows, a line of JSON each: added to, found again, and put in order at the end."""

from __future__ import annotations

import json
import os
import time
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import ENOSPC
from hashlib import blake2b
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from camcli.errors import RequestError, SetupError
from camcli.records import Row
from camcli.sinks import rows, schema
from camcli.storage import plain
from camcli.storage.scratch import Scratch
from camcli.storage.writing import failing, whole

# The journal itself is forced to the disk so often; its rows' files always are, before a row is added.
SYNC_SECONDS = 5.0
# Every row begins so.
_BEGINNING = b'{"schema": '
# What a power cut leaves in a file where its blocks were not written yet. Text in UTF-16 has fewer zeros together.
_HOLE = bytes(4)


class Lines:
    """Rows by their input's digest: each one's place, in bytes from the beginning. Of an input the last row counts.

    weights: the sha256 of the weights that the rows were made with, None if none tells. ended: the time at which the
    last row was added before this run, in nanoseconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights: str | None = None
        self.ended = 0
        self._reader: BinaryIO | None = None
        self._writer: FileIO | None = None
        # The place of each row, times two, plus one for a refusal.
        self._places: dict[bytes, int] = {}
        self._count = 0
        self._end = 0
        self._synced = 0.0

    def open(self) -> None:
        """Make the file, or read what is there; its end is cut off as far as a power cut has torn it.

        Raises: OSError; RequestError: it is no regular file, or holds what is no row.
        """
        plain.check(self.path)
        self._writer = FileIO(self.path, "r+", opener=plain.maker)
        self._reader = open(self.path, "rb", opener=plain.opener)  # noqa: SIM115  a Path takes no opener
        self.ended = os.fstat(self._reader.fileno()).st_mtime_ns
        for line in self._reader:
            row = parsed(line)
            if row is None:
                self._check_torn(line, last=not self._reader.read(1))
                break
            self._keep(digest(rows.key(row)), row, len(line))
        if self._end < self.path.stat().st_size:
            self._writer.truncate(self._end)
        self._synced = time.monotonic()

    def check_first(self) -> None:
        """Refuse a file that does not begin as a journal does. Raises: OSError; RequestError."""
        plain.check(self.path)
        with suppress(FileNotFoundError), open(self.path, "rb", opener=plain.opener) as file:
            line = file.readline()
            if line and parsed(line) is None:
                self._check_torn(line, last=not file.read(1))

    def _check_torn(self, line: bytes, *, last: bool) -> None:
        """Refuse a line that is no row, and was none: what is not ours is not cut off. Raises: RequestError."""
        begun = not line.endswith(b"\n") and line[: len(_BEGINNING)] == _BEGINNING[: len(line)]
        if _HOLE in line or (last and (self._count or begun)):
            return
        raise RequestError(
            f"{self.path} is no journal of camcli (its line {self._count + 1} is no row): move it elsewhere, or choose "
            "another folder with --output"
        )

    def close(self) -> None:
        """Let go of the file, once it is on the disk."""
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            with suppress(OSError):
                os.fsync(self._writer.fileno())
            self._writer.close()

    def find(self, name: bytes) -> tuple[int | None, bool]:
        """(the place of the row of that digest, None if there is none; whether it is a refusal)."""
        found = self._places.get(name)
        return (None, False) if found is None else (found // 2, bool(found % 2))

    def at(self, place: int) -> Row:
        """The row that begins there."""
        row: Row = json.loads(self._line_at(place))
        return row

    def add(self, name: bytes, row: Row) -> int:
        """Adds a row; gives its place. Raises: SetupError: it can't be written; nothing of it is left then."""
        assert self._writer is not None
        at, line = self._end, rows.dump(row).encode() + b"\n"
        try:
            self._writer.seek(at)
            if self._writer.write(line) < len(line):
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._writer.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            with suppress(OSError):
                self._writer.truncate(at)
            raise SetupError(f"can't write {self.path}: {error.strerror}") from None
        self._keep(name, row, len(line))
        return at

    def put_in_order(self, order: Sequence[int], scratch: Scratch) -> None:
        """Leave one row for each input: first those that are not in `order`, then these. Raises: SetupError."""
        if self._count == len(self._places) and all(a < b for a, b in pairwise(order)):
            return
        others = sorted({place // 2 for place in self._places.values()}.difference(order))
        with whole(self.path, scratch, durable=True) as file, failing(self.path):
            for place in (*others, *order):
                file.write(self._line_at(place))

    def _keep(self, name: bytes, row: Row, size: int) -> None:
        self._places[name] = self._end * 2 + ("error" in row)
        self._end += size
        self._count += 1
        self.weights = self.weights or weights_of(row)

    def _line_at(self, place: int) -> bytes:
        assert self._reader is not None
        self._reader.seek(place)
        return self._reader.readline()


def parsed(line: bytes) -> Row | None:
    """The row of a line of the journal; None if it is no whole row."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if schema.wrong(row) is not None or "input" not in row or ("error" in row) == ("top" in row):
        return None
    found: Row = row
    return found


def lines_of(file: BinaryIO) -> Iterable[bytes]:
    """The file's lines, also if it is UTF-16: Windows PowerShell's `>` makes that of all that it writes."""
    if file.peek(2)[:2] not in (BOM_UTF16_LE, BOM_UTF16_BE):  # type: ignore[attr-defined]
        return file
    return file.read().decode("utf-16", "replace").encode().splitlines()


def weights_of(row: Row) -> str | None:
    """The sha256 of the weights that a row was made with, None if it does not tell."""
    provenance = row.get("provenance")
    return provenance.get("weights_sha256") if isinstance(provenance, dict) else None


def digest(key: rows.Input) -> bytes:
    """The digest of an input's `rows.key`: 12 bytes that no other input of a run has."""
    return blake2b("\0".join(map(str, key)).encode("utf-8", "surrogatepass"), digest_size=12).digest()
