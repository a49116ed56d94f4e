"""The sink of a report page: photos and maps as results come, in any order; cards as rows come, in theirs.

All wait on disk, so that memory does not grow with the run, and are put together at its end.
"""

from __future__ import annotations

import base64
import os
import re
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from camcli.errors import RequestError
from camcli.records import MAX_PIXELS, Failed, Result, Row
from camcli.sinks import rows
from camcli.sinks.origin import made_with
from camcli.sinks.page import cards, document
from camcli.sinks.page.seen import Seen, of_result, of_row
from camcli.sinks.waiting import waiting_room
from camcli.specs import PageSpec
from camcli.storage import uris
from camcli.storage.scratch import Scratch
from camcli.storage.writing import check_file, failing, put, whole

# More pictures than these, or more megabytes, lie in a folder beside the page.
EMBED_PICTURES, EMBED_MB = 5_000, 40.0
SUFFIXES = (".html", ".htm")
_DATA = "rows.js"
_PHOTO = re.compile(r"\d{6,}\.jpg")
# The command that makes a row again: its `flags`, none of a refusal, and the input as it is `typed` after them.
Describe = Callable[[Row], Mapping[str, str]]


class Page(Protocol):
    """A report page in the making; `file` names it."""

    @property
    def file(self) -> str | None: ...

    def draw(self, result: Result) -> None:
        """Keep what a row will not tell of its result. From any thread, before `add` of the same input."""

    def add(self, row: Row, seen: Seen | None = None) -> None:
        """Add the card of a row; one that was not drawn is read again. Raises: SetupError: no room for it."""

    def stop(self) -> None:
        """Have the page say that its run was stopped before the end."""

    @property
    def beside(self) -> str | None:
        """The folder of the photos; None: they are in the page."""


class _Nowhere:
    file = None
    beside = None

    def draw(self, result: Result) -> None:
        pass

    def add(self, row: Row, seen: Seen | None = None) -> None:
        pass

    def stop(self) -> None:
        pass


NO_PAGE: Page = _Nowhere()


class _Written:
    def __init__(self, spec: PageSpec, describe: Describe | None) -> None:
        self._spec = spec
        self.file = spec.file
        self._describe = describe
        self._folder = os.path.dirname(spec.file) or "."  # noqa: PTH120  a path or a URI
        self._scratch = Scratch(waiting_room())
        self._photos = (self._scratch.folder / "photos").open("w+b")
        self._cards = (self._scratch.folder / "cards").open("w+b")
        # The places in `photos`, and in `cards`, of each card: where it begins, and where the last one ends.
        self._photo_at: array[int] = array("q")
        self._photo_size: array[int] = array("q")
        self._card_at = array("q", [0])
        self._lock = Lock()
        self._drawn: dict[rows.Input, Seen] = {}
        self._runs: dict[str, int] = {}
        self._made_with: list[Mapping[str, Any]] = []
        self._refused = self._known = self._right = 0
        self._is_part = False

    def draw(self, result: Result) -> None:
        if isinstance(result, Failed):
            return
        seen = of_result(result)
        with self._lock:
            self._drawn[rows.key_of(result.ref)] = seen

    def add(self, row: Row, seen: Seen | None = None) -> None:
        with self._lock:
            seen = self._drawn.pop(rows.key(row), seen)
        if seen is None:
            seen = of_row(row, rows.ref_of(row), MAX_PIXELS, time.time_ns())
        said = self._describe(row) if self._describe is not None else {}
        made = cards.card(row, seen, self._run_of(row, said), said.get("typed"), self._folder)
        self._refused += "error" in row
        self._known += "truth" in row
        self._right += row.get("correct", False)
        with failing(f"to {self._scratch.folder.parent}, where a report waits (TMPDIR names another folder)"):
            self._photo_at.append(self._photos.tell())
            self._photo_size.append(len(seen.photo))
            self._photos.write(seen.photo)
            self._cards.write(document.line(made))
            self._card_at.append(self._cards.tell())

    def stop(self) -> None:
        self._is_part = True

    def _run_of(self, row: Row, said: Mapping[str, str]) -> int:
        """The number of what a row was made with; -1 of a refusal, which tells nothing of it."""
        if "error" in row:
            return -1
        told = {"model": row["model"], "weights": row["weights"], "made": made_with(row)}
        if "flags" in said:
            told["flags"] = said["flags"]
        number = self._runs.setdefault("\0".join(told.values()), len(self._runs))
        if number == len(self._made_with):
            self._made_with.append(told)
        return number

    @property
    def beside(self) -> str | None:
        size = self._card_at[-1] + 4 / 3 * sum(self._photo_size)
        most, pictures = self._spec.embed_mb, len(self._photo_at)
        apart = size > (most if most is not None else EMBED_MB) * 1e6 or (most is None and pictures > EMBED_PICTURES)
        return _beside(self._spec.file) if apart else None

    def finish(self) -> None:
        """Write the page. Raises: SetupError: it can't be written."""
        title = Path(self._spec.file).stem
        counts = document.Counts(len(self._photo_at), self._refused, self._known, self._right)
        folder = self.beside
        parts: Iterable[bytes]
        if folder is not None:
            self._write_photos(folder)
            _write(f"{folder}/{_DATA}", document.in_file(self._data(title, apart=True)))
            data = f"{_name(folder)}/{_DATA}"
            parts = [f'<script src="{data}"></script>'.encode()]
        else:
            data = ""
            parts = document.in_page(self._data(title, apart=False))
        _write(self._spec.file, _joined(document.before(title, apart=folder is not None), parts, counts, data))
        _sweep(_beside(self._spec.file), len(self._photo_at) if folder is not None else 0)

    def _write_photos(self, folder: str) -> None:
        local = uris.local_path(folder)
        with closing(Scratch(Path(local))) if local is not None else nullcontext() as scratch:
            for number, photo in enumerate(self._all_photos()):
                if photo:
                    put(photo, f"{folder}/{number:06}.jpg", scratch)

    def close(self) -> None:
        """Let go of what waits."""
        self._photos.close()
        self._cards.close()
        self._scratch.close()

    def _data(self, title: str, *, apart: bool) -> Iterator[bytes]:
        """The JSON of all cards; each has its photo in base64, or, if those are `apart`, whether there is one."""
        yield document.head(title, is_part=self._is_part)
        self._cards.seek(0)
        comma = b"\n"
        for (start, end), photo in zip(pairwise(self._card_at), self._all_photos(), strict=True):
            yield comma + self._cards.read(end - start)[:-1]
            if photo:
                yield b', "photo": true}' if apart else b', "photo": "' + base64.b64encode(photo) + b'"}'
            else:
                yield b"}"
            comma = b",\n"
        yield document.tail(self._made_with)

    def _all_photos(self) -> Iterator[bytes]:
        for at, size in zip(self._photo_at, self._photo_size, strict=True):
            self._photos.seek(at)
            yield self._photos.read(size)


