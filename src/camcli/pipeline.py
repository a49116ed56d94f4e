"""Refs in, rows out: a batch is decoded, then computed, then drawn, written and described, each by all cores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

import cv2
import torch
from PIL import Image

from camcli.engine import Engine
from camcli.errors import SetupError
from camcli.outputs import device_failed, lacks_memory
from camcli.pools import ahead, pool_of
from camcli.reading import refused
from camcli.records import MAX_PIXELS, Failed, OutputSpec, Ref, Result, Row, Spec
from camcli.sinks import Files, as_row


def open_engine(
    spec: Spec,
    where: OutputSpec,
    *,
    workers: int | None,
    threads: int | None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
) -> Engine:
    """An engine in a process of its own: sets the process's threads and Pillow's limit.

    Raises: as `Engine`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # pictures are drawn side by side
    # It refuses twice as many, and what is so large inside a container.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    with _machine_failures():
        return Engine(spec, progress=progress, workers=workers, max_pixels=max_pixels)


def rows(engine: Engine, refs: Iterable[Ref], files: Files, *, fail_fast: bool = False) -> Iterator[Row]:
    """One row per ref, in order, when its files are written; with `fail_fast` the first refusal is the last row.

    On a GPU a batch is drawn while the next one is computed.

    Raises: SetupError: files can't be written, the device has failed, or memory does not suffice for the model.
    """

    def finish(result: Result) -> Row:
        try:
            return as_row(result, files.write(result))
        except Exception as error:  # noqa: BLE001  the boundary of one input: it stops no other
            return as_row(refused(result.ref, error, "write"))

    with _machine_failures(), pool_of(engine.workers) as pool:
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


@contextmanager
def _machine_failures() -> Iterator[None]:
    """What a device says that has failed, and memory that doesn't suffice for any picture: about this machine."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        if device_failed(error):
            advice = "start again, which goes on behind what is written, or use --device cpu"
            raise SetupError(f"the device has failed ({said}): {advice}") from error
        if lacks_memory(error):
            raise SetupError(f"the model does not fit in memory ({said}): use a smaller one, or --device") from error
        raise
