"""Overlays of a film's frames as a film: drawn when all of its frames are explained, on one scale.

The raw values wait on disk meanwhile, and the film is read a second time for its pixels, so memory does not grow with
its length. A frame between two explained ones gets values between theirs.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TypeAlias

import numpy as np

from camcli.drawing import captions, overlays, predictions
from camcli.drawing.colours import Pixels
from camcli.drawing.styles import Style
from camcli.entries import Box, Entry
from camcli.errors import InputError, SetupError
from camcli.inputs import films
from camcli.inputs.films import At, Film
from camcli.maps import scaling
from camcli.records import Attribution, Explained, Frame, Moment, Ref
from camcli.sinks.waiting import version_of, waiting_room
from camcli.storage.scratch import Scratch
from camcli.storage.writing import failing

# Writes the pictures and their times to a path, at so many frames a second.
Write: TypeAlias = Callable[[str, Iterable[tuple[Pixels, float]], float], None]


@dataclass(frozen=True, slots=True)
class _Explained:
    """One explained frame: its moment, the place of its view, the answer, and all entries that it is about."""

    moment: Moment
    box: Box
    attribution: Attribution
    entries: tuple[Entry, ...]


class Reel:
    """The answers of one method, layer and question about the frames of one film, and where their film goes."""

    def __init__(self, ref: Ref, path: str, spool: Path) -> None:
        self.path = path
        self.top = 0.0
        self._ref = replace(ref, held=None, moment=None)
        self._version = version_of(ref)
        self._lock = Lock()
        self._file: BinaryIO = spool.open("w+b")
        # The place in the file of each explained frame, by its number: they come from several threads.
        self._places: dict[int, int] = {}

    def add(self, moment: Moment, box: Box, attributions: Sequence[Attribution]) -> None:
        """Keep one frame's answers until the film is drawn: of several, which are detections, the largest values."""
        one = _joined(attributions)
        entries = tuple(own.target.entry for own in attributions if own.target.entry is not None)
        with self._lock, failing(f"to {waiting_room()}, where a film's values wait (TMPDIR names another folder)"):
            self.top = max(self.top, scaling.top_of(one.values, one.kind))
            self._places[moment.number] = self._file.seek(0, 2)
            pickle.dump(_Explained(moment, box, one, entries), self._file)

    def close(self) -> None:
        self._file.close()

    def opened(self) -> AbstractContextManager[Film]:
        """The film, read again: its frames were not too large before."""
        return films.opened(self._ref.source, sys.maxsize)

    def drawn(self, style: Style, film: Film) -> Iterator[tuple[Pixels, float]]:
        """The overlay of each frame (H, W, 3) and its time in seconds, from the first explained frame on.

        Frames after the last explained one are shown with its values, as far as the next one would have been.

        Raises: SetupError: the film has changed, or can't be read again.
        """
        if version_of(self._ref) != self._version:
            raise SetupError(f"{self._ref.name} has changed while its frames were explained: no overlay of it is drawn")
        numbers = sorted(self._places)
        step = min((after - before for before, after in pairwise(numbers)), default=1)
        explained = self._in_order(numbers)
        before, after = next(explained), next(explained, None)
        style = replace(style, top=style.top if style.top is not None else self.top)
        stills = film.stills(At(frame=numbers[0]), At(frame=numbers[-1] + step), 1)
        try:
            for still in stills:
                while after is not None and still.moment.number >= after.moment.number:
                    before, after = after, next(explained, None)
                frame = Frame(self._ref, still.rgb())
                own = _between(before, after, still.moment.number)
                picture = overlays.overlay(frame, before.box, own, style)
                yield _with_words(picture, frame, before, style.font), still.moment.seconds
        except InputError as error:
            # The rows have said where it breaks off.
            if error.kind != "broken":
                raise SetupError(f"{self._ref.name} can't be read again: {error}") from None

    def _in_order(self, numbers: Sequence[int]) -> Iterator[_Explained]:
        for number in numbers:
            self._file.seek(self._places[number])
            yield pickle.load(self._file)


class Reels:
    """The films that a run makes, by their paths."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spools: Scratch | None = None
        self._reels: dict[str, Reel] = {}

    def add(self, result: Explained, paths: Sequence[str]) -> None:
        """Keep the answers about one frame, each for the film of its path."""
        assert result.ref.moment is not None
        for path in dict.fromkeys(paths):
            own = [answer for answer, at in zip(result.attributions, paths, strict=True) if at == path]
            self._reel(result.ref, path).add(result.ref.moment, result.box, own)

    def _reel(self, ref: Ref, path: str) -> Reel:
        with self._lock:
            if self._spools is None:
                self._spools = Scratch(waiting_room())
            if path not in self._reels:
                self._reels[path] = Reel(ref, path, self._spools.folder / f"{len(self._reels)}.reel")
            return self._reels[path]

    def draw(self, style: Style, write: Write) -> None:
        """Writes all films. Raises: SetupError: one has changed, can't be read again, or can't be written."""
        for reel in self._reels.values():
            with reel.opened() as film:
                write(reel.path, reel.drawn(style, film), film.rate or 1.0)

    def close(self) -> None:
        for reel in self._reels.values():
            reel.close()
        self._reels = {}
        if self._spools is not None:
            self._spools.close()
            self._spools = None


def _joined(attributions: Sequence[Attribution]) -> Attribution:
    """One answer with the largest of their values at each place, on the finest of their grids."""
    import cv2

    finest = max(attributions, key=lambda own: own.values.size)
    if len(attributions) == 1 or finest.kind != "map":
        return finest
    height, width = finest.values.shape
    planes = [cv2.resize(own.values, (width, height), interpolation=cv2.INTER_LINEAR) for own in attributions]
    return replace(finest, values=np.max(planes, axis=0))


def _between(before: _Explained, after: _Explained | None, number: int) -> Attribution:
    """The answer at a frame between two explained ones, as far from each as it is."""
    own = before.attribution
    if after is None or number == before.moment.number:
        return own
    other = after.attribution
    if own.values.shape != other.values.shape or own.box != other.box:  # of another level
        return own
    share = np.float32((number - before.moment.number) / (after.moment.number - before.moment.number))
    return replace(own, values=own.values + (other.values - own.values) * share)


def _with_words(picture: Pixels, frame: Frame, explained: _Explained, font: str | None) -> Pixels:
    """The picture with all places drawn, or else the name of what is explained: it may change from frame to frame."""
    scale = picture.shape[1] / frame.size[0], picture.shape[0] / frame.size[1]
    shown = explained.attribution.target.entry
    for entry in explained.entries:
        if entry is not shown:
            picture = predictions.drawn(picture, entry, scale, font)
    if shown is not None and shown.where is not None:
        return picture
    return predictions.labelled(picture, captions.about(explained.attribution), font)
