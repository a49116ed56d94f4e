"""The rows of earlier runs, read again with their pictures, for a report page."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import BinaryIO

from camcli._version import __version__
from camcli.errors import RequestError
from camcli.inputs.refs import again
from camcli.records import Row
from camcli.sinks import rows, schema
from camcli.sinks.lines import digest, lines_of, parsed
from camcli.sinks.page import Page, Seen, checking, of_row

# Rows whose pictures are read at once.
_AHEAD = 32
# What comes of a row whose free parts, such as its spec, are not as camcli writes them.
_MISSHAPEN = (ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row, `where` it stands in words, and when what holds it was `written` in nanoseconds, None if that is not
    known."""

    row: Row
    where: str
    written: int | None


def fill(page: Page, found: Iterable[Recorded], pool: Executor, max_pixels: int) -> Iterator[Row]:
    """Add the cards of rows to a page; gives each row when its card is there. Pictures are read by the pool.

    Raises: RequestError: a row is none of camcli's. SetupError: no room.
    """
    for one, coming in _read_ahead(found, pool, max_pixels):
        try:
            page.add(one.row, coming.result())
        except _MISSHAPEN as error:
            raise RequestError(f"{one.where} is no row of this camcli ({type(error).__name__}: {error})") from error
        yield one.row


def _read_ahead(found: Iterable[Recorded], pool: Executor, max_pixels: int) -> Iterator[tuple[Recorded, Future[Seen]]]:
    ones, others = tee(found)
    refs = again((rows.ref_of(one.row) for one in others), max_pixels)
    waiting: deque[tuple[Recorded, Future[Seen]]] = deque()
    for one, ref in zip(ones, refs, strict=True):
        waiting.append((one, pool.submit(of_row, one.row, ref, max_pixels, one.written)))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


def rows_of(named: str, stdin: BinaryIO) -> Iterator[Recorded]:
    """The rows of a file, of `-`, or of a folder's journal, shards together, of each input the last one.

    Raises: RequestError: it is not there, or a line is no row.
    """
    if named == "-":
        yield from _read(lines_of(stdin), "stdin", _written(stdin))
    elif os.path.isdir(named):
        yield from _journal(Path(named))
    elif not os.path.exists(named):
        raise RequestError(f"no such file or folder: {named}")
    else:
        with Path(named).open("rb") as file:
            yield from _read(lines_of(file), named, _written(file))


def _written(file: BinaryIO) -> int | None:
    """When a file was changed last; None of a pipe, which has no such time."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # something in memory
        return None
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None


def _journal(folder: Path) -> Iterator[Recorded]:
    journals = sorted(folder.glob("rows*.jsonl"))
    if not journals:
        raise RequestError(f"{folder} has no rows.jsonl: name a folder that `camcli explain … -o {folder}` wrote")
    for path in journals:
        with path.open("rb") as file:
            # A line that is torn is of a run that was killed: its row does not count.
            last = {digest(rows.key(row)): number for number, row in enumerate(map(parsed, file)) if row is not None}
            counted = set(last.values())
            file.seek(0)
            for number, line in enumerate(file):
                if number in counted:
                    yield _recorded(line, f"line {number + 1} of {path}", _written(file))


def _read(lines: Iterable[bytes], named: str, written: int | None) -> Iterator[Recorded]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _recorded(line.rstrip() + b"\n", f"line {number} of {named}", written)


def _recorded(line: bytes, where: str, written: int | None) -> Recorded:
    """Raises: RequestError: the line is no row, or one whose keys mean something else."""
    row = parsed(line)
    if row is not None and row.get("schema", schema.SCHEMA) != schema.SCHEMA:
        raise RequestError(
            f"{where} is a row of schema {row['schema']}; camcli {__version__} reads schema {schema.SCHEMA}: make the "
            "page with the version that made it"
        )
    if row is None or (lacking := checking.wrong(row)) is not None:
        what = f" (its {lacking})" if row is not None else ""
        raise RequestError(f"{where} is no row of this camcli{what}: give what `camcli … --json` printed")
    return Recorded(row, where, written)
