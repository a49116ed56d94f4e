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
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from camcli import (
    classes,
    compute,
    habits,
    layers,
    methods,
    models,
    needs,
    placing,
    questions,
    sanity,
    targets,
)
from camcli._version import __version__
from camcli.answers import Batch, Plan
from camcli.attributing import attributions
from camcli.compute import Prepared
from camcli.errors import InputError, RequestError, SetupError
from camcli.evidence import Network
from camcli.fp32 import in_fp32
from camcli.habits import Habits
from camcli.layers import Layer
from camcli.maps import Trace
from camcli.methods import Method
from camcli.models import labels
from camcli.outputs import machine_failures
from camcli.pools import ahead, default_workers, pool_of
from camcli.questions import Asker, Prediction
from camcli.reading import Item, Reader
from camcli.records import (
    MAX_PIXELS,
    Attribution,
    Explained,
    Failed,
    Provenance,
    Ref,
    Result,
    Spec,
    Truth,
    spelled,
)
from camcli.tracing import trace

# Pictures per forward on a CPU: more are no faster.
BATCH_SIZE = 16


class Engine:
    """A loaded model with the methods, layers and targets of one spec.

    `workers` threads decode. A picture of more than `max_pixels` is refused.

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
        progress: bool = False,
        workers: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if (spec.batch_size is not None and spec.batch_size < 1) or spec.top < 1:
            raise RequestError("batch size and top must be at least 1")
        self.spec = spec
        self.workers = workers or default_workers()
        # Everything that can be refused without the weights is refused before they are fetched.
        self._all_asked = methods.ALL in methods.asked(spec.methods)
        self._skipped: list[str] = []
        self.methods = list(self._named_methods())
        targets.check(spec)
        compute.check(spec, self.methods)
        if (known := models.labels_of(spec)) is not None:
            for texts in (spec.classes, spec.contrast or ()):
                classes.parse(texts, known, spec.model or models.catalog.BUNDLED, models.typed(spec))
        self.model = models.load_model(spec, progress=progress)
        if spec.output_index is not None:
            self.model = questions.without_classes(self.model)
        self.asker = Asker(spec, self.model)
        self._check_smoothing()
        if spec.fit == "full" and self.model.fixed_size:
            size = spelled(self.model.preset.crop)
            raise SetupError(f"{self.model.name} takes {size} pictures only: use --fit crop, squash or pad")
        # Told how many of how many forwards are done, by methods that take many.
        self.on_step: Callable[[int, int], None] = lambda done, of: None
        # Told what has to be said while the run goes on.
        self.on_remark: Callable[[str], None] = lambda text: None
        self.remarks = [*self.model.remarks, *compute.remarks(spec, self.model.device), *self._skipped]
        self._randomised: list[tuple[str, Plan]] = []
        # What class each folder stands for, by the folder that they lie in.
        self._orders: dict[Path, dict[str, int]] = {}
        self._ordering = Lock()
        self._inspect()
        truth = self._truth if self.asker.by_folder else None
        self.reader = Reader(self.model.preset, spec.fit, spec.decoding, truth, max_pixels)

    @property
    def overlaps(self) -> bool:
        """Whether computing leaves cores idle."""
        return self.model.device != "cpu"

    def explain(self, refs: Iterable[Ref]) -> Iterator[Result]:
        """One result per ref, in order. Memory is a few batches, whatever the number of refs."""
        with pool_of(self.workers) as pool:
            yield from chain.from_iterable(self.batches(refs, pool))

    def batches(self, refs: Iterable[Ref], pool: Executor) -> Iterator[list[Result]]:
        """`explain`, a batch at a time, with the pictures decoded by `pool`.

        On a CPU decoding and computing take turns, each with all cores; on a GPU the next batch is decoded meanwhile.
        """
        batches = self.reader.batches(refs, self.batch_size, pool, self.workers)
        # By map, no name here keeps a batch's pictures alive while the next one is decoded.
        return map(self.answer, ahead(batches) if self.overlaps else batches)

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

    def _named_methods(self) -> Iterator[Method]:
        """Those asked for; if that is all, those that go with the other flags."""
        for name in methods.names() if self._all_asked else methods.asked(self.spec.methods):
            try:
                method = methods.get(name)
                if self.spec.eigen_smooth and "combine" not in method.needs:
                    raise RequestError(f"--eigen-smooth replaces a sum over channels, and {name} has none")
                if self._all_asked:
                    compute.check(self.spec, [method])
            except (RequestError, SetupError) as error:
                if not self._all_asked:
                    raise
                self._skipped.append(f"{name} is left out: {error}")
            else:
                yield method

    def _check_smoothing(self) -> None:
        spec = self.spec
        if spec.fuse and len(dict.fromkeys(spec.layers)) < 2:
            raise RequestError("--fuse joins the maps of several layers: name two or more with --layer")
        if "scale" in spec.augment and self.model.fixed_size:
            raise SetupError(f"{self.model.name} takes pictures of one size only: use --augment flip")

    def _black(self) -> Tensor:
        mean, std = (
            torch.tensor(numbers, device=self.model.device)
            for numbers in (self.model.preset.mean, self.model.preset.std)
        )
        return (-mean / std)[:, None, None]

    @in_fp32()
    def _inspect(self) -> None:
        # Of two pictures what is a table of the network's own shows; known networks cost less.
        pictures = 1 if self.model.alone or self.model.known else 2
        shape = (pictures, len(self.model.preset.mean), *self.model.preset.view_size)
        grey = torch.zeros(shape, device=self.model.device)
        self._habits = self._found_habits(grey)
        # Layers whose maps were not seen to lie on the picture.
        self._unseen: set[str] = set()
        traced = self._traced(grey)
        self.layers: list[Layer] = []
        stages: dict[str, list[Layer]] = {}
        embedding = None
        if traced is not None:
            self.layers, stages = self._chosen(traced)
            embedding = layers.last_weighted(self.model.net, traced) if self.spec.similar_to is not None else None
        kept = list({layer.name: layer for layer in chain(self.layers, *stages.values())}.values())
        prepared = compute.prepared(self.model, self.spec, self.methods, traced, kept)
        if prepared.remark:
            self.remarks.append(prepared.remark)
        net = prepared.net
        self.model = replace(self.model, net=net)
        self.layers = [layer.in_net(net) for layer in self.layers]
        stages = {name: [layer.in_net(net) for layer in stage] for name, stage in stages.items()}
        network = self._network(prepared, net.get_submodule(embedding) if embedding else None)
        self.asker.look_at(network)
        if traced is not None:
            self._keep_applicable(network, traced, grey)
        self.plan = Plan(
            network, self.methods, self.layers, stages, self.spec.augment, self.spec.eigen_smooth, self.spec.fuse
        )
        if network.batch_size > 1 and self.spec.batch_size is None and self.model.device.startswith("cuda"):
            size = compute.batch_that_fits(lambda count: self._ask_about(grey[:1].repeat(count, 1, 1, 1)), grey.device)
            self.plan = replace(self.plan, network=replace(network, batch_size=size))
        self.batch_size = self.plan.network.batch_size
        # The pictures of one forward: fewer than a batch once so many did not fit in memory.
        self._most = self.batch_size
        if traced is not None and self.spec.sanity is not None and self.methods:
            self._randomised = list(sanity.randomised(self.plan, traced, self.spec.sanity))

    def _network(self, prepared: Prepared, embedder: nn.Module | None) -> Network:
        return Network(
            prepared.net,
            self.model.readout,
            1 if self.model.alone or self._habits.company else self.spec.batch_size or BATCH_SIZE,
            self.spec.seed,
            self._black(),
            embedder=embedder,
            step=self._step,
            precision=compute.DTYPES[self.spec.precision],
            cut=prepared.cut,
            channels_last=prepared.channels_last,
            changes_input=self._habits.changes_input,
        )

    def _found_habits(self, grey: Tensor) -> Habits:
        """What is found of a network that nobody here has seen."""
        if not self.model.foreign:
            return Habits()
        found = habits.found_in(self.model.net, self.model.readout, _noise(3, grey), alone=self.model.alone)
        self.remarks += found.remarks(self.model.name)
        return found

    def _traced(self, grey: Tensor) -> Trace | None:
        try:
            found = trace(self.model.net, grey, self.model.readout, self.asker.root)
        except SetupError:
            if self.methods:
                raise
            return None  # classes can be told without
        if self.methods and found.frozen and not found.cut:
            self.remarks.append(
                f"warning: {self.model.name} runs {found.frozen[0]!r} under torch.no_grad(): what the score owes to it "
                "alone is on no map"
            )
        return found

    def _chosen(self, traced: Trace) -> tuple[list[Layer], dict[str, list[Layer]]]:
        """(the target layers, the stages that lead to each), as far as the methods look at any."""
        net, found = self.model.net, []
        if any(method.at_layer for method in self.methods):
            try:
                found = layers.resolve(net, traced, self.spec.layers, self.model.name, models.typed(self.spec))
            except SetupError as error:
                self._leave_out([method for method in self.methods if method.at_layer], error)
        if not any(method.needs & needs.AT_STAGES for method in self.methods):
            return found, {}
        return found, {layer.name: layers.stages(net, traced, layer) for layer in found}

    def _keep_applicable(self, network: Network, traced: Trace, grey: Tensor) -> None:
        noise = network.arranged(_noise(min(2, network.batch_size), grey))
        if self.model.foreign:
            try:
                self.layers = [self._placed(network, layer, _noise(2, grey)) for layer in self.layers]
            except SetupError as error:
                self._leave_out([method for method in self.methods if method.at_layer], error)
        for method in list(self.methods):
            try:
                self._check_applies(method, network, traced, noise)
            except SetupError as error:
                self._leave_out([method], SetupError(f"{method.name} does not apply to {self.model.name}: {error}"))
        if self._all_asked and not self.methods:
            raise SetupError(f"none of the methods applies to {self.model.name}")

    def _placed(self, network: Network, layer: Layer, noises: Tensor) -> Layer:
        found, seen = placing.placed(network, layer, noises, self.model.name)
        if not seen:
            self._unseen.add(layer.name)
            self.remarks.append(f"warning: {layer.name} of {self.model.name}: {placing.UNSEEN}")
        return found

    def _leave_out(self, inapplicable: Sequence[Method], why: SetupError) -> None:
        """Go on without them, if all were asked for. Raises: SetupError: they were asked for by name."""
        if not self._all_asked:
            raise why from None
        self.remarks.append(f"{', '.join(method.name for method in inapplicable)}: left out: {why}")
        self.methods = [method for method in self.methods if method not in inapplicable]

    def _ask_about(self, grey: Tensor) -> None:
        batch = Batch(self.plan, grey)
        for _ in batch.answers(self.asker.any_target(len(grey))):
            pass

    def _check_applies(self, method: Method, network: Network, traced: Trace, noise: Tensor) -> None:
        """Refuse a method that needs what this network does not have before any picture is read."""
        if traced.cut and method.needs & needs.TO_PIXELS:
            raise SetupError(f"it needs gradients to the pixels, and {traced.cut}")
        if traced.scripted and method.needs & needs.SEES_OPERATIONS:
            raise SetupError(
                f"it looks at each operation, and {traced.scripted[0]!r} is compiled by TorchScript, where none is seen"
            )
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
            batch = Batch(Plan(network, [method], self.layers), noise)
            for _ in batch.answers(self.asker.any_target(len(noise))):
                pass

    def _truth(self, ref: Ref) -> int:
        if ref.path is None:
            raise InputError("target", "no-folder", "it came through a pipe, so no folder names its class")
        folder = ref.path.absolute().parent
        found = self._in_order(folder) if labels.are_stand_ins(self.model.labels) else None
        if found is None:
            found = classes.of_folder(folder.name, self.model.labels, self.model.wordnet_ids)
        if found is None:
            said = f"its folder {folder.name!r} names no class of {self.model.name}"
            raise InputError("target", "unknown-class", said)
        return found

    def _in_order(self, folder: Path) -> int | None:
        """The class that a folder stands for by its place in ImageFolder's order, where no class has a name.

        Raises: RequestError: there are not as many folders as classes, and none of them is called by an id.
        """
        with self._ordering:
            order = self._orders.get(folder.parent)
            if order is None:
                order = self._orders[folder.parent] = self._order_in(folder.parent)
        return order.get(folder.name)

    def _order_in(self, parent: Path) -> dict[str, int]:
        names, unnamed = labels.folders(parent), self.model.labels
        if len(names) == len(unnamed):
            some = ", ".join(f"{i} {name}" for i, name in enumerate(names[:3]))
            more = ", …" if len(names) > 3 else ""
            self.on_remark(f"classes without names: taken in ImageFolder's order of {parent.name}/ ({some}{more})")
            return {name: i for i, name in enumerate(names)}
        if not self._orders and all(classes.of_folder(name, unnamed, None) is None for name in names):
            raise RequestError(
                f"--class folder: {self.model.name} has {len(unnamed)} classes without names, and {parent} has "
                f"{len(names)} folders: name the classes with --labels FILE, or FOLDER of the training set"
            )
        return {}

    @machine_failures()
    @in_fp32()
    def answer(self, batch: Sequence[Item]) -> list[Result]:
        """What the network says of the items that were read, and their refusals of the others; in order.

        Raises: SetupError: the device has failed, or memory does not suffice for the model.
        """
        by_shape: dict[tuple[int, ...], list[Item]] = {}
        for item in batch:
            if item.view is not None:
                by_shape.setdefault(item.view.pixels.shape, []).append(item)
        for same in by_shape.values():
            try:
                self._explain_same_shape(same)
            except SetupError as error:  # views of this size, not all
                for item in same:
                    item.result = Failed(item.ref, "predict", "model", str(error))
        return [item.result for item in batch if item.result is not None]

    def _explain_same_shape(self, items: Sequence[Item]) -> None:
        """Explains them together, or by halves where so many don't fit in memory."""
        for start in range(0, len(items), self._most):
            part = items[start : start + self._most]
            if not compute.fits(partial(self._explain_together, part)):
                if len(part) == 1:
                    part[0].result = Failed(part[0].ref, "predict", "memory", "it does not fit in memory, alone")
                    continue
                self._most = (len(part) + 1) // 2
                self.on_remark(f"{len(part)} pictures at once don't fit in memory: {self._most} from here on")
                self._explain_same_shape(items[start:])
                return

    def _explain_together(self, items: Sequence[Item]) -> None:
        started = time.perf_counter()
        views = [item.view.pixels for item in items if item.view]
        if self.spec.compile:  # built for batches of one size
            views += [views[-1]] * (self._most - len(views))
        batch = Batch(self.plan, compute.placed(views, self.plan.network, self.model.device))
        predictions = questions.predictions(batch.forward.logits, self.model)
        predicted = time.perf_counter()
        answered: list[list[Attribution] | str] = [[] for _ in items]
        if self.methods:
            truths = [item.truth for item in items]
            asked = self.asker.ask(batch.forward, predictions, truths + truths[-1:] * (len(views) - len(items)))
            randomised = [(part, Batch(plan, batch.forward.images)) for part, plan in self._randomised]
            answered = attributions(batch, asked, predictions, randomised, neurons=self.spec.neurons)
        shared = {
            "forward": _ms(started, predicted) / len(items),
            "explain": _ms(predicted, time.perf_counter()) / len(items),
        }
        answered = [self._noted(answers) for answers in answered]
        for item, prediction, answers in zip(items, predictions, answered, strict=False):
            item.result = self._result(item, prediction, answers, shared)

    def _noted(self, answers: list[Attribution] | str) -> list[Attribution] | str:
        """A picture's answers with what is known of all, on those that have no note."""
        if isinstance(answers, str):
            return answers
        drawn = habits.ONE_DRAW if self._habits.chance else None
        return [
            replace(one, note=one.note or (placing.UNSEEN if one.layer in self._unseen else drawn)) for one in answers
        ]

    def _result(
        self, item: Item, prediction: Prediction, answers: list[Attribution] | str, shared: dict[str, float]
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


def explain(refs: Iterable[Ref], spec: Spec) -> Iterator[Result]:
    """One result per ref, in order; see `Engine` for what is raised."""
    yield from Engine(spec).explain(refs)


def _noise(pictures: int, like: Tensor) -> Tensor:
    """Seeded pictures of the shape of others (N, C, H, W)."""
    return torch.randn(pictures, *like.shape[1:], generator=torch.Generator().manual_seed(0)).to(like.device)


def _ms(start: float, end: float) -> float:
    return (end - start) * 1e3
