"""Flags of the pictures that are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args

import typer

from camcli.cli import destinations
from camcli.cli.completion import complete_list
from camcli.cli.flags.panels import OUT
from camcli.records import Picture
from camcli.specs import COLORMAP_OF, COLORMAPS, OPACITY_OF, Colormap, Look, Norm, PictureFormat


def _each(defaults: Mapping[Look, object]) -> str:
    """The default of each style."""
    return ", ".join(f"{style}: {value}" for style, value in defaults.items())


# The neurons' strip comes with --neurons.
SAVED = tuple(kind for kind in get_args(Picture) if kind != "neurons")

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Folder for the files and a journal of them, which lets a run go on; or, if one picture is made, a file "
        "(.jpg, .png, .webp, .npz) or - for stdout.",
        show_default=f"{destinations.FOLDER}, no journal",
        rich_help_panel=OUT,
    ),
]

Save = Annotated[
    str,
    typer.Option(
        "--save",
        metavar="KINDS",
        help=f"Kinds of files to write, by comma: {', '.join(SAVED)}; or none.",
        autocompletion=complete_list(SAVED),
        rich_help_panel=OUT,
    ),
]

StyleOption = Annotated[
    Look,
    typer.Option(
        "--style",
        metavar="graded|classic|print",
        help="Look of the pictures: opacity that grows with the value, and a line around the strong part (graded); "
        "one opacity for all of the map, as in the literature (classic); grey ink on a pale photo, to be read in black "
        "and white (print).",
        rich_help_panel=OUT,
    ),
]

ColormapOption = Annotated[
    Colormap | None,
    typer.Option(
        "--colormap",
        metavar="NAME",
        help=f"Colours of the map: {', '.join(COLORMAPS)}.",
        show_default=_each(COLORMAP_OF),
        rich_help_panel=OUT,
    ),
]

Opacity = Annotated[
    float | None,
    typer.Option(
        "--opacity",
        metavar="X",
        help="Opacity of the map over the photo, where it is largest.",
        show_default=_each(OPACITY_OF),
        min=0.0,
        max=1.0,
        rich_help_panel=OUT,
    ),
]

Legend = Annotated[
    bool,
    typer.Option("--legend", help="Colour scale and the values at its ends, in each picture.", rich_help_panel=OUT),
]

FontOption = Annotated[
    str | None,
    typer.Option(
        "--font",
        metavar="FILE",
        help="Font of captions, .ttf, .otf or .ttc, for letters that neither the bundled one nor this system's have.",
        show_default=False,
        rich_help_panel=OUT,
    ),
]

NormOption = Annotated[
    Norm,
    typer.Option(
        "--norm",
        metavar="image|run|fixed",
        help="End of the colour scale: each image's own maximum, the run's, or --norm-max (fixed).",
        rich_help_panel=OUT,
    ),
]

NormMax = Annotated[
    float | None,
    typer.Option(
        "--norm-max", metavar="X", help="Raw value at the end of the scale, with --norm fixed.", rich_help_panel=OUT
    ),
]

MaxSide = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        metavar="N",
        help="Longer side that written pictures are shrunk to, in pixels.",
        min=16,
        rich_help_panel=OUT,
    ),
]

Format = Annotated[
    PictureFormat,
    typer.Option(
        "--format", metavar="jpg|png", help="Format of the overlays and panels in the folder.", rich_help_panel=OUT
    ),
]
