"""Flags of a run: what goes in, where rows go, and what is said meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from camcli.cli.flags.panels import OUT, RUN
from camcli.errors import RequestError
from camcli.records import MAX_PIXELS
from camcli.specs import PageSpec

Engine = Literal["local", "ray"]

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS",
        help="Pictures, folders, quoted globs, URIs, or - for stdin (a picture, or paths by line or NUL).",
        show_default=False,
    ),
]

Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--overwrite",
        help="Go on with the run that the folder's journal tells of, or remove it first.",
        rich_help_panel=OUT,
    ),
]

RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again, when going on, what was refused.", rich_help_panel=OUT)
]

Top = Annotated[
    int, typer.Option("--top", "-k", metavar="N", help="Classes in a row, best first.", min=1, rich_help_panel=RUN)
]

Recursive = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Walk into sub-folders.")]

FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first picture that is refused.")]

MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Largest picture that is decoded, in pixels.",
        min=1,
        rich_help_panel=RUN,
    ),
]

Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Part of the inputs, the I-th of N, for job arrays.", show_default=False
    ),
]

EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help=r"Engine: local, or ray on a cluster, which needs `pip install camcli\[ray]`.",
    ),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        help="Address of the cluster; default: RAY_ADDRESS, else this machine.",
        show_default=False,
    ),
]

Results = Annotated[
    str | None,
    typer.Option(
        "--results",
        metavar="FILE",
        help=r"Parquet file or URI that gets the rows too; needs `pip install camcli\[parquet]`.",
        show_default=False,
    ),
]

Report = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Page to look through all pictures in a browser; works offline.",
        show_default=False,
    ),
]

ReportEmbed = Annotated[
    float | None,
    typer.Option(
        "--report-embed",
        metavar="MB",
        help="Size up to which the page is one file; a larger one has a folder beside it. Default: 40, and 5,000 "
        "pictures.",
        min=0.0,
        show_default=False,
    ),
]

Json = Annotated[
    bool, typer.Option("--json", help="Write JSON lines to stdout instead of a table.", rich_help_panel=RUN)
]

Show = Annotated[
    bool, typer.Option("--show", help="Show the overlays on the terminal, as small pictures.", rich_help_panel=OUT)
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say no progress and no summary.", rich_help_panel=RUN)]

Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say what the answers were made with, and why at that layer."),
]

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=RUN)]


@dataclass(frozen=True, slots=True)
class RunFlags:
    """The options that say where inputs are explained and where rows go; `spread` gives them to a command."""

    recursive: Recursive = True
    fail_fast: FailFast = False
    max_pixels: MaxPixels = MAX_PIXELS
    shard: Shard = None
    engine: EngineOption = "local"
    ray_address: RayAddress = None
    results: Results = None
    report: Report = None
    report_embed: ReportEmbed = None
    json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False

    @property
    def page(self) -> PageSpec | None:
        """The report page that is asked for."""
        return PageSpec(self.report, self.report_embed) if self.report is not None else None


def shard_numbers(text: str) -> tuple[int, int]:
    """`--shard` as (number from 1, count).

    Raises: RequestError: it is no I/N with 1 <= I <= N.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise RequestError(f"--shard {text!r}: write I/N, from 1/N to N/N")
    return int(number), int(of)
