"""`camcli compare`: one picture by methods, layers, classes and models, side by side on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from camcli import methods, models, process
from camcli.cli import console, options
from camcli.cli.problems import Problems
from camcli.errors import ExitCode, RequestError
from camcli.records import COLORMAPS, Spec

ALL = "all"
DEFAULT_METHODS = ["grad-cam", "hires-cam", "layer-cam", "eigen-cam"]

ModelNames = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Model, repeatable; default: the bundled one.", show_default=False),
]
WeightFiles = Annotated[
    list[str] | None,
    typer.Option("--weights", "-w", help="Of each --model in turn, or several of one.", show_default=False),
]
MethodNames = Annotated[
    list[str],
    typer.Option("--method", "-M", help="Method, repeatable; all: every one that applies to the model."),
]
SheetFile = Annotated[str, typer.Option("--output", "-o", help="The sheet, a PNG or JPEG file.")]
Columns = Annotated[int, typer.Option("--columns", help="Answers in a line of the sheet, before it wraps.", min=1)]
Side = Annotated[int, typer.Option("--max-side", help="Longer side of each picture on the sheet.", min=32)]


@console.guarded
@options.spread
def compare(
    inputs: options.Inputs,
    pictured: options.PictureFlags,
    asked: options.TargetFlags,
    model: ModelNames = None,
    weights: WeightFiles = None,
    method: MethodNames = DEFAULT_METHODS,
    layer: options.Layers = None,
    labels: options.Labels = None,
    device: options.Device = "auto",
    colormap: options.ColormapOption = "turbo",
    opacity: options.Opacity = 0.5,
    max_side: Side = 240,
    columns: Columns = 8,
    output: SheetFile = "compare.png",
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Put methods, layers, classes and models side by side: one captioned sheet.

    A row for each picture, model and class, a column for each method and layer; each model goes through the picture
    once.
    """
    process.tune()
    problems = Problems()
    problems.of_asked(asked, set(method) - {ALL})
    pairs: list[tuple[str | None, str]] = []
    problems.catch(lambda: pairs.extend(_pairs(model, weights)))
    for named, _ in pairs:
        if named is not None:
            problems.catch(partial(models.check_name, named))
    problems.of_pictures(pictured)
    problems.choice("--colormap", colormap, COLORMAPS)
    if Path(output).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        problems.add(f"-o {output}: the sheet is a .png or .jpg file")
    problems.raise_any()
    specs = [
        Spec(
            model=named,
            weights=file,
            labels=labels,
            device=device,
            methods=tuple(methods.names() if ALL in method else method),
            layers=tuple(layer or ()),
            **pictured.for_spec(),
            **asked.for_spec(),
        )
        for named, file in pairs
    ]
    from camcli.cli.sheets import Sheet, draw

    sheet = Sheet(output, colormap, opacity, max_side, columns)
    return draw(inputs, specs, sheet, skip_inapplicable=ALL in method, json=json, quiet=quiet)


def _pairs(names: Sequence[str] | None, weights: Sequence[str] | None) -> list[tuple[str | None, str]]:
    """(model, weights) of each network: lists go in step, one of one goes with all of the other.

    Raises: RequestError: they can't be matched.
    """
    given: list[str | None] = [*names] if names else [None]
    files = [*weights] if weights else ["DEFAULT"]
    if len(given) != len(files) and min(len(given), len(files)) > 1:
        raise RequestError(f"{len(given)} --model and {len(files)} --weights don't go in step: give one or as many")
    count = max(len(given), len(files))
    return list(zip(given * (count // len(given)), files * (count // len(files)), strict=True))
