"""A run on the command line: from results to rows, progress, and an exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from camcli import inputs as inputs_
from camcli import remote
from camcli.cli import console, options, report
from camcli.errors import ExitCode, RequestError
from camcli.records import OutputSpec, Ref, Row, Spec
from camcli.sinks import Files, dump, open_sinks, open_table


def run(
    arguments: list[str], spec: Spec, where: OutputSpec, computed: options.ComputeFlags, flow: options.RunFlags
) -> ExitCode:
    """Explain the inputs and show what comes of it."""
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
    answered: Row | None = None

    def add(self, row: Row) -> None:
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
