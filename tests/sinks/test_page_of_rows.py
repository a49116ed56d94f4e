"""`camcli report`: rows come from anywhere, and what they name may be another's, or something else, by now."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import data_of
from PIL import Image
from results import explained
from shell import SAMPLES, refused, run

from camcli.records import Row
from camcli.sinks import as_row, dump

PHOTO = SAMPLES / "espresso.jpg"


def rows_of(*arguments: object) -> list[Row]:
    """The rows of a run, also in rows.jsonl."""
    outcome = run("explain", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    Path("rows.jsonl").write_bytes(outcome.stdout)
    return outcome.rows


def cards(*named: str) -> list[dict[str, Any]]:
    outcome = run("report", *named, "-o", "page.html")
    assert outcome.code == 0, outcome.err
    found: list[dict[str, Any]] = data_of(Path("page.html"))["cards"]
    return found


@pytest.mark.parametrize("method", ["grad-cam", "guided-backprop"])
def test_values_of_another_run_are_not_shown_as_the_rows_own(method: str) -> None:
    (row,) = rows_of(PHOTO, "-M", method, "-o", "out", "--save", "raw")
    (answer,) = row["explanations"]
    (kept,) = cards("rows.jsonl")
    assert "replaced" not in kept["explanations"][0]
    with np.load(answer["files"]["raw"]) as held:
        values = dict(held)
    np.savez(answer["files"]["raw"], **values | {"values": values["values"][..., ::-1, :].copy()})
    shown = cards("rows.jsonl")[0]["explanations"][0]
    assert shown["replaced"]
    assert shown["grid"] == answer["fingerprint"]["grid"]
    assert "picture" not in shown


def test_an_overlay_that_is_newer_than_the_rows_is_not_theirs() -> None:
    (row,) = rows_of(PHOTO, "-M", "guided-backprop", "-o", "out")
    assert "picture" in cards("rows.jsonl")[0]["explanations"][0]
    later = time.time_ns() + 10**9
    os.utime(row["explanations"][0]["files"]["overlay"], ns=(later, later))
    assert cards("rows.jsonl")[0]["explanations"][0]["grid"] == row["explanations"][0]["fingerprint"]["grid"]


def test_a_photo_that_is_newer_than_the_rows_may_be_another() -> None:
    photo = Path("photo.png")
    Image.effect_noise((40, 30), 90).convert("RGB").save(photo)
    rows_of(photo, "--save", "none")
    (card,) = cards("rows.jsonl")
    assert "doubt" not in card
    later = time.time_ns() + 10**9
    os.utime(photo, ns=(later, later))
    assert "may be another one" in cards("rows.jsonl")[0]["doubt"]


def test_a_name_that_is_no_text_is_not_taken_for_the_file_that_is_called_so() -> None:
    for name in (b"a\xff.png", "a\ufffd.png".encode()):
        Image.effect_noise((40, 30), 90).convert("RGB").save(os.fsdecode(name))
    rows_of(".", "--save", "none")
    found = cards("rows.jsonl")
    assert len(found) == 2
    assert ["its name is no text" in card["missing"] for card in found] == [True, True]
    assert [card["typed"] for card in found] == ["", ""]


def test_a_film_of_two_runs_has_all_its_frames() -> None:
    stills = [Image.new("RGB", (40, 30), (80 * i, 0, 0)) for i in range(3)]
    stills[0].save("film.gif", save_all=True, append_images=stills[1:], duration=100)
    rows_of("film.gif", "--every", "1", "--save", "none")
    Path("again.jsonl").write_bytes(Path("rows.jsonl").read_bytes())
    assert ["photo" in card for card in cards("rows.jsonl", "again.jsonl")] == [True] * 6


@pytest.mark.parametrize("made", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo], ids=["endless", "pipe"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
def test_files_of_rows_are_read_only_if_they_are_files(made: Callable[[Path], object]) -> None:
    (row,) = rows_of(PHOTO, "--save", "none")
    made(Path("strange"))
    row["explanations"][0]["files"] = {"raw": "strange", "overlay": "strange"}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")
    assert cards("rows.jsonl")[0]["explanations"][0]["grid"] == row["explanations"][0]["fingerprint"]["grid"]


def _set(row: Any, path: str, value: object) -> None:
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in way:
        row = row[key]
    row[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("explanations.0.max", float("inf")),
        ("top.0.probability", float("nan")),
        ("box", [1, 2]),
        ("box", [10, 10, 10, 20]),
        ("size", [0, 600]),
        ("size", [600]),
        ("clip", []),
        ("bound", ["a"]),
        ("bound", "a"),
        ("explanations.0.fingerprint.grid", "javascript"),
        ("explanations.0.fingerprint.grid", "8x8:!!!!"),
        ("explanations.0.fingerprint.grid", "9999x9999:AAAA"),
        ("explanations.0.box", [1]),
        ("explanations.0.peak", [1]),
        ("top.0.where", {"box": [1]}),
        ("top.0.where", {"region": {"size": [4, 4], "counts": "abc", "box": [0, 0, 4, 4]}}),
        ("provenance.preset", {}),
        ("provenance.spec", ["a"]),
        ("provenance.spec", {"classes": 5}),
        ("provenance.spec", {"contrast": 5}),
        ("provenance.spec", {"bound": [["a"]]}),
    ],
)
def test_a_row_that_is_none_is_refused_by_its_line(path: str, value: object) -> None:
    good = dump(as_row(explained(str(PHOTO))))
    row = json.loads(good)
    _set(row, path, value)
    Path("rows.jsonl").write_text(f"{good}\n{json.dumps(row)}\n")
    assert "line 2 of rows.jsonl is no row of this camcli" in refused(2, "report", "rows.jsonl")
    assert not Path("report.html").exists()


@pytest.mark.parametrize("schema", [1, 3])
def test_a_row_of_another_schema_is_refused(schema: int) -> None:
    (row,) = rows_of(PHOTO, "--save", "none", "-o", "out")
    Path("rows.jsonl").write_text(json.dumps(row | {"schema": schema}) + "\n")
    assert f"is a row of schema {schema}" in refused(2, "report", "rows.jsonl")
    journal = Path("out/rows.jsonl")
    journal.write_text(journal.read_text().replace('"schema": 2', f'"schema": {schema}'))
    assert f"is a row of schema {schema}" in refused(2, "report", "out")


def test_a_run_that_was_stopped_says_so_on_its_page() -> None:
    Path("broken.jpg").write_text("no picture")
    assert run("explain", "broken.jpg", PHOTO, "--fail-fast", "-b", "1", "--report", "part.html").code == 4
    assert data_of(Path("part.html"))["part"] is True
    run("explain", "broken.jpg", PHOTO, "--report", "whole.html")
    assert data_of(Path("whole.html"))["part"] is False