@contextmanager
def open_page(spec: PageSpec | None, describe: Describe | None = None) -> Iterator[Page]:
    """A page that is there when the block is left, unless by an exception; without a spec cards go nowhere. `describe`
    is None if no command makes the answers again.

    Raises: RequestError: it can't be there. SetupError: a write fails.
    """
    if spec is None:
        yield NO_PAGE
        return
    check_page(spec.file)
    page = _Written(spec, describe)
    try:
        yield page
        page.finish()
    finally:
        page.close()


def check_page(file: str, how: str = "choose another with --report") -> None:
    """Refuse a page that can't be there. Raises: RequestError."""
    if Path(file).suffix.lower() not in SUFFIXES:
        raise RequestError(f"the report {file} is a page: call it {Path(file).stem or 'report'}.html; {how}")
    check_file(file, how)
    folder = uris.local_path(_beside(file))
    if folder is None or not os.path.isdir(folder):
        return
    if any(Path(folder).iterdir()) and not (Path(folder) / _DATA).exists():
        raise RequestError(f"the report's pictures would lie in {folder}, which is not a report's; {how}")


def _beside(file: str) -> str:
    """The folder of a page's photos."""
    return f"{file[: -len(Path(file).suffix)]}_files"


def _name(folder: str) -> str:
    from urllib.parse import quote

    return quote(folder.replace(os.sep, "/").rpartition("/")[2])


def _joined(before: bytes, parts: Iterable[bytes], counts: document.Counts, data: str) -> Iterator[bytes]:
    yield before
    yield from parts
    yield document.after(counts, data)


def _write(name: str, parts: Iterable[bytes]) -> None:
    """The parts as one file, whole or not at all; a URI's are held in memory."""
    local = uris.local_path(name)
    if local is None:
        put(b"".join(parts), name)
        return
    with whole(Path(local)) as file, failing(local):
        file.writelines(parts)


def _sweep(folder: str, kept: int) -> None:
    """Remove the photos of an earlier page that this one has not."""
    local = uris.local_path(folder)
    if local is None or not os.path.isdir(local):
        return
    with suppress(OSError):
        for path in Path(local).iterdir():
            if _PHOTO.fullmatch(path.name) and int(path.stem) >= kept:
                path.unlink()
        if not kept:
            (Path(local) / _DATA).unlink(missing_ok=True)
            Path(local).rmdir()
