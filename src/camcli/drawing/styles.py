"""The look of a picture: three of them, and what can be changed."""

from __future__ import annotations

from dataclasses import dataclass

from camcli.maps import scaling
from camcli.records import Attribution
from camcli.specs import COLORMAP_OF, OPACITY_OF, Look, OutputSpec


@dataclass(frozen=True, slots=True)
class Style:
    """The way from values to colours.

    `opacity`: of the map; in the graded look it grows with the value up to that. `top` is the raw value at the end of
    the scale; None: each answer's own. Pictures are brought to a longer side of `max_side` at most, and `min_side` at
    least. `legend`: the scale is drawn too. `font`: a file that is tried first. `line`: the least width of a line, in
    pixels; letters have ten times as much.
    """

    colormap: str = COLORMAP_OF["graded"]
    opacity: float = OPACITY_OF["graded"]
    top: float | None = None
    max_side: int | None = None
    look: Look = "graded"
    legend: bool = False
    font: str | None = None
    min_side: int = 0
    line: float = 1.0

    @classmethod
    def of(cls, where: OutputSpec, top: float | None = None) -> Style:
        """The style that was asked for, with that end of the scale."""
        return cls(where.colours, where.strongest, top, where.max_side, where.style, where.legend, where.font)

    @property
    def graded(self) -> bool:
        """True if the opacity grows with the value."""
        return self.look != "classic"

    @property
    def printed(self) -> bool:
        """True if it is to be read in black and white: the map is ink on a pale grey photo."""
        return self.look == "print"

    @property
    def brightness(self) -> float:
        """The brightness of the parts that the network never saw."""
        return 0.6 if self.graded else 0.4

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the scale at which a line is drawn."""
        return () if not self.graded else (0.25, 0.5, 0.75) if self.printed else (0.5,)

    @property
    def marks(self) -> tuple[str, ...]:
        """What the lines mean, in words."""
        if self.printed:
            return ("Darker: larger values", "Lines: 25, 50 and 75 % of the scale")
        return ("Line: half of the scale",) if self.graded else ()

    @property
    def unseen(self) -> str:
        """What the look of the parts means that the network never saw."""
        return f"{'hatched' if self.printed else 'dimmed'}: not seen"

    def top_of(self, attribution: Attribution) -> float:
        """The raw value at the end of an answer's scale. A graded saliency is stretched, to be seen in small."""
        if self.top is not None:
            return self.top
        percentile = scaling.STRETCHED_PERCENTILE if self.graded else scaling.SALIENCY_PERCENTILE
        return scaling.top_of(attribution.values, attribution.kind, percentile)
