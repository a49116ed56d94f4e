"""Text on pictures, in any script."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from camcli.drawing import lettering
from camcli.drawing.overlays import Pixels
from camcli.drawing.predictions import labelled
from camcli.drawing.sheets import Tile, sheet
from camcli.errors import RequestError

GROUND = np.full((40, 60, 3), 128, dtype=np.uint8)
BUNDLED = Path(lettering.__file__).parent / "fonts" / "DejaVuSans.ttf"


def drawn(character: str, file: str | None = None) -> bytes:
    picture = Image.new("L", (40, 40))
    ImageDraw.Draw(picture).text((4, 4), character, fill=255, font=lettering.font(character, 20, file))
    return picture.tobytes()


def cjk_font() -> str:
    """A font of this system that has a Chinese character, if there is one."""
    found = lettering.font("猫", 20)
    if Path(str(found.path)) == BUNDLED:
        pytest.skip("no font of this system has Chinese characters")
    return str(found.path)


@pytest.mark.parametrize("character", "éäßкğŁøçñÑŒαבش—…·✗\ufffd")
def test_letters_of_many_scripts_are_drawn_and_no_boxes(character: str) -> None:
    assert drawn(character) != drawn("\U0010ffff")
    assert lettering.font("Tigerkätzchen кот", 20).path == str(BUNDLED)


def test_what_the_bundled_font_lacks_comes_from_a_font_of_the_system() -> None:
    file = cjk_font()
    assert file == str(lettering.font("Tigerkätzchen кот 猫", 13).path)
    assert drawn("猫") != drawn("犬")


def test_the_font_that_has_most_of_a_text_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has a single letter more, but none of the rest, does not."""
    has = {("own.ttf", 0): "猫", lettering._BUNDLED: "abc ", ("system.ttc", 3): "abc猫", ("none.ttf", 0): ""}
    monkeypatch.setattr(lettering, "_has", lambda face, character: character in has[face])
    monkeypatch.setattr(lettering, "_of_system", lambda character: (("system.ttc", 3),) if character == "猫" else ())
    monkeypatch.setattr(lettering, "_opened", lambda face, size: face)
    monkeypatch.setattr(lettering, "check", lambda file: None)

    def chosen(text: str, file: str | None = None) -> object:
        return lettering.font(text, 9, file)

    assert chosen("abc") == chosen("?") == lettering._BUNDLED
    assert chosen("a猫") == ("system.ttc", 3)
    assert chosen("猫猫", "own.ttf") == ("own.ttf", 0)
    assert chosen("ab", "none.ttf") == lettering._BUNDLED
    assert chosen("?", "none.ttf") == ("none.ttf", 0)


@pytest.mark.parametrize("said", [b"", b"no lines", b"/no/such.ttf\n0", b"/etc/passwd\n0", b"/no/such.ttf\nmany"])
def test_what_fontconfig_says_may_be_of_no_use(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, said))
    monkeypatch.setattr(lettering, "_known", lambda: (("/no/other.ttf", 0),))
    lettering._of_system.cache_clear()
    assert lettering.font("𓀀", 13).path == str(BUNDLED)
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
    assert lettering.font("abc", 13, str(own)).path == str(own)


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
    lines, font = lettering.fitted([line], 300)
    assert len(lines) > 1
    assert lettering.SEPARATOR.join(lines) == line
    assert all(font.getlength(part) <= 300 for part in lines)
    assert lettering.fitted(["short"], 300)[0] == ["short"]


def test_words_that_are_too_wide_for_a_picture_are_cut() -> None:
    picture: Pixels = labelled(np.full((30, 50, 3), 128, dtype=np.uint8), "wider than the picture " * 9)
    assert picture.shape == (30, 50, 3)
