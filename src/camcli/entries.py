"""What a network said of one picture, entry by entry, and where in the picture. Free of torch.

Coordinates are pixels, origin top left, x to the right, y down. Boxes are (x0, y0, x1, y1), half open: they need not
lie on whole pixels, and may stick out of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of a view of `view` (width, height) pixels in a frame of `frame` (width, height): `box`."""

    box: Box
    view: tuple[int, int]
    frame: tuple[int, int]

    def in_frame(self, x: float, y: float) -> tuple[float, float]:
        """The place in the frame of a place in the view."""
        x0, y0, x1, y1 = self.box
        return x0 + x / self.view[0] * (x1 - x0), y0 + y / self.view[1] * (y1 - y0)

    def in_view(self, x: float, y: float) -> tuple[float, float]:
        """The place in the view of a place in the frame."""
        x0, y0, x1, y1 = self.box
        return (x - x0) / (x1 - x0) * self.view[0], (y - y0) / (y1 - y0) * self.view[1]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the picture: `mask` of bool (h, w) over the box, in frame pixels, of the network's view."""

    mask: NDArray[np.bool_]
    box: Box


@dataclass(frozen=True, slots=True)
class Point:
    """A named place in the frame, such as a keypoint, and its score if it has one."""

    name: str
    x: float
    y: float
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The place of an entry in the frame: its box, the region that it fills and that one's share of the view, its
    points."""

    box: Box | None = None
    share: float | None = None
    region: Region | None = None
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that the network said of one picture: a class, a region of one, a detection.

    probability in [0, 1] (softmax, or sigmoid for one class or several labels), `score` the number before it. In a
    network without classes, one output, which has no probability. `score` is None if only the probability is known.
    `part`: its number among the picture's detections, from 1, the best first, or among the words of its caption.
    `where`: its place; None: the picture. `id`: None of a whole caption.
    """

    id: int | None
    label: str
    probability: float | None
    score: float | None
    part: int | None = None
    where: Place | None = None

    @property
    def name(self) -> str:
        """Its id and label, and its number if there can be several."""
        name = self.label if self.id is None else f"{self.id} {self.label}"
        return name if self.part is None else f"{name} #{self.part}"
