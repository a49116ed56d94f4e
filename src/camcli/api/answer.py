"""An answer about one picture, as Python and Jupyter show it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.api import showing
from camcli.api.notebook import notebook
from camcli.drawing import captions, overlays, sheets
from camcli.drawing.colours import Pixels
from camcli.drawing.sheets import Tile
from camcli.drawing.styles import Style
from camcli.entries import Box, Entry
from camcli.errors import RequestError
from camcli.maps import locating, moments
from camcli.records import Attribution, Explained, Row
from camcli.sinks import as_row, dump, write_picture
from camcli.sinks.encoding import encoded, npz
from camcli.specs import Colormap, Look, OutputSpec
from camcli.storage.writing import put

Drawn = Literal["overlay", "heatmap", "panel"]
# So many explanations are told in a line.
_TOLD = 3
# The longer sides of a PNG in a notebook: of one overlay, and of each on a sheet of so many columns and rows.
_SHOWN_SIDE, _SMALL_SIDE = 480, 240
_COLUMNS, _ROWS = 4, 3


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One method's answer to one question about a picture."""

    attribution: Attribution
    result: Explained

    @property
    def method(self) -> str:
        """The method's name, as in `camcli methods`."""
        return self.attribution.method

    @property
    def layer(self) -> str | None:
        """The target layer's name; None if the method looks at none."""
        return self.attribution.layer

    @property
    def target(self) -> str:
        """The target that is explained: a class's id and name, or a function's name."""
        return self.attribution.target.name

    @property
    def value(self) -> float:
        """The number that is explained: a score before any activation, unless something else was asked."""
        return self.attribution.target.value

    @property
    def note(self) -> str | None:
        """A remark on what is wrong with the answer: blank, flat, another class's too; None if nothing is."""
        return self.attribution.note

    @property
    def map(self) -> NDArray[np.float32]:
        """Raw values: a map (h, w) >= 0 at the layer's resolution, or a saliency (C, h, w), signed, on the view."""
        return self.attribution.values

    @property
    def map_at_size(self) -> NDArray[np.float32]:
        """Raw values in the picture's own pixels, (H, W) or (C, H, W): bilinear (align_corners=False), 0 outside the
        view, which the network never saw. Of a clip (t, H, W) or (C, t, H, W), t as in `map`."""
        return locating.at_size(self.map, self.attribution.box or self.result.box, self.result.frame.size)

    @property
    def peak(self) -> tuple[int, int] | None:
        """(x, y) of the largest value, in the picture's pixels; None if the answer is blank."""
        return locating.locate(self._still, self.result.box, self.result.frame.size)[0]

    @property
    def bbox(self) -> Box | None:
        """(x0, y0, x1, y1) of the largest part of a map above 15 % of its maximum (arXiv:1610.02391 sec. 4.1)."""
        return locating.locate(self._still, self.result.box, self.result.frame.size)[1]

    @property
    def _still(self) -> Attribution:
        """The answer at a clip's frame that holds its largest value, which is also drawn; a picture's as it is."""
        frames = self.result.frame.frames
        if frames is None:
            return self.attribution
        return moments.at_frame(self.attribution, moments.peak_frame(self.attribution, frames), frames)

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
        """The map over the picture, dimmed outside the view, which the network never saw.

        `style`: "graded", where the opacity grows with the value up to `opacity`, or "classic", with one opacity for
        all of the map. `top`: the raw value that ends the scale; None: its own largest. `legend`: the scale is drawn
        too.
        """
        asked = OutputSpec(style=style, colormap=colormap, opacity=opacity, max_side=max_side, legend=legend)
        return Image.fromarray(self._drawn("overlay", Style.of(asked, top)))

    def heatmap(
        self, *, style: Look = "graded", colormap: Colormap | None = None, top: float | None = None
    ) -> Image.Image:
        """The map alone (RGBA), transparent outside the view."""
        return Image.fromarray(self._drawn("heatmap", Style.of(OutputSpec(style=style, colormap=colormap), top)))

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
        """The picture and its overlay side by side, over a caption. `font`: a font's file, which is tried first.

        Raises: RequestError: the font is none.
        """
        asked = OutputSpec(style=style, colormap=colormap, opacity=opacity, max_side=max_side, legend=legend, font=font)
        return Image.fromarray(self._drawn("panel", Style.of(asked)))

    def save(self, path: str | os.PathLike[str], drawn: Drawn = "overlay") -> None:
        """Write it, whole or not at all: a picture as the path's ending says, or the raw values as `.npz`.

        Raises: RequestError: nothing is written with that ending, or drawn by that name; SetupError: it can't be
        written.
        """
        _check_drawn(drawn)
        name = os.fspath(path)
        suffix = Path(name).suffix.lower()
        if suffix == ".npz":
            put(npz(self.result, self.attribution), name)
        elif suffix in (".jpg", ".jpeg", ".png", ".webp"):
            write_picture(self._drawn(drawn, Style()), name)
        else:
            raise RequestError(f"{name}: give it the ending .jpg, .png, .webp or .npz; Answer.save also writes .json")

    def show(self) -> None:
        """Show it: in a notebook as HTML, elsewhere the overlay in the system's own viewer of pictures."""
        _show(self, self.overlay)

    def _drawn(self, kind: Drawn, style: Style) -> Pixels:
        shown = self.result.frame, self.result.box, self.attribution, style
        if kind == "panel":
            return overlays.panel(*shown, captions.heading(self.result))
        return overlays.overlay(*shown) if kind == "overlay" else overlays.heatmap(*shown)

    def __repr__(self) -> str:
        return f"<{showing.plain(captions.caption(self.attribution))}>"

    def _repr_html_(self) -> str:
        return showing.of_answer(replace(self.result, attributions=(self.attribution,)))

    def _repr_png_(self) -> bytes:
        return _png(self._drawn("overlay", Style(max_side=_SHOWN_SIDE)))


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
        _check_drawn(drawn)
        if Path(path).suffix.lower() == ".json":
            put(f"{dump(self.row())}\n".encode(), os.fspath(path))
        else:
            self.explanation.save(path, drawn)

    def show(self) -> None:
        """Show it: in a notebook as HTML, elsewhere the overlays in the system's own viewer of pictures."""
        _show(self, lambda: Image.fromarray(self._drawn(None)))

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
        return _png(self._drawn(_SHOWN_SIDE))

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
            for own in result.attributions[: _COLUMNS * _ROWS]
        ]
        rows = [tiles[first : first + _COLUMNS] for first in range(0, len(tiles), _COLUMNS)]
        missing = len(result.attributions) - len(tiles)
        title = f"{self.name}, and {missing} more explanations" if missing else self.name
        return sheets.sheet(rows, [title, *[""] * (len(rows) - 1)])


class Answers(list[Answer]):
    """A list of answers that a notebook shows as pictures beside each other, the first of them."""

    def _repr_html_(self) -> str:
        return showing.of_answers([answer.result for answer in self])


def _show(answer: Answer | Explanation, drawn: Callable[[], Image.Image]) -> None:
    display = notebook()
    if display is not None:
        display.display(answer)
    else:
        drawn().show()


def _check_drawn(asked: str) -> None:
    """Raises: RequestError: nothing is drawn by that name."""
    if asked not in get_args(Drawn):
        raise RequestError(f"{asked!r} is nothing to draw: give one of {', '.join(get_args(Drawn))}")


def _png(drawn: Pixels) -> bytes:
    return encoded(drawn, ".png")
