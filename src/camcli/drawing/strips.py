"""The answers about one picture side by side: the picture, then a map over each word, action or object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from camcli.drawing import overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.lettering import SEPARATOR
from camcli.drawing.sheets import Tile, wrapped
from camcli.drawing.styles import Style
from camcli.entries import Box
from camcli.records import Attribution, Frame

# Answers in a line; the longer side of each, at most and at least, in pixels.
_COLUMNS = 9
_SIDE, _LEAST = 220, 120


def strip(frame: Frame, box: Box, attributions: Sequence[Attribution], style: Style) -> Pixels:
    """The overlays of one method's answers at one layer on one sheet, (H, W, 3), over their words and probabilities.

    Each map is scaled to its own maximum, unless the style has one for all.
    """
    # Words would not fit below a smaller picture.
    style = replace(style, max_side=min(style.max_side or _SIDE, _SIDE), min_side=_LEAST)
    tiles = [Tile(overlays.photo(frame, style), ("", ""))]
    for own in attributions:
        entry = own.target.entry
        name = own.target.name
        if entry is not None and (entry.part is not None or entry.id is None):
            name = own.target.label if entry.part is not None else "all of it"
        share = f"p = {entry.probability:.3f}" if entry is not None and entry.probability is not None else ""
        tiles.append(Tile(overlays.overlay(frame, box, own, style), (name, share)))
    first = attributions[0]
    whole = [own.target.label for own in attributions if own.target.entry is not None and own.target.entry.id is None]
    question = frame.ref.bound.get("question")
    asked = [question] if isinstance(question, str) else []
    title = SEPARATOR.join(filter(None, (*asked, *whole, first.method, first.layer)))
    return wrapped(tiles, _COLUMNS, title, style.font)
