"""The cost of a run on this machine, stage by stage, and the cost and effect of other ways of computing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from camcli.answers.attributing import attributions
from camcli.answers.batch import Batch, batch_of
from camcli.drawing.styles import Style
from camcli.errors import RequestError, SetupError
from camcli.inputs import decoding, preprocessing
from camcli.inputs.reading import Item
from camcli.machine.faults import machine_failures
from camcli.machine.fp32 import in_fp32
from camcli.machine.pools import pool_of
from camcli.records import Explained, Ref, Result, Row
from camcli.running import pipeline
from camcli.running.engine import Engine
from camcli.sinks import as_row, dump, open_sinks
from camcli.sinks.encoding import encoded
from camcli.sinks.files import DRAWN
from camcli.sinks.naming import suffix_of
from camcli.specs import OutputSpec
from camcli.storage.scratch import Scratch
from camcli.storage.writing import put

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
# A batch size is as good as the best if it is so near to it: the smallest such needs the least memory.
AS_GOOD = 0.95
# A gain that is worth a change of the answers.
WORTH_IT = 1.1


@dataclass(frozen=True, slots=True)
class Stage:
    """Wall seconds of one stage for all pictures, with all the cores that it uses."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Variant:
    """Another way to compute the same: pictures per second of the engine alone, and how it agrees with `--exact`.

    top1: the share of pictures with the same best class. deviation: the largest difference of two maps, each scaled
    to its own maximum. cosine: the smallest of two maps.
    """

    what: str
    per_second: float
    top1: float | None = None
    deviation: float | None = None
    cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured; `per_second` of the whole run, files and rows included."""

    pictures: int
    megapixels: float
    per_second: float
    stages: tuple[Stage, ...]
    variants: tuple[Variant, ...]

    @property
    def advice(self) -> list[str]:
        """Advice on what to type, from what was measured."""
        said = []
        total = sum(stage.seconds for stage in self.stages)
        slowest = max(self.stages, key=lambda stage: stage.seconds)
        said.append(f"{slowest.name} takes most: {slowest.seconds / total:.0%} of the time")
        if slowest.name in ("render", "encode") and self.megapixels > 2:
            said.append("the pictures are large: --max-side 1024 draws and encodes a part of their pixels")
        if slowest.name == "decode" and self.megapixels > 2:
            said.append(
                "the pictures are large: --draft 512 decodes JPEGs at a reduced scale, and moves scores a little"
            )
        sizes = {int(v.what.split()[1]): v.per_second for v in self.variants if v.what.startswith("--batch-size")}
        if sizes:
            best = max(sizes.values())
            size = min(size for size, rate in sizes.items() if rate >= AS_GOOD * best)
            said.append(f"--batch-size {size} is as fast as any")
        plain = next(v.per_second for v in self.variants if v.what == "as asked")
        for v in self.variants:
            if v.what.startswith("--precision") and v.per_second >= WORTH_IT * plain:
                said.append(
                    f"{v.what} computes {v.per_second / plain:.1f} times as fast; the best class is the same for "
                    f"{v.top1:.0%}, maps differ by up to {v.deviation:.3f} of their maximum"
                )
        return said

    def as_row(self) -> Row:
        """All that was measured, as JSON-ready data."""
        total = sum(stage.seconds for stage in self.stages)
        return {
            "pictures": self.pictures,
            "megapixels": round(self.megapixels, 3),
            "per_second": round(self.per_second, 2),
            "stages": [
                {
                    "stage": stage.name,
                    "ms": round(stage.seconds / self.pictures * 1e3, 3),
                    "per_second": round(self.pictures / stage.seconds, 1),
                    "share": round(stage.seconds / total, 4),
                }
                for stage in self.stages
            ],
            "variants": [
                {
                    "what": v.what,
                    "per_second": round(v.per_second, 2),
                    "top1_agreement": v.top1,
                    "largest_deviation": v.deviation,
                    "smallest_cosine": v.cosine,
                }
                for v in self.variants
            ],
            "advice": self.advice,
        }


@machine_failures()
def measure(engine: Engine, where: OutputSpec, refs: Sequence[Ref]) -> Measured:
    """Time the refs' way through an engine: each stage for all of them, the whole run, and other ways to compute.

    Raises: SetupError: none of the refs is a picture; and as `Engine.answer`.
    """
    with pool_of(engine.workers) as pool, tempfile.TemporaryDirectory(prefix="camcli-") as folder:
        items = [item for item in pool.map(engine.reader.read, refs) if item.frame is not None]
        if not items:
            raise SetupError("none of the inputs is a picture: nothing to measure")
        refs = [item.ref for item in items]
        stages = _stages(engine, replace(where, folder=folder), refs, items, pool)
        per_second = _whole(engine, replace(where, folder=folder), refs)
    return Measured(
        pictures=len(items),
        megapixels=float(np.mean([item.frame.size[0] * item.frame.size[1] for item in items if item.frame])) / 1e6,
        per_second=per_second,
        stages=tuple(stages),
        variants=tuple(_variants(engine, items)),
    )


def _stages(engine: Engine, where: OutputSpec, refs: Sequence[Ref], items: list[Item], pool: Executor) -> list[Stage]:
    clock = _Clock()
    reader = engine.reader
    for batch in _batches(items, engine.batch_size):  # what is built once counts for no stage
        engine.answer(batch)
    decoded = clock(
        "decode", lambda: list(pool.map(lambda ref: decoding.read(ref, reader.decoding, reader.max_pixels), refs))
    )
    clock(
        "preprocess",
        lambda: list(
            pool.map(lambda pair: preprocessing.view_of(pair[0], reader.preset, reader.fit, pair[1]), decoded)
        ),
    )
    results: list[Result] = []
    for batch in _batches(items, engine.batch_size):
        results += _computed(engine, batch, clock)
    explained = [result for result in results if isinstance(result, Explained)]
    drawn = [kind for kind in where.pictures if kind in ("overlay", "heatmap", "panel")]
    if drawn and explained:
        style = Style.of(where, where.norm_max)
        jobs = [(one, a, kind) for one in explained for a in one.attributions for kind in drawn]
        pictures = clock(
            "render", lambda: list(pool.map(lambda job: DRAWN[job[2]](job[0].frame, job[0].box, job[1], style), jobs))
        )
        files = clock(
            "encode",
            lambda: list(
                pool.map(lambda pair: encoded(pair[0], suffix_of(pair[1][2], where)), zip(pictures, jobs, strict=True))
            ),
        )
        targets = [str(Path(str(where.folder)) / f"{number}.tmp") for number in range(len(files))]
        scratch = Scratch(Path(str(where.folder)))
        clock("write", lambda: list(pool.map(lambda file, target: put(file, target, scratch), files, targets)))
        scratch.close()
    clock("row", lambda: list(pool.map(lambda result: dump(as_row(result)), results)))
    return [Stage(name, seconds) for name, seconds in clock.seconds.items()]


@in_fp32()
def _computed(engine: Engine, batch: Sequence[Item], clock: _Clock) -> list[Result]:
    """The engine's answer, with its forward and its backward timed apart."""
    views = [item.view.pixels for item in batch if item.view]
    shapes = {view.shape for view in views}
    if len(shapes) == 1 and engine.methods:
        gone = clock("forward", lambda: Batch(engine.plan, batch_of(views, engine.plan.network, engine.model.device)))
        found = engine.predictions(gone, batch)

        def backward() -> Any:
            asked = engine.asker.ask(gone.forward.outputs, found, [item.truth for item in batch])
            return attributions(gone, asked, found, [], neurons=engine.spec.neurons)

        clock("backward", backward)
        return engine.answer(batch)
    return clock("forward", lambda: engine.answer(batch))  # type: ignore[no-any-return]


