"""Flags of the figure that `compare` makes: its file, its form and its size."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Annotated, get_args

import typer

from camcli.cli.completion import complete_list
from camcli.errors import RequestError
from camcli.specs import DRAWINGS, FigureFormat, FigureSpec

# Widths of a column and of a page, in millimetres, as most journals have them.
WIDTHS = {"column": 89.0, "page": 183.0}
# Millimetres that a figure may be wide: less has no room for letters, more is no page.
_LEAST_MM, _MOST_MM = 30.0, 1200.0
_DPI, _SIDE = 300, 240
_FORMATS: tuple[FigureFormat, ...] = get_args(FigureFormat)

FigureFile = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help=f"File of the sheet: {', '.join(f'.{name}' for name in _FORMATS)}. Further pages are FILE-2, …, or in the "
        "same PDF.",
        show_default="compare.png",
    ),
]
FormatOption = Annotated[
    FigureFormat | None,
    typer.Option(
        "--format",
        metavar="|".join(_FORMATS),
        help="Format of the sheet. Default: as the file's ending says. PDF needs camcli\\[figure].",
        show_default=False,
    ),
]
Width = Annotated[
    str | None,
    typer.Option(
        "--width",
        metavar="column|page|MM",
        help="Width on paper: column (89 mm), page (183 mm), or millimetres. Default: page for .svg and .pdf; other "
        "sheets are as wide as their pictures.",
        autocompletion=complete_list(tuple(WIDTHS)),
        show_default=False,
    ),
]
Dpi = Annotated[
    int | None,
    typer.Option(
        "--dpi",
        metavar="N",
        help="Pixels an inch of the pictures, with a width on paper. Default: 300.",
        min=72,
        max=1200,
        show_default=False,
    ),
]
Columns = Annotated[
    int,
    typer.Option(
        "--columns",
        metavar="N",
        help="Answers in a line of the sheet at most, before it wraps.",
        min=1,
    ),
]
Side = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        metavar="N",
        help=f"Longer side of each picture on the sheet, in pixels; smaller ones are enlarged. Default: {_SIDE}.",
        min=32,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class FigureFlags:
    """The options that say what file is made, and how large; `spread` gives them to a command."""

    output: FigureFile = None
    format: FormatOption = None
    width: Width = None
    dpi: Dpi = None
    columns: Columns = 8
    max_side: Side = None

    def for_spec(self) -> FigureSpec:
        """The figure. Raises: RequestError: a format that is none or not the file's, sizes that don't go together."""
        format = self._format()
        file = self.output or f"compare.{format}"
        if os.path.isdir(file):
            raise RequestError(f"-o {file}: it is a folder, and the sheet is one file")
        width = self._width() or (WIDTHS["page"] if format in DRAWINGS else None)
        if width is not None and self.max_side is not None:
            raise RequestError("--max-side is in pixels, and this sheet has a width in millimetres: --width and --dpi")
        if width is None and self.dpi is not None:
            raise RequestError("--dpi goes with --width column, page or millimetres")
        return FigureSpec(file, format, self.columns, self.max_side or _SIDE, width, self.dpi or _DPI)

    def _format(self) -> FigureFormat:
        ending = os.path.splitext(self.output or "")[1].lower().lstrip(".")  # noqa: PTH122  a path or a URI
        ending = "jpg" if ending == "jpeg" else ending
        if self.output is None:
            ending = self.format or "png"
        given = self.format or ending
        if given != ending and ending in _FORMATS:
            raise RequestError(f"-o {self.output} and --format {given} say two formats")
        for format in _FORMATS:
            if format == given and self.output != "-":
                return format
        said = f"--format {self.format!r}" if self.format not in (None, *_FORMATS) else f"-o {self.output}"
        raise RequestError(f"{said}: the sheet is a {', '.join(f'.{name}' for name in _FORMATS)} file")

    def _width(self) -> float | None:
        """The width in millimetres, if one is given."""
        if self.width is None or self.width in WIDTHS:
            return WIDTHS.get(self.width or "")
        try:
            found = float(self.width)
        except ValueError:
            found = math.nan
        if not _LEAST_MM <= found <= _MOST_MM:
            raise RequestError(
                f"--width {self.width!r}: column, page, or millimetres from {_LEAST_MM:g} to {_MOST_MM:g}"
            )
        return found
