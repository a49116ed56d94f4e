"""JSON lines: a picture a line, with what goes into the network with it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from shell import refused, run

from camcli.errors import InputError
from camcli.inputs.refs import expand
from camcli.records import Ref


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "list/a.png", "list/below/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(name)


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def piped(data: bytes, size: int = 1 << 16, **options: object) -> list[Ref]:
    class Slow(io.BytesIO):
        def read1(self, count: int | None = -1, /) -> bytes:
            return super().read1(size)

    return list(expand(["-"], stdin=Slow(data), **options))  # type: ignore[arg-type]


def test_a_line_is_a_picture_and_what_goes_with_it() -> None:
    Path("list/pairs.jsonl").write_bytes(
        lines({"image": "a.png", "question": "what", "n": 3}, {"image": "below/b.png"}, {"image": "a.png"})
    )
    refs = list(expand(["list/pairs.jsonl"]))
    assert [(ref.index, ref.name, ref.again, bool(ref.mark)) for ref in refs] == [
        (0, "list/a.png", 1, True),
        (1, "list/below/b.png", 1, False),
        (2, "list/a.png", 1, False),
    ]
    assert [ref.bound for ref in refs] == [{"question": "what", "n": 3}, {}, {}]
    assert {ref.root for ref in refs} == {Path("list")}


@pytest.mark.parametrize("size", [1, 3, 7, 65536])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_come_through_a_pipe(size: int, encoding: str) -> None:
    """In the working directory, in reads of any size, and as PowerShell writes them."""
    data = lines({"image": "a.png", "question": "wär?"}, {"question": "x" * 9000, "image": "list/a.png"})
    refs = piped(data.decode().encode(encoding), size)
    assert [(ref.name, len(ref.bound["question"])) for ref in refs] == [("a.png", 4), ("list/a.png", 9000)]


def test_what_goes_with_all_pictures_goes_with_those_that_bring_no_other() -> None:
    refs = piped(lines({"image": "a.png", "question": "own"}, {"image": "a.png"}), bound={"question": "all"})
    assert [ref.bound for ref in refs] == [{"question": "own"}, {"question": "all"}]
    (ref,) = expand(["a.png"], bound={"question": "all"})
    assert ref.bound == {"question": "all"}


def test_partners_are_looked_for_beside_the_list_and_each_pair_is_shown_both_ways() -> None:
    Path("list/pairs.jsonl").write_bytes(lines({"image": "a.png", "partner": "below/b.png", "same": True}))
    one, other = expand(["list/pairs.jsonl"])
    assert (one.name, one.bound) == ("list/a.png", {"partner": "list/below/b.png", "same": True})
    assert (other.name, other.bound) == ("list/below/b.png", {"partner": "list/a.png", "same": True})


def test_a_line_that_is_none_is_refused_and_stops_no_other() -> None:
    Path("list/pairs.jsonl").write_bytes(
        lines({"image": "a.png"}) + b"nothing\n[1]\n\n" + lines({"picture": "a.png"}, {"image": 3}, {"image": "a.png"})
    )
    found = run("explain", "list/pairs.jsonl", "--save", "none", "--json")
    assert found.code == 4
    said = [row["error"]["message"] if "error" in row else row["input"] for row in found.rows]
    assert said == [
        "list/a.png",
        'line 2 is no JSON: write {"image": "FILE", …}',
        'line 3 is no object: write {"image": "FILE", …}',
        'line 4 is an object without \'image\': write {"image": "FILE", …}',
        'line 5 is an object without \'image\': write {"image": "FILE", …}',
        "list/a.png",
    ]
    (ref,) = [ref for ref in expand(["list/pairs.jsonl"]) if ref.name.endswith(":2")]
    assert isinstance(ref.held, InputError)


def test_rows_and_answers_of_servers_are_no_such_lines() -> None:
    row = {"schema": 2, "input": "a.png"}
    assert "JSON" in run("explain", "-", "--json", "--save", "none", stdin=lines(row, row)).rows[0]["error"]["message"]


def test_an_empty_list_has_no_pictures() -> None:
    Path("none.jsonl").touch()
    assert "no pictures in none.jsonl" in refused(2, "explain", "none.jsonl")
