"""Drawings that wait on disk for the largest value of a run."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from camcli.entries import Box
from camcli.maps import scaling
from camcli.records import Attribution, Decoding, Ref
from camcli.sinks.naming import Paths
from camcli.storage.scratch import Scratch
from camcli.storage.writing import failing

_SPOOLED = ".waiting"


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that a drawing needs except its pixels: their number, the version of their file, how it is read, and the
    heading of a panel."""

    ref: Ref
    version: tuple[int, int] | None
    decoding: Decoding
    pixels: int
    box: Box
    attribution: Attribution
    paths: Paths
    heading: str


class Waiting:
    """Drawings that wait for the run's largest value, per method and layer; their raw values wait on disk."""

    def __init__(self) -> None:
        self._scratch = Scratch(waiting_room())
        self._lock = Lock()
        self._count = 0
        self._top: dict[tuple[str, str | None], float] = {}

    def add(self, drawing: Drawing) -> None:
        own = drawing.attribution
        top = scaling.top_of(own.values, own.kind)
        with self._lock:
            self._count += 1
            name = f"{drawing.ref.index:09}.{self._count:09}"
            self._top[own.method, own.layer] = max(self._top.get((own.method, own.layer), 0.0), top)
        folder = self._scratch.folder
        where = f"to {folder.parent}, where the values of --norm run wait (TMPDIR names another folder)"
        with failing(where), (folder / f"{name}{_SPOOLED}").open("wb") as spool:
            pickle.dump(drawing, spool)

    def close(self) -> None:
        self._scratch.close()

    def drawings(self) -> Iterator[tuple[Drawing, float]]:
        for spooled in sorted(self._scratch.folder.glob(f"*{_SPOOLED}")):
            drawing: Drawing = pickle.loads(spooled.read_bytes())
            yield drawing, self._top[drawing.attribution.method, drawing.attribution.layer]


def waiting_room() -> Path:
    """The folder for values of a run under norm "run" until its end; they stay if it is killed. Raises: SetupError."""
    with failing("temporary files"):
        return Path(tempfile.gettempdir())


def version_of(ref: Ref) -> tuple[int, int] | None:
    try:
        status = ref.path.stat() if ref.path is not None else None
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_size) if status is not None else None
