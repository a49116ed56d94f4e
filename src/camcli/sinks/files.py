"""Pictures and raw values to files: `<sub-folder>/<input file name>.<method>.<id>-<class>[.<layer>].<kind>.<ext>`.

A file appears whole or not at all (`storage.writing`). With `OutputSpec.durable` it is on the disk, not in the
system's memory only, before that.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from threading import Lock

from camcli.drawing import captions, clips, colours, lettering, overlays, predictions, sheets, strips
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.errors import InputError, RequestError, SetupError
from camcli.inputs import decoding, films
from camcli.inputs.refs import mirrored
from camcli.records import Attribution, Explained, Failed, Frame, Picture, Result
from camcli.sinks.encoding import encoded, npz
from camcli.sinks.films import animation, encode
from camcli.sinks.naming import FILM, Paths, fitting, slug_of, suffix_of
from camcli.sinks.reels import Reels
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
    "strip": clips.strip,
    "mask": predictions.mask,
}


@contextmanager
def open_sinks(spec: OutputSpec) -> Iterator[Files]:
    """A sink for the length of a run.

    Raises:
        RequestError: the folder can't be made or written to, or the font is none.
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
        if spec.font is not None:
            lettering.check(spec.font)
        with suppress(SetupError):
            sweep(waiting_room())
        drawn = set(spec.pictures) - {"raw"}
        self._waiting = Waiting() if spec.norm == "run" and drawn else None
        self._reels = Reels()

    def write(self, result: Result) -> list[Paths]:
        """Writes pictures; gives their paths by kind, one mapping per attribution of the result.

        Raises:
            InputError: they would lie outside the folder: a link in it leads there.
            RequestError: norm "run", of a film.
            SetupError: they can't be written.
        """
        if isinstance(result, Failed) or (self._spec.folder is None and self._spec.file is None):
            return []
        films = result.frame.frames is not None or result.ref.moment is not None
        if films and self._waiting is not None:
            raise RequestError("--norm run: a film has one scale as it is; --norm fixed --norm-max VALUE for several")
        written = self._paths(result)
        if not films and "strip" in self._spec.pictures:
            self._draw_strips(result, written)
        if result.ref.moment is not None and "overlay" in self._spec.pictures:
            self._reels.add(result, [paths["overlay"] for paths in written])
        heading = captions.heading(result)
        for attribution, paths in zip(result.attributions, written, strict=True):
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
                        heading,
                    )
                )
            else:
                self._draw(result.frame, result.box, attribution, paths, self._fixed_top, heading)
        return written

    def _draw_strips(self, result: Explained, written: Sequence[Paths]) -> None:
        if self._waiting is not None:
            raise RequestError(
                "--norm run goes without --save strip: --norm fixed --norm-max VALUE gives all one scale"
            )
        together: dict[str, list[Attribution]] = {}
        for attribution, paths in zip(result.attributions, written, strict=True):
            together.setdefault(paths["strip"], []).append(attribution)
        for path, answers in together.items():
            drawn = strips.strip(result.frame, result.box, answers, self._style(self._fixed_top))
            self._put(encoded(drawn, Path(path).suffix), path)

    @property
    def _fixed_top(self) -> float | None:
        return self._spec.norm_max if self._spec.norm == "fixed" else None

    def _paths(self, result: Explained) -> list[Paths]:
        """The paths of each answer's files, by kind."""
        stem, whole = mirrored(result.ref), mirrored(replace(result.ref, moment=None))
        read_at: dict[str, set[str]] = {}
        for a in result.attributions:
            read_at.setdefault(a.method, set()).update([a.layer] if a.layer else [])
        several_layers = any(len(layers) > 1 for layers in read_at.values())
        moving = moving_suffix(result)
        numbers: Counter[tuple[str, str | None]] = Counter()
        found = []
        for attribution in result.attributions:
            layer = attribution.layer if several_layers else None
            slug = slug_of(attribution.target.name)
            paths: Paths = {}
            for kind in self._spec.pictures:
                if kind == "overlay" and result.ref.moment is not None:
                    # Its frames may be of different classes: their place among the answers names it.
                    number = _number(attribution, numbers)
                    paths[kind] = self._path(whole, (attribution.method, number, layer, kind), moving)
                elif kind == "strip" and result.frame.frames is None:  # all answers of a picture are on one
                    paths[kind] = self._path(stem, (attribution.method, layer, kind), suffix_of(kind, self._spec))
                elif _has(attribution, kind):
                    suffix = suffix_of(kind, self._spec, moving)
                    paths[kind] = self._path(stem, (attribution.method, slug, layer, kind), suffix)
            found.append(paths)
        return found

    def thumbnails(self, result: Explained, answers: Sequence[Attribution], side: int) -> list[colours.Pixels]:
        """The overlays of some of a result's answers, drawn as the files are, (h, w, 3), the longer side `side` at
        most."""
        style = replace(self._style(self._fixed_top), max_side=side)
        return [overlays.overlay(result.frame, result.box, answer, style) for answer in answers]

    def drop(self) -> None:
        """Forget the drawings that wait."""
        self._reels.close()
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def close(self) -> None:
        try:
            if self._waiting is not None:
                self._draw_all(self._waiting)
            self._reels.draw(self._style(self._fixed_top), self._move)
        finally:
            self._reels.close()
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
                self._draw(frame, drawing.box, drawing.attribution, drawing.paths, top, drawing.heading)
        if gone:
            first = ": ".join(next(iter(gone.items())))
            raise SetupError(
                f"--norm run draws at the end, and {len(gone)} pictures could not be read again (first: {first})"
            )

    def _draw(
        self, frame: Frame, box: Box, attribution: Attribution, paths: Paths, top: float | None, heading: str
    ) -> None:
        style = self._style(top)
        for kind, path in paths.items():
            if kind == "overlay" and frame.ref.moment is not None:
                continue  # it comes with its film
            if kind == "strip" and frame.frames is None:
                continue  # it comes with the picture's other answers
            if kind == "gif" or (kind == "overlay" and frame.frames is not None):
                self._move(path, clips.frames(frame, box, attribution, style), frame.rate or clips.CLOCK)
            elif kind != "raw":
                words = {"heading": heading} if kind == "panel" else {}
                self._put(encoded(DRAWN[kind](frame, box, attribution, style, **words), Path(path).suffix), path)

    def _style(self, top: float | None) -> Style:
        return Style.of(self._spec, top)

    def _move(self, path: str, pictures: Iterable[tuple[colours.Pixels, float]], rate: float) -> None:
        """Writes a film, or an animation, of pictures and their times in seconds."""
        if not path.endswith(FILM):
            frames, times = zip(*pictures, strict=True)
            lasting = [after - before for before, after in pairwise([*times, times[-1] + 1 / rate])]
            self._put(animation(frames, lasting, Path(path).suffix), path)
            return
        local = uris.local_path(path) if self._folder is not None else None
        if local is not None:
            self._check_inside(local)
            encode(Path(local), pictures, rate, self._scratch_here(), durable=self._spec.durable)
            return
        scratch = Scratch(waiting_room())  # a folder elsewhere gets it when it is whole
        try:
            encode(scratch.folder / f"film{FILM}", pictures, rate, scratch)
            put((scratch.folder / f"film{FILM}").read_bytes(), path)
        finally:
            scratch.close()

    def _scratch_here(self) -> Scratch:
        with self._lock:
            if self._scratch is None:
                self._scratch = Scratch(Path(self._folder or ""))
            return self._scratch

    def _put(self, content: bytes, path: str) -> None:
        folder = self._folder
        local = uris.local_path(path) if folder is not None else None
        if folder is None or local is None:
            put(content, path)
            return
        self._check_inside(local)
        put(content, local, self._scratch_here(), durable=self._spec.durable)

    def _check_inside(self, local: str) -> None:
        """Raises: InputError: a link in the folder leads elsewhere."""
        real = os.path.realpath(self._folder or "")
        if os.path.commonpath([real, os.path.realpath(os.path.dirname(local))]) != real:  # noqa: PTH120
            raise InputError(
                "write", "outside", f"its files would lie outside {self._folder}: a link in it leads there"
            )

    def _path(self, stem: Path, parts: Sequence[str | None], suffix: str | None) -> str:
        if self._spec.folder is None:
            assert self._spec.file is not None
            return self._spec.file
        words = [part for part in parts if part]
        # An animation is called .gif, not .gif.gif.
        tail = "".join(f".{part}" for part in words if f".{part}" != suffix) + (suffix or "")
        below = stem.with_name(fitting(stem.name, tail))
        folder = os.fspath(self._spec.folder)
        return f"{folder.rstrip('/')}/{below.as_posix()}" if uris.is_uri(folder) else os.fspath(Path(folder) / below)


def _has(attribution: Attribution, kind: Picture) -> bool:
    """True if such a picture can be made of the answer: some are of what others have not."""
    if kind == "mask":
        entry = attribution.target.entry
        return entry is not None and entry.where is not None and entry.where.region is not None
    return kind != "neurons" or bool(attribution.neurons)


def _number(attribution: Attribution, numbers: Counter[tuple[str, str | None]]) -> str:
    """The place of an answer among those of its method and layer, from 2 on: that of the film that shows it. All
    detections are on one film."""
    entry = attribution.target.entry
    if entry is not None and entry.part is not None:
        return ""
    numbers[attribution.method, attribution.layer] += 1
    number = numbers[attribution.method, attribution.layer]
    return str(number) if number > 1 else ""


def moving_suffix(result: Explained) -> str | None:
    """The ending of an overlay that moves as its input does: a film is written as one, others as an animation."""
    if result.frame.frames is None and result.ref.moment is None:
        return None
    return FILM if films.is_film(result.ref.source) else ".gif"


def write_picture(pixels: colours.Pixels, path: str) -> None:
    """RGB pixels to a file, whole or not at all. Raises: SetupError: it can't be written."""
    put(encoded(pixels, Path(path).suffix), path)
