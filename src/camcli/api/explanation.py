"""One explanation of a picture, as Python and Jupyter show it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camcli.api import showing
from camcli.api.notebook import notebook
from camcli.drawing import captions, overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.errors import RequestError
from camcli.maps import locating, moments
from camcli.records import Attribution, Explained
from camcli.sinks import write_picture
from camcli.sinks.encoding import encoded, npz
from camcli.specs import Colormap, Look, OutputSpec
from camcli.storage.writing import put

Drawn = Literal["overlay", "heatmap", "panel"]
# The longer side of a PNG in a notebook.
SHOWN_SIDE = 480


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
        check_drawn(drawn)
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
        shown(self, self.overlay)

    def _drawn(self, kind: Drawn, style: Style) -> Pixels:
        asked = self.result.frame, self.result.box, self.attribution, style
        if kind == "panel":
            return overlays.panel(*asked, captions.heading(self.result))
        return overlays.overlay(*asked) if kind == "overlay" else overlays.heatmap(*asked)

    def __repr__(self) -> str:
        return f"<{showing.plain(captions.caption(self.attribution))}>"

    def _repr_html_(self) -> str:
        return showing.of_answer(replace(self.result, attributions=(self.attribution,)))

    def _repr_png_(self) -> bytes:
        return png(self._drawn("overlay", Style(max_side=SHOWN_SIDE)))


def shown(answer: Any, drawn: Callable[[], Image.Image]) -> None:
    """Show it: in a notebook by its own means, elsewhere what is `drawn` in the system's viewer of pictures."""
    display = notebook()
    if display is not None:
        display.display(answer)
    else:
        drawn().show()


def check_drawn(asked: str) -> None:
    """Raises: RequestError: nothing is drawn by that name."""
    if asked not in get_args(Drawn):
        raise RequestError(f"{asked!r} is nothing to draw: give one of {', '.join(get_args(Drawn))}")


def png(drawn: Pixels) -> bytes:
    """The file of a picture."""
    return encoded(drawn, ".png")
