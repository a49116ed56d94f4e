"""Refs in, rows out: a batch is decoded, then computed, then drawn, written and described, each by all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TypeAlias

import cv2
import torch

from camcli.inputs.reading import refused
from camcli.machine.faults import machine_failures
from camcli.machine.pools import ahead, pool_of
from camcli.questions import conflicts
from camcli.records import MAX_PIXELS, Failed, Ref, Result, Row
from camcli.running.engine import Engine
from camcli.sinks import Files, as_row
from camcli.specs import OutputSpec, Spec

# What looks at a result before its row is there, from any thread.
Watcher: TypeAlias = Callable[[Result], None]


@machine_failures()
def open_engine(
    spec: Spec,
    where: OutputSpec,
    *,
    workers: int | None,
    threads: int | None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
) -> Engine:
    """An engine in a process of its own, whose threads it sets. All other guards are the engine's own.

    Raises: as `Engine`; RequestError: pictures that its model has none of.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # pictures are drawn side by side
    engine = Engine(spec, progress=progress, workers=workers, max_pixels=max_pixels)
    conflicts.check_pictures(where, engine.model)
    return engine


def rows(
    engine: Engine,
    refs: Iterable[Ref],
    files: Files,
    watchers: Sequence[Watcher] = (),
    *,
    fail_fast: bool = False,
) -> Iterator[Row]:
    """One row per ref, in order, when its files are written and the watchers have seen its result; with `fail_fast` the
    first refusal is the last row.

    On a GPU a batch is drawn while the next one is computed.

    Raises: SetupError: files can't be written; and as `Engine.answer`.
    """

    def finish(result: Result) -> Row:
        try:
            row = as_row(result, files.write(result))
            for watch in watchers:
                watch(result)
            return row
        except Exception as error:  # noqa: BLE001  the boundary of one input: it stops no other
            return as_row(refused(result.ref, error, "write"))

    with pool_of(engine.workers) as pool:
        batches: Iterator[list[Result]] = engine.batches(refs, pool)
        if fail_fast:
            batches = _until_refused(batches)
        if engine.overlaps:
            yield from chain.from_iterable(ahead(list(pool.map(finish, results)) for results in ahead(batches)))
        else:
            # By map, no name here keeps a batch's pictures alive while the next one is decoded.
            yield from chain.from_iterable(map(partial(pool.map, finish), batches))


def _until_refused(batches: Iterable[list[Result]]) -> Iterator[list[Result]]:
    for results in batches:
        refused = next((number for number, one in enumerate(results, 1) if isinstance(one, Failed)), None)
        yield results[:refused]
        if refused is not None:
            return
