"""Rows as people read them, on stdout: a table for one picture, a line a picture for many."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from camcli.cli import console
from camcli.records import shortly

_BAR = 24
# Longer values of what goes in with a picture are cut.
_TOLD = 60


def show_line(row: Mapping[str, Any], line: Callable[[str], None]) -> None:
    """Print one answered row of many: its name, its best class, its first file."""
    files = [path for explanation in row["explanations"] for path in explanation["files"].values()]
    more = f" (+{len(files) - 1})" if len(files) > 1 else ""
    arrow = f"  -> {files[0]}{more}" if files else ""
    truth = "" if row.get("correct", True) else f"  (not {row['truth']['id']} {row['truth']['label']})"
    note = f"  [{row['note']}]" if "note" in row else ""
    clock = f"  {row['moment']['seconds']:.2f} s" if "moment" in row else ""
    bound = f"  {_bound(row['bound'])}" if "bound" in row else ""
    line(f"{row['input']}{bound}{clock}  {_best(row)}{truth}{note}{arrow}")


def _best(row: Mapping[str, Any]) -> str:
    """The best class; the target that was explained if the network has no scores."""
    if not row["top"]:
        if not row["explanations"]:
            return "nothing found"
        target = row["explanations"][0]["target"]
        return f"{target['name']}  {target['value']:.5g}"
    best = row["top"][0]
    value = f"{best['logit']:.5g}" if best["probability"] is None else f"{best['probability']:.3f}"
    name = best["label"] if best["id"] is None else f"{best['id']} {best['label']}"
    return f"{name}  {value}"


def show_in_full(row: Mapping[str, Any], notes: Iterable[str], line: Callable[[str], None]) -> None:
    """Print the only answered row: its picture and model, its best classes, its files; then the notes."""
    width, height = row["size"]
    line(f"{row['input']}  {width}x{height}  {row['model']} ({row['weights']})")
    if "clip" in row:
        line(_clip(row["clip"]))
    if "bound" in row:
        line(_bound(row["bound"]))
    if "note" in row:
        line(row["note"])
    if not row["top"]:
        targets = {answer["target"]["name"]: answer["target"]["value"] for answer in row["explanations"]}
        table(("output", "value"), [(name, f"{value:.5g}") for name, value in targets.items()], right=(1,))
    elif "where" in row["top"][0]:
        table(
            ("", "class", "probability", "share" if "share" in row["top"][0]["where"] else "box"),
            _places(row),
            right=(0, 2),
        )
    elif row["top"][0]["probability"] is None:
        table(("id", "output", "value"), [(s["id"], s["label"], f"{s['logit']:.5g}") for s in row["top"]], right=(0, 2))
    else:
        scores = [(_number(s), s["label"], s["probability"]) for s in row["top"]]
        bar = "█" if sys.stdout.isatty() and console.encodes("█") else ""
        bars = [(i, label, f"{share:.4f}", *([bar * round(share * _BAR)] if bar else [])) for i, label, share in scores]
        table(("id", "class", "probability", *([""] if bar else [])), bars, right=(0, 2))
    for explanation in row["explanations"]:
        note = f"  [{explanation['note']}]" if "note" in explanation else ""
        paths = "  ".join(explanation["files"].values())
        when = (
            f", most at {_moment(explanation['moment'])}" if explanation.get("moment") and explanation["peak"] else ""
        )
        line(f"{explanation['method']} of {explanation['target']['name']}{when}{note}  {paths}".rstrip())
    for note in notes:
        line(note)


def _bound(bound: Mapping[str, Any]) -> str:
    """What goes in with a picture, in words; long values are cut."""
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
    return "" if entry["id"] is None else str(entry["id"])


def made_with(row: Mapping[str, Any]) -> str:
    """The origin of an answer in one line: weights, preprocessing, machine, versions."""
    made = row["provenance"]
    preset = made["preset"]
    sha256 = f"sha256 {made['weights_sha256'][:16]}" if made["weights_sha256"] else "no file"
    fit = made["spec"].get("fit")
    size = (
        "the whole picture"
        if fit == "whole"
        else f"{fit} to {shortly(preset['crop'])}"
        if fit in ("squash", "pad")
        else f"{'squash' if preset['squash'] else 'resize'} {shortly(preset['resize'])} crop {shortly(preset['crop'])}"
    )
    if preset.get("frames"):
        size = f"{preset['frames']} frames, {size}"
    numbers = " ".join(f"{name} {','.join(map(str, preset[name]))}" for name in ("mean", "std"))
    versions = " ".join(f"{package} {version}" for package, version in made["versions"].items())
    return (
        f"made with {row['model']} ({row['weights']}, {sha256}), {size} {preset['interpolation']} {numbers}, "
        f"{made['device']} {made['dtype']}, {versions}"
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Print a table on stdout: by Rich on a terminal, as tab-separated text elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            console.out("\t".join(console.plain(str(cell)) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(titles):
        grid.add_column(title, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(console.plain(str(cell))) for cell in row))
    Console(file=sys.stdout).print(grid)
