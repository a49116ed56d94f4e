"""The journal of an output folder: `rows.jsonl`, one row for each input that is done, and `run.json`, what was asked.

A row is added when its files are in place, so a run that was cut off, however that came, goes on behind its last row.
What is recorded is not computed again, unless its files are gone or its picture is newer than they are, or for the rest
of a batch: batches, and with them every bit, stay those of a run that was never cut off.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from errno import ENOSPC
from hashlib import blake2b
from io import FileIO
from itertools import chain, islice, pairwise
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Protocol

from camcli._version import __version__
from camcli.errors import RequestError, SetupError
from camcli.records import OutputSpec, Ref, Row, Spec
from camcli.sinks import rows, schema
from camcli.storage import uris
from camcli.storage.scratch import Scratch, sweep
from camcli.storage.writing import failing, put, whole

ROWS, RUN = "rows", "run"
SCHEMA = 1
# The journal itself is forced to the disk so often; its rows' files always are, before a row is added.
SYNC_SECONDS = 5.0
# What changes where or how pictures are computed, and not which: a run may go on with another one.
_NOT_ASKED = ("batch_size", "folder", "file", "durable")


@dataclass(frozen=True, slots=True)
class JournalSpec:
    """What to do with a journal that is there already; `part` of a run in shards, as (number, of)."""

    overwrite: bool = False
    retry_failed: bool = False
    part: tuple[int, int] | None = None


class Journal(Protocol):
    """What of a run is done."""

    done_before: int

    def check(self, weights_sha256: Callable[[], str | None]) -> None:
        """Refuse weights that are not those of the recorded rows, if there are any. Raises: RequestError."""

    def remaining(self, refs: Iterable[Ref], block: int) -> Iterator[Ref]:
        """The refs of all blocks of so many that are not recorded as a whole.

        Raises:
            RequestError: another process is at it, or what is recorded was asked otherwise.
            SetupError: the folder can't be written to.
        """

    def rows(self, computed: Iterable[Row]) -> Iterator[Row]:
        """One row for each ref that `remaining` was given, in order: the recorded ones, and the computed ones, which
        are recorded. Raises: SetupError: they can't be."""

    def finish(self) -> None:
        """All refs are done: the file has their rows in their order."""


@contextmanager
def open_journal(asked: Spec, where: OutputSpec, spec: JournalSpec) -> Iterator[Journal]:
    """The journal of a run whose files are durable; of others none is kept.

    Raises: RequestError: what is recorded was asked otherwise.
    """
    folder = uris.local_path(os.fspath(where.folder)) if where.folder is not None else None
    journal: _Folder | _Nowhere = _Nowhere()
    if folder is not None and where.durable:
        journal = _Folder(Path(folder), _asked(asked, where), schema.text(os.fspath(where.folder or "")), spec)
    try:
        yield journal
    finally:
        if isinstance(journal, _Folder):
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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A ref of this run, by its digest: where its row is and what it is; None: nowhere, or it doesn't count."""

    ref: Ref
    name: bytes
    place: int | None = None
    row: Row | None = None


