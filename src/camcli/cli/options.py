"""Each flag once: what it is called, what it takes, what `--help` says and what completion offers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from camcli.models import catalog
from camcli.records import Fit, Norm, Picture
from camcli.render import COLORMAPS


def _complete_model(incomplete: str) -> list[str]:
    return [name for name in catalog.names() if name.startswith(incomplete)]


def _complete_method(incomplete: str) -> list[str]:
    from camcli import methods

    return [name for name in methods.names() if name.startswith(incomplete)]


def _complete_layer(context: typer.Context, incomplete: str) -> list[str]:
    """The one completion that must build a network, and so import torch."""
    from camcli.errors import CamcliError
    from camcli.models import blueprint

    try:
        net = blueprint(context.params.get("model") or catalog.BUNDLED).net
    except CamcliError:
        return []
    return [name for name, _ in net.named_modules() if name and name.startswith(incomplete)]


def _offer(choices: Sequence[str]) -> object:
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS...",
        help="Pictures, folders, quoted globs, or - for stdin (a picture, or paths by line or NUL).",
        show_default=False,
    ),
]
ModelName = Annotated[
    str,
    typer.Option("--model", "-m", help="Model name; see `camcli models`.", autocompletion=_complete_model),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights", "-w", help="DEFAULT, a name such as IMAGENET1K_V1, none, or a FILE (.pth, .safetensors)."
    ),
]
Methods = Annotated[
    list[str],
    typer.Option("--method", "-M", help="Method, repeatable; see `camcli methods`.", autocompletion=_complete_method),
]
Classes = Annotated[
    list[str],
    typer.Option("--class", "-c", help="Class to explain, repeatable: id, name, part of a name, top1, topN."),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        help="Target layer, repeatable; default: chosen, see `camcli layers`.",
        autocompletion=_complete_layer,
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option("--output", "-o", help="Folder for the files; or one file, or - for stdout, where one is made."),
]
Save = Annotated[
    str,
    typer.Option(
        "--save",
        help=f"What to write, by comma: {', '.join(get_args(Picture))}; or none.",
        autocompletion=_offer(get_args(Picture)),
    ),
]
FitOption = Annotated[
    str,
    typer.Option(
        "--fit",
        help=f"How the picture becomes the view: {', '.join(get_args(Fit))}.",
        autocompletion=_offer(get_args(Fit)),
    ),
]
ColormapOption = Annotated[
    str, typer.Option("--colormap", help=f"One of {', '.join(COLORMAPS)}.", autocompletion=_offer(COLORMAPS))
]
Opacity = Annotated[float, typer.Option("--opacity", help="Of the map over the photo.", min=0.0, max=1.0)]
NormOption = Annotated[
    str,
    typer.Option(
        "--norm",
        help="What ends the colour scale: each image's own maximum, the run's, or --norm-max (fixed).",
        autocompletion=_offer(get_args(Norm)),
    ),
]
NormMax = Annotated[
    float | None, typer.Option("--norm-max", help="Raw value at the end of the scale, with --norm fixed.")
]
MaxSide = Annotated[int | None, typer.Option("--max-side", help="Shrink pictures to this longer side.", min=16)]
Format = Annotated[str, typer.Option("--format", help="Overlays and panels as jpg or png.")]
Top = Annotated[int, typer.Option("--top", "-k", help="Classes in the report.", min=1)]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Pictures per forward.", min=1)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Recursive = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Walk into sub-folders.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first picture that is refused.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
ModelArgument = Annotated[str, typer.Argument(help="Model name.", autocompletion=_complete_model)]

BUNDLED = catalog.BUNDLED


def output_path(text: str) -> tuple[Path | None, str | None]:
    """`--output` as (folder, None) or (None, the one file)."""
    if text == "-":
        return None, text
    path = Path(text)
    if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".npz") and not path.is_dir():
        return None, text
    return path, None
