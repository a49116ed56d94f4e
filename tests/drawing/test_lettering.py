"""Text on pictures, in any script."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from camcli.drawing import lettering
from camcli.drawing.colours import Pixels
from camcli.drawing.predictions import labelled
from camcli.drawing.sheets import Tile, sheet
from camcli.errors import RequestError

GROUND = np.full((40, 60, 3), 128, dtype=np.uint8)
BUNDLED = Path(lettering.__file__).parent / "fonts" / "DejaVuSans.ttf"


def drawn(character: str, file: str | None = None) -> bytes:
    picture = Image.new("L", (40, 40))
    lettering.font(character, 20, file).write(ImageDraw.Draw(picture), (4, 4), character, "white")
    return picture.tobytes()


def files_of(text: str, file: str | None = None) -> list[str]:
    return [face[0] for face in lettering.font(text, 20, file).faces]


@pytest.mark.parametrize("character", "éäßкğŁøçñÑŒαבش—…·✗\ufffd")
def test_letters_of_many_scripts_are_drawn_and_no_boxes(character: str) -> None:
    box = Image.new("L", (40, 40))
    ImageDraw.Draw(box).text((4, 4), "\U0010ffff", "white", lettering._opened(lettering._BUNDLED, 20))
    assert drawn(character) != box.tobytes()
    assert files_of("Tigerkätzchen кот") == [str(BUNDLED)]


def test_what_the_bundled_font_lacks_comes_from_a_font_of_the_system() -> None:
    if len(files_of("猫")) == 1:
        pytest.skip("no font of this system has Chinese characters")
    assert len(files_of("Tigerkätzchen кот 猫")) == 2
    assert len({drawn("猫"), drawn("犬"), drawn("\U0010ffff")}) == 3


def test_each_character_is_in_the_first_font_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fonts of Chinese characters need not have any others."""
    has = {("own.ttf", 0): "я", lettering._BUNDLED: "abcя \ufffd", ("system.ttc", 3): "a猫"}
    monkeypatch.setattr(lettering, "_has", lambda face, character: character in has[face])
    monkeypatch.setattr(lettering, "_of_system", lambda character: (("system.ttc", 3),) if character == "猫" else ())
    monkeypatch.setattr(lettering, "_opened", lambda face, size: face)
    monkeypatch.setattr(lettering, "check", lambda file: None)

    def runs(text: str, file: str | None = None) -> list[tuple[str, object]]:
        return list(lettering.font(text, 9, file)._runs(text))

    bundled, system = lettering._BUNDLED, ("system.ttc", 3)
    assert runs("abc я") == [("abc я", bundled)]
    assert runs("ab猫猫a") == [("ab", bundled), ("猫猫", system), ("a", bundled)]
    assert runs("aя猫?", "own.ttf") == [("a", bundled), ("я", ("own.ttf", 0)), ("猫", system), ("\ufffd", bundled)]


def test_a_mark_as_long_as_it_is_drawn_stands_for_what_no_font_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_of_system", lambda character: ())
    assert drawn("猫") == drawn("\ufffd")
    letters = lettering.font("a猫", 20)
    assert letters.length("a猫") == letters.length("a\ufffd")
    assert lettering.lacking(["a猫", "犬b\n猫"]) == "猫犬"
    assert lettering.lacking(["a"]) == ""


@pytest.mark.parametrize("anchor", ["la", "lm", "mm", "rm"])
def test_parts_in_several_fonts_lie_as_one_in_a_single_font(anchor: str, tmp_path: Path) -> None:
    other = tmp_path / "other.ttf"
    shutil.copy(BUNDLED, other)
    whole = lettering.font("abgc", 20)

    class Changing(lettering.Letters):
        def _runs(self, text: str) -> Iterator[tuple[str, FreeTypeFont]]:
            for number, character in enumerate(text):
                yield character, lettering._opened(((str(BUNDLED), 0), (str(other), 0))[number % 2], 20)

    pictures = []
    for letters in (whole, Changing(whole.faces, 20)):
        picture = Image.new("L", (200, 60))
        letters.write(ImageDraw.Draw(picture), (100, 30), "abgc", "white", anchor)
        pictures.append(np.asarray(picture).astype(int))
    # Letters are set on whole pixels or between them: the ink is where it is to a pixel.
    boxes = [np.argwhere(picture > 128) for picture in pictures]
    assert np.abs(boxes[0].min(axis=0) - boxes[1].min(axis=0)).max() <= 1
    assert np.abs(boxes[0].max(axis=0) - boxes[1].max(axis=0)).max() <= 1


@pytest.mark.parametrize("said", [b"", b"no lines", b"/no/such.ttf\n0", b"/etc/passwd\n0", b"/no/such.ttf\nmany"])
def test_what_fontconfig_says_may_be_of_no_use(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, said))
    monkeypatch.setattr(lettering, "_known", lambda: (("/no/other.ttf", 0),))
    lettering._of_system.cache_clear()
    assert files_of("𓀀") == [str(BUNDLED)]
    lettering._of_system.cache_clear()


@pytest.mark.parametrize("failure", [OSError("gone"), subprocess.TimeoutExpired("fc-match", 5)])
def test_a_system_without_fontconfig_has_the_well_known_places(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(command: list[str], **_: object) -> None:
        raise failure

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", fails)
    monkeypatch.setattr(lettering, "_known", lambda: (("known.ttc", 0),))
    monkeypatch.setattr(lettering, "_has", lambda face, character: face == ("known.ttc", 0))
    lettering._of_system.cache_clear()
    assert lettering._of_system("猫") == (("known.ttc", 0),)
    lettering._of_system.cache_clear()


def test_a_font_of_ones_own_is_tried_first(tmp_path: Path) -> None:
    own = tmp_path / "own.ttf"
    shutil.copy(BUNDLED, own)
    assert files_of("abc", str(own)) == [str(own), str(BUNDLED)]


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.ttf").write_text("no font")
    with pytest.raises(RequestError, match=r"bad\.ttf: it can't be read as a font"):
        lettering.check(str(tmp_path / "bad.ttf"))
    with pytest.raises(RequestError, match=r"none\.ttf: no such file"):
        lettering.font("abc", 13, str(tmp_path / "none.ttf"))


ODD = "two\nlines\x1b[31m \u202e\udce9猫"


def test_what_is_no_letter_breaks_no_caption() -> None:
    assert lettering.plain(ODD) == "two\ufffdlines\ufffd[31m \ufffd\ufffd猫"
    assert labelled(GROUND, ODD).shape == GROUND.shape
    assert sheet([[Tile(GROUND, (ODD,))]], [ODD]).shape[0] > 40


def test_the_fonts_licence_lies_beside_it() -> None:
    assert "Bitstream Vera" in (BUNDLED.parent / "LICENSE_DEJAVU").read_text(encoding="utf-8")


def test_long_lines_are_broken_between_their_parts() -> None:
    line = lettering.SEPARATOR.join(["one part"] * 12)
    lines, letters = lettering.fitted([line], 300)
    assert len(lines) > 1
    assert lettering.SEPARATOR.join(lines) == line
    assert all(letters.length(part) <= 300 for part in lines)
    assert lettering.fitted(["short"], 300)[0] == ["short"]


def test_words_that_are_too_wide_for_a_picture_are_cut() -> None:
    picture: Pixels = labelled(np.full((30, 50, 3), 128, dtype=np.uint8), "wider than the picture " * 9)
    assert picture.shape == (30, 50, 3)
