"""`camcli verify`: run the rows of an earlier run again, and say which maps are still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camcli import process
from camcli.cli import console, options
from camcli.errors import ExitCode, RequestError
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
    trust_checkpoint: options.TrustCheckpoint = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="Device; default: the one that the rows name.", show_default=False
        ),
    ] = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Run earlier rows again and say which maps still match: identical, equal (within 2 % of the maximum), or not.

    Exit 4 if one differs or its picture is gone. Rows that were refused then are
    passed over.
    """
    process.tune()
    if rows != "-" and not Path(rows).is_file():
        raise RequestError(f"no such file: {rows}")
    from camcli.cli.verifying import Trusted, check_all

    trusted = Trusted(model, weights, target, trust_checkpoint)
    return check_all(rows, trusted, device, max_pixels, json=json, quiet=quiet)
