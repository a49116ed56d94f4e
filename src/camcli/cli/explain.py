"""`camcli explain` and `camcli classify`: from flags to a run, from results to rows and an exit code."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from camcli import allocator, methods, targets
from camcli import inputs as inputs_
from camcli.cli import console, options, report
from camcli.cli.problems import Problems
from camcli.errors import ExitCode, RequestError
from camcli.records import Augment, Failed, Fit, Fuse, Norm, OutputSpec, Picture, PictureFormat, Ref, Sanity, Spec
from camcli.render import COLORMAPS
from camcli.sinks import as_row, dump, open_sinks

if TYPE_CHECKING:
    from camcli.layers import Layer


@console.guarded
@options.spread
def explain(
    inputs: options.Inputs,
    flags: options.ModelFlags,
    asked: options.TargetFlags,
    method: options.Methods = ["grad-cam"],  # noqa: B006  Typer wants a list and copies it
    layer: options.Layers = None,
    fuse: options.FuseOption = None,
    augment: options.AugmentOption = None,
    eigen_smooth: options.EigenSmooth = False,
    neurons: options.Neurons = False,
    sanity: options.SanityOption = None,
    output: options.Output = "camcli_out",
    save: options.Save = "overlay",
    fit: options.FitOption = "crop",
    colormap: options.ColormapOption = "turbo",
    opacity: options.Opacity = 0.5,
    norm: options.NormOption = "image",
    norm_max: options.NormMax = None,
    max_side: options.MaxSide = None,
    format: options.Format = "jpg",
    top: options.Top = 5,
    batch_size: options.BatchSize = 16,
    recursive: options.Recursive = True,
    fail_fast: options.FailFast = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Show where the model looked: heatmap overlays and a top-k report, for pictures, folders or a pipe.

    The default model is bundled and needs no network.
    Guided methods barely depend on class and weights (arXiv:1810.03292):
    read them beside Grad-CAM, not instead.
    """
    problems = Problems()
    given = problems.of_model(flags)
    for name in method:
        problems.catch(partial(methods.get, name))
    problems.catch(lambda: targets.check(Spec(**asked.for_spec())))
    pictures = () if save == "none" else tuple(part.strip() for part in save.split(","))
    for picture in pictures:
        problems.choice("--save", picture, options.SAVED)
    augments = tuple(part.strip() for part in augment.split(",")) if augment else ()
    for name in augments:
        problems.choice("--augment", name, get_args(Augment))
    if sanity is not None:
        problems.choice("--sanity", sanity, get_args(Sanity))
    if fuse is not None:
        problems.choice("--fuse", fuse, get_args(Fuse))
    problems.choice("--fit", fit, get_args(Fit))
    problems.choice("--colormap", colormap, COLORMAPS)
    problems.choice("--norm", norm, get_args(Norm))
    problems.choice("--format", format, get_args(PictureFormat))
    if (norm == "fixed") != (norm_max is not None):
        problems.add('--norm fixed and --norm-max VALUE go together (rows give each answer\'s own "max")')
    elif norm_max is not None and norm_max <= 0:
        problems.add("--norm-max must be above 0")
    folder, file = options.output_path(output) if pictures else (None, None)
    if neurons and folder is not None:
        pictures = (*pictures, "neurons")
    if file is not None:
        answers = len(method) * len(asked.class_) * max(1, len(layer or ()))
        problems.of_one_file(file, pictures, asked.class_, answers, json)
    problems.raise_any()
    spec = Spec(
        **given,
        **asked.for_spec(),
        methods=tuple(method),
        layers=tuple(layer or ()),
        fuse=cast(Fuse | None, fuse),
        augment=augments,
        eigen_smooth=eigen_smooth,
        neurons=neurons,
        sanity=cast(Sanity | None, sanity),
        fit=cast(Fit, fit),
        top=top,
        batch_size=batch_size,
    )
    where = OutputSpec(
        folder=folder,
        file=file,
        pictures=cast(tuple[Picture, ...], pictures),
        colormap=colormap,
        opacity=opacity,
        norm=cast(Norm, norm),
        norm_max=norm_max,
        max_side=max_side,
        format=cast(PictureFormat, format),
    )
    return _run(inputs, spec, where, recursive, fail_fast, json, quiet)


