"""`--show`: how a terminal is told from others, and what is shown of a result."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import SAMPLES, refused, run
from terminals import terminal as screen

from camcli import Engine, OutputSpec, Spec, expand, open_sinks
from camcli.cli import showing
from camcli.cli.progress import progress
from camcli.drawing import terminal
from camcli.records import Explained
from camcli.sinks import as_row

PHOTO = SAMPLES / "cat_and_espresso.jpg"
XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        (XTERM, "256"),
        (XTERM | {"COLORTERM": "truecolor"}, "24-bit"),
        (XTERM | {"COLORTERM": "24bit"}, "24-bit"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        (XTERM | {"KITTY_WINDOW_ID": "1"}, "kitty"),
        (XTERM | {"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        (XTERM | {"TERM_PROGRAM": "WezTerm"}, "kitty"),
        (XTERM | {"TERM_PROGRAM": "iTerm.app", "COLORTERM": "truecolor"}, "iterm2"),
        (XTERM | {"LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, "256"),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2", "COLORTERM": "truecolor", "STY": "1.x"}, "24-bit"),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, None),
        (XTERM | {"NO_COLOR": ""}, "256"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
        ({}, None),
    ],
)
def test_the_environment_alone_tells_the_terminal(environment: dict[str, str], way: str | None) -> None:
    assert showing.way_of(environment) == way


@pytest.fixture
def explained() -> Explained:
    (result,) = Engine(Spec(methods=("grad-cam", "gradient"), classes=("espresso", "tiger cat"))).explain(
        expand([str(PHOTO)])
    )
    assert isinstance(result, Explained)
    return result


def text_of(result: Explained, monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """What a terminal of 80x30 is sent for the result."""
    stream = screen(monkeypatch, "stdout", **variables)
    where = OutputSpec(pictures=(), colormap="gray", opacity=1.0)
    with (
        open_sinks(where) as files,
        showing.shown(files, wanted=True, single=True) as shown,
        progress(True) as board,
    ):
        shown.draw(result)
        row = as_row(result)
        shown.show(row, board)
        shown.show(row, board)  # nothing is kept
    return stream.getvalue()


def strips(result: Explained, dots: tuple[int, int]) -> list[terminal.Pixels]:
    """The pictures that are to be seen: three side by side, and one below, of 25 columns each."""
    with open_sinks(OutputSpec(pictures=(), colormap="gray", opacity=1.0)) as files:
        pictures = files.thumbnails(result, result.attributions, 480)
    cells = terminal.cells_of(result.frame.size, 25, 20)
    return [terminal.side_by_side(part, cells, dots) for part in (pictures[:3], pictures[3:])]


def test_half_blocks_show_the_overlays(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = text_of(explained, monkeypatch, COLORTERM="truecolor").split("\n")
    first, second = (terminal.half_blocks(s, true_colour=True).split("\n") for s in strips(explained, terminal.HALVES))
    assert shown[0] == ""
    assert shown[1 : 1 + len(first)] == first
    captions = shown[1 + len(first) : 3 + len(first)]
    assert captions[0].split() == ["grad-cam", "gradient", "grad-cam"]
    assert re.split("  +", captions[1].strip()) == ["967 espresso", "967 espresso", "282 tiger cat"]
    assert captions[1].index("282") == 2 * (25 + 2)
    assert shown[3 + len(first) : 3 + len(first) + len(second)] == second


def test_an_old_terminal_gets_256_colours(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = text_of(explained, monkeypatch)
    assert "38;5;" in shown
    assert "38;2;" not in shown


@pytest.mark.parametrize(
    ("variables", "pattern"),
    [
        ({"TERM": "xterm-kitty"}, r"\x1b_Ga=T,f=100,c=(\d+),q=2,m=[01];(.*?)\x1b\\(?!\x1b_Gq)"),
        ({"TERM_PROGRAM": "iTerm.app"}, r"\x1b]1337;File=inline=1;size=\d+;width=(\d+):(.*?)\x07"),
    ],
)
def test_protocols_show_the_overlays_at_more_pixels(
    explained: Explained, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], pattern: str
) -> None:
    found = re.findall(pattern, text_of(explained, monkeypatch, **variables), re.DOTALL)
    assert [int(columns) for columns, _ in found] == [3 * 25 + 2 * 2, 25]
    for (_, body), strip in zip(found, strips(explained, terminal.FINE), strict=True):
        png = b64decode("".join(re.split(r"\x1b\\\x1b_Gq=2,m=[01];", body)))
        with Image.open(io.BytesIO(png)) as decoded:
            assert np.array_equal(np.asarray(decoded), strip)
    assert strips(explained, terminal.FINE)[1].shape == (12 * 16, 25 * 8, 4)


def test_a_pipe_gets_its_data_and_a_word() -> None:
    asked = ("explain", PHOTO, "--save", "none")
    plain, shown = run(*asked), run(*asked, "--show")
    assert shown.out == plain.out
    assert shown.err == "camcli: warning: --show: stdout is no terminal, so that no pictures are shown\n"
    assert shown.code == 0


def test_what_also_wants_stdout_or_comes_later_is_refused() -> None:
    assert "--show and --json both want stdout" in refused(2, "explain", PHOTO, "--show", "--json")
    assert "--show and -o - both want stdout" in refused(2, "explain", PHOTO, "--show", "-o", "-")
    assert "--norm run when all of them are" in refused(2, "explain", PHOTO, "--show", "--norm", "run")
    assert "--engine ray has them elsewhere" in refused(2, "explain", PHOTO, "--show", "--engine", "ray")
    assert not Path("camcli_out").exists()
