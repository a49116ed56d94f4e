"""Refs in, results out: one result per ref, in order, a batch at a time.

A bad request is raised by `Engine(spec)` before any picture is read; a bad picture becomes a `Failed` record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camcli import (
    __version__,
    classes,
    comparing,
    diagnosis,
    images,
    layers,
    methods,
    models,
    needs,
    questions,
    sanity,
    targets,
)
from camcli.answers import Answer, Batch, Plan
from camcli.errors import InputError, RequestError, SetupError
from camcli.evidence import Network
from camcli.layers import Layer
from camcli.maps import Trace
from camcli.methods import Method
from camcli.neurons import neurons_of
from camcli.questions import Asked, Asker, Prediction
from camcli.records import (
    Attribution,
    Explained,
    Failed,
    Frame,
    Provenance,
    Ref,
    Result,
    SanityCheck,
    Spec,
    Truth,
    View,
)
from camcli.targets import OfClass
from camcli.tracing import trace

# A batch ends early when its decoded frames hold this many pixels (3 bytes each), so that memory does not
# depend on how large the pictures are.
MAX_BATCH_PIXELS = 100_000_000


@dataclass(slots=True)
class _Item:
    """One ref on its way through a batch."""

    ref: Ref
    ms: dict[str, float] = field(default_factory=dict)
    truth: int | None = None
    frame: Frame | None = None
    view: View | None = None
    result: Result | None = None


class Engine:
    """A loaded model with the methods, layers and targets of one spec.

    Raises:
        RequestError: an unknown model, weights, method, class or layer.
        SetupError: weights unreachable, no device, or a method that does not apply to the model.
    """

    def __init__(self, spec: Spec, *, progress: bool = False, skip_inapplicable: bool = False) -> None:
        if spec.batch_size < 1 or spec.top < 1:
            raise RequestError("batch size and top must be at least 1")
        self.spec = spec
        # Everything that can be refused without the weights is refused before they are fetched.
        self.methods: list[Method] = [methods.get(name) for name in dict.fromkeys(spec.methods)]
        targets.check(spec)
        if (known := models.labels_of(spec)) is not None:
            for texts in (spec.classes, spec.contrast or ()):
                classes.parse(texts, known, spec.model or models.catalog.BUNDLED)
        self.model = models.load_model(spec, progress=progress)
        if spec.output_index is not None:
            self.model = questions.without_classes(self.model)
        self._asker = Asker(spec, self.model)
        self._check_smoothing()
        if spec.fit == "full" and self.model.fixed_size:
            side = self.model.preset.crop
            raise SetupError(f"{self.model.name} takes {side}x{side} pictures only: use --fit crop, squash or pad")
        # Told how many of how many forwards are done, by methods that take many.
        self.on_step: Callable[[int, int], None] = lambda done, of: None
        self.layers: list[Layer] = []
        self._network = Network(
            self.model.net, self.model.readout, spec.batch_size, spec.seed, self._black(), step=self._step
        )
        self._skip_inapplicable = skip_inapplicable
        self._plan = Plan(self._network, self.methods)
        self._randomised: list[tuple[str, Plan]] = []
        self.remarks = list(self.model.remarks)
        if self.methods:
            self._inspect()

    def explain(self, refs: Iterable[Ref]) -> Iterator[Result]:
        """One result per ref, in order. Memory is one batch, whatever the number of refs."""
        batch: list[_Item] = []
        pixels = 0
        for ref in refs:
            batch.append(item := self._decode(ref))
            pixels += item.frame.rgb.size // 3 if item.frame else 0
            if len(batch) >= self.spec.batch_size or pixels >= MAX_BATCH_PIXELS:
                yield from self._explain_batch(batch)
                batch, pixels = [], 0
        yield from self._explain_batch(batch)

    @cached_property
    def provenance(self) -> Provenance:
        """What this engine's answers are made with; waits for the digest of the weights."""
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

    def _step(self, done: int, of: int) -> None:
        self.on_step(done, of)

    def _check_smoothing(self) -> None:
        spec = self.spec
        if spec.fuse and len(dict.fromkeys(spec.layers)) < 2:
            raise RequestError("--fuse joins the maps of several layers: name two or more with --layer")
        for method in self.methods:
            if spec.eigen_smooth and "combine" not in method.needs:
                raise RequestError(f"--eigen-smooth replaces a sum over channels, and {method.name} has none")
        if "scale" in spec.augment and self.model.fixed_size:
            raise SetupError(f"{self.model.name} takes pictures of one size only: use --augment flip")

    def _black(self) -> Tensor:
        mean, std = (
            torch.tensor(numbers, device=self.model.device)
            for numbers in (self.model.preset.mean, self.model.preset.std)
        )
        return (-mean / std)[:, None, None]

    def _inspect(self) -> None:
        side, channels = self.model.preset.crop, len(self.model.preset.mean)
        grey = torch.zeros(1, channels, side, side, device=self.model.device)
        traced = trace(self.model.net, grey, self.model.readout)
        if any(method.at_layer for method in self.methods):
            self.layers = layers.resolve(self.model.net, traced, self.spec.layers, self.model.name)
        stages = {}
        if any(method.needs & needs.AT_STAGES for method in self.methods):
            stages = {layer.name: layers.stages(self.model.net, traced, layer) for layer in self.layers}
        if self.spec.similar_to is not None:
            embedder = self.model.net.get_submodule(layers.last_weighted(self.model.net, traced))
            self._network = replace(self._network, embedder=embedder)
        self._asker.look_at(self._network)
        noise = torch.randn(2, *grey.shape[1:], generator=torch.Generator().manual_seed(0)).to(grey.device)
        for method in list(self.methods):
            try:
                self._check_applies(method, traced, noise)
            except SetupError as error:
                refusal = f"{method.name} does not apply to {self.model.name}: {error}"
                if not self._skip_inapplicable:
                    raise SetupError(refusal) from None
                self.remarks.append(refusal)
                self.methods.remove(method)
        self._plan = Plan(
            self._network, self.methods, self.layers, stages, self.spec.augment, self.spec.eigen_smooth, self.spec.fuse
        )
        if self.spec.sanity is not None:
            self._randomised = list(sanity.randomised(self._plan, traced, self.spec.sanity))

    def _check_applies(self, method: Method, traced: Trace, noise: Tensor) -> None:
        """Refuse a method that needs what this network does not have before any picture is read."""
        if method.bends_relu:
            others = ", ".join(f"{name} x{count}" for name, count in traced.others.items())
            if traced.rectifiers == 0:
                raise SetupError(
                    "it bends the gradient of ReLU, and none of this model's activations is one "
                    f"({others or 'none at all'}); use grad-cam or gradient"
                )
            if others:
                self.remarks.append(
                    f"{method.name}: {traced.rectifiers} ReLU activations are bent; {others} keep their own gradient"
                )
        if method.needs & needs.NOT_EVERYWHERE:
            batch = Batch(Plan(self._network, [method], self.layers), noise)
            for _ in batch.answers(OfClass((0, 0))):
                pass

    def _decode(self, ref: Ref) -> _Item:
        item = _Item(ref)
        started = time.perf_counter()
        try:
            if self._asker.by_folder:
                item.truth = self._truth(ref)
            item.frame = images.read_frame(ref)
            decoded = time.perf_counter()
            item.view = images.view_of(item.frame, self.model.preset, self.spec.fit)
            item.ms = {"decode": _ms(started, decoded), "preprocess": _ms(decoded, time.perf_counter())}
        except InputError as error:
            item.result = Failed(ref, error.stage, error.kind, str(error))
        return item

    def _truth(self, ref: Ref) -> int:
        if ref.path is None:
            raise InputError("target", "no-folder", "it came through a pipe, so no folder names its class")
        folder = ref.path.absolute().parent.name
        found = classes.of_folder(folder, self.model.labels, self.model.wordnet_ids)
        if found is None:
            raise InputError("target", "unknown-class", f"its folder {folder!r} names no class of {self.model.name}")
        return found

    def _explain_batch(self, batch: Sequence[_Item]) -> Iterator[Result]:
        by_shape: dict[tuple[int, ...], list[_Item]] = {}
        for item in batch:
            if item.view is not None:
                by_shape.setdefault(item.view.pixels.shape, []).append(item)
        for same in by_shape.values():
            try:
                self._explain_same_shape(same)
            except SetupError as error:  # views of this size, not all
                for item in same:
                    item.result = Failed(item.ref, "predict", "model", str(error))
        for item in batch:
            assert item.result is not None
            yield item.result

    def _explain_same_shape(self, items: Sequence[_Item]) -> None:
        started = time.perf_counter()
        stacked = torch.from_numpy(np.stack([item.view.pixels for item in items if item.view]))
        batch = Batch(self._plan, stacked.to(self.model.device))
        predictions = questions.predictions(batch.forward.logits, self.model)
        predicted = time.perf_counter()
        randomised = [(part, Batch(plan, batch.forward.images)) for part, plan in self._randomised]
        attributions = self._attributions(batch, randomised, predictions, [item.truth for item in items])
        shared = {
            "forward": _ms(started, predicted) / len(items),
            "explain": _ms(predicted, time.perf_counter()) / len(items),
        }
        for item, prediction, answers in zip(items, predictions, attributions, strict=True):
            item.result = self._result(item, prediction, answers, shared)

    def _result(
        self, item: _Item, prediction: Prediction, answers: list[Attribution] | str, shared: dict[str, float]
    ) -> Result:
        assert item.frame is not None
        assert item.view is not None
        if not np.isfinite(prediction.logits).all():
            return Failed(item.ref, "predict", "not-finite", "the model's scores are not finite (NaN or infinity)")
        if isinstance(answers, str):
            return Failed(item.ref, "explain", "not-finite", answers)
        truth = None
        if item.truth is not None:
            truth = Truth(item.truth, self.model.labels[item.truth], correct=item.truth == prediction.ranking[0])
        return Explained(
            frame=item.frame,
            box=item.view.box,
            model=self.model.name,
            weights=self.model.weights,
            layer=self.layers[0].name if self.layers else None,
            top=tuple(prediction.score(i) for i in prediction.ranking[: self.spec.top]),
            attributions=tuple(answers),
            ms={**item.ms, **shared},
            provenance=self.provenance,
            truth=truth,
        )

    def _attributions(
        self,
        batch: Batch,
        randomised: Sequence[tuple[str, Batch]],
        found: Sequence[Prediction],
        truths: Sequence[int | None],
    ) -> list[list[Attribution] | str]:
        """Each picture's answers, or why it has none."""
        explained: list[list[Attribution] | str] = [[] for _ in found]
        if not self.methods:
            return explained
        forward = batch.forward
        asked = self._asker.ask(forward, found, truths)
        batch.ask([one.target for one in asked])
        for one in asked:
            for answer in batch.answers(one.target):
                alike = _class_insensitive(batch, one, answer, found)
                again = [
                    (part, _same(other.answers_of(answer.method, one.target), answer)) for part, other in randomised
                ]
                neurons = None
                if self.spec.neurons and answer.layer is not None:
                    neurons = neurons_of(forward, one.target, answer.layer)
                for picture, question in enumerate(one.questions):
                    own = explained[picture]
                    if question is None or isinstance(own, str):
                        continue
                    values, layer = answer.values[picture], answer.layer
                    if not np.isfinite(values).all():
                        explained[picture] = diagnosis.not_finite(forward, layer, answer.method.name, picture)
                        continue
                    note = diagnosis.of_values(values, forward, one.target, layer, question, picture)
                    checks = tuple(_check(part, values, other.values[picture]) for part, other in again)
                    answered = Attribution(
                        method=answer.method.name,
                        kind=answer.method.kind,
                        layer=answer.layer_name,
                        target=question,
                        values=values,
                        neurons=neurons[picture] if neurons else (),
                        sanity=checks,
                    )
                    note = note or diagnosis.of_sanity(answered.unchanged_by) or alike[picture]
                    own.append(replace(answered, note=note))
        return explained


