"""Refs in, results out: one result per ref, in order, a batch at a time.

A bad request is raised by `Engine(spec)` before any picture is read; a bad picture becomes a `Failed` record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import fields, replace
from functools import cached_property, partial
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camcli import models
from camcli._version import __version__
from camcli.answers.attributing import attributions
from camcli.answers.batch import Batch, batch_of
from camcli.errors import InputError, SetupError
from camcli.inputs.moving import sampling_of
from camcli.inputs.reading import Item, Reader
from camcli.machine import faults
from camcli.machine.faults import machine_failures
from camcli.machine.fp32 import in_fp32
from camcli.machine.pools import ahead, default_workers, pool_of
from camcli.methods import Method
from camcli.models import Model
from camcli.network import habits
from camcli.network.layer import Layer
from camcli.questions import classes, conflicts, telling
from camcli.questions.asking import Asker, Partners
from camcli.questions.binding import Binder
from camcli.questions.folders import FolderClasses
from camcli.records import MAX_PIXELS, Attribution, Explained, Failed, Provenance, Ref, Result, Truth
from camcli.running import tuning
from camcli.running.preparing import prepare
from camcli.specs import PARTNER, Spec
from camcli.tasks.task import Prediction

# So many of the things found are named when what is asked about is not among them.
_NAMED = 8


class Engine:
    """A loaded model with the methods, layers and targets of one spec, that answers batches.

    `model` is taken in place of the one that the spec names, and `function` in place of its target function. `workers`
    threads decode. A picture of more than `max_pixels` is refused.

    Raises:
        RequestError: an unknown model, weights, method, class or layer.
        SetupError: weights unreachable, no device, one that has failed, too little memory, or a method that does not
            apply to the model.
    """

    @machine_failures()
    def __init__(
        self,
        spec: Spec,
        *,
        model: Model | None = None,
        function: Callable[[Any], Tensor] | None = None,
        progress: bool = False,
        workers: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.spec = spec
        self.workers = workers or default_workers()
        # Told how many of how many forwards are done, by methods that take many.
        self.on_step: Callable[[int, int], None] = lambda done, of: None
        # Told what has to be said while the run goes on.
        self.on_remark: Callable[[str], None] = lambda text: None
        # Everything that can be refused without the weights is refused before they are fetched.
        conflicts.methods_of(spec)
        if model is None:
            if (known := models.labels_of(spec)) is not None:
                for texts in (spec.classes, spec.contrast or ()):
                    classes.parse(texts, known, spec.model or models.catalog.BUNDLED, models.typed(spec))
            model = models.load_model(spec, progress=progress)
        model = replace(model, task=telling.told(model.task, spec))
        spec = self.spec = conflicts.resolved(spec, model.task)
        asked, left_out = conflicts.methods_of(spec, model.task)
        if spec.output_index is not None:
            model = models.without_classes(model)
        self.asker = Asker(spec, model, function)
        self.binder = Binder(spec, model)
        conflicts.check_model(spec, model)
        prepared = prepare(spec, model, asked, self.asker, lambda done, of: self.on_step(done, of))
        self.model, self.plan = prepared.model, prepared.plan
        self._prepared = prepared
        self.binder.look_at(prepared.plan.network)
        self.remarks = [*model.remarks, *tuning.remarks(spec, model.device), *left_out, *prepared.remarks]
        # The pictures of one forward: fewer than a batch once so many did not fit in memory.
        self._most = self.batch_size
        truth = FolderClasses(model, lambda text: self.on_remark(text)) if self.asker.by_folder else None
        fit = spec.fit or model.task.fit
        self.reader = Reader(model.preset, fit, spec.decoding, truth, max_pixels, sampling_of(spec))

    @property
    def methods(self) -> Sequence[Method]:
        """The methods that are asked for and apply."""
        return self.plan.methods

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers that maps are read at."""
        return self.plan.layers

    @property
    def batch_size(self) -> int:
        """The number of pictures in a batch."""
        return self.plan.network.batch_size

    @property
    def overlaps(self) -> bool:
        """True if computing leaves cores idle."""
        return self.model.device != "cpu"

    def explain(self, refs: Iterable[Ref]) -> Iterator[Result]:
        """One result per ref, in order. Memory is a few batches, whatever the number of refs."""
        with pool_of(self.workers) as pool:
            yield from chain.from_iterable(self.batches(refs, pool))

    def batches(self, refs: Iterable[Ref], pool: Executor) -> Iterator[list[Result]]:
        """`explain`, a batch at a time, with the pictures decoded by `pool`.

        On a CPU decoding and computing take turns, each with all cores; on a GPU the next batch is decoded meanwhile.

        Raises: RequestError: the first picture does not bring what the network takes with it.
        """
        refs = iter(refs)
        if (first := next(refs, None)) is not None:
            self.binder.check(first)
            refs = chain([first], refs)
        batches = self.reader.batches(refs, self.batch_size, pool, self.workers)
        # By map, no name here keeps a batch's pictures alive while the next one is decoded.
        return map(self.answer, ahead(batches) if self.overlaps else batches)

    @cached_property
    def provenance(self) -> Provenance:
        """The origin of this engine's answers; waits for the digest of the weights."""
        model, spec = self.model, self.spec
        packages = dict.fromkeys(("torch", "torchvision", model.package))
        return Provenance(
            weights_sha256=model.digest.hexdigest() if model.digest else None,
            preset=model.preset,
            device=model.device,
            dtype=str(next((p.dtype for p in model.net.parameters()), torch.float32)).removeprefix("torch."),
            versions={"camcli": __version__} | {package: version(package) for package in packages},
            spec={f.name: value for f in fields(spec) if (value := getattr(spec, f.name)) or value != f.default},
        )

    @machine_failures()
    @in_fp32()
    def answer(self, batch: Sequence[Item]) -> list[Result]:
        """The results of the items that were read, and the refusals of the others; in order.

        Raises: SetupError: the device has failed, or memory does not suffice for the model.
        """
        by_shape: dict[Any, list[Item]] = {}
        for item in batch:
            if item.view is None:
                continue
            try:
                item.bound = self.binder.encoded(item.ref)
            except InputError as error:
                item.result = Failed(item.ref, error.stage, error.kind, str(error))
                continue
            bound = [tuple(tensor.shape) for tensor in item.bound or ()]
            by_shape.setdefault((item.view.pixels.shape, *bound), []).append(item)
        for same in by_shape.values():
            try:
                self._explain_same_shape(same)
            except SetupError as error:  # views of this size, not all
                for item in same:
                    item.result = Failed(item.ref, "predict", "model", str(error))
        return [item.result for item in batch if item.result is not None]

    def _explain_same_shape(self, items: Sequence[Item]) -> None:
        """Explains the items together, or by halves if so many don't fit in memory."""
        for start in range(0, len(items), self._most):
            part = items[start : start + self._most]
            if not faults.fits(partial(self._explain_together, part)):
                if len(part) == 1:
                    part[0].result = Failed(part[0].ref, "predict", "memory", "it does not fit in memory, alone")
                    continue
                self._most = (len(part) + 1) // 2
                self.on_remark(f"{len(part)} pictures at once don't fit in memory: {self._most} from here on")
                self._explain_same_shape(items[start:])
                return

    def _explain_together(self, items: Sequence[Item]) -> None:
        started = time.perf_counter()
        # A compiled network is built for batches of one size: the last picture fills them up.
        filled = [*items, *[items[-1]] * (self._most - len(items))] if self.spec.compile else items
        views = [item.view.pixels for item in filled if item.view]
        images = batch_of(views, self.plan.network, self.model.device)
        bound = self.binder.together([item.bound for item in filled], images)
        partners = None
        if self.binder.compares:
            partners, bound = Partners([item.ref.bound[PARTNER] for item in filled], bound[0]), []
        batch = Batch(self.plan.with_bound(bound), images)
        predictions = self.predictions(batch, filled)
        predicted = time.perf_counter()
        answered: list[list[Attribution] | str] = [[] for _ in items]
        if self.methods:
            truths = [item.truth for item in filled]
            asked = self.asker.ask(batch.forward.outputs, predictions, truths, partners)
            randomised = [(part, Batch(plan.with_bound(bound), images)) for part, plan in self._prepared.randomised]
            answered = attributions(batch, asked, predictions, randomised, neurons=self.spec.neurons)
        shared = {
            "forward": _ms(started, predicted) / len(items),
            "explain": _ms(predicted, time.perf_counter()) / len(items),
        }
        answered = [self._noted(answers) for answers in answered]
        for item, prediction, answers in zip(items, predictions, answered, strict=False):
            item.result = self._result(item, prediction, answers, shared)

    def predictions(self, batch: Batch, items: Sequence[Item]) -> Sequence[Prediction]:
        """What the network says of each picture of a batch."""
        placements = [item.view.placement(item.frame.size) for item in items if item.view and item.frame]
        return self.model.task.predictions(batch.forward.outputs, self.model.labels, placements)

    def _noted(self, answers: list[Attribution] | str) -> list[Attribution] | str:
        """A picture's answers; one without a note gets the note that holds for its layer or for the network."""
        if isinstance(answers, str):
            return answers
        drawn = habits.ONE_DRAW if self._prepared.chance else None
        known = self._prepared.notes
        return [replace(one, note=one.note or known.get(one.layer or "", drawn)) for one in answers]

    def _result(
        self, item: Item, prediction: Prediction, answers: list[Attribution] | str, shared: dict[str, float]
    ) -> Result:
        assert item.frame is not None
        assert item.view is not None
        if prediction.refusal is not None:
            return Failed(item.ref, "predict", *prediction.refusal)
        if isinstance(answers, str):
            return Failed(item.ref, "explain", "not-finite", answers)
        if masked := [one.target.name for one in answers if one.target.value == -np.inf]:
            why = f"the model's score of {masked[0]} is minus infinity: it masks that class out"
            return Failed(item.ref, "explain", "not-finite", why)
        if odd := [one.target.name for one in answers if not np.isfinite(one.target.value)]:
            return Failed(item.ref, "explain", "not-finite", f"the number that is explained of {odd[0]} is not finite")
        best = [prediction.entry(key) for key in prediction.told(self.spec.top)]
        truth = None
        if item.truth is not None:
            correct = bool(best) and item.truth == best[0].id
            truth = Truth(item.truth, self.model.labels[item.truth], correct)
        return Explained(
            frame=item.frame,
            box=item.view.box,
            model=self.model.name,
            weights=self.model.weights,
            layer=self.layers[0].name if self.layers else None,
            top=tuple(entry for entry in best if entry.score != -np.inf),
            attributions=tuple(_placed(answers, prediction)),
            ms={**item.ms, **shared},
            provenance=self.provenance,
            truth=truth,
            note=self._why_nothing(prediction) if self.methods and not answers else None,
        )

    def _why_nothing(self, prediction: Prediction) -> str:
        """Words for a picture in which nothing of what was asked about was found."""
        if not prediction.ranking:
            return f"{self.model.task.nothing}: nothing to explain"
        names = dict.fromkeys(prediction.entry(key).label for key in prediction.ranking[:_NAMED])
        return f"nothing found of {', '.join(self.asker.asked_for)}: there is {', '.join(names)}"


def _placed(answers: Sequence[Attribution], prediction: Prediction) -> Iterator[Attribution]:
    """The answers, each told what it covers: maps of a layer that lies on the network's own canvas cover that."""
    for one in answers:
        yield replace(one, box=prediction.covers) if one.layer is not None and one.kind == "map" else one


def _ms(start: float, end: float) -> float:
    return (end - start) * 1e3
