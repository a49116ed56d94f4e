"""One definition of a row: JSON, Parquet, what is read, and the documented table follow it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results import BOXER, MASTIFF, attributed, explained
from shell import ROOT

from camcli.entries import Entry, Place, Point, Region
from camcli.records import Failed, Frame, Moment, Neuron, Question, Ref, Result, Row, SanityCheck, Truth
from camcli.sinks import as_row, dump, open_table, schema

AGAIN = Ref(1, "a.png", path=Path("a.png"), root=Path(), again=2)


def results() -> Iterator[Result]:
    """One of each kind that there is."""
    yield explained("a.png")
    yield explained(AGAIN)
    yield explained("né \udcff.png", attributed(np.zeros((2, 2)), layer=None, note="blank"), attributed())
    yield replace(explained("classified.png"), attributions=(), layer=None)
    yield replace(explained("truth.png"), truth=Truth(7, "cock", correct=False))
    yield replace(explained("regression.png"), top=(replace(BOXER, probability=None),))
    values = np.arange(4, dtype=np.float32).reshape(2, 2)
    yield explained(
        "all.png",
        replace(attributed(), neurons=(Neuron(3, 0.5, values), Neuron(5, -0.25, values))),
        replace(attributed(), sanity=(SanityCheck("fc", 0.25, 0.5), SanityCheck("fc+layer4", 0.1, 0.2))),
        replace(attributed(), target=Question("boxer", 1.5, entry=BOXER, minus=MASTIFF)),
        replace(attributed(), target=Question("boxer", 1.5, "softmax", BOXER, negated=True)),
        replace(
            attributed(np.ones((3, 2, 2))),
            target=Question("like b.png", 0.5, "similarity"),
            kind="saliency",
            layer=None,
        ),
    )
    region = Region(np.eye(3, dtype=bool), (0.0, 0.0, 40.5, 24.0))
    place = Place((1.25, 2.0, 30.5, 20.0), 0.5, region, (Point("nose", 3.5, 4.5, 0.25), Point("eye", 1.0, 2.0)))
    part = Entry(1, "person", 0.9, None, 2, place)
    yield replace(
        explained(
            "found.png",
            replace(attributed(), target=Question("person", 1.5, entry=part, minus=part), box=(0.0, 0.0, 7.5, 8.0)),
        ),
        top=(part,),
        box=(0.0, 0.0, 653.208, 480.0),
    )
    moment = Moment(3, 0.1)
    frame = Ref(1, "film.mp4", path=Path("film.mp4"), moment=moment)
    yield explained(frame)
    clip = Frame(Ref(1, "clip.mp4", path=Path("clip.mp4")), np.zeros((2, 24, 40, 3), np.uint8), moments=(moment,) * 2)
    yield explained(clip.ref, attributed(np.ones((2, 3, 4))), frame=clip)
    bound = {"question": "wär\ud800?", "answer": ["a", 1, None], "partner": "b.png"}
    whole = Entry(None, "a cat", 0.5, -0.7)
    asked = explained(replace(AGAIN, bound=bound), replace(attributed(), target=Question("a cat", -0.7, entry=whole)))
    yield replace(asked, top=(whole, Entry(3, "cat", 0.5, -0.7, part=2)))
    yield Failed(AGAIN, "decode", "broken", "it is\nbroken")


def rows() -> list[Row]:
    noted = {**as_row(explained("noted.png")), "note": "its 12 bits are read as 16"}
    files = {"overlay": "s3://b/a b.jpg", "raw": "out/猫.npz"}
    return [*map(as_row, results()), schema.row(noted), as_row(explained("b.png"), [files])]  # type: ignore[list-item]


def keys(type_: schema.Type, path: str = "") -> Iterator[str]:
    """All keys that are defined."""
    if isinstance(type_, (schema.ListOf, schema.MapOf)):
        yield from keys(type_.each, path)
    elif isinstance(type_, schema.Struct):
        for key in type_.keys:
            yield f"{path}{key.name}"
            yield from keys(key.type, f"{path}{key.name}.")


def used(value: Any, type_: schema.Type, path: str = "") -> Iterator[str]:
    if isinstance(type_, schema.ListOf):
        for each in value or ():
            yield from used(each, type_.each, path)
    elif isinstance(type_, schema.Struct):
        defined = {key.name: key for key in type_.keys}
        for name, held in (value or {}).items():
            yield f"{path}{name}"
            yield from used(held, defined[name].type, f"{path}{name}.")


ALL = schema.Struct(schema.KEYS)


def test_the_rows_here_are_of_every_kind() -> None:
    """A key that none of them has would be tested nowhere: give `results` one that has it."""
    assert {path for row in rows() for path in used(row, ALL)} == set(keys(ALL))


def back(cell: Any, type_: schema.Type) -> Any:
    """What a row had where a table has this."""
    if cell is None:
        return None
    if type_ is schema.DATA or (isinstance(type_, schema.Struct) and type_.as_text):
        return json.loads(cell)
    if isinstance(type_, schema.Struct):
        return {key.name: back(cell[key.name], key.type) for key in type_.keys if there(key, cell)}
    if isinstance(type_, schema.ListOf):
        return [back(each, type_.each) for each in cell]
    return cell


def there(key: schema.Key, cells: Row) -> bool:
    return cells[key.name] is not None or (key.null and not key.optional)


def test_rows_come_back_from_parquet_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("camcli.sinks.parquet.GROUP", 3)
    given = [json.loads(dump(row)) for row in rows()]
    with open_table("rows.parquet") as table:
        for row in given:
            table.add(row)
    read = parquet.read_table("rows.parquet")
    assert read.column_names == [key.name for key in schema.KEYS]
    for row, cells in zip(given, read.to_pylist(maps_as_pydicts="strict"), strict=True):
        keys_of_it = schema.NAMED + (schema.REFUSED if cells["error"] else schema.ANSWERED)
        came = back(cells, schema.Struct(keys_of_it))
        assert came == row  # 8.0 is 8
        assert list(came) == list(row)


def test_a_row_has_its_keys_in_their_order_and_no_other() -> None:
    for row in rows():
        assert dump(schema.row(dict(reversed(row.items())))) == dump(row)
        assert schema.wrong(json.loads(dump(row))) is None
        with pytest.raises(ValueError, match="colour in no definition of a row"):
            schema.row({**row, "colour": "red"})
        with pytest.raises(ValueError, match="a row without input"):
            schema.row({name: value for name, value in row.items() if name != "input"})
    answered = rows()[0]
    answered["explanations"][0]["target"]["colour"] = "red"
    with pytest.raises(ValueError, match="colour in no definition of a row"):
        schema.row(answered)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["input"], 3),
        (["again"], True),
        (["size"], [1.5, 2]),
        (["top"], None),
        (["top", 0, "probability"], "0.5"),
        (["explanations", 0, "files", "overlay"], 3),
        (["explanations", 0, "fingerprint"], []),
        (["note"], ["remark"]),
        (["provenance", "versions"], {"torch": 2}),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_found(path: list[Any], value: Any) -> None:
    row = {**json.loads(dump(rows()[-1])), "note": ""}
    *outer, last = path
    held = row
    for step in outer:
        held = held[step]
    held[last] = value
    assert schema.wrong(row) == ".".join(step for step in path if isinstance(step, str)).removesuffix(".overlay")


def test_rows_of_other_versions_can_be_read() -> None:
    row = json.loads(dump(rows()[0]))
    del row["explanations"][0]["fingerprint"], row["ms"]
    assert schema.wrong({**row, "colour": "red"}) is None
    assert schema.wrong([]) == ""


def test_the_readme_has_the_table() -> None:
    """`python -c 'from camcli.sinks import schema; print(*schema.table(), sep="\\n")'` prints what belongs there."""
    assert "\n".join(schema.table()) in (ROOT / "docs" / "json.md").read_text()
