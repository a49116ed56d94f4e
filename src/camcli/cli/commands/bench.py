"""`camcli bench`: what a run costs here, stage by stage, and what to type to make it cheaper."""

from __future__ import annotations

import json as json_
import sys
from itertools import islice
from typing import Annotated, cast

import typer

from camcli import methods
from camcli.cli import console, report
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.flags.drawing import SAVED, MaxSide, Save
from camcli.cli.flags.model import ModelFlags
from camcli.cli.flags.pictures import PictureFlags
from camcli.cli.flags.question import Layers, Methods, TargetFlags
from camcli.cli.flags.run import Debug, Inputs, Json, MaxPixels, Quiet
from camcli.cli.flags.spread import spread
from camcli.cli.problems import Problems
from camcli.errors import ExitCode
from camcli.machine import process
from camcli.records import MAX_PIXELS, Picture, Row
from camcli.specs import OutputSpec, Spec

Images = Annotated[
    int, typer.Option("--images", "-n", metavar="N", help="Inputs that are timed, from the first.", min=1)
]


@console.guarded
@spread
def bench(
    *,
    inputs: Inputs,
    images: Images = 64,
    method: Methods = None,
    asked: TargetFlags,
    layer: Layers = None,
    flags: ModelFlags,
    pictured: PictureFlags,
    save: Save = "overlay",
    max_side: MaxSide = None,
    computed: ComputeFlags,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> ExitCode:
    """Time each stage on your own pictures, model and device, and say what would be faster.

    Seconds are of all cores together. Agreement is with --exact: the share of
    pictures with the same best class, and the largest difference of two maps,
    each scaled to its own maximum.
    """
    process.tune()
    problems = Problems()
    given = problems.of_model(flags)
    problems.of_asked(asked, method or ())
    pictures = problems.listed("--save", None if save == "none" else save, SAVED)
    problems.of_pictures(pictured)
    problems.raise_any()
    spec = Spec(
        **given,
        **asked.for_spec(),
        **computed.for_spec(),
        methods=methods.asked(method) if method else None,
        layers=tuple(layer or ()),
        **pictured.for_spec(),
    )
    where = OutputSpec("", pictures=cast(tuple[Picture, ...], pictures), max_side=max_side)
    from camcli.inputs import refs as inputs_
    from camcli.inputs.moving import Moving
    from camcli.models import catalog
    from camcli.running import pipeline, timing

    moving = Moving.of(spec, max_pixels, whole=catalog.takes_clips(spec))
    refs = list(islice(inputs_.expand(inputs, stdin=sys.stdin.buffer, moving=moving, bound=dict(spec.bound)), images))
    engine = pipeline.open_engine(
        spec, where, workers=computed.workers, threads=computed.threads, max_pixels=max_pixels
    )
    if not quiet:
        for remark in engine.remarks:
            console.say(remark)
    row: Row = {"model": engine.model.name, "device": engine.model.device, "batch_size": engine.batch_size}
    row |= timing.measure(engine, where, refs).as_row()
    if json:
        console.out(json_.dumps(row))
        return ExitCode.OK
    console.out(
        f"{row['model']} on {row['device']}: {row['pictures']} pictures of {row['megapixels']} megapixels, "
        f"{row['per_second']} a second with files and rows"
    )
    stages = [(s["stage"], s["ms"], s["per_second"], f"{s['share']:.0%}") for s in row["stages"]]
    report.table(("stage", "ms a picture", "pictures/s", "share"), stages, right=(1, 2, 3))
    shown = [
        (v["what"], v["per_second"], *(_shown(v[name]) for name in ("top1_agreement", "largest_deviation")))
        for v in row["variants"]
    ]
    report.table(("engine alone", "pictures/s", "same best class", "map differs by"), shown, right=(1, 2, 3))
    for line in row["advice"]:
        console.out(line)
    return ExitCode.OK


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
