"""The sheet of `camcli compare`: answers side by side, from results to the pages of a figure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from camcli.cli import console
from camcli.cli.destinations import check_place
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.progress import Board, progress
from camcli.drawing import lettering
from camcli.drawing.figures import pdf, raster, svg
from camcli.drawing.figures.arranging import Measures, arranged
from camcli.drawing.figures.comparing import Results, compared
from camcli.drawing.figures.elements import Part, Typeface
from camcli.errors import ExitCode
from camcli.inputs import refs as inputs_
from camcli.inputs.moving import Moving
from camcli.models import catalog
from camcli.records import Failed, Ref, Result
from camcli.sinks import as_row, dump
from camcli.specs import FigureSpec, OutputSpec, Spec
from camcli.storage.writing import put

if TYPE_CHECKING:
    from camcli.running.engine import Engine

# So many letters that no font has are told.
_SHOWN = 5


def draw(
    inputs: Sequence[str],
    specs: Sequence[Spec],
    figure: FigureSpec,
    look: OutputSpec,
    computed: ComputeFlags,
    *,
    max_pixels: int,
    json: bool,
    quiet: bool,
) -> ExitCode:
    """Explain each input by each spec, and draw all answers.

    Raises:
        RequestError: the sheet can't be written there.
        SetupError: what writes it is not installed.
    """
    check_place(figure.file)
    if figure.format == "pdf":
        pdf.check()
    measures = (
        Measures.of_pixels(figure.side, figure.columns)
        if figure.width is None
        else Measures.of_print(figure.width, figure.dpi, figure.columns)
    )
    moving = Moving.of(specs[0], max_pixels, whole=catalog.takes_clips(specs[0]))
    refs = list(inputs_.expand(inputs, stdin=sys.stdin.buffer, moving=moving, bound=dict(specs[0].bound)))
    results = Results(measures.most_pixels)
    refused = 0
    for spec in specs:
        for result, board in _explained(_opened(spec, figure, computed, max_pixels, quiet), refs, quiet):
            if isinstance(result, Failed):
                refused += 1
                console.say(f"refused {result.ref.name}: {result.message}")
                continue
            if result.frame.note:
                console.say(f"{result.ref.name}: {result.frame.note}")
            results.add(result)
            if json:
                board.line(dump(as_row(result, [])))
    if results.pictures:
        pages = arranged(compared(results.pictures, look), measures, Typeface(look.font))
        _write(pages, figure, measures, Typeface(look.font))
    return ExitCode.SOME_FAILED if refused else ExitCode.OK


def _write(pages: Sequence[Part], figure: FigureSpec, measures: Measures, face: Typeface) -> None:
    """Writes the pages, to one PDF or to a file each, and says where they are."""
    if figure.format == "pdf":
        files = [figure.file]
        contents = [pdf.encoded(pages, face)]
    else:
        stem, ending = os.path.splitext(figure.file)  # noqa: PTH122  a path or a URI
        files = [figure.file, *(f"{stem}-{number}{ending}" for number in range(2, len(pages) + 1))]
        contents = [_encoded(page, figure, measures, face) for page in pages]
    for content, file in zip(contents, files, strict=True):
        put(content, file)
    pictures = sum(picture.kind == "photo" for page in pages for picture in page.pictures)
    where = f"in {files[0]}" if len(pages) == 1 else f"on {len(pages)} pages: {', '.join(files)}"
    console.say(f"{pictures} pictures {where}")
    _tell_of_fonts(pages, figure, face)


def _tell_of_fonts(pages: Sequence[Part], figure: FigureSpec, face: Typeface) -> None:
    if figure.format == "svg":
        if face.file is not None:
            console.say(f"the .svg names the font {lettering.family(face.file)!r} and holds none: it must be installed")
    elif lacking := lettering.lacking((text.words for page in pages for text in page.texts), face.file):
        more = " and others" if len(lacking) > _SHOWN else ""
        console.say(f"no font here has {' '.join(lacking[:_SHOWN])}{more}: --font FILE names one that does")


def _encoded(page: Part, figure: FigureSpec, measures: Measures, face: Typeface) -> bytes:
    printed = figure.width is not None
    if figure.format == "svg":
        return svg.encoded(page, face, printed=printed)
    return raster.encoded(page, figure.format, face, measures.scale, figure.dpi if printed else None)


def _opened(spec: Spec, figure: FigureSpec, computed: ComputeFlags, max_pixels: int, quiet: bool) -> Engine:
    from camcli.running import pipeline

    engine = pipeline.open_engine(
        spec,
        OutputSpec(file=figure.file),
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
