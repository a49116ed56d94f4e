"""Pictures and raw values to files: `<sub-folder>/<input file name>.<method>.<id>-<class>[.<layer>].<kind>.<ext>`.

A file appears whole or not at all (`storage.writing`). With `OutputSpec.durable` it is on the disk, not in the
system's memory only, before that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from math import prod
from pathlib import Path
from threading import Lock

from camcli.drawing import overlays, sheets
from camcli.entries import Box
from camcli.errors import InputError, SetupError
from camcli.inputs import decoding
from camcli.inputs.refs import mirrored
from camcli.records import Attribution, Failed, Frame, Picture, Result
from camcli.sinks.encoding import encoded, npz
from camcli.sinks.naming import MAX_SLUG, Paths, fitting, suffix_of
from camcli.sinks.waiting import Drawing, Waiting, version_of, waiting_room
from camcli.specs import OutputSpec
from camcli.storage import uris
from camcli.storage.scratch import Scratch, sweep
from camcli.storage.writing import check_file, check_folder, put

DRAWN = {
    "overlay": overlays.overlay,
    "heatmap": overlays.heatmap,
    "panel": overlays.panel,
    "neurons": sheets.neurons,
}


@contextmanager
def open_sinks(spec: OutputSpec) -> Iterator[Files]:
    """A sink for the length of a run.

    Raises:
        RequestError: the folder can't be made or written to.
        SetupError: a write failed later (disk full), or under norm "run" a picture can't be read again.
    """
    files = Files(spec)
    try:
        yield files
    except Exception:
        files.drop()  # nobody knows the maximum of a run that has failed
        raise
    finally:
        files.close()


class Files:
    """Writes each result's pictures, from any thread. Under norm "run" they wait until the run's maximum is known:
    until `close`."""

    def __init__(self, spec: OutputSpec) -> None:
        self._spec = spec
        self._lock = Lock()
        self._scratch: Scratch | None = None
        self._folder: str | None = None  # if it is one of this machine
        if spec.folder is not None:
            check_folder(os.fspath(spec.folder))
            self._folder = uris.local_path(os.fspath(spec.folder))
        elif spec.file is not None:
            check_file(spec.file)
        with suppress(SetupError):
            sweep(waiting_room())
        drawn = set(spec.pictures) - {"raw"}
        self._waiting = Waiting() if spec.norm == "run" and drawn else None

    def write(self, result: Result) -> list[Paths]:
        """Writes pictures; gives their paths by kind, one mapping per attribution of the result.

        Raises:
            InputError: they would lie outside the folder: a link in it leads there.
            SetupError: they can't be written.
        """
        if isinstance(result, Failed) or (self._spec.folder is None and self._spec.file is None):
            return []
        stem = mirrored(result.ref)
        read_at: dict[str, set[str]] = {}
        for a in result.attributions:
            read_at.setdefault(a.method, set()).update([a.layer] if a.layer else [])
        several_layers = any(len(layers) > 1 for layers in read_at.values())
        written = []
        for attribution in result.attributions:
            kinds = [kind for kind in self._spec.pictures if kind != "neurons" or attribution.neurons]
            paths = {kind: self._path(stem, attribution, kind, several_layers) for kind in kinds}
            written.append(paths)
            if "raw" in paths:
                self._put(npz(result, attribution), paths["raw"])
            if self._waiting is not None:
                pixels = prod(result.frame.size)
                self._waiting.add(
                    Drawing(
                        result.ref,
                        version_of(result.ref),
                        result.frame.decoding,
                        pixels,
                        result.box,
                        attribution,
                        paths,
                    )
                )
            else:
                top = self._spec.norm_max if self._spec.norm == "fixed" else None
                self._draw(result.frame, result.box, attribution, paths, top)
        return written

    def drop(self) -> None:
        """Forget the drawings that wait."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def close(self) -> None:
        try:
            if self._waiting is not None:
                self._draw_all(self._waiting)
        finally:
            if self._scratch is not None:
                self._scratch.close()

    def _draw_all(self, drawings: Waiting) -> None:
        gone: dict[str, str] = {}
        frame = None
        with closing(drawings):
            for drawing, top in drawings.drawings():
                try:
                    # The pixels were not kept: memory must not grow with the run. A picture's drawings come together.
                    if frame is None or frame.ref != drawing.ref:
                        frame, _ = decoding.read(drawing.ref, drawing.decoding, drawing.pixels)
                        if version_of(drawing.ref) != drawing.version:
                            raise InputError("open", "changed", "it has changed meanwhile")
                except InputError as error:
                    gone[drawing.ref.name] = str(error)
                    continue
                self._draw(frame, drawing.box, drawing.attribution, drawing.paths, top)
        if gone:
            first = ": ".join(next(iter(gone.items())))
            raise SetupError(
                f"--norm run draws at the end, and {len(gone)} pictures could not be read again (first: {first})"
            )

    def _draw(self, frame: Frame, box: Box, attribution: Attribution, paths: Paths, top: float | None) -> None:
        style = overlays.Style(self._spec.colormap, self._spec.opacity, top, self._spec.max_side)
        for kind, path in paths.items():
            if kind != "raw":
                draw = DRAWN[kind]
                self._put(encoded(draw(frame, box, attribution, style), Path(path).suffix), path)

    def _put(self, content: bytes, path: str) -> None:
        folder = self._folder
        local = uris.local_path(path) if folder is not None else None
        if folder is None or local is None:
            put(content, path)
            return
        real = os.path.realpath(folder)
        if os.path.commonpath([real, os.path.realpath(os.path.dirname(local))]) != real:  # noqa: PTH120
            raise InputError("write", "outside", f"its files would lie outside {folder}: a link in it leads there")
        with self._lock:
            if self._scratch is None:
                self._scratch = Scratch(Path(folder))
        put(content, local, self._scratch, durable=self._spec.durable)

    def _path(self, stem: Path, attribution: Attribution, kind: Picture, several_layers: bool) -> str:
        if self._spec.folder is None:
            assert self._spec.file is not None
            return self._spec.file
        suffix = suffix_of(kind, self._spec)
        slug = re.sub(r"[^a-z0-9]+", "-", attribution.target.name.lower()).strip("-")[:MAX_SLUG]
        layer = f".{attribution.layer}" if several_layers and attribution.layer else ""
        tail = f".{attribution.method}.{slug}{layer}.{kind}{suffix}"
        below = stem.with_name(fitting(stem.name, tail))
        folder = os.fspath(self._spec.folder)
        return f"{folder.rstrip('/')}/{below.as_posix()}" if uris.is_uri(folder) else os.fspath(Path(folder) / below)


def write_picture(pixels: overlays.Pixels, path: str) -> None:
    """RGB pixels to a file, whole or not at all. Raises: SetupError: it can't be written."""
    put(encoded(pixels, Path(path).suffix), path)