def _whole(engine: Engine, where: OutputSpec, refs: Sequence[Ref]) -> float:
    started = time.perf_counter()
    with open_sinks(where) as files:
        count = sum(bool(dump(row)) for row in pipeline.rows(engine, refs, files))
    return count / (time.perf_counter() - started)


def _variants(engine: Engine, items: list[Item]) -> Iterable[Variant]:
    spec = replace(engine.spec, methods=tuple(method.name for method in engine.methods))
    reference = _answers(Engine(replace(spec, exact=True, precision="fp32", compile=False)), items, engine.batch_size)
    yield _variant("as asked", engine, items, reference[1])
    yield Variant("--exact", reference[0])
    sizes = [size for size in BATCH_SIZES if size <= len(items)]
    large = Engine(replace(spec, batch_size=sizes[-1]))
    for size in sizes:
        yield Variant(f"--batch-size {size}", _answers(large, items, size)[0])
    threads = torch.get_num_threads()
    if threads > 1 and engine.model.device == "cpu":
        torch.set_num_threads(threads // 2)
        yield Variant(f"--threads {threads // 2}", _answers(engine, items, engine.batch_size)[0])
        torch.set_num_threads(threads)
    for precision in ("bf16", "fp16") if engine.model.device != "cpu" else ("bf16",):
        if spec.precision == "fp32" and not spec.exact:
            try:
                lowered = Engine(replace(spec, precision=precision))
            except (RequestError, SetupError):  # a method or a layer that it doesn't go with
                continue
            yield _variant(f"--precision {precision}", lowered, items, reference[1])


def _variant(what: str, engine: Engine, items: list[Item], reference: list[Result]) -> Variant:
    rate, found = _answers(engine, items, engine.batch_size)
    pairs = [
        (one, other)
        for one, other in zip(found, reference, strict=True)
        if isinstance(one, Explained) and isinstance(other, Explained)
    ]
    maps = [
        (a.values / max(float(np.abs(a.values).max()), 1e-30), b.values / max(float(np.abs(b.values).max()), 1e-30))
        for one, other in pairs
        for a, b in zip(one.attributions, other.attributions, strict=True)
        if a.target.name == b.target.name and a.values.any() and b.values.any()
    ]
    return Variant(
        what,
        rate,
        top1=float(np.mean([one.top[0].id == other.top[0].id for one, other in pairs])) if pairs else None,
        deviation=max((float(np.abs(a - b).max()) for a, b in maps), default=None),
        cosine=min(
            (float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in maps),
            default=None,
        ),
    )


def _answers(engine: Engine, items: list[Item], size: int) -> tuple[float, list[Result]]:
    """(pictures per second, results) of the engine alone."""
    engine.answer(items[:size])
    started = time.perf_counter()
    results = [result for batch in _batches(items, size) for result in engine.answer(batch)]
    return len(items) / (time.perf_counter() - started), results


def _batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


class _Clock:
    """Wall seconds by name, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, run: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return found
