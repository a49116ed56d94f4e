"""Moving pictures among the inputs: each frame an input of its own, or all of a clip together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from camcli.errors import InputError
from camcli.inputs import films
from camcli.inputs.films import At
from camcli.records import MAX_PIXELS, Ref
from camcli.specs import Spec


@dataclass(frozen=True, slots=True)
class Sampling:
    """Frames of a film: from `start` to before `end`, each `stride`-th one.

    Without a stride a clip gets as many frames a second as its network wants, and all frames are inputs else.
    """

    start: At | None = None
    end: At | None = None
    stride: int | None = None


ALL = Sampling()
NONE_BETWEEN = "no frame lies between --start and --end"


@dataclass(frozen=True, slots=True)
class Moving:
    """The treatment of moving pictures.

    whole: films, animated pictures and folders of frames are inputs as they are, for networks that take clips. If not,
    a film that is named gives the frames that the `sampling` tells, and an animated picture too if `animated`.
    """

    whole: bool = False
    animated: bool = False
    sampling: Sampling = ALL
    max_pixels: int = MAX_PIXELS

    @classmethod
    def of(cls, spec: Spec, max_pixels: int, *, whole: bool) -> Moving:
        """The treatment that a run asks for; animated pictures are films if it asks for frames of films.

        Raises: RequestError: a start or an end that is no place in a film.
        """
        asked = (spec.start, spec.end, spec.every)
        return cls(whole, any(one is not None for one in asked), sampling_of(spec), max_pixels)

    def splits(self, path: Path) -> bool:
        """True if the frames of that file are inputs of their own."""
        if self.whole or not os.path.isfile(path):  # noqa: PTH113  pathlib raises on names that are too long
            return False
        return films.is_film(path) or (self.animated and films.is_animated(path))

    def frames(self, ref: Ref) -> Iterator[Ref]:
        """A ref for each frame of a film; if it breaks off, its refusal comes last."""
        try:
            with films.opened(ref.source, self.max_pixels) as film:
                sampling, still = self.sampling, None
                for still in film.stills(sampling.start, sampling.end, sampling.stride or 1):
                    yield replace(ref, moment=still.moment, held=replace(still, note=film.note))
                if still is None:
                    raise InputError("decode", "short", NONE_BETWEEN)
        except InputError as error:
            yield replace(ref, held=error)


def sampling_of(spec: Spec) -> Sampling:
    """The frames that a run asks for. Raises: RequestError: a start or an end that is no place in a film."""
    start, end = (None if text is None else films.at(text) for text in (spec.start, spec.end))
    return Sampling(start, end, spec.stride or spec.every)


def is_moving(path: Path) -> bool:
    """True if the file is a film or an animated picture."""
    return films.is_film(path) or films.is_animated(path)
