"""stdout and stderr of every encoding: what they can't show is replaced, and no command ends because of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import SAMPLES, Outcome, finish, run, spawn

Picture = Callable[..., Path]
# How a process gets streams that are not UTF-8: as Windows redirects them, as they are in containers.
ENCODINGS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "strict": {"PYTHONIOENCODING": "latin-1:strict"},
    "posix": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def within(encoding: str, *arguments: object) -> Outcome:
    return finish(spawn(*arguments, env=os.environ | ENCODINGS[encoding]))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("encoding", "command"), [("cp1252", "explain"), ("ascii", "classify")])
def test_a_picture_is_answered(encoding: str, command: str, picture: Picture) -> None:
    """日本 has no character in either; é has one in cp1252."""
    names = Path("names.txt")
    names.write_text("\n".join(f"日本 é {i}" for i in range(1000)), encoding="utf-8")
    photo = picture("日本 é.png")
    process = spawn(command, photo, "--labels", names, env=os.environ | ENCODINGS[encoding])
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    accent = {"cp1252": b"\xe9", "ascii": b"?"}[encoding]
    first, *rest = stdout.splitlines()
    assert b"?? " + accent + b".png" in first
    assert len([line for line in rest if b"\t?? " + accent + b" " in line]) == 5


@pytest.mark.parametrize(
    ("encoding", "arguments", "code"),
    [
        ("cp1252", ["explain", "--help"], 0),
        ("posix", ["explain", "--help"], 0),
        ("strict", ["explain", "日本.png"], 2),
        ("posix", ["日本.png"], 2),
        ("ascii", ["methods"], 0),
        ("ascii", ["--nonsense"], 2),
    ],
)
def test_help_listings_and_refusals(encoding: str, arguments: list[str], code: int) -> None:
    outcome = within(encoding, *arguments)
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    assert "bug in camcli" not in outcome.err


def test_a_pipe_gets_no_bars() -> None:
    outcome = run("classify", SAMPLES / "espresso.jpg")
    assert outcome.out.splitlines()[1] == "967\tespresso\t0.9546"
    assert "█" not in outcome.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["methods"], ["models", "res*", "--json"]])
def test_a_disk_without_room_for_stdout_is_no_bug(command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = finish(spawn(*command, stdout=full))
    assert (outcome.code, outcome.err) == (3, "camcli: error: can't write to stdout: No space left on device\n")


def test_json_is_ascii_whatever_stdout_is(picture: Picture) -> None:
    photo = picture("日本 é.png")
    (row,) = run("classify", photo.name, "--json").rows
    assert row["input"] == "日本 é.png"
    assert run("classify", photo.name, "--json").out.isascii()
