"""The same rows from a cluster: `pipeline.rows` over Ray Data, an engine in each actor. Extra camcli[ray].

A block of one batch's refs is the unit: which pictures share a batch does not depend on who computes it. An actor that
dies is started again and its block repeated: files are written under the same names, rows come once.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from itertools import islice
from traceback import format_exc
from typing import Any

from camcli.errors import SetupError, of_code, of_run
from camcli.records import MAX_PIXELS, Ref, Row
from camcli.sinks import dump, open_sinks
from camcli.specs import OutputSpec, Spec

# Pictures of a block if the spec does not say: as on a single CPU.
BLOCK = 16
# Ray handles so many parts of a dataset well; more blocks than that share them.
MAX_PARTS = 2000
# Cores of one engine if nobody says.
CORES = 4
# The one column of what workers return: (kind, value) as JSON. Nothing of theirs is unpickled: an exception may be of a
# class that only they can import.
_TOLD = "told"


@dataclass(frozen=True, slots=True)
class Job:
    """The work of each actor. It works in the folder of the command, if that exists on its machine, and imports the
    user's code from where the command does."""

    spec: Spec
    where: OutputSpec
    threads: int | None = None
    max_pixels: int = MAX_PIXELS
    folder: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(map(os.path.abspath, sys.path)))

    @property
    def block(self) -> int:
        return self.spec.batch_size or BLOCK


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connects to the cluster at the address, else at RAY_ADDRESS, else to one made of this machine.

    Raises: SetupError: Ray is missing, or no cluster answers.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ half writes to stderr as it likes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's of its own future
            import ray.data
    except ImportError:
        raise SetupError("--engine ray needs Ray: `pip install camcli[ray]`") from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # where Ray's words on workers that die belong
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SetupError(f"no Ray cluster at {address or 'this machine'}: {error}") from None
        try:
            yield
        finally:
            ray.shutdown()


def rows(job: Job, refs: Iterable[Ref], workers: int | None, say: Callable[[str], None]) -> Iterator[Row]:
    """One row per ref, in order, from `workers` engines at once; default: one a GPU, or one for a few cores.

    Each remark of the engines is said once.

    Raises: as the local engine does, when the first actor finds out.
    """
    refs = iter(refs)
    blocks = [{"refs": pickle.dumps(block)} for block in iter(lambda: list(islice(refs, job.block)), [])]
    if not blocks:
        return  # a journal has them all
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
    on_gpu = gpus > 0 and job.spec.device != "cpu"
    engines = max(1, min(workers or (gpus if on_gpu else cores // CORES), len(blocks)))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    dataset = ray.data.from_items(blocks, override_num_blocks=min(len(blocks), MAX_PARTS)).flat_map(
        _Worker,
        fn_constructor_args=(job, max(1, cores // engines)),
        compute=ray.data.ActorPoolStrategy(size=engines),
        num_cpus=max(1, cores // engines),
        num_gpus=min(1, gpus / engines) if on_gpu else 0,
    )
    yield from _received((record[_TOLD] for record in dataset.iter_rows()), say)


def _received(told: Iterable[str], say: Callable[[str], None]) -> Iterator[Row]:
    said: set[str] = set()
    for kind, value in map(json.loads, told):
        if kind == "row":
            yield value
        elif kind == "failure":
            code, message, trace = value
            raise of_code(code, message) from _InWorkerError(trace)
        elif value not in said:
            said.add(value)
            say(value)


def _told(kind: str, value: object) -> dict[str, str]:
    return {_TOLD: json.dumps([kind, value])}


class _InWorkerError(Exception):
    """The traceback of a worker, for --debug."""


class _Worker:
    """One engine, built once, in a process of its own."""

    def __init__(self, job: Job, cores: int) -> None:
        if os.path.isdir(job.folder):
            os.chdir(job.folder)
        sys.path.extend(entry for entry in job.path if entry not in sys.path)
        self._where = job.where
        self._remarks: list[str] = []
        self._failure: dict[str, str] | None = None
        try:
            self._open(job, cores)
        except Exception as error:  # noqa: BLE001  told by the first block: Ray would start the actor again for ever
            self._failure = _failure(error)

    def _open(self, job: Job, cores: int) -> None:
        from camcli.machine import process
        from camcli.running import pipeline

        process.tune()
        self._engine = pipeline.open_engine(
            job.spec, job.where, workers=cores, threads=job.threads or cores, max_pixels=job.max_pixels
        )
        self._engine.on_remark = self._remarks.append
        self._remarks.extend(self._engine.remarks)

    def __call__(self, record: dict[str, Any]) -> list[dict[str, str]]:
        from camcli.running import pipeline

        if self._failure is not None:
            return [self._failure]
        try:
            with open_sinks(self._where) as files:
                found = [dump(row) for row in pipeline.rows(self._engine, pickle.loads(record["refs"]), files)]
        except Exception as error:  # noqa: BLE001  the boundary of a process: Ray would wrap it, or could not pickle it
            return [_failure(error)]
        remarks = [_told("remark", remark) for remark in self._remarks]
        self._remarks.clear()
        return [*remarks, *({_TOLD: f'["row", {row}]'} for row in found)]


def _failure(error: Exception) -> dict[str, str]:
    """The error that ends the run, as the local engine would end it: an exit code, a message, and the traceback."""
    known = of_run(error)
    return _told("failure", [int(known.exit_code), str(known), format_exc()])
