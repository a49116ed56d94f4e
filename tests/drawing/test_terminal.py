"""Text that a terminal shows as a picture, decoded back to the picture."""

from __future__ import annotations

import io
import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from camcli.drawing import terminal
from camcli.drawing.terminal import FINE, HALVES, Pixels
from camcli.sinks.encoding import encoded


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cells(text: str) -> list[list[tuple[str, str]]]:
    """(colours, character) of each cell, line by line."""
    found = []
    for line in text.split("\n"):
        assert line.endswith("\x1b[0m")
        row, colours = [], ""
        for code, character in re.findall(r"(?:\x1b\[([0-9;]*)m)?([▀ ])?", line):
            colours = code or colours
            row += [(colours, character)] if character else []
        found.append(row)
    return found


def shown(text: str) -> Pixels:
    """The pixels of half blocks in 24-bit colours."""
    rows: list[list[list[int]]] = []
    for line in cells(text):
        numbers = [list(map(int, colours.split(";"))) for colours, _ in line]
        assert all(len(own) == 10 and (own[:2], own[5:7]) == ([38, 2], [48, 2]) for own in numbers)
        rows += [[own[2:5] for own in numbers], [own[7:] for own in numbers]]
    return np.asarray(rows, dtype=np.uint8)


def test_half_blocks_have_the_pictures_own_colours() -> None:
    picture = noise(8, 11)
    strip = terminal.side_by_side([picture], (11, 4), HALVES)
    assert np.array_equal(shown(terminal.half_blocks(strip, true_colour=True)), picture)


def test_one_colour_is_said_once_a_line() -> None:
    strip = terminal.side_by_side([np.full((6, 50, 3), 7, np.uint8)], (50, 3), HALVES)
    text = terminal.half_blocks(strip, true_colour=True)
    assert text.count("38;2;") == 3
    assert text.count("▀") == 150


def test_pictures_stand_side_by_side_with_a_blank_between() -> None:
    black, white = np.zeros((4, 3, 3), np.uint8), np.full((4, 3, 3), 255, np.uint8)
    strip = terminal.side_by_side([black, white], (3, 2), HALVES)
    assert strip.shape == (4, 3 + terminal.GAP + 3, 4)
    for line in cells(terminal.half_blocks(strip, true_colour=True)):
        assert "".join(character for _, character in line) == "▀▀▀  ▀▀▀"
        assert [colours for colours, _ in line[3:5]] == ["0", "0"]
        assert [line[0][0], line[-1][0]] == ["38;2;0;0;0;48;2;0;0;0", "38;2;255;255;255;48;2;255;255;255"]


@pytest.mark.parametrize(
    ("colour", "number"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 231),
        ((255, 0, 0), 196),
        ((95, 135, 175), 67),
        ((8, 8, 8), 232),
        ((238, 238, 238), 255),
        ((130, 129, 128), 244),
        ((250, 5, 3), 196),
    ],
)
def test_other_terminals_get_the_nearest_of_256_colours(colour: tuple[int, ...], number: int) -> None:
    strip = terminal.side_by_side([np.full((2, 1, 3), colour, np.uint8)], (1, 1), HALVES)
    text = terminal.half_blocks(strip, true_colour=False)
    assert text == f"\x1b[38;5;{number};48;5;{number}m▀\x1b[0m"


def png_and_strip() -> tuple[bytes, Pixels]:
    strip = terminal.side_by_side([noise(160, 160), noise(160, 160)], (20, 10), FINE)
    return encoded(strip, ".png"), strip


def test_kitty_gets_a_png_in_pieces_and_is_told_not_to_answer() -> None:
    png, strip = png_and_strip()
    text = terminal.kitty(png, 42)
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{head};{body}\x1b\\" for head, body in pieces) == text
    heads = [dict(pair.split("=") for pair in head.split(",")) for head, _ in pieces]
    assert heads[0] == {"a": "T", "f": "100", "c": "42", "q": "2", "m": "1"}
    assert heads[1:-1] == [{"q": "2", "m": "1"}] * (len(pieces) - 2)
    assert heads[-1] == {"q": "2", "m": "0"}
    assert len(pieces) > 2
    assert all(len(body) == 4096 for _, body in pieces[:-1])
    assert 0 < len(pieces[-1][1]) <= 4096
    with Image.open(io.BytesIO(b64decode("".join(body for _, body in pieces)))) as decoded:
        assert np.array_equal(np.asarray(decoded), strip)


def test_one_piece_is_the_first_and_the_last() -> None:
    assert terminal.kitty(b"png", 3) == "\x1b_Ga=T,f=100,c=3,q=2,m=0;cG5n\x1b\\"


def test_iterm2_gets_a_png_with_its_size() -> None:
    png, strip = png_and_strip()
    found = re.fullmatch(r"\x1b]1337;File=inline=1;size=(\d+);width=42:([^\x07]*)\x07", terminal.iterm2(png, 42))
    assert found is not None
    assert int(found[1]) == len(png)
    with Image.open(io.BytesIO(b64decode(found[2]))) as decoded:
        assert np.array_equal(np.asarray(decoded), strip)


@pytest.mark.parametrize(
    ("size", "room", "expected"),
    [
        ((600, 400), (60, 20), (60, 20)),
        ((400, 600), (60, 20), (27, 20)),
        ((4000, 400), (60, 20), (60, 3)),
        ((10, 9000), (60, 20), (1, 20)),
        ((9000, 10), (60, 20), (60, 1)),
        ((32, 32), (60, 20), (40, 20)),
    ],
)
def test_a_picture_fills_what_room_there_is_and_keeps_its_aspect(
    size: tuple[int, int], room: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert terminal.cells_of(size, *room) == expected
