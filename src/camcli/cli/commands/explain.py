"""`camcli explain` and `camcli classify`: from flags to what is asked for."""

from __future__ import annotations

from typing import cast, get_args

from camcli import methods
from camcli.cli import console
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.flags.drawing import (
    SAVED,
    ColormapOption,
    FontOption,
    Format,
    Legend,
    MaxSide,
    NormMax,
    NormOption,
    Opacity,
    Output,
    Save,
    StyleOption,
)
from camcli.cli.flags.model import ModelFlags
from camcli.cli.flags.pictures import PictureFlags
from camcli.cli.flags.question import (
    AugmentOption,
    EigenSmooth,
    FuseOption,
    Layers,
    Methods,
    Neurons,
    SanityOption,
    TargetFlags,
    Threshold,
    TrueClass,
)
from camcli.cli.flags.run import Debug, Inputs, Resume, RetryFailed, RunFlags, Show, Top
from camcli.cli.flags.spread import spread
from camcli.cli.problems import Problems
from camcli.errors import ExitCode
from camcli.machine import process
from camcli.records import Picture
from camcli.specs import Augment, OutputSpec, Spec


@console.guarded
@spread
def explain(
    *,
    inputs: Inputs,
    method: Methods = None,
    asked: TargetFlags,
    layer: Layers = None,
    fuse: FuseOption = None,
    augment: AugmentOption = None,
    eigen_smooth: EigenSmooth = False,
    neurons: Neurons = False,
    sanity: SanityOption = None,
    flags: ModelFlags,
    pictured: PictureFlags,
    output: Output = None,
    save: Save = "overlay",
    resume: Resume = True,
    retry_failed: RetryFailed = False,
    style: StyleOption = "graded",
    colormap: ColormapOption = None,
    opacity: Opacity = None,
    legend: Legend = False,
    font: FontOption = None,
    norm: NormOption = "image",
    norm_max: NormMax = None,
    max_side: MaxSide = None,
    format: Format = "jpg",
    show: Show = False,
    computed: ComputeFlags,
    flow: RunFlags,
    top: Top = 5,
    debug: Debug = False,
) -> ExitCode:
    """Show where the model looked: heatmap overlays and a top-k report, for pictures, folders or a pipe.

    `camcli explain photo.jpg -c "tiger cat"` writes an overlay to camcli_out/.
    The default model is bundled and needs no internet connection.
    Guided methods barely depend on class and weights (arXiv:1810.03292):
    read them beside Grad-CAM, not instead.
    """
    process.tune()
    problems = Problems()
    given = problems.of_model(flags)
    problems.of_asked(asked, method or ())
    pictures = problems.listed("--save", None if save == "none" else save, SAVED)
    augments = problems.listed("--augment", augment, get_args(Augment))
    problems.of_pictures(pictured)
    problems.of_font(font)
    problems.of_norm(norm, norm_max)
    problems.of_flow(flow)
    if norm == "run" and (flow.shard or flow.engine != "local"):
        problems.add("--norm run needs all of the run in one process: give --norm fixed its value with --norm-max")
    folder, file = problems.of_output(output) if pictures or output is not None else (None, None)
    # The pictures of --norm run are drawn when all of it is known: no row could say before that its files are there.
    journaled = output is not None and problems.of_journal(folder, norm, resume=resume, retry_failed=retry_failed)
    if neurons and pictures and folder is not None:
        pictures = (*pictures, "neurons")
    if file is not None:
        named = methods.asked(method or ())
        count = len(methods.names() if methods.ALL in named else named)
        answers = max(1, count) * len(asked.class_) * max(1, len(layer or ()))
        problems.of_one_file(file, pictures, asked.class_, answers, flow.json)
    if show:
        problems.of_show(norm, flow, file)
    problems.raise_any()
    spec = Spec(
        **given,
        **asked.for_spec(),
        methods=methods.asked(method) if method else None,
        layers=tuple(layer or ()),
        fuse=fuse,
        augment=augments,
        eigen_smooth=eigen_smooth,
        neurons=neurons,
        sanity=sanity,
        **pictured.for_spec(),
        top=top,
        **computed.for_spec(),
    )
    where = OutputSpec(
        folder=folder,
        file=file,
        pictures=cast(tuple[Picture, ...], pictures),
        style=style,
        colormap=colormap,
        opacity=opacity,
        legend=legend,
        font=font,
        norm=norm,
        norm_max=norm_max,
        max_side=max_side,
        format=format,
        durable=journaled,
    )
    from camcli.cli.running import run

    return run(inputs, spec, where, computed, flow, overwrite=not resume, retry_failed=retry_failed, show=show)


@console.guarded
@spread
def classify(
    inputs: Inputs,
    flags: ModelFlags,
    pictured: PictureFlags,
    computed: ComputeFlags,
    flow: RunFlags,
    class_: TrueClass = None,
    threshold: Threshold = None,
    top: Top = 5,
    debug: Debug = False,
) -> ExitCode:
    """Report the best classes only: no maps, no files."""
    process.tune()
    problems = Problems()
    given = problems.of_model(flags)
    problems.of_pictures(pictured)
    problems.of_flow(flow)
    problems.of_true_class(class_)
    problems.raise_any()
    spec = Spec(
        **given,
        methods=(),
        classes=tuple(class_ or ()),
        threshold=threshold,
        **pictured.for_spec(),
        top=top,
        **computed.for_spec(),
    )
    from camcli.cli.running import run

    return run(inputs, spec, OutputSpec(pictures=()), computed, flow)
