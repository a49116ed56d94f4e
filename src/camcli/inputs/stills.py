"""Films as the rest of camcli sees them, whatever reads them: frames in their order, each with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from camcli.errors import InputError, RequestError
from camcli.records import Moment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)s?", re.ASCII)
_FRAME = re.compile(r"(\d+)f", re.ASCII)


@dataclass(frozen=True, slots=True)
class At:
    """A place in a film: `seconds` from its beginning, or the number of a `frame`, from 0; one of them."""

    seconds: float | None = None
    frame: int | None = None

    def reached(self, moment: Moment) -> bool:
        """True for a frame that is there, or later."""
        if self.frame is not None:
            return moment.number >= self.frame
        return self.seconds is None or moment.seconds >= self.seconds


def at(text: str) -> At:
    """The place that is written so: "2.5" and "2.5s" seconds, "1:30", "1:02:03.5", or "40f", the frame of that number.

    Raises: RequestError: it is none of these.
    """
    if found := _FRAME.fullmatch(text.strip()):
        return At(frame=int(found[1]))
    found = _CLOCK.fullmatch(text.strip())
    if found is None or (found[2] and float(found[3]) >= 60) or (found[1] and int(found[2]) >= 60):
        raise RequestError(f"{text!r} is no place in a film: write seconds, 2.5 or 1:30 or 1:02:03.5, or a frame, 40f")
    return At(seconds=int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + float(found[3]))


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """One frame of a film, its `moment`, and what is unusual in the film. It is kept as it was decoded until its pixels
    are asked for."""

    moment: Moment
    _convert: Callable[[], NDArray[np.uint8]] = field(repr=False)
    note: str | None = None

    def rgb(self) -> NDArray[np.uint8]:
        """Converts it: uint8 (H, W, 3), upright, sRGB, alpha over white; from any thread.

        Raises: InputError: it can't be converted; a folder's frame: it can't be read, or is of another size.
        """
        return self._convert()


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A film that was opened.

    `size`: (width, height), upright. `rate`: frames a second, on average; None if it has no clock, as a folder of
    frames. `frames` and `seconds`: their number and the duration as the header tells, None if it does not; it may be
    wrong, and nothing is read by it. `note` says what is unusual in the film.
    """

    size: tuple[int, int]
    rate: float | None
    frames: int | None
    seconds: float | None
    note: str | None
    _all: Callable[[], Generator[Still, None, None]] = field(repr=False)

    def stills(self, start: At | None = None, end: At | None = None, every: int = 1) -> Iterator[Still]:
        """Reads the frames from `start` on, up to `end` without it, each `every`-th of them beginning with the first.

        The film is read from its beginning each time, since only so a frame's number is sure; what lies before `start`
        is decoded and not converted.

        Raises: InputError: behind the last good frame, that the film breaks off there; not for a break behind `end`.
        """
        if every < 1:
            raise ValueError("every is a whole number from 1 on")
        passed = 0
        with closing(self._all()) as stills:
            for still in stills:
                if end is not None and end.reached(still.moment):
                    return
                if start is not None and not start.reached(still.moment):
                    continue
                if passed % every == 0:
                    yield still
                passed += 1


def breaking_off(after: Moment | None, why: object) -> InputError:
    """The refusal behind the last good frame, `after`; a refusal of another kind than "broken" keeps its kind."""
    stage, kind = (why.stage, why.kind) if isinstance(why, InputError) else ("decode", "broken")
    if after is None:
        return InputError(stage, kind, f"none of its frames can be decoded: {why}")
    return InputError(stage, kind, f"breaks off after frame {after.number} ({after.seconds:.2f} s): {why}")
