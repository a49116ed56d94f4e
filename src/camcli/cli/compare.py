"""`camcli compare`: one picture by methods, layers, classes and models, side by side on one sheet."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from camcli import allocator, methods, models, montage, render, targets
from camcli import inputs as inputs_
from camcli.cli import console, options
from camcli.cli.problems import Problems
from camcli.errors import ExitCode, RequestError
from camcli.montage import Tile
from camcli.records import Attribution, Explained, Failed, Fit, Ref, Result, Spec
from camcli.render import COLORMAPS, Style
from camcli.sinks import as_row, dump, write_picture

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
Sheet = Annotated[str, typer.Option("--output", "-o", help="The sheet, a PNG or JPEG file.")]
Columns = Annotated[int, typer.Option("--columns", help="Answers in a line of the sheet, before it wraps.", min=1)]
Side = Annotated[int, typer.Option("--max-side", help="Longer side of each picture on the sheet.", min=32)]


@console.guarded
@options.spread
def compare(
    inputs: options.Inputs,
    asked: options.TargetFlags,
    model: ModelNames = None,
    weights: WeightFiles = None,
    method: MethodNames = DEFAULT_METHODS,
    layer: options.Layers = None,
    labels: options.Labels = None,
    device: options.Device = "auto",
    fit: options.FitOption = "crop",
    colormap: options.ColormapOption = "turbo",
    opacity: options.Opacity = 0.5,
    max_side: Side = 240,
    columns: Columns = 8,
    output: Sheet = "compare.png",
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Put methods, layers, classes and models side by side: one captioned sheet.

    A row for each picture, model and class, a column for each method and layer; each model goes through the picture
    once.
    """
    problems = Problems()
    for name in set(method) - {ALL}:
        problems.catch(partial(methods.get, name))
    pairs: list[tuple[str | None, str]] = []
    problems.catch(lambda: pairs.extend(_pairs(model, weights)))
    for named, _ in pairs:
        if named is not None:
            problems.catch(partial(models.check_name, named))
    problems.choice("--fit", fit, get_args(Fit))
    problems.choice("--colormap", colormap, COLORMAPS)
    problems.catch(lambda: targets.check(Spec(**asked.for_spec())))
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
            fit=cast(Fit, fit),
            **asked.for_spec(),
        )
        for named, file in pairs
    ]
    refs = list(inputs_.expand(inputs, stdin=sys.stdin.buffer))
    allocator.tune()
    style = Style(colormap, opacity, max_side=max_side)
    rows: list[tuple[str, list[Tile | None]]] = []
    refused = 0
    for spec in specs:
        for result, board in _explained(spec, refs, ALL in method, quiet):
            if isinstance(result, Failed):
                refused += 1
                console.say(f"refused {result.ref.name}: {result.message}")
                continue
            rows.extend(_rows(result, style, columns))
            if json:
                board.line(dump(as_row(result, [])))
    if rows:
        titles, tiles = zip(*rows, strict=True)
        write_picture(montage.sheet(tiles, titles), output)
        console.say(f"{sum(tile is not None for row in tiles for tile in row)} pictures in {output}")
    return ExitCode.SOME_FAILED if refused else ExitCode.OK


def _explained(spec: Spec, refs: list[Ref], skip: bool, quiet: bool) -> Iterator[tuple[Result, console.Board]]:
    from camcli.engine import Engine

    engine = Engine(spec, progress=not quiet and sys.stderr.isatty(), skip_inapplicable=skip)
    for remark in engine.remarks:
        console.say(remark)
    with console.progress(quiet) as board:
        engine.on_step = board.step
        for result in engine.explain(refs):
            board.done(result.ref.name)
            yield result, board


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


def _rows(result: Explained, style: Style, columns: int) -> Iterator[tuple[str, list[Tile | None]]]:
    """A row for each question: the photo, then an answer for each method and layer; more than fit go on below."""
    photo = Tile(render.photo(result.frame, style), (Path(result.ref.name).name,))
    for name, answers in groupby(result.attributions, key=lambda attribution: attribution.target.name):
        tiles = [Tile(render.overlay(result.frame, result.box, a, style), _caption(a)) for a in answers]
        score = next(a.target.score for a in result.attributions if a.target.name == name)
        share = f"  p = {score.probability:.3f}" if score and score.probability is not None else ""
        yield f"{result.model}  ·  {name}{share}", [photo, *tiles[:columns]]
        for start in range(columns, len(tiles), columns):
            yield "", [None, *tiles[start : start + columns]]


def _caption(attribution: Attribution) -> tuple[str, ...]:
    where = f"  ·  {attribution.layer}" if attribution.layer else ""
    return f"{attribution.method}{where}", attribution.note or ""
