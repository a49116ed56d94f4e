"""The journal of an output folder: `rows.jsonl`, one row for each input that is done, and `run.json`, what was asked.

A row is added when its files are in place, so a run that was cut off, however that came, goes on after its last row.
A recorded row is not computed again, unless its files are gone, its picture is newer than they are, or another row of
its batch is computed: so batches, and with them every bit, stay those of a run that was never cut off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from camcli.records import Ref, Row
from camcli.sinks import schema
from camcli.sinks.recorded import Folder, request
from camcli.specs import JournalSpec, OutputSpec, Spec
from camcli.storage import uris
from camcli.storage.scratch import sweep


class Journal(Protocol):
    """The part of a run that is done."""

    done_before: int

    def check(self, weights_sha256: Callable[[], str | None]) -> None:
        """Refuse weights that are not those of the recorded rows, if there are any. Raises: RequestError."""

    def remaining(self, refs: Iterable[Ref], block: int) -> Iterator[Ref]:
        """The refs of each block (of `block` refs) that is not recorded as a whole.

        Raises:
            RequestError: another process is at it, or what is recorded was asked otherwise.
            SetupError: the folder can't be written to.
        """

    def rows(self, computed: Iterable[Row]) -> Iterator[Row]:
        """One row for each ref that `remaining` was given, in order: the recorded ones, and the computed ones, which
        it records. Raises: SetupError: they can't be recorded."""

    def finish(self) -> None:
        """Ends a run whose refs are all done: the file gets their rows in their order."""


@contextmanager
def open_journal(asked: Spec, where: OutputSpec, spec: JournalSpec) -> Iterator[Journal]:
    """The journal of a run whose files are durable; of others none is kept.

    Raises: RequestError: what is recorded was asked otherwise.
    """
    folder = uris.local_path(os.fspath(where.folder)) if where.folder is not None else None
    journal: Folder | _Nowhere = _Nowhere()
    if folder is not None and where.durable:
        journal = Folder(Path(folder), request(asked, where), schema.text(os.fspath(where.folder or "")), spec)
    try:
        yield journal
    finally:
        if isinstance(journal, Folder):
            journal.close()
        if folder is not None:
            sweep(Path(folder))


class _Nowhere:
    done_before = 0

    def check(self, weights_sha256: Callable[[], str | None]) -> None:
        pass

    def remaining(self, refs: Iterable[Ref], block: int) -> Iterator[Ref]:
        return iter(refs)

    def rows(self, computed: Iterable[Row]) -> Iterator[Row]:
        return iter(computed)

    def finish(self) -> None:
        pass
