"""An answer about one picture, as Python and Jupyter show it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.api import showing
from camcli.api.explanation import SHOWN_SIDE, Drawn, Explanation, check_drawn, png, shown
from camcli.drawing import overlays, sheets
from camcli.drawing.colours import Pixels
from camcli.drawing.sheets import Tile
from camcli.drawing.styles import Style
from camcli.entries import Box, Entry
from camcli.errors import RequestError
from camcli.records import Explained, Row
from camcli.sinks import as_row, dump
from camcli.specs import Colormap, Look
from camcli.storage.writing import put

# So many explanations are told in a line.
_TOLD = 3
# The longer side of each overlay on a sheet in a notebook, of so many columns and rows.
_SMALL_SIDE = 240
_COLUMNS, _ROWS = 4, 3
_SHEET = _COLUMNS * _ROWS


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The network's answer about one picture: its best classes, and where it looked.

    An answer with one explanation has its `map`, `overlay` and so on; with several, each of `explanations` has them.
    """

    result: Explained

    @property
    def name(self) -> str:
        """The picture, as it was named."""
        return self.result.ref.name

    @property
    def top(self) -> tuple[Entry, ...]:
        """The best classes first: `id`, `label`, `probability`, `score` (before the activation)."""
        return self.result.top

    @property
    def layer(self) -> str | None:
        """The (first) target layer's name; None if no method looks at one."""
        return self.result.layer

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """One for each method, class and layer, in the order asked for."""
        return tuple(Explanation(own, self.result) for own in self.result.attributions)

    @property
    def explanation(self) -> Explanation:
        """The only explanation. Raises: RequestError: there are several, or none."""
        found = self.explanations
        if len(found) != 1:
            held = ", ".join(f"{own.method} of {own.target}" for own in found) or "none"
            raise RequestError(f"this answer holds {len(found)} explanations ({held}): choose one of .explanations")
        return found[0]

    @property
    def method(self) -> str:
        """See `Explanation.method`."""
        return self.explanation.method

    @property
    def target(self) -> str:
        """See `Explanation.target`."""
        return self.explanation.target

    @property
    def value(self) -> float:
        """See `Explanation.value`."""
        return self.explanation.value

    @property
    def note(self) -> str | None:
        """See `Explanation.note`."""
        return self.explanation.note

    @property
    def peak(self) -> tuple[int, int] | None:
        """See `Explanation.peak`."""
        return self.explanation.peak

    @property
    def bbox(self) -> Box | None:
        """See `Explanation.bbox`."""
        return self.explanation.bbox

    @property
    def map(self) -> NDArray[np.float32]:
        """See `Explanation.map`."""
        return self.explanation.map

    @property
    def map_at_size(self) -> NDArray[np.float32]:
        """See `Explanation.map_at_size`."""
        return self.explanation.map_at_size

    def overlay(
        self,
        *,
        style: Look = "graded",
        colormap: Colormap | None = None,
        opacity: float | None = None,
        top: float | None = None,
        max_side: int | None = None,
        legend: bool = False,
    ) -> Image.Image:
        """See `Explanation.overlay`."""
        return self.explanation.overlay(
            style=style, colormap=colormap, opacity=opacity, top=top, max_side=max_side, legend=legend
        )

    def heatmap(
        self, *, style: Look = "graded", colormap: Colormap | None = None, top: float | None = None
    ) -> Image.Image:
        """See `Explanation.heatmap`."""
        return self.explanation.heatmap(style=style, colormap=colormap, top=top)

    def panel(
        self,
        *,
        style: Look = "graded",
        colormap: Colormap | None = None,
        opacity: float | None = None,
        max_side: int | None = None,
        legend: bool = False,
        font: str | None = None,
    ) -> Image.Image:
        """See `Explanation.panel`."""
        return self.explanation.panel(
            style=style, colormap=colormap, opacity=opacity, max_side=max_side, legend=legend, font=font
        )

    def save(self, path: str | os.PathLike[str], drawn: Drawn = "overlay") -> None:
        """See `Explanation.save`; a path that ends in `.json` gets the `row`, whatever the number of explanations."""
        check_drawn(drawn)
        if Path(path).suffix.lower() == ".json":
            put(f"{dump(self.row())}\n".encode(), os.fspath(path))
        else:
            self.explanation.save(path, drawn)

    def show(self) -> None:
        """Show it: in a notebook as HTML, elsewhere the overlays in the system's own viewer of pictures."""
        shown(self, lambda: Image.fromarray(self._drawn(None)))

    def row(self) -> Row:
        """All of it as JSON-ready data: the row that `camcli explain --json` prints."""
        return as_row(self.result)

    def __repr__(self) -> str:
        told = [f"{own.method} of {own.target}" for own in self.explanations]
        more = f", and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        explained = ", ".join(told[:_TOLD]) or "nothing is explained"
        return showing.plain(f"<Answer about {self.name}: {showing.best(self.result)}; {explained}{more}>")

    def _repr_html_(self) -> str:
        return showing.of_answer(self.result)

    def _repr_png_(self) -> bytes:
        return png(self._drawn(SHOWN_SIDE))

    def _drawn(self, max_side: int | None) -> Pixels:
        """The overlay; several on one sheet, the first of them; the photo if nothing is explained."""
        result = self.result
        if len(result.attributions) == 1:
            return overlays.overlay(result.frame, result.box, result.attributions[0], Style(max_side=max_side))
        if not result.attributions:
            return overlays.photo(result.frame, Style(max_side=max_side))
        tiles = [
            Tile(
                overlays.overlay(result.frame, result.box, own, Style(max_side=_SMALL_SIDE)),
                (own.target.name, own.method + (f" at {own.layer}" if own.layer else ""), own.note or ""),
            )
            for own in result.attributions[:_SHEET]
        ]
        missing = len(result.attributions) - len(tiles)
        return sheets.wrapped(
            tiles, _COLUMNS, f"{self.name}, and {missing} more explanations" if missing else self.name
        )


class Answers(list[Answer]):
    """A list of answers that a notebook shows as pictures beside each other, the first of them. So is a part of it."""

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Answer: ...
    @overload
    def __getitem__(self, place: slice, /) -> Answers: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> Answer | Answers:
        return Answers(super().__getitem__(place)) if isinstance(place, slice) else super().__getitem__(place)

    def _repr_html_(self) -> str:
        return showing.of_answers([answer.result for answer in self])

    def _repr_png_(self) -> bytes | None:
        """The first overlay of each, or its photo, on one sheet, the first of them; None if there are none."""
        tiles = [
            Tile(showing.first(answer.result, _SMALL_SIDE), (Path(answer.name).name, showing.best(answer.result)))
            for answer in self[:_SHEET]
        ]
        if not tiles:
            return None
        return png(
            sheets.wrapped(
                tiles, _COLUMNS, f"The first {len(tiles)} of {len(self)} answers" if len(tiles) < len(self) else ""
            )
        )
