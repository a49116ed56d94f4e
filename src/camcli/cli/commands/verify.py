"""`camcli verify`: run the rows of an earlier run again, and say which maps are still the same."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from camcli.cli import console
from camcli.cli.completion import complete_device, complete_model
from camcli.cli.flags.model import TrustCheckpoint
from camcli.cli.flags.run import Debug, Json, MaxPixels, Quiet
from camcli.errors import ExitCode, RequestError
from camcli.machine import process
from camcli.records import MAX_PIXELS


@console.guarded
def verify(
    rows: Annotated[str, typer.Argument(metavar="ROWS.jsonl", help="Rows of `camcli … --json`, or - for stdin.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Rows that name your code run it only if you name it too.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="URL",
            help="Rows that name a URL fetch from it only if you name it too.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="NAME",
            help="Rows that name your function run it only if you name it too.",
            show_default=False,
        ),
    ] = None,
    trust_checkpoint: TrustCheckpoint = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Device; default: the one that the rows name.",
            autocompletion=complete_device,
            show_default=False,
        ),
    ] = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> ExitCode:
    """Run earlier rows again and say which maps still match: identical, equal (within 2 % of the maximum), or not.

    Exit 4 if one differs or its picture is gone. Rows that were refused then are
    passed over.
    """
    process.tune()
    if rows != "-" and not Path(rows).is_file():
        raise RequestError(f"no such file: {rows}")
    from camcli.running.verifying import STATUSES, Trusted, verified

    trusted = Trusted(model, weights, target, trust_checkpoint)
    counts = dict.fromkeys(STATUSES, 0)
    with sys.stdin.buffer if rows == "-" else Path(rows).open("rb") as file:
        for check in verified(file, trusted, device, max_pixels):
            counts[check["status"]] += 1
            console.out(json_.dumps(check) if json else _line(check))
    if not quiet:
        console.say(", ".join(f"{count} {status}" for status, count in counts.items()))
    return ExitCode.SOME_FAILED if counts["differs"] or counts["gone"] else ExitCode.OK


def _line(check: Mapping[str, Any]) -> str:
    if check["status"] == "gone":
        return f"gone       {check['input']}: {check['message']}"
    maps = ", ".join(f"{m['method']} of {m['target']} {m['status']}" for m in check["maps"])
    scores = {name: moved for name, moved in check["changed"].items() if name.startswith("top.")}
    others = [f"{name} {then} -> {now}" for name, (then, now) in check["changed"].items() if name not in scores]
    changed = ", ".join([*others, *_moved(scores)])
    parts = [f"{check['status']:<9}  {check['input']}", maps, changed and f"changed: {changed}"]
    return "  ".join(filter(None, parts))


def _moved(scores: Mapping[str, tuple[float | None, float | None]]) -> Iterator[str]:
    """Scores that have changed, in few words: the largest change, and the classes that are no longer there."""
    for unit in ("probability", "logit"):
        own = {name: pair for name, pair in scores.items() if name.endswith(unit)}
        moves = [abs(now - then) for then, now in own.values() if then is not None and now is not None]
        if moves:
            yield f"{unit} by up to {max(moves):.2g}"
    gone = [name.split(".")[1] for name, (_, now) in scores.items() if now is None and name.endswith("logit")]
    if gone:
        yield f"no longer among the best: {' '.join(gone)}"
