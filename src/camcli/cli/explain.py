"""`camcli explain` and `camcli classify`: from flags to a run, from results to rows and an exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast, get_args

from camcli import allocator, methods, remote, targets
from camcli import inputs as inputs_
from camcli.cli import console, options, report
from camcli.cli.problems import Problems
from camcli.errors import ExitCode, RequestError
from camcli.records import Augment, Fit, Fuse, Norm, OutputSpec, Picture, PictureFormat, Ref, Sanity, Spec
from camcli.render import COLORMAPS
from camcli.sinks import Files, Row, dump, open_sinks, open_table


@console.guarded
@options.spread
def explain(
    inputs: options.Inputs,
    flags: options.ModelFlags,
    asked: options.TargetFlags,
    computed: options.ComputeFlags,
    flow: options.RunFlags,
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
    pictures = problems.listed("--save", None if save == "none" else save, options.SAVED)
    augments = problems.listed("--augment", augment, get_args(Augment))
    if sanity is not None:
        problems.choice("--sanity", sanity, get_args(Sanity))
    if fuse is not None:
        problems.choice("--fuse", fuse, get_args(Fuse))
    problems.choice("--fit", fit, get_args(Fit))
    problems.choice("--colormap", colormap, COLORMAPS)
    problems.choice("--norm", norm, get_args(Norm))
    problems.choice("--format", format, get_args(PictureFormat))
    problems.of_flow(computed, flow)
    if norm == "run" and (flow.shard or flow.engine != "local"):
        problems.add("--norm run needs all of the run in one process: give --norm fixed its value with --norm-max")
    if (norm == "fixed") != (norm_max is not None):
        problems.add('--norm fixed and --norm-max VALUE go together (rows give each answer\'s own "max")')
    elif norm_max is not None and norm_max <= 0:
        problems.add("--norm-max must be above 0")
    folder, file = options.output_path(output) if pictures else (None, None)
    if neurons and folder is not None:
        pictures = (*pictures, "neurons")
    if file is not None:
        answers = len(method) * len(asked.class_) * max(1, len(layer or ()))
        problems.of_one_file(file, pictures, asked.class_, answers, flow.json)
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
        **computed.for_spec(),
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
    return _run(inputs, spec, where, computed, flow)


@console.guarded
@options.spread
def classify(
    inputs: options.Inputs,
    flags: options.ModelFlags,
    computed: options.ComputeFlags,
    flow: options.RunFlags,
    fit: options.FitOption = "crop",
    top: options.Top = 5,
    debug: options.Debug = False,
) -> ExitCode:
    """Report the top-k classes only: no gradients, no files."""
    problems = Problems()
    given = problems.of_model(flags)
    problems.choice("--fit", fit, get_args(Fit))
    problems.of_flow(computed, flow)
    problems.raise_any()
    spec = Spec(**given, methods=(), classes=(), fit=cast(Fit, fit), top=top, **computed.for_spec())
    return _run(inputs, spec, OutputSpec(pictures=()), computed, flow)


def _run(
    arguments: list[str], spec: Spec, where: OutputSpec, computed: options.ComputeFlags, flow: options.RunFlags
) -> ExitCode:
    started = time.perf_counter()
    folder = os.fspath(where.folder) if where.folder is not None else None
    local = remote.local_path(folder) if folder is not None else None
    skip = Path(local) if local is not None else None
    refs = inputs_.expand(arguments, recursive=flow.recursive, skip=skip, stdin=sys.stdin.buffer)
    if where.file is not None:
        refs = _only_one(refs, where.file)
    single = len(arguments) == 1 and Path(arguments[0]).is_file()
    tally = _Tally()
    with (
        open_sinks(where) as files,
        open_table(flow.results) as table,
        console.progress(flow.quiet or single) as board,
        _source(spec, where, computed, flow, files, board) as source,
    ):
        for row in source.rows(refs):
            board.done(row["input"])
            tally.add(row)
            table.add(row)
            if flow.json:
                board.line(dump(row))
            elif "error" in row:
                console.say(f"refused {row['input']}: {row['error']['message']}")
            elif where.file == "-":
                continue
            elif single and flow.engine == "local":
                report.show_in_full(row, [*source.notes, report.made_with(row)], board.line)
            else:
                report.show_line(row, board.line)
            if tally.refused and flow.fail_fast:
                break
    if not flow.quiet and not single:
        tally.say(time.perf_counter() - started, folder)
    return ExitCode.SOME_FAILED if tally.refused else ExitCode.OK


@dataclass(frozen=True, slots=True)
class _Source:
    """Where rows come from, and what there is to say of the engine behind them."""

    rows: Callable[[Iterator[Ref]], Iterator[Row]]
    notes: Sequence[str] = ()


@contextmanager
def _source(
    spec: Spec,
    where: OutputSpec,
    computed: options.ComputeFlags,
    flow: options.RunFlags,
    files: Files,
    board: console.Board,
) -> Iterator[_Source]:
    """Seconds of imports: only once the request is known to be right."""
    which = options.shard_numbers(flow.shard) if flow.shard is not None else (1, 1)
    if flow.engine == "ray":
        from camcli import ray_engine

        job = ray_engine.Job(spec, where, computed.threads)
        with ray_engine.cluster(flow.ray_address):
            yield _Source(lambda refs: ray_engine.rows(job, _part(refs, which, job.block), computed.workers))
        return
    allocator.tune()
    from camcli import pipeline

    engine = pipeline.open_engine(
        spec, where, workers=computed.workers, threads=computed.threads, progress=not flow.quiet and sys.stderr.isatty()
    )
    for remark in engine.remarks:
        console.say(remark)
    engine.on_step = board.step
    yield _Source(
        lambda refs: pipeline.rows(engine, _part(refs, which, engine.batch_size), files, fail_fast=flow.fail_fast),
        [f"layer {layer.name} ({'x'.join(map(str, layer.shape))}): {layer.why}" for layer in engine.layers],
    )


def _part(refs: Iterator[Ref], which: tuple[int, int], block: int) -> Iterator[Ref]:
    return refs if which == (1, 1) else inputs_.shard(refs, *which, block)


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

    def say(self, seconds: float, folder: str | None) -> None:
        right = f", {self.correct} of {self.of_known_truth} as their folder says" if self.of_known_truth else ""
        to = f"; files in {folder}" if folder else ""
        answered = self.done - self.refused
        console.say(f"{answered} of {self.done} pictures answered, {self.refused} refused{right}, {seconds:.1f} s{to}")
        if self.answered is not None:
            console.say(report.made_with(self.answered))


def _only_one(refs: Iterator[Ref], file: str) -> Iterator[Ref]:
    first = list(islice(refs, 2))
    if len(first) > 1:
        raise RequestError(f"-o {file} takes one picture, and there are several: name a folder")
    return chain(first, refs)
