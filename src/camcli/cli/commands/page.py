"""`camcli report`: a page of the rows of earlier runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from camcli.cli import console, retyping
from camcli.cli.flags.run import Debug, MaxPixels, Quiet
from camcli.cli.progress import progress
from camcli.errors import ExitCode, RequestError
from camcli.machine import process
from camcli.records import MAX_PIXELS
from camcli.specs import PageSpec


@console.guarded
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR|ROWS…",
            help="Folders that `explain -o` wrote, files of `--json` rows, or - for stdin.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="Page to write. Default: report.html, in the folder if one is named.",
            show_default=False,
        ),
    ] = None,
    embed: Annotated[
        float | None,
        typer.Option(
            "--embed",
            metavar="MB",
            help="Size up to which the page is one file; a larger one has a folder beside it. Default: 40, and 5,000 "
            "pictures.",
            min=0.0,
            show_default=False,
        ),
    ] = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    quiet: Quiet = False,
    debug: Debug = False,
) -> ExitCode:
    """Make a page to look through the pictures of earlier runs: search, sort, filter, compare.

    The photos are read again, from the paths in the rows. No model runs.
    """
    process.tune()
    if runs.count("-") > 1:
        raise RequestError("`-` can be given once: stdin has one end")
    inside = len(runs) == 1 and os.path.isdir(runs[0])
    file = output or (f"{runs[0].rstrip('/')}/report.html" if inside else "report.html")
    from camcli.machine.pools import default_workers, pool_of
    from camcli.running.reporting import fill, rows_of
    from camcli.sinks import check_page, open_page

    check_page(file, "choose another with --output")
    found = (one for named in runs for one in rows_of(named, sys.stdin.buffer))
    count = 0
    with (
        pool_of(default_workers()) as pool,
        open_page(PageSpec(file, embed), retyping.described) as page,
        progress(quiet) as board,
    ):
        board.begin()
        for row in fill(page, found, pool, max_pixels):
            board.done(row["input"], refused="error" in row)
            count += 1
        if not count:
            raise RequestError(f"no rows in {' '.join(runs)}")
        beside = page.beside
    if not quiet:
        console.say(f"{count} pictures in {file}" + (f", with {beside} beside it" if beside else ""))
    return ExitCode.OK
