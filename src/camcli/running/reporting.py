"""The rows of earlier runs, read again with their pictures, for a report page."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import tee
from pathlib import Path
from typing import BinaryIO

from camcli.errors import RequestError
from camcli.inputs.refs import again
from camcli.records import Row
from camcli.sinks import rows, schema
from camcli.sinks.lines import digest, lines_of, parsed
from camcli.sinks.page import Seen, of_row

# Rows whose pictures are read at once.
_AHEAD = 32


def seen(found: Iterable[Row], pool: Executor, max_pixels: int) -> Iterator[tuple[Row, Seen]]:
    """Each row with what a page shows of it, read by the pool."""
    one, other = tee(found)
    refs = again(map(rows.ref_of, other), max_pixels)
    waiting: deque[tuple[Row, Future[Seen]]] = deque()
    for row, ref in zip(one, refs, strict=True):
        waiting.append((row, pool.submit(of_row, row, ref, max_pixels)))
        if len(waiting) > _AHEAD:
            row, coming = waiting.popleft()
            yield row, coming.result()
    for row, coming in waiting:
        yield row, coming.result()


def rows_of(named: str, stdin: BinaryIO) -> Iterator[Row]:
    """The rows of a file, of `-`, or of a folder's journal, shards together, of each input the last one.

    Raises: RequestError: it is not there, or a line is no row.
    """
    if named == "-":
        yield from _read(lines_of(stdin), "stdin")
    elif os.path.isdir(named):
        yield from _journal(Path(named))
    elif not os.path.exists(named):
        raise RequestError(f"no such file or folder: {named}")
    else:
        with Path(named).open("rb") as file:
            yield from _read(lines_of(file), named)


def _journal(folder: Path) -> Iterator[Row]:
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
                if number in counted and (row := parsed(line)) is not None:
                    yield row


def _read(lines: Iterable[bytes], named: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = parsed(line.rstrip() + b"\n")
        if row is None or (lacking := schema.wrong(row, whole=True)) is not None:
            what = f" (its {lacking})" if row is not None else ""
            raise RequestError(
                f"line {number} of {named} is no row of this camcli{what}: give what `camcli … --json` printed"
            )
        yield row
