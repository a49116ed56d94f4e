"""A folder's record of a run: rows that count, their merging with computed ones, and what was asked."""

from __future__ import annotations

import json
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any

from camcli._version import __version__
from camcli.errors import RequestError, SetupError
from camcli.records import Ref, Row
from camcli.sinks import rows
from camcli.sinks.lines import Lines, digest, parsed, weights_of
from camcli.specs import JournalSpec, OutputSpec, Spec
from camcli.storage import plain
from camcli.storage.scratch import Scratch, sweep
from camcli.storage.writing import failing, put

ROWS, RUN = "rows", "run"
SCHEMA = 1
# These change where or how pictures are computed, not which: a run may go on with other ones.
_NOT_ASKED = ("batch_size", "folder", "file", "durable")
# What runs drew before there was a choice, and so did not record.
_UNRECORDED = {"style": "classic", "legend": False}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A ref of this run, by its digest, with its row and the row's place; None if it has none that counts."""

    ref: Ref
    name: bytes
    place: int | None = None
    row: Row | None = None


class Folder:
    """A `Journal` in a folder of this machine."""

    def __init__(self, folder: Path, asked: Row, named: str, spec: JournalSpec) -> None:
        self.done_before = 0
        self._folder = folder
        self._asked = asked
        # The folder as it is named now, and as runs that wrote to it named it: their rows' files start so.
        self._named = named
        self._folders: list[str] = []
        self._spec = spec
        part = f".{spec.part[0]:0{len(str(spec.part[1]))}}-of-{spec.part[1]}" if spec.part else ""
        self._lines = Lines(folder / f"{ROWS}{part}.jsonl")
        self._run_path = folder / f"{RUN}{part}.json"
        self._claim = f"run{part}"
        self._scratch: Scratch | None = None
        # For each ref that was given out and is not merged yet: its digest, the place of its row (None: nowhere), and
        # whether its block is computed (again).
        self._coming: deque[tuple[bytes, int | None, bool]] = deque()
        self._blocks: Iterator[list[_Asked]] = iter(())
        self._order = array("q")
        self._check_place()
        if not spec.overwrite:
            self._check_asked()

    def check(self, weights_sha256: Callable[[], str | None]) -> None:
        self._begin()
        if self._lines.weights is not None:
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
                yield self._emit(place, self._lines.at(place))
                continue
            self._check_weights(weights_of(row))
            self._order.append(self._lines.add(name, row))
            yield row
        yield from self._recorded()

    def finish(self) -> None:
        self._begin()
        assert self._scratch is not None
        self._lines.put_in_order(self._order, self._scratch)

    def close(self) -> None:
        self._lines.close()
        if self._scratch is not None:
            self._scratch.close()

    def _looked_up(self, refs: Iterator[Ref], block: int) -> Iterator[list[_Asked]]:
        while part := list(islice(refs, block)):
            yield [self._asked_for(ref) for ref in part]

    def _asked_for(self, ref: Ref) -> _Asked:
        name = digest(rows.key_of(ref))
        place, refused = self._lines.find(name)
        if place is None or (refused and self._spec.retry_failed) or ref.data is not None or ref.moment is not None:
            # What came through a pipe may be another picture this time; a film's overlay is made of all its frames.
            return _Asked(ref, name)
        row = self._lines.at(place)
        return _Asked(ref, name, place, row) if self._is_current(ref, row) else _Asked(ref, name)

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
        """True if a row's files are there, and none of them is older than the picture."""
        try:
            written = [self._file(name).stat().st_mtime_ns for name in _files_of(row)]
        except OSError:
            return False
        try:
            changed = ref.path.stat().st_mtime_ns if ref.path is not None else 0
        except OSError:
            return True
        return changed <= min(written, default=self._lines.ended)

    def _recorded(self) -> Iterator[Row]:
        while self._coming and not self._coming[0][2]:
            _, place, _ = self._coming.popleft()
            assert place is not None
            yield self._emit(place, self._lines.at(place))

    def _emit(self, place: int, row: Row) -> Row:
        self.done_before += 1
        self._order.append(place)
        return row

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
            self._lines.open()
        except OSError as error:
            raise SetupError(f"can't write {self._lines.path}: {error.strerror}") from None
        folders = list(dict.fromkeys((*self._folders, self._named)))
        run = {"schema": SCHEMA, "camcli": __version__, "folders": folders, "asked": self._asked}
        put(json.dumps(run, indent=1).encode() + b"\n", os.fspath(self._run_path), self._scratch, durable=True)

    def _check_place(self) -> None:
        """Refuse files of the journal's names that are not ours, and so would be lost. Raises: RequestError."""
        rows_, run = self._lines.path, self._run_path
        with failing(rows_):
            for path in (rows_, run):
                plain.check(path)
            if _is_stdout(rows_):
                raise RequestError(f"stdout goes to {rows_}, where rows are recorded as it is: leave its `>` out")
            # What was asked is recorded before any row is.
            if not run.exists() and rows_.exists() and rows_.stat().st_size:
                raise RequestError(
                    f"{rows_} is no journal of camcli (there is no {run.name} beside it): move it elsewhere, or choose "
                    "another folder with --output"
                )
            self._lines.check_first()
            if self._spec.overwrite:
                with suppress(FileNotFoundError, ValueError, RecursionError):
                    self._check_run(json.loads(run.read_bytes()))

    def _check_run(self, recorded: Any) -> None:
        """Raises: RequestError: what is in the record's file is another program's."""
        if not (isinstance(recorded, dict) and {"schema", "camcli"} <= recorded.keys()):
            raise RequestError(
                f"{self._run_path} is no record of camcli: move it elsewhere, or choose another folder with --output"
            )

    def _check_asked(self) -> None:
        """Refuse a run that was asked otherwise. Raises: RequestError."""
        try:
            recorded = json.loads(self._run_path.read_bytes())
            self._check_run(recorded)
            before, self._folders = recorded["asked"], _folders_of(recorded)
            if not isinstance(before, dict) or recorded["schema"] != SCHEMA:
                raise ValueError
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise RequestError(
                f"{self._run_path} can't be read: --overwrite starts anew, or choose another folder with --output"
            ) from None
        before = {**_UNRECORDED, **before}
        if changed := [name for name in {**before, **self._asked} if before.get(name) != self._asked.get(name)]:
            words = ", ".join(f"{n} was {_word(before.get(n))}, now {_word(self._asked.get(n))}" for n in changed)
            raise RequestError(
                f"{self._folder} holds a run that was asked otherwise ({words}): --overwrite removes it and starts "
                "anew, or choose another folder with --output"
            )

    def _check_weights(self, sha256: str | None) -> None:
        recorded = self._lines.weights
        if recorded is not None and sha256 is not None and sha256 != recorded:
            raise RequestError(
                f"{self._folder} holds a run with other weights (sha256 {recorded[:16]}, now {sha256[:16]}): "
                "--overwrite removes it and starts anew, or choose another folder with --output"
            )

    def _remove(self) -> None:
        """Removes what an earlier run has written, as far as its rows name it and it lies in the folder."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            self._folders = _folders_of(json.loads(self._run_path.read_bytes()))
            inside = os.path.realpath(self._folder)
            with self._lines.path.open("rb") as lines:
                for name in chain.from_iterable(_files_of(row) for row in filter(None, map(parsed, lines))):
                    with suppress(FileNotFoundError):
                        path = self._file(name)
                        if Path(os.path.realpath(path.parent)).is_relative_to(inside):
                            path.unlink()
        self._lines.path.unlink(missing_ok=True)
        self._run_path.unlink(missing_ok=True)

    def _file(self, named: str) -> Path:
        """The path of a file that a row names. Raises: FileNotFoundError: it is gone."""
        for folder in self._folders:
            if PurePath(named).is_relative_to(folder):
                path = self._folder / PurePath(named).relative_to(folder)
                if path.exists():
                    return path
        raise FileNotFoundError(named)


def request(spec: Spec, where: OutputSpec) -> Row:
    """All that decides rows and files, as JSON data. Colours are those that are drawn, named or not."""
    drawn = {**asdict(where), "colormap": where.colours, "opacity": where.strongest}
    asked = {name: value for name, value in {**drawn, **asdict(spec)}.items() if name not in _NOT_ASKED}
    found: Row = json.loads(json.dumps(asked))
    return found


def _is_stdout(path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(1), path.stat())
    return False


def _files_of(row: Row) -> list[str]:
    return [name for answer in row.get("explanations", ()) for name in answer.get("files", {}).values()]


def _folders_of(run: Row) -> list[str]:
    """The folders that a run names. Raises: TypeError, KeyError: it names none."""
    folders: list[str] = run["folders"]
    if not all(isinstance(folder, str) for folder in folders):
        raise TypeError
    return folders


def _word(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
