"""What the network said of places, drawn."""

from __future__ import annotations

import numpy as np
import pytest

from camcli.drawing.predictions import drawn
from camcli.entries import Entry, Place, Point, Region

GREY = np.full((200, 300, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_box_lies_where_it_was_found(scale: float) -> None:
    """In the frame's pixels, whatever the picture's: light inside of dark."""
    entry = Entry(1, "dog", 0.9, 2.0, 1, Place((40 / scale, 80 / scale, 120 / scale, 160 / scale)))
    picture = drawn(GREY, entry, (scale, scale))
    assert (picture[100:150, [40, 120]] == 255).all()
    assert (picture[160, 60:110] == 255).all()
    assert (picture[100:150, 80] == 128).all()
    assert (picture[100:150, 20] == 128).all()
    assert (picture[60:78, 44:60] == 0).any()  # the label, above
    assert (GREY == 128).all()


def test_a_region_has_an_outline() -> None:
    """Of 10x15 cells over the whole picture: those of rows 2-4 and columns 3-5."""
    mask = np.zeros((10, 15), dtype=bool)
    mask[2:5, 3:6] = True
    entry = Entry(1, "dog", 0.9, 2.0, where=Place(region=Region(mask, (0.0, 0.0, 150.0, 100.0))))
    picture = drawn(GREY, entry, (2.0, 2.0))
    light = np.argwhere((picture == 255).all(axis=2))
    assert light.min(axis=0).tolist() == [40, 60]
    assert light.max(axis=0).tolist() == [99, 119]
    assert (picture[60:80, 80:100] == 128).all()


def test_keypoints_are_dots() -> None:
    entry = Entry(1, "person", 0.9, 2.0, 1, Place(points=(Point("nose", 50.0, 40.0), Point("off", -90.0, 900.0))))
    picture = drawn(GREY, entry, (2.0, 2.0))
    assert (picture[80, 100] == 255).all()
    assert (picture[80, 120] == 128).all()


def test_what_has_no_place_is_not_drawn() -> None:
    assert drawn(GREY, Entry(1, "dog", 0.9, 2.0), (1.0, 1.0)) is GREY
