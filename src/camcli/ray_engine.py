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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from camcli import errors
from camcli.errors import CamcliError, SetupError
from camcli.records import MAX_PIXELS, OutputSpec, Ref, Row, Spec
from camcli.sinks import dump, open_sinks

# Pictures of a block where the spec does not say: as on a single CPU.
BLOCK = 16
# Ray handles so many parts of a dataset well; more blocks than that share them.
MAX_PARTS = 2000
# Cores of one engine where nobody says.
CORES = 4


@dataclass(frozen=True, slots=True)
class Job:
    """What each actor does. It works in the folder of the command, where that exists on its machine."""

    spec: Spec
    where: OutputSpec
    threads: int | None = None
    max_pixels: int = MAX_PIXELS
    folder: str = field(default_factory=os.getcwd)

    @property
    def block(self) -> int:
        return self.spec.batch_size or BLOCK


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connected to the cluster at the address, else at RAY_ADDRESS, else to one made of this machine.

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


def rows(job: Job, refs: Iterable[Ref], workers: int | None) -> Iterator[Row]:
    """One row per ref, in order, from so many engines at once; default: one a GPU, or one for a few cores.

    Raises: as the local engine does, when the first actor finds out.
    """
    import ray

    refs = iter(refs)
    blocks = [{"refs": pickle.dumps(block)} for block in iter(lambda: list(islice(refs, job.block)), [])]
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
    for record in dataset.iter_rows():
        if record.get("failure"):
            kind, message = json.loads(record["failure"])
            raise getattr(errors, kind)(message)
        yield json.loads(record["row"])


class _Worker:
    """One engine, built once, in a process of its own."""

    def __init__(self, job: Job, cores: int) -> None:
        from camcli import pipeline, process

        if os.path.isdir(job.folder):
            os.chdir(job.folder)
        process.tune()
        self._where = job.where
        self._failure: CamcliError | None = None
        try:
            self._engine = pipeline.open_engine(
                job.spec, job.where, workers=cores, threads=job.threads or cores, max_pixels=job.max_pixels
            )
        except CamcliError as error:  # told by the first block: an actor that can't start would be tried for ever
            self._failure = error

    def __call__(self, record: dict[str, Any]) -> list[dict[str, str]]:
        from camcli import pipeline

        try:
            if self._failure is not None:
                raise self._failure
            with open_sinks(self._where) as files:
                found = list(pipeline.rows(self._engine, pickle.loads(record["refs"]), files))
        except CamcliError as error:
            return [{"row": "", "failure": json.dumps([type(error).__name__, str(error)])}]
        return [{"row": dump(row), "failure": ""} for row in found]
