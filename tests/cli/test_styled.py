"""Rows as a terminal shows them: aligned, within its width, and with no name that drives it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from shell import SAMPLES, run
from terminals import bare, terminal

from camcli.cli import styled

Row = dict[str, Any]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Row:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("known"))
        asked = ("-o", "out/", "--save", "overlay,heatmap", "--json")
        (row,) = run("explain", SAMPLES / "cat_chelsea.jpg", *asked).rows
    return row


def line_of(row: Row, **variables: str) -> str:
    """`styled.line_of` on a terminal of 80 columns."""
    with pytest.MonkeyPatch.context() as patch:
        terminal(patch, "stdout", **variables)
        return styled.line_of(row)


def page_of(row: Row, *notes: str, **variables: str) -> str:
    """`styled.page_of` there."""
    with pytest.MonkeyPatch.context() as patch:
        terminal(patch, "stdout", **variables)
        return styled.page_of(row, notes)


def labelled(row: Row, label: str, name: str = "a.png") -> Row:
    return row | {"input": name, "top": [row["top"][0] | {"label": label}, *row["top"][1:]]}


def test_lines_are_aligned_whatever_script_a_label_is_in(known: Row) -> None:
    labels = ("bee", "Tigerkätzchen 猫", "American Staffordshire terrier, pit bull terrier", "")
    shown = [bare(line_of(labelled(known, label))) for label in labels]
    assert shown[0] == "  0.411  282 bee                   a.png"
    assert shown[1] == "  0.411  282 Tigerkätzchen 猫      a.png"
    assert shown[2] == "  0.411  282 American Staffordsh…  a.png"
    assert shown[3] == "  0.411  282                       a.png"


def test_what_is_wrong_is_red_and_said(known: Row) -> None:
    right = known | {"truth": {"id": 282, "label": "tiger cat"}, "correct": True}
    wrong = known | {"truth": {"id": 285, "label": "Egyptian cat"}, "correct": False}
    assert "\x1b[31m" not in line_of(right)
    assert "\x1b[31m282 tiger cat" in line_of(wrong)
    assert line_of(wrong).endswith("\x1b[31m  not 285 Egyptian cat\x1b[0m")


def test_each_path_is_told_once(known: Row) -> None:
    line, page = line_of(known), bare(page_of(known))
    assert line.count("cat_chelsea.jpg") == 1
    explanation = known["explanations"][0]
    files = list(explanation["files"].values())
    several = known | {"explanations": [explanation, explanation]}
    for shown in (page, bare(page_of(several))):
        assert [shown.count(path) for path in files] == [1, 1]
    assert page.count(known["input"]) == 1
    assert all(f"  {path}" in page.splitlines() for path in files), "a path is broken"


def test_a_panel_holds_the_classes_and_their_bars(known: Row) -> None:
    page = bare(page_of(known, "made with care")).splitlines()
    assert page[0].startswith("╭─")
    assert page[1].startswith("│ ")
    bars = {line.split()[1]: line.count("█") for line in page if re.match("│ +[0-9]+  ", line)}
    assert bars == {"282": 10, "285": 8, "281": 4, "287": 1, "904": 0}
    assert page[-1] == "made with care"
    folded = [line for line in page if line[0] in "│╭╰"]
    assert len({len(line) for line in folded}) == 1
    assert max(map(len, folded)) <= 80


def test_notes_are_broken_between_words(known: Row) -> None:
    note = "rounding can decide it, " * 9
    long = known | {"explanations": [known["explanations"][0] | {"note": note}]}
    shown = [line for line in bare(page_of(long)).splitlines() if "rounding" in line]
    assert len(shown) == 3
    assert all(len(line) <= 80 and line.startswith("  ") for line in shown)
    assert " ".join(" ".join(shown).split()) == note.strip()


EVIL = "[red]x[/red]\x1b[2J\x1b]0;owned\x07\ncamcli: error: fake\u202e\t:cat:"


def test_names_labels_and_notes_never_drive_the_terminal(known: Row) -> None:
    target = known["explanations"][0]["target"] | {"name": EVIL, "label": EVIL}
    answer = known["explanations"][0] | {"note": EVIL, "target": target, "files": {"overlay": f"out/{EVIL}.jpg"}}
    row = labelled(known, EVIL, f"{EVIL}.png") | {
        "model": EVIL,
        "weights": EVIL,
        "note": EVIL,
        "bound": {"question": EVIL},
        "explanations": [answer],
        "truth": {"id": 1, "label": EVIL},
        "correct": False,
    }
    for shown in (line_of(row), page_of(row, EVIL)):
        assert "[red]x[/red]" in shown
        assert not set(bare(shown)) & {"\x1b", "\x07", "\u202e", "\t"}
        assert not [line for line in shown.splitlines() if line.startswith("camcli")]
        assert ":cat:" in shown


def test_without_colours_nothing_is_coloured(known: Row) -> None:
    wrong = known | {"truth": {"id": 285, "label": "Egyptian cat"}, "correct": False}
    for of in (line_of, page_of):
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", of(wrong, NO_COLOR="1"))
        assert "\x1b" not in of(wrong, TERM="dumb")
    assert "not 285 Egyptian cat" in line_of(wrong, NO_COLOR="1")