@console.guarded
@options.spread
def classify(
    inputs: options.Inputs,
    flags: options.ModelFlags,
    fit: options.FitOption = "crop",
    top: options.Top = 5,
    batch_size: options.BatchSize = 16,
    recursive: options.Recursive = True,
    fail_fast: options.FailFast = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> ExitCode:
    """Report the top-k classes only: no gradients, no files."""
    problems = Problems()
    given = problems.of_model(flags)
    problems.choice("--fit", fit, get_args(Fit))
    problems.raise_any()
    spec = Spec(
        **given,
        methods=(),
        classes=(),
        fit=cast(Fit, fit),
        top=top,
        batch_size=batch_size,
    )
    return _run(inputs, spec, OutputSpec(pictures=()), recursive, fail_fast, json, quiet)


def _run(
    arguments: list[str],
    spec: Spec,
    where: OutputSpec,
    recursive: bool,
    fail_fast: bool,
    json: bool,
    quiet: bool,
) -> ExitCode:
    started = time.perf_counter()
    refs = inputs_.expand(arguments, recursive=recursive, skip=where.folder, stdin=sys.stdin.buffer)
    if where.file is not None:
        refs = _only_one(refs, where.file)
    single = len(arguments) == 1 and Path(arguments[0]).is_file()
    tally = _Tally()
    with open_sinks(where) as files:
        # Seconds of imports: only now that the request is known to be right.
        allocator.tune()
        from camcli.engine import Engine

        engine = Engine(spec, progress=not quiet and sys.stderr.isatty())
        for remark in engine.remarks:
            console.say(remark)
        with console.progress(quiet or single) as board:
            engine.on_step = board.step
            for result in engine.explain(refs):
                row = as_row(result, files.write(result))
                board.done(row["input"])
                tally.add(row)
                if json:
                    board.line(dump(row))
                elif isinstance(result, Failed):
                    console.say(f"refused {row['input']}: {result.message}")
                elif where.file != "-":
                    if single:
                        report.show_in_full(row, [*map(_of_layer, engine.layers), report.made_with(row)], board.line)
                    else:
                        report.show_line(row, board.line)
                if tally.refused and fail_fast:
                    break
    if not quiet and not single:
        tally.say(time.perf_counter() - started, where.folder)
    return ExitCode.SOME_FAILED if tally.refused else ExitCode.OK


@dataclass(slots=True)
class _Tally:
    """What a run came to, for its last lines."""

    done: int = 0
    refused: int = 0
    of_known_truth: int = 0
    correct: int = 0
    answered: dict[str, Any] | None = None

    def add(self, row: dict[str, Any]) -> None:
        self.done += 1
        if "error" in row:
            self.refused += 1
            return
        self.of_known_truth += "truth" in row
        self.correct += row.get("correct", False)
        self.answered = row

    def say(self, seconds: float, folder: Path | None) -> None:
        right = f", {self.correct} of {self.of_known_truth} as their folder says" if self.of_known_truth else ""
        to = f"; files in {folder}" if folder else ""
        answered = self.done - self.refused
        console.say(f"{answered} of {self.done} pictures answered, {self.refused} refused{right}, {seconds:.1f} s{to}")
        if self.answered is not None:
            console.say(report.made_with(self.answered))


def _of_layer(layer: Layer) -> str:
    return f"layer {layer.name} ({'x'.join(map(str, layer.shape))}): {layer.why}"


def _only_one(refs: Iterator[Ref], file: str) -> Iterator[Ref]:
    first = list(islice(refs, 2))
    if len(first) > 1:
        raise RequestError(f"-o {file} takes one picture, and there are several: name a folder")
    return chain(first, refs)
