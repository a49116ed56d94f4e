"""The sheet of `camcli compare`: answers side by side, from results to a captioned picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from camcli.cli import console
from camcli.cli.destinations import check_place
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.progress import Board, progress
from camcli.drawing import overlays, sheets
from camcli.drawing.sheets import Tile
from camcli.drawing.styles import Style
from camcli.errors import ExitCode
from camcli.inputs import refs as inputs_
from camcli.inputs.moving import Moving
from camcli.models import catalog
from camcli.records import Attribution, Explained, Failed, Ref, Result
from camcli.sinks import as_row, dump, write_picture
from camcli.specs import OutputSpec, Spec

if TYPE_CHECKING:
    from camcli.running.engine import Engine


@dataclass(frozen=True, slots=True)
class Sheet:
    """The layout of a sheet: `columns` answers in a line, each drawn in the style."""

    file: str
    style: Style
    columns: int


def draw(
    inputs: Sequence[str],
    specs: Sequence[Spec],
    sheet: Sheet,
    computed: ComputeFlags,
    *,
    max_pixels: int,
    json: bool,
    quiet: bool,
) -> ExitCode:
    """Explain each input by each spec, and draw all answers.

    Raises: RequestError: the sheet can't be written there.
    """
    check_place(sheet.file)
    moving = Moving.of(specs[0], max_pixels, whole=catalog.takes_clips(specs[0]))
    refs = list(inputs_.expand(inputs, stdin=sys.stdin.buffer, moving=moving, bound=dict(specs[0].bound)))
    rows: list[tuple[str, list[Tile | None]]] = []
    refused = 0
    for spec in specs:
        for result, board in _explained(_opened(spec, sheet, computed, max_pixels, quiet), refs, quiet):
            if isinstance(result, Failed):
                refused += 1
                console.say(f"refused {result.ref.name}: {result.message}")
                continue
            if result.frame.note:
                console.say(f"{result.ref.name}: {result.frame.note}")
            rows.extend(_rows(result, sheet.style, sheet.columns))
            if json:
                board.line(dump(as_row(result, [])))
    if rows:
        titles, tiles = zip(*rows, strict=True)
        write_picture(sheets.sheet(tiles, titles, sheet.style.font), sheet.file)
        console.say(f"{sum(tile is not None for row in tiles for tile in row)} pictures in {sheet.file}")
    return ExitCode.SOME_FAILED if refused else ExitCode.OK


def _opened(spec: Spec, sheet: Sheet, computed: ComputeFlags, max_pixels: int, quiet: bool) -> Engine:
    from camcli.running import pipeline

    engine = pipeline.open_engine(
        spec,
        OutputSpec(file=sheet.file),
        workers=computed.workers,
        threads=computed.threads,
        max_pixels=max_pixels,
        progress=not quiet and sys.stderr.isatty(),
    )
    for remark in engine.remarks:
        console.say(remark)
    return engine


def _explained(engine: Engine, refs: list[Ref], quiet: bool) -> Iterator[tuple[Result, Board]]:
    with progress(quiet, lambda: refs) as board:
        engine.on_step, engine.on_remark = board.step, console.say
        board.begin()
        for result in engine.explain(refs):
            board.done(result.ref.name, refused=isinstance(result, Failed))
            yield result, board


def _rows(result: Explained, style: Style, columns: int) -> Iterator[tuple[str, list[Tile | None]]]:
    """Rows for each question: the photo, then an answer for each method and layer; more than fit go on below."""
    photo = Tile(overlays.photo(result.frame, style), (Path(result.ref.name).name,))
    for name, answers in groupby(result.attributions, key=lambda attribution: attribution.target.name):
        tiles = [Tile(overlays.overlay(result.frame, result.box, a, style), _caption(a)) for a in answers]
        score = next(a.target.entry for a in result.attributions if a.target.name == name)
        share = f"  p = {score.probability:.3f}" if score and score.probability is not None else ""
        yield f"{result.model}  ·  {name}{share}", [photo, *tiles[:columns]]
        for start in range(columns, len(tiles), columns):
            yield "", [None, *tiles[start : start + columns]]


def _caption(attribution: Attribution) -> tuple[str, ...]:
    where = f"  ·  {attribution.layer}" if attribution.layer else ""
    return f"{attribution.method}{where}", attribution.note or ""