class _Folder:
    def __init__(self, folder: Path, asked: Row, named: str, spec: JournalSpec) -> None:
        self.done_before = 0
        self._folder = folder
        self._asked = asked
        # The folder as it is named now, and as runs that wrote to it named it: their rows' files start so.
        self._named = named
        self._folders: list[str] = []
        self._spec = spec
        part = f".{spec.part[0]:0{len(str(spec.part[1]))}}-of-{spec.part[1]}" if spec.part else ""
        self._rows_path = folder / f"{ROWS}{part}.jsonl"
        self._run_path = folder / f"{RUN}{part}.json"
        self._claim = f"run{part}"
        self._scratch: Scratch | None = None
        self._reader: BinaryIO | None = None
        self._writer: FileIO | None = None
        # Of each recorded ref where its row is, times two, plus one for a refusal; a later row of it replaces it.
        self._places: dict[bytes, int] = {}
        self._lines = 0
        self._end = 0
        self._weights: str | None = None
        self._synced = 0.0
        # When the last row was added before this run.
        self._ended = 0
        # Of the refs that were given out and not merged yet: where the row is (None: nowhere), and whether the ref's
        # block is computed (again).
        self._coming: deque[tuple[bytes, int | None, bool]] = deque()
        self._blocks: Iterator[list[_Asked]] = iter(())
        self._order = array("q")
        if not spec.overwrite:
            self._check_asked()

    def check(self, weights_sha256: Callable[[], str | None]) -> None:
        self._begin()
        if self._weights is not None:
            self._check_weights(weights_sha256())

    def remaining(self, refs: Iterable[Ref], block: int) -> Iterator[Ref]:
        self._begin()
        self._blocks = self._looked_up(iter(refs), block)
        return self._remaining()

    def rows(self, computed: Iterable[Row]) -> Iterator[Row]:
        yield from self._leading()
        for row in computed:
            yield from self._recorded()
            name, place, _ = self._coming.popleft()
            if place is not None:
                yield self._emit(place, self._row_at(place))
                continue
            self._check_weights(_weights_of(row))
            self._order.append(self._add(name, row))
            yield row
        yield from self._recorded()

    def finish(self) -> None:
        self._begin()
        positions = self._order
        if self._lines > len(self._places) or any(b <= a for a, b in pairwise(positions)):
            self._rewrite()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            with suppress(OSError):
                os.fsync(self._writer.fileno())
            self._writer.close()
        if self._scratch is not None:
            self._scratch.close()

    def _looked_up(self, refs: Iterator[Ref], block: int) -> Iterator[list[_Asked]]:
        while part := list(islice(refs, block)):
            yield [self._asked_for(ref) for ref in part]

    def _asked_for(self, ref: Ref) -> _Asked:
        name = _digest(rows.key_of(ref))
        found = self._places.get(name)
        if found is None or (found % 2 and self._spec.retry_failed) or ref.data is not None:
            return _Asked(ref, name)  # what came through a pipe may be another picture this time
        row = self._row_at(found // 2)
        return _Asked(ref, name, found // 2, row) if self._is_current(ref, row) else _Asked(ref, name)

    def _leading(self) -> Iterator[Row]:
        """The recorded rows before the first block that is computed: parsed once, and none of them kept."""
        for block in self._blocks:
            if any(one.place is None for one in block):
                self._blocks = chain([block], self._blocks)
                return
            for one in block:
                assert one.place is not None
                assert one.row is not None
                yield self._emit(one.place, one.row)

    def _remaining(self) -> Iterator[Ref]:
        for block in self._blocks:
            computed = any(one.place is None for one in block)
            self._coming.extend((one.name, one.place, computed) for one in block)
            if computed:
                yield from (one.ref for one in block)

    def _is_current(self, ref: Ref, row: Row) -> bool:
        """Whether a row's files are there, and none of them is older than the picture."""
        try:
            written = [self._file(name).stat().st_mtime_ns for name in _files_of(row)]
        except OSError:
            return False
        try:
            changed = ref.path.stat().st_mtime_ns if ref.path is not None else 0
        except OSError:
            return True
        return changed <= min(written, default=self._ended)

    def _recorded(self) -> Iterator[Row]:
        while self._coming and not self._coming[0][2]:
            _, place, _ = self._coming.popleft()
            assert place is not None
            yield self._emit(place, self._row_at(place))

    def _emit(self, place: int, row: Row) -> Row:
        self.done_before += 1
        self._order.append(place)
        return row

    def _row_at(self, place: int) -> Row:
        row: Row = json.loads(self._line_at(place))
        return row

    def _line_at(self, place: int) -> bytes:
        assert self._reader is not None
        self._reader.seek(place)
        return self._reader.readline()

    def _add(self, name: bytes, row: Row) -> int:
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
            raise SetupError(f"can't write {self._rows_path}: {error.strerror}") from None
        self._end += len(line)
        self._lines += 1
        self._places[name] = at * 2 + ("error" in row)
        return at

    def _begin(self) -> None:
        """Take the folder, and read what is recorded."""
        if self._scratch is not None:
            return
        try:
            self._scratch = Scratch(self._folder, self._claim)
        except BlockingIOError:
            raise RequestError(
                f"another camcli is writing to {self._folder}: wait for it, or choose another folder with --output"
            ) from None
        sweep(self._folder)
        try:
            if self._spec.overwrite:
                self._remove()
                self._folders = []
            else:
                self._check_asked()
            self._rows_path.open("ab").close()
            self._ended = self._rows_path.stat().st_mtime_ns
            self._reader = self._rows_path.open("rb")
            self._writer = self._rows_path.open("r+b", buffering=0)
            self._read(self._reader)
            if self._end < self._rows_path.stat().st_size:
                self._writer.truncate(self._end)
        except OSError as error:
            raise SetupError(f"can't write {self._rows_path}: {error.strerror}") from None
        folders = list(dict.fromkeys((*self._folders, self._named)))
        run = {"schema": SCHEMA, "camcli": __version__, "folders": folders, "asked": self._asked}
        put(json.dumps(run, indent=1).encode() + b"\n", os.fspath(self._run_path), self._scratch, durable=True)
        self._synced = time.monotonic()

    def _read(self, file: BinaryIO) -> None:
        for line in file:
            row = _parsed(line)
            if row is None:
                break  # torn, or behind what is: a power cut may leave a hole
            self._places[_digest(rows.key(row))] = self._end * 2 + ("error" in row)
            self._end += len(line)
            self._lines += 1
            self._weights = self._weights or _weights_of(row)

    def _check_asked(self) -> None:
        """Raises: RequestError."""
        try:
            recorded = json.loads(self._run_path.read_bytes())
            before, self._folders = recorded["asked"], _folders_of(recorded)
            if not isinstance(before, dict) or recorded["schema"] != SCHEMA:
                raise ValueError
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            raise RequestError(
                f"{self._run_path} can't be read: --overwrite starts anew, or choose another folder with --output"
            ) from None
        if changed := [name for name in {**before, **self._asked} if before.get(name) != self._asked.get(name)]:
            words = ", ".join(f"{n} was {_word(before.get(n))}, now {_word(self._asked.get(n))}" for n in changed)
            raise RequestError(
                f"{self._folder} holds a run that was asked otherwise ({words}): --overwrite removes it and starts "
                "anew, or choose another folder with --output"
            )

    def _check_weights(self, sha256: str | None) -> None:
        if self._weights is None:
            self._weights = sha256
        elif sha256 is not None and sha256 != self._weights:
            raise RequestError(
                f"{self._folder} holds a run with other weights (sha256 {self._weights[:16]}, now {sha256[:16]}): "
                "--overwrite removes it and starts anew, or choose another folder with --output"
            )

    def _remove(self) -> None:
        """Removes what an earlier run has written, as far as its rows name it and it lies in the folder."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._folders = _folders_of(json.loads(self._run_path.read_bytes()))
            inside = self._folder.resolve()
            with self._rows_path.open("rb") as lines:
                for name in chain.from_iterable(_files_of(row) for row in filter(None, map(_parsed, lines))):
                    with suppress(FileNotFoundError):
                        path = self._file(name)
                        if path.parent.resolve().is_relative_to(inside):
                            path.unlink()
        self._rows_path.unlink(missing_ok=True)
        self._run_path.unlink(missing_ok=True)

    def _file(self, named: str) -> Path:
        """Where a file is that a row names. Raises: FileNotFoundError: it is gone."""
        for folder in self._folders:
            if PurePath(named).is_relative_to(folder):
                path = self._folder / PurePath(named).relative_to(folder)
                if path.exists():
                    return path
        raise FileNotFoundError(named)

    def _rewrite(self) -> None:
        """A row for each input: first of those that were not asked for this time, then in their order."""
        assert self._scratch is not None
        asked_for = set(self._order)
        others = sorted({place // 2 for place in self._places.values()} - asked_for)
        with whole(self._rows_path, self._scratch, durable=True) as file, failing(self._rows_path):
            for place in (*others, *self._order):
                file.write(self._line_at(place))


def _asked(spec: Spec, where: OutputSpec) -> Row:
    """All that decides rows and files, as JSON has it."""
    asked = {name: value for name, value in {**asdict(where), **asdict(spec)}.items() if name not in _NOT_ASKED}
    found: Row = json.loads(json.dumps(asked))
    return found


def _parsed(line: bytes) -> Row | None:
    """A line of the journal; None: it is no whole row."""
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


def _files_of(row: Row) -> list[str]:
    return [name for answer in row.get("explanations", ()) for name in answer.get("files", {}).values()]


def _folders_of(run: Row) -> list[str]:
    """Raises: TypeError, KeyError: it names none."""
    folders: list[str] = run["folders"]
    if not all(isinstance(folder, str) for folder in folders):
        raise TypeError
    return folders


def _weights_of(row: Row) -> str | None:
    provenance = row.get("provenance")
    return provenance.get("weights_sha256") if isinstance(provenance, dict) else None


def _word(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _digest(key: tuple[str, int]) -> bytes:
    return blake2b(f"{key[0]}\0{key[1]}".encode("utf-8", "surrogatepass"), digest_size=12).digest()
