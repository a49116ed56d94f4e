"""Pictures and raw values to files: `<sub-folder>/<input file name>.<method>.<id>-<class>[.<layer>].<kind>.<ext>`.

A file appears whole or not at all (`storage.writing`). With `OutputSpec.durable` it is on the disk, not in the
system's memory only, before that.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from camcli.drawing import overlays, sheets
from camcli.errors import InputError, SetupError
from camcli.inputs import decoding
from camcli.inputs.refs import mirrored
from camcli.maps import scaling
from camcli.records import Attribution, Box, Decoding, Explained, Failed, Frame, OutputSpec, Picture, Ref, Result
from camcli.storage import uris
from camcli.storage.scratch import Scratch, sweep
from camcli.storage.writing import check_file, check_folder, failing, put

if TYPE_CHECKING:
    from numpy.typing import NDArray

JPEG_QUALITY = 92
MAX_NAME_BYTES = 255
MAX_SLUG = 80
_SPOOLED = ".waiting"

# Of one answer's pictures: paths, URIs or "-" for stdout.
Paths: TypeAlias = dict[Picture, str]

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
        files.drop()  # of a run that has failed nobody knows the maximum
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
        self._folder: str | None = None  # where it is one of this machine
        if spec.folder is not None:
            check_folder(os.fspath(spec.folder))
            self._folder = uris.local_path(os.fspath(spec.folder))
        elif spec.file is not None:
            check_file(spec.file)
        with suppress(SetupError):
            sweep(_waiting_room())
        drawn = set(spec.pictures) - {"raw"}
        self._waiting = _Waiting() if spec.norm == "run" and drawn else None

    def write(self, result: Result) -> list[Paths]:
        """The paths by kind, one mapping per attribution of the result.

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
                self._put(_npz(result, attribution), paths["raw"])
            if self._waiting is not None:
                pixels = prod(result.frame.size)
                self._waiting.add(
                    _Drawing(
                        result.ref, _version(result.ref), result.frame.decoding, pixels, result.box, attribution, paths
                    )
                )
            else:
                top = self._spec.norm_max if self._spec.norm == "fixed" else None
                self._draw(result.frame, result.box, attribution, paths, top)
        return written

    def drop(self) -> None:
        """Forget what waits to be drawn."""
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

    def _draw_all(self, drawings: _Waiting) -> None:
        gone: dict[str, str] = {}
        frame = None
        with closing(drawings):
            for drawing, top in drawings.drawings():
                try:
                    # The pixels were not kept: memory must not grow with the run. A picture's drawings come together.
                    if frame is None or frame.ref != drawing.ref:
                        frame, _ = decoding.read(drawing.ref, drawing.decoding, drawing.pixels)
                        if _version(drawing.ref) != drawing.version:
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
        below = stem.with_name(_fitting(stem.name, tail))
        folder = os.fspath(self._spec.folder)
        return f"{folder.rstrip('/')}/{below.as_posix()}" if uris.is_uri(folder) else os.fspath(Path(folder) / below)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """All that a picture needs but its pixels: how many they are, and from which version of its file, read how."""

    ref: Ref
    version: tuple[int, int] | None
    decoding: Decoding
    pixels: int
    box: Box
    attribution: Attribution
    paths: Paths


class _Waiting:
    """Drawings that wait for the run's largest value, per method and layer; their raw values wait on disk."""

    def __init__(self) -> None:
        self._scratch = Scratch(_waiting_room())
        self._lock = Lock()
        self._count = 0
        self._top: dict[tuple[str, str | None], float] = {}

    def add(self, drawing: _Drawing) -> None:
        own = drawing.attribution
        top = scaling.top_of(own.values)
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

    def drawings(self) -> Iterator[tuple[_Drawing, float]]:
        for spooled in sorted(self._scratch.folder.glob(f"*{_SPOOLED}")):
            drawing: _Drawing = pickle.loads(spooled.read_bytes())
            yield drawing, self._top[drawing.attribution.method, drawing.attribution.layer]


def _waiting_room() -> Path:
    """Where the values of a run under norm "run" wait for its end, and stay if it is killed. Raises: SetupError."""
    with failing("temporary files"):
        return Path(tempfile.gettempdir())


def suffix_of(kind: Picture, spec: OutputSpec) -> str:
    """Of a file of that kind."""
    return "." + {"raw": "npz", "heatmap": "png", "neurons": "png"}.get(kind, spec.format)


def _version(ref: Ref) -> tuple[int, int] | None:
    try:
        status = ref.path.stat() if ref.path is not None else None
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_size) if status is not None else None


def encoded(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """RGB or RGBA pixels as a file of that kind."""
    import cv2

    if picture.shape[2] == 4:
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA)
    else:
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    # 4:4:4: halved colour would smear the colour-coded values over their edges.
    options = (
        [
            cv2.IMWRITE_JPEG_QUALITY,
            JPEG_QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        if suffix.lower() in (".jpg", ".jpeg")
        else []
    )
    return bytes(cv2.imencode(suffix or ".png", bgr, options)[1])


def _npz(result: Explained, attribution: Attribution) -> bytes:
    """float32 `values`: map (h, w) at the layer or saliency (3, h, w) on the view; `box`, `size`; what they answer."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        values=attribution.values,
        box=np.asarray(result.box),
        size=np.asarray(result.frame.size),
        target=np.asarray(attribution.target.score.id if attribution.target.score else -1),
        label=np.asarray(attribution.target.label),
        method=np.asarray(attribution.method),
        layer=np.asarray(attribution.layer or ""),
    )
    return buffer.getvalue()


def write_picture(pixels: overlays.Pixels, path: str) -> None:
    """RGB pixels to a file, whole or not at all. Raises: SetupError: it can't be written."""
    put(encoded(pixels, Path(path).suffix), path)


def _fitting(name: str, tail: str) -> str:
    """name + tail within the file system's limit; a name that must be cut keeps a hash of the whole."""
    if len(os.fsencode(name + tail)) <= MAX_NAME_BYTES:
        return name + tail
    digest = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    room = MAX_NAME_BYTES - len(os.fsencode(digest + tail))
    return os.fsencode(name)[:room].decode("utf-8", "ignore") + digest + tail
