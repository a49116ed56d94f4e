"""Refs in, results out: one result per ref, in order, a batch at a time.

A bad request is raised by `Engine(spec)` before any picture is read; a bad picture becomes a `Failed` record.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camcli import __version__, images, layers, methods, models, targets
from camcli.errors import InputError, RequestError, SetupError
from camcli.evidence import Forward, trace
from camcli.layers import Layer
from camcli.methods import Method
from camcli.records import Attribution, ClassScore, Explained, Failed, Frame, Provenance, Ref, Result, Spec, Truth, View

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


@dataclass(frozen=True, slots=True)
class _Prediction:
    """One picture's scores: class ids best first, logits and probabilities float32 (K,) by id."""

    labels: Sequence[str]
    ranking: list[int]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    def score(self, class_id: int) -> ClassScore:
        probability, logit = float(self.probabilities[class_id]), float(self.logits[class_id])
        return ClassScore(class_id, self.labels[class_id], probability, logit)


class Engine:
    """A loaded model with the methods, layers and targets of one spec.

    Raises:
        RequestError: an unknown model, weights, method, class or layer.
        SetupError: weights unreachable, no device, or a method that does not apply to the model.
    """

    def __init__(self, spec: Spec, *, progress: bool = False) -> None:
        if spec.batch_size < 1 or spec.top < 1:
            raise RequestError("batch size and top must be at least 1")
        # Everything that can be refused without the weights is refused before they are fetched.
        self.methods: list[Method] = [methods.get(name) for name in dict.fromkeys(spec.methods)]
        if (known := models.labels_of(spec)) is not None:
            targets.parse(spec.classes, known, spec.model or models.catalog.BUNDLED)
        self.model = models.load_model(spec, progress=progress)
        self._selectors = targets.parse(spec.classes, self.model.labels, self.model.name)
        if spec.fit == "full" and self.model.fixed_size:
            side = self.model.preset.crop
            raise SetupError(f"{self.model.name} takes {side}x{side} pictures only: use --fit crop, squash or pad")
        self._by_folder = any(isinstance(selector, targets.OfFolder) for selector in self._selectors)
        self.spec = spec
        self.layers: list[Layer] = []
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

    def _inspect(self) -> None:
        side, channels = self.model.preset.crop, len(self.model.preset.mean)
        grey = torch.zeros(1, channels, side, side, device=self.model.device)
        traced = trace(self.model.net, grey, self.model.readout)
        for method in self.methods:
            if not method.bends_relu:
                continue
            others = ", ".join(f"{name} x{count}" for name, count in traced.others.items())
            if traced.rectifiers == 0:
                raise SetupError(
                    f"{method.name} does not apply to {self.model.name}: it bends the gradient of ReLU, and none "
                    f"of this model's activations is one ({others or 'none at all'}); use grad-cam or gradient"
                )
            if others:
                self.remarks.append(
                    f"{method.name}: {traced.rectifiers} ReLU activations are bent; {others} keep their own gradient"
                )
        if any(method.at_layer for method in self.methods):
            self.layers = layers.resolve(self.model.net, traced, self.spec.layers, self.model.name)

    def _decode(self, ref: Ref) -> _Item:
        item = _Item(ref)
        started = time.perf_counter()
        try:
            if self._by_folder:
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
        found = targets.of_folder(folder, self.model.labels, self.model.wordnet_ids)
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
        forward = Forward(
            self.model.net,
            stacked.to(self.model.device),
            self.layers,
            to_pixels=any(method.to_pixels for method in self.methods),
            readout=self.model.readout,
        )
        predictions = self._predictions(forward.logits)
        predicted = time.perf_counter()
        attributions = self._attributions(forward, predictions, [item.truth for item in items])
        shared = {
            "forward": _ms(started, predicted) / len(items),
            "explain": _ms(predicted, time.perf_counter()) / len(items),
        }
        for item, prediction, answers in zip(items, predictions, attributions, strict=True):
            item.result = self._result(item, prediction, answers, shared)

    def _result(
        self, item: _Item, prediction: _Prediction, answers: list[Attribution], shared: dict[str, float]
    ) -> Result:
        assert item.frame is not None
        assert item.view is not None
        if not np.isfinite(prediction.logits).all():
            return Failed(item.ref, "predict", "not-finite", "the model's scores are not finite (NaN or infinity)")
        if not all(np.isfinite(answer.values).all() for answer in answers):
            return Failed(item.ref, "explain", "not-finite", "the gradients are not finite (NaN or infinity)")
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

    def _predictions(self, logits: Tensor) -> list[_Prediction]:
        logits = logits.cpu().float()
        probabilities = self.model.readout.probabilities(logits).numpy()
        rankings = logits.argsort(dim=1, descending=True, stable=True).tolist()
        labels = self.model.labels
        return [
            _Prediction(labels, ranking, own_logits, own_probabilities)
            for ranking, own_logits, own_probabilities in zip(rankings, logits.numpy(), probabilities, strict=True)
        ]

    def _attributions(
        self, forward: Forward, predictions: Sequence[_Prediction], truths: Sequence[int | None]
    ) -> list[list[Attribution]]:
        answers: list[list[Attribution]] = [[] for _ in predictions]
        if not self.methods:
            return answers
        chosen = [
            targets.select(self._selectors, prediction.ranking, truth)
            for prediction, truth in zip(predictions, truths, strict=True)
        ]
        # Every picture explains its own n-th class in one backward; one with fewer classes repeats its last.
        for nth in range(max(map(len, chosen))):
            ids = [own[min(nth, len(own) - 1)] for own in chosen]
            class_ids = torch.tensor(ids, device=forward.logits.device)
            for method, layer in self._questions():
                values = method.function(forward.at(class_ids, layer)).float().cpu().numpy()
                for picture, own in enumerate(chosen):
                    if nth < len(own):
                        target = predictions[picture].score(own[nth])
                        note = _why_blank(values[picture], forward, class_ids, layer, picture)
                        name = layer.name if layer else None
                        answers[picture].append(
                            Attribution(method.name, method.kind, name, target, values[picture], note)
                        )
        return answers

    def _questions(self) -> Iterator[tuple[Method, Layer | None]]:
        for method in self.methods:
            for layer in self.layers if method.at_layer else [None]:
                yield method, layer


def explain(refs: Iterable[Ref], spec: Spec) -> Iterator[Result]:
    """One result per ref, in order; see `Engine` for what is raised."""
    yield from Engine(spec).explain(refs)


def _why_blank(
    values: NDArray[np.float32], forward: Forward, class_ids: Tensor, layer: Layer | None, picture: int
) -> str | None:
    if values.any():
        return None
    where = layer.name if layer else "the picture"
    if not forward.gradient("gradient", class_ids, layer)[picture].any():
        return f"blank: the class's gradient at {where} is zero everywhere"
    return f"blank: no positive evidence for this class at {where}"


def _ms(start: float, end: float) -> float:
    return (end - start) * 1e3
