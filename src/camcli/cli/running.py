"""A run on the command line: from results to rows, progress, and an exit code."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from camcli.cli import console, report, retyping, showing, styled
from camcli.cli.destinations import STDOUT, check_place
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.flags.run import RunFlags, shard_numbers
from camcli.cli.listing import Listing, Part, only_one
from camcli.cli.progress import Board, progress
from camcli.cli.stopping import Stop, stoppable
from camcli.errors import ExitCode
from camcli.inputs import json_lines
from camcli.inputs import refs as inputs_
from camcli.inputs.moving import Moving
from camcli.models import catalog
from camcli.records import Ref, Row
from camcli.sinks import (
    NO_PAGE,
    Files,
    Journal,
    JournalSpec,
    Page,
    dump,
    open_journal,
    open_page,
    open_sinks,
    open_table,
)
from camcli.sinks.origin import made_with
from camcli.specs import PARTNER, OutputSpec, Spec

if TYPE_CHECKING:
    from camcli.network.layer import Layer
    from camcli.running.pipeline import Watcher


def run(
    arguments: list[str],
    spec: Spec,
    where: OutputSpec,
    computed: ComputeFlags,
    flow: RunFlags,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    show: bool = False,
) -> ExitCode:
    """Explain the inputs and show the results."""
    started = time.perf_counter()
    folder = os.fspath(where.folder) if where.folder is not None else None
    shard = shard_numbers(flow.shard) if flow.shard is not None else None
    tally = _Tally()
    moving = Moving.of(spec, flow.max_pixels, whole=catalog.takes_clips(spec))
    listing = Listing(arguments, flow.recursive, folder, moving, dict(spec.bound))
    part = listing.part(shard, tally.passed)
    if where.file is not None:
        check_place(where.file)
        part = only_one(part, where.file)
    single = len(arguments) == 1 and _is_one(arguments[0], moving, dict(spec.bound))
    with stoppable() as stop:
        try:
            with (
                open_sinks(where) as files,
                showing.shown(files, wanted=show, single=single) as shown,
                open_journal(spec, where, JournalSpec(overwrite, retry_failed, shard)) as journal,
                open_table(flow.results) as table,
                open_page(flow.page, retyping.described) as page,
                progress(flow.quiet, listing.once_more(shard), single=single) as board,
                _source(
                    spec,
                    where,
                    computed,
                    flow,
                    _Inputs(part, journal, stop),
                    _Pictures(files, (shown.draw, page.draw)),
                    board,
                ) as source,
            ):
                board.begin()
                for row in source.rows:
                    board.done(row["input"], refused="error" in row)
                    tally.add(row)
                    table.add(row)
                    page.add(row)
                    if flow.json:
                        board.line(dump(row))
                    else:
                        shown.show(row, board)
                        notes = _notes(source, row, flow) if single else None
                        _show(row, board, notes, to_stdout=where.file == STDOUT)
                    if (tally.refused and flow.fail_fast) or (stop.code and flow.engine == "ray"):
                        break
                if stop.code is None and not (tally.refused and flow.fail_fast):
                    journal.finish()
                else:
                    page.stop()
                tally.before = journal.done_before
                tally.page = page
                tally.miss_films(asked=moving.animated)
        except KeyboardInterrupt:
            if stop.code is None:
                raise
    if tally.done and not flow.quiet and not single:
        tally.say(time.perf_counter() - started, folder, verbose=flow.verbose)
    if stop.code is not None:
        console.say("interrupted" + ("; the same command goes on from here" if where.durable else ""))
        return stop.code
    return ExitCode.SOME_FAILED if tally.refused else ExitCode.OK


def _is_one(argument: str, moving: Moving, bound: Mapping[str, str]) -> bool:
    """True if it gives one picture."""
    several = json_lines.is_list(argument) or PARTNER in bound or moving.splits(Path(argument))
    return Path(argument).is_file() and not several


def _notes(source: _Source, row: Row, flow: RunFlags) -> list[str]:
    """What the only answer was made with, if that is to be told."""
    return [*(source.notes or ()), made_with(row)] if flow.verbose and "error" not in row else []


def _show(row: Row, board: Board, notes: Sequence[str] | None, *, to_stdout: bool) -> None:
    """Show a row to people, in full if there are notes. A picture on stdout leaves no room for one."""
    if "error" in row:
        console.say(f"refused {row['input']}: {row['error']['message']}")
    elif to_stdout:
        if "note" in row:
            console.say(f"{row['input']}: {row['note']}")
    elif sys.stdout.isatty():
        board.show(styled.line_of(row) if notes is None else styled.page_of(row, notes))
    else:
        for line in [report.line_of(row)] if notes is None else report.lines_of(row, notes):
            board.line(line)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The inputs of this run that are left to do."""

    part: Part
    journal: Journal
    stop: Stop

    def __call__(self, block: int) -> Iterator[Ref]:
        return self.stop.until(self.journal.remaining(self.part(block), block), block)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The sink of this run's files, and what else draws of its results."""

    files: Files
    watchers: Sequence[Watcher]


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows as they come, and notes on the engine that makes them, if it is in this process."""

    rows: Iterator[Row]
    notes: Sequence[str] | None = None


@contextmanager
def _source(
    spec: Spec,
    where: OutputSpec,
    computed: ComputeFlags,
    flow: RunFlags,
    inputs: _Inputs,
    pictures: _Pictures,
    board: Board,
) -> Iterator[_Source]:
    """The rows of a run. It takes seconds of imports, so it begins only once the request is known to be right."""
    if flow.engine == "ray":
        from camcli.running import cluster

        job = cluster.Job(spec, where, computed.threads, flow.max_pixels)
        with cluster.cluster(flow.ray_address):
            computing = cluster.rows(job, inputs(job.block), computed.workers, console.say)
            yield _Source(inputs.journal.rows(computing))
        return
    from camcli.running import pipeline

    engine = pipeline.open_engine(
        spec,
        where,
        workers=computed.workers,
        threads=computed.threads,
        max_pixels=flow.max_pixels,
        progress=not flow.quiet and sys.stderr.isatty(),
    )
    for remark in engine.remarks:
        console.say(remark)
    engine.on_step, engine.on_remark = board.step, console.say
    inputs.journal.check(lambda: engine.provenance.weights_sha256)
    computing = pipeline.rows(
        engine, inputs(engine.batch_size), pictures.files, pictures.watchers, fail_fast=flow.fail_fast
    )
    yield _Source(
        inputs.journal.rows(computing),
        [
            f"layer {', '.join(f'{own.name} ({_sides(own)})' for own in layers)}: {why}"
            for why, layers in groupby(engine.layers, key=lambda layer: layer.why)
        ],
    )


def _sides(layer: Layer) -> str:
    return "x".join(map(str, layer.shape))


@dataclass(slots=True)
class _Tally:
    """The counts of a run, for its last lines."""

    done: int = 0
    before: int = 0
    refused: int = 0
    of_known_truth: int = 0
    correct: int = 0
    answered: Row | None = None
    films: bool = False
    page: Page = NO_PAGE
    # Files of other kinds, by suffix, that folders hold.
    passed: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        self.done += 1
        self.films |= "moment" in row or "clip" in row
        if "error" in row:
            self.refused += 1
            return
        self.of_known_truth += "truth" in row
        self.correct += row.get("correct", False)
        self.answered = row

    def miss_films(self, *, asked: bool) -> None:
        """Warns if parts of films are asked for, and there were none."""
        if asked and self.done and not self.refused and not self.films:
            console.say("warning: --every, --start and --end are of films, and none was among the inputs")

    def say(self, seconds: float, folder: str | None, *, verbose: bool) -> None:
        right = f", {self.correct} of {self.of_known_truth} as their folder says" if self.of_known_truth else ""
        to = f"; files in {folder}" if folder else ""
        if self.page.file is not None:
            beside = f" (with {self.page.beside} beside it)" if self.page.beside else ""
            to += f"; report in {self.page.file}{beside}"
        answered = self.done - self.refused
        already = f" ({self.before} of them done before)" if self.before else ""
        console.say(
            f"{answered} of {self.done} pictures answered, {self.refused} refused{already}{right}, {seconds:.1f} s{to}"
        )
        if self.passed:
            console.say(inputs_.passed_over(self.passed))
        if verbose and self.answered is not None:
            console.say(made_with(self.answered))
