"""Rows as lines of data, as a pipe gets them: one for many, all that there is to say for one; and tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camcli.cli import console
from camcli.records import Row

if TYPE_CHECKING:
    from rich.table import Table

# Longer values of what goes in with a picture are cut.
_TOLD = 60


def line_of(row: Row) -> str:
    """One answered row of many: its name, its best class, its first file."""
    files = [path for explanation in row["explanations"] for path in explanation["files"].values()]
    more = f" (+{len(files) - 1})" if len(files) > 1 else ""
    arrow = f"  -> {files[0]}{more}" if files else ""
    truth = f"  ({missed(row)})" if missed(row) else ""
    note = f"  [{row['note']}]" if "note" in row else ""
    bound = f"  {bound_of(row)}" if "bound" in row else ""
    return f"{row['input']}{bound}{clock(row)}  {'  '.join(filter(None, best(row)))}{truth}{note}{arrow}"


def lines_of(row: Row, notes: Iterable[str]) -> Iterator[str]:
    """The only answered row: its picture and model, its best classes, its files; then the notes."""
    yield f"{row['input']}  {facts(row)}"
    yield from remarks(row)
    yield from ("\t".join(map(console.plain, line)) for line in scores(row).lines)
    for explanation in row["explanations"]:
        note = f"  [{explanation['note']}]" if "note" in explanation else ""
        yield f"{about(explanation)}{note}  {'  '.join(explanation['files'].values())}".rstrip()
    yield from notes


def best(row: Row) -> tuple[str, str]:
    """The best class and its value; the target that was explained if the network has no scores."""
    if not row["top"]:
        if not row["explanations"]:
            return "nothing found", ""
        target = row["explanations"][0]["target"]
        return target["name"], f"{target['value']:.5g}"
    first = row["top"][0]
    value = f"{first['logit']:.5g}" if first["probability"] is None else f"{first['probability']:.3f}"
    return first["label"] if first["id"] is None else f"{first['id']} {first['label']}", value


def missed(row: Row) -> str:
    """The class that the picture's folder names, if the best one is another."""
    return "" if row.get("correct", True) else f"not {row['truth']['id']} {row['truth']['label']}"


def clock(row: Row) -> str:
    """The time of a film's frame."""
    return f"  {row['moment']['seconds']:.2f} s" if "moment" in row else ""


def facts(row: Row) -> str:
    """The picture's size, the model and its weights."""
    width, height = row["size"]
    return f"{width}x{height}  {row['model']} ({row['weights']})"


def remarks(row: Row) -> Iterator[str]:
    """The frames of a clip, what goes in with the picture, and what was unusual, a line each."""
    if "clip" in row:
        yield _clip(row["clip"])
    if "bound" in row:
        yield bound_of(row)
    if "note" in row:
        yield row["note"]


def about(explanation: Mapping[str, Any]) -> str:
    """The method and what it explains; of a clip, the frame that it sees most in."""
    peak = explanation.get("moment") if explanation["peak"] else None
    when = f", most at {_moment(peak)}" if peak else ""
    return f"{explanation['method']} of {explanation['target']['name']}{when}"


@dataclass(frozen=True, slots=True)
class Scores:
    """What the network said of a picture: lines below titles, some columns to the `right`. `shares` are the
    probabilities of the lines, if bars may show them."""

    titles: Sequence[str]
    lines: Sequence[Sequence[str]]
    right: Sequence[int]
    shares: Sequence[float] = ()


def scores(row: Row) -> Scores:
    """The best classes, regions or detections; the numbers that were explained if there are none."""
    top = row["top"]
    if not top:
        targets = {answer["target"]["name"]: answer["target"]["value"] for answer in row["explanations"]}
        return Scores(("output", "value"), [(name, f"{value:.5g}") for name, value in targets.items()], (1,))
    if "where" in top[0]:
        place = "share" if "share" in top[0]["where"] else "box"
        return Scores(("", "class", "probability", place), list(_places(row)), (0, 2))
    if top[0]["probability"] is None:
        return Scores(("id", "output", "value"), [(_id(s), s["label"], f"{s['logit']:.5g}") for s in top], (0, 2))
    lines = [(_number(s), s["label"], f"{s['probability']:.4f}") for s in top]
    return Scores(("id", "class", "probability"), lines, (0, 2), [s["probability"] for s in top])


def bound_of(row: Row) -> str:
    """What goes in with a picture, in words; long values are cut."""
    bound: Mapping[str, Any] = row["bound"]
    told = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in bound.items())
    return "  ".join(f"{name}: {text if len(text) <= _TOLD else text[:_TOLD] + '…'}" for name, text in told)


def _clip(moments: Sequence[Mapping[str, Any]]) -> str:
    """The frames of a clip, in words."""
    return f"clip of {len(moments)} frames: {_moment(moments[0])} to {_moment(moments[-1])}"


def _moment(moment: Mapping[str, Any]) -> str:
    clock = "" if moment["seconds"] is None else f" ({moment['seconds']:.2f} s)"
    return f"frame {moment['frame']}{clock}"


def _places(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """A line an entry that has a place: its number or id, its class, its probability, its share or box."""
    for entry in row["top"]:
        where = entry["where"]
        place = f"{where['share']:.1%}" if "share" in where else " ".join(f"{side:.0f}" for side in where["box"])
        yield (
            _number(entry),
            entry["label"],
            f"{entry['probability']:.4f}",
            place,
        )


def _number(entry: Mapping[str, Any]) -> str:
    """The number of an entry: its place among the detections or words, else its class's id; none of a caption."""
    if "part" in entry:
        return f"#{entry['part']}"
    return _id(entry)


def _id(entry: Mapping[str, Any]) -> str:
    return "" if entry["id"] is None else str(entry["id"])


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Print a table on stdout: by Rich on a terminal, as tab-separated text elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            console.out("\t".join(console.plain(str(cell)) for cell in row))
        return
    from rich.console import Console

    Console(file=sys.stdout).print(grid(titles, rows, right=right))


def grid(titles: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> Table:
    """The table that a terminal shows; a cell may be a `Text` of Rich's, with a style."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        found.add_column(title, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        found.add_row(*(cell if isinstance(cell, Text) else Text(console.plain(str(cell))) for cell in row))
    return found
