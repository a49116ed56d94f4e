"""`camcli compare`: one picture by methods, layers, classes and models, side by side on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from camcli import methods
from camcli.cli import console
from camcli.cli.completion import complete_model, complete_weights
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.flags.drawing import ColormapOption, FontOption, NormMax, NormOption, Opacity, StyleOption
from camcli.cli.flags.figure import FigureFlags
from camcli.cli.flags.model import ModelFlags
from camcli.cli.flags.panels import MODEL, OUT
from camcli.cli.flags.pictures import PictureFlags
from camcli.cli.flags.question import Layers, Methods, TargetFlags
from camcli.cli.flags.run import Debug, Inputs, Json, MaxPixels, Quiet
from camcli.cli.flags.spread import spread
from camcli.cli.problems import Problems
from camcli.errors import ExitCode, RequestError
from camcli.machine import process
from camcli.records import MAX_PIXELS
from camcli.specs import FigureSpec, OutputSpec, Spec

DEFAULT_METHODS = ["grad-cam", "hires-cam", "layer-cam", "eigen-cam"]

ModelNames = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Model, repeatable; default: what fits --weights FILE, else the bundled one.",
        autocompletion=complete_model,
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
WeightFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        "-w",
        metavar="FILE",
        help="Weights, repeatable: of each --model in turn, or several of one.",
        autocompletion=complete_weights,
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Ends = Annotated[
    bool,
    typer.Option(
        "--legend", help="Raw value at the end of each picture's colour scale, below it.", rich_help_panel=OUT
    ),
]


@console.guarded
@spread
def compare(
    *,
    inputs: Inputs,
    method: Methods = DEFAULT_METHODS,
    asked: TargetFlags,
    layer: Layers = None,
    model: ModelNames = None,
    weights: WeightFiles = None,
    flags: ModelFlags,
    pictured: PictureFlags,
    figured: FigureFlags,
    style: StyleOption = "graded",
    colormap: ColormapOption = None,
    opacity: Opacity = None,
    legend: Ends = False,
    font: FontOption = None,
    norm: NormOption = "image",
    norm_max: NormMax = None,
    computed: ComputeFlags,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> ExitCode:
    """Put methods, layers, classes and models side by side: one captioned sheet.

    Each photo once, a row for each model and class, a column for each method and layer.
    A .svg or .pdf is a figure for a paper.
    """
    process.tune()
    problems = Problems()
    problems.of_asked(asked, method or ())
    pairs: list[tuple[str | None, str]] = []
    problems.catch(lambda: pairs.extend(_pairs(model, weights)))
    networks = [problems.of_model(replace(flags, model=named, weights=file)) for named, file in pairs]
    problems.of_pictures(pictured)
    problems.of_font(font)
    problems.of_norm(norm, norm_max)
    figures: list[FigureSpec] = []
    problems.catch(lambda: figures.append(figured.for_spec()))
    problems.raise_any()
    specs = [
        Spec(
            **network,
            methods=methods.asked(method or ()),
            layers=tuple(layer or ()),
            **pictured.for_spec(),
            **asked.for_spec(),
            **computed.for_spec(),
        )
        for network in networks
    ]
    look = OutputSpec(
        style=style,
        colormap=colormap,
        opacity=opacity,
        legend=legend,
        font=font,
        norm=norm,
        norm_max=norm_max,
    )
    from camcli.cli.sheets import draw

    return draw(inputs, specs, figures[0], look, computed, max_pixels=max_pixels, json=json, quiet=quiet)


def _pairs(names: Sequence[str] | None, weights: Sequence[str] | None) -> list[tuple[str | None, str]]:
    """(model, weights) of each network: two lists go in step, a list of one goes with all of the other.

    Raises: RequestError: they can't be matched.
    """
    given: list[str | None] = [*names] if names else [None]
    files = [*weights] if weights else ["DEFAULT"]
    if len(given) != len(files) and min(len(given), len(files)) > 1:
        raise RequestError(f"{len(given)} --model and {len(files)} --weights don't go in step: give one or as many")
    count = max(len(given), len(files))
    return list(zip(given * (count // len(given)), files * (count // len(files)), strict=True))