def explain(refs: Iterable[Ref], spec: Spec) -> Iterator[Result]:
    """One result per ref, in order; see `Engine` for what is raised."""
    yield from Engine(spec).explain(refs)


def _class_insensitive(batch: Batch, asked: Asked, answer: Answer, found: Sequence[Prediction]) -> list[str | None]:
    """For each picture whose best or second class was asked about: whether the other one's map is the same.

    Looked at where that costs no further forward.
    """
    notes: list[str | None] = [None] * len(found)
    method = answer.method
    first = next(question for question in asked.questions if question is not None)
    of_class = first.quantity in targets.QUANTITIES and first.score is not None and first.minus is None
    dear = method.needs & (needs.ASKS_AGAIN | needs.TO_PIXELS | needs.AT_STAGES)
    if method.kind != "map" or dear or not of_class or len(found[0].ranking) < 2:
        return notes
    if not method.needs & needs.OF_TARGET:
        return [f"class-insensitive: {method.name} never looks at the class"] * len(found)
    asked_ids = [question.score.id if question and question.score else -1 for question in asked.questions]
    rivals = [own.ranking[own.ranking[0] == asked_id] for own, asked_id in zip(found, asked_ids, strict=True)]
    others = next(
        other for other in batch.answers_of(method, asked.about(tuple(rivals))) if other.layer_name == answer.layer_name
    )
    for picture, own in enumerate(found):
        if asked_ids[picture] in own.ranking[:2]:
            cosine = diagnosis.same_map(answer.values[picture], others.values[picture])
            rival = own.score(rivals[picture])
            if cosine is not None:
                notes[picture] = f"class-insensitive: cosine {cosine:.4f} with the map of {rival.id} {rival.label}"
    return notes


def _same(answers: Iterable[Answer], answer: Answer) -> Answer:
    """The one of the same layer."""
    return next(other for other in answers if other.layer_name == answer.layer_name)


def _check(part: str, values: NDArray[np.float32], other: NDArray[np.float32]) -> SanityCheck:
    return SanityCheck(part, comparing.rank_correlation(values, other), comparing.ssim(values, other))


def _ms(start: float, end: float) -> float:
    return (end - start) * 1e3
