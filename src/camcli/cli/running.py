"""A run on the command line: from results to rows, progress, and an exit code."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from camcli.cli import console, report, retyping
from camcli.cli.destinations import STDOUT, check_place
from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.flags.run import RunFlags, shard_numbers
from camcli.cli.stopping import Stop, stoppable
from camcli.errors import ExitCode, RequestError
from camcli.inputs import json_lines
from camcli.inputs import refs as inputs_
from camcli.inputs.moving import Moving
from camcli.models import catalog
from camcli.records import Ref, Row
from camcli.sinks import (
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
from camcli.specs import PARTNER, OutputSpec, Spec
from camcli.storage import pipes, uris

if TYPE_CHECKING:
    from camcli.network.layer import Layer


def run(
    arguments: list[str],
    spec: Spec,
    where: OutputSpec,
    computed: ComputeFlags,
    flow: RunFlags,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
) -> ExitCode:
    """Explain the inputs and show the results."""
    started = time.perf_counter()
    folder = os.fspath(where.folder) if where.folder is not None else None
    shard = shard_numbers(flow.shard) if flow.shard is not None else None
    tally = _Tally()
    moving = Moving.of(spec, flow.max_pixels, whole=catalog.takes_clips(spec))
    part = _listed(arguments, shard, folder, tally.passed, moving, dict(spec.bound), recursive=flow.recursive)
    if where.file is not None:
        check_place(where.file)
        only = _only_one(part(1), where.file)
        part = partial(_same, only)
    single = len(arguments) == 1 and _is_one(arguments[0], moving, dict(spec.bound))
    with stoppable() as stop:
        try:
            with (
                open_sinks(where) as files,
                open_journal(spec, where, JournalSpec(overwrite, retry_failed, shard)) as journal,
                open_table(flow.results) as table,
                open_page(flow.page, retyping.described) as page,
                console.progress(flow.quiet or single) as board,
                _source(spec, where, computed, flow, _Inputs(part, journal, stop), files, page, board) as source,
            ):
                for row in source.rows:
                    board.done(row["input"])
                    tally.add(row)
                    table.add(row)
                    page.add(row)
                    if flow.json:
                        board.line(dump(row))
                    else:
                        _show(row, board, source.notes if single else None, to_stdout=where.file == STDOUT)
                    if (tally.refused and flow.fail_fast) or (stop.code and flow.engine == "ray"):
                        break
                else:
                    if stop.code is None:
                        journal.finish()
                tally.before = journal.done_before
                tally.miss_films(asked=moving.animated)
        except KeyboardInterrupt:
            if stop.code is None:
                raise
    if tally.done and not flow.quiet and not single:
        tally.say(time.perf_counter() - started, folder)
    if stop.code is not None:
        console.say("interrupted" + ("; the same command goes on from here" if where.durable else ""))
        return stop.code
    return ExitCode.SOME_FAILED if tally.refused else ExitCode.OK


def _is_one(argument: str, moving: Moving, bound: Mapping[str, str]) -> bool:
    """True if it gives one picture."""
    several = json_lines.is_list(argument) or PARTNER in bound or moving.splits(Path(argument))
    return Path(argument).is_file() and not several


def _show(row: Row, board: console.Board, notes: Sequence[str] | None, *, to_stdout: bool) -> None:
    """Show a row to people, in full if there are notes. A picture on stdout leaves no room for one."""
    if "error" in row:
        console.say(f"refused {row['input']}: {row['error']['message']}")
    elif to_stdout:
        if "note" in row:
            console.say(f"{row['input']}: {row['note']}")
    elif notes is not None:
        report.show_in_full(row, [*notes, report.made_with(row)], board.line)
    else:
        report.show_line(row, board.line)


# Gives the refs of this run, or of this shard of it, when told how many make a batch.
Part = Callable[[int], Iterator[Ref]]


def _listed(
    arguments: list[str],
    shard: tuple[int, int] | None,
    folder: str | None,
    passed: Counter[str],
    moving: Moving,
    bound: Mapping[str, str],
    *,
    recursive: bool,
) -> Part:
    local = uris.local_path(folder) if folder is not None else None

    def listed(passed: Counter[str] | None = None) -> Iterator[Ref]:
        skip = Path(local) if local is not None else None
        return inputs_.expand(
            arguments,
            recursive=recursive,
            skip=skip,
            stdin=sys.stdin.buffer,
            passed=passed,
            moving=moving,
            bound=bound,
        )

    refs = listed(passed)
    if shard is None:
        return partial(_same, refs)
    if any(argument == "-" or pipes.is_open(argument) for argument in arguments):
        names = list(refs)
        return lambda block: inputs_.shard(names, len(names), *shard, block)
    # Counted and then listed again: the names of a large run are not kept.
    count = sum(1 for _ in refs)
    return lambda block: inputs_.shard(listed(), count, *shard, block)


def _same(refs: Iterator[Ref], block: int) -> Iterator[Ref]:
    return refs


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The inputs of this run that are left to do."""

    part: Part
    journal: Journal
    stop: Stop

    def __call__(self, block: int) -> Iterator[Ref]:
        return self.stop.until(self.journal.remaining(self.part(block), block), block)


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
    files: Files,
    page: Page,
    board: console.Board,
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
    computing = pipeline.rows(engine, inputs(engine.batch_size), files, page, fail_fast=flow.fail_fast)
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

    def say(self, seconds: float, folder: str | None) -> None:
        right = f", {self.correct} of {self.of_known_truth} as their folder says" if self.of_known_truth else ""
        to = f"; files in {folder}" if folder else ""
        answered = self.done - self.refused
        already = f" ({self.before} of them done before)" if self.before else ""
        console.say(
            f"{answered} of {self.done} pictures answered, {self.refused} refused{already}{right}, {seconds:.1f} s{to}"
        )
        if self.passed:
            console.say(inputs_.passed_over(self.passed))
        if self.answered is not None:
            console.say(report.made_with(self.answered))


def _only_one(refs: Iterator[Ref], file: str) -> Iterator[Ref]:
    first = list(islice(refs, 2))
    if len(first) > 1:
        raise RequestError(f"-o {file} takes one picture, and there are several: name a folder")
    return chain(first, refs)
