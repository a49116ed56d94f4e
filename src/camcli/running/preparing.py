"""Makes, of a spec and a model, all that every batch of a run needs: layers, a network, methods that apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn

from camcli import models
from camcli.answers import randomising
from camcli.answers.batch import Batch, Plan
from camcli.errors import RequestError, SetupError
from camcli.layers import borders, choosing, placing, worded
from camcli.layers.trace import Trace
from camcli.layers.tracing import trace
from camcli.machine import faults
from camcli.machine.fp32 import in_fp32
from camcli.methods import Method
from camcli.models import Model
from camcli.models.adapters import binding
from camcli.network import habits, parts
from camcli.network.habits import Habits
from camcli.network.layer import Layer
from camcli.network.network import Network
from camcli.questions import conflicts
from camcli.questions.asking import Asker
from camcli.running import tuning
from camcli.running.tuning import Tuned
from camcli.specs import Spec
from camcli.tasks.embed import Embed
from camcli.tasks.outputs import WHOLE

# They end no classifier.
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
# Pictures per forward on a CPU: more are no faster.
BATCH_SIZE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All that every batch of a run needs.

    model: its network is the one that is computed. randomised: the same plan for networks with random weights, by the
    part that is random. chance: the network answers otherwise each time it is asked. notes: what is noted of each
    map of a layer, by the layer's name. remarks: what the user should know.
    """

    model: Model
    plan: Plan
    randomised: tuple[tuple[str, Plan], ...]
    chance: bool
    notes: Mapping[str, str]
    remarks: tuple[str, ...]


@in_fp32()
def prepare(
    spec: Spec, model: Model, methods: Sequence[Method], asker: Asker, step: Callable[[int, int], None]
) -> Prepared:
    """Look into the model's network, choose layers, and make it as fast as it allows.

    `step` is told how many of how many forwards are done, by methods that take many.

    Raises:
        RequestError: no such layer, or what others are compared with can't be read.
        SetupError: no layer gives a map, or a method does not apply to the model.
    """
    return _Preparation(spec, model, methods, asker).run(step)


class _Preparation:
    """One preparation: the methods that are left, and the remarks."""

    def __init__(self, spec: Spec, model: Model, methods: Sequence[Method], asker: Asker) -> None:
        self._spec, self._model, self._asker = spec, model, asker
        self._methods = list(methods)
        self._remarks: list[str] = []
        self._notes: dict[str, str] = {}

    def run(self, step: Callable[[int, int], None]) -> Prepared:
        spec, model = self._spec, self._model
        # With two pictures a table (1, h, w, C) of the network's own is no map; for known networks one will do.
        pictures = 1 if model.alone or model.known else 2
        grey = torch.zeros(pictures, *model.preset.view_shape, device=model.device)
        found = self._found_habits(grey)
        traced = self._traced(grey)
        chosen: list[Layer] = []
        stages: dict[str, list[Layer]] = {}
        embedding = None
        if traced is not None:
            chosen, stages = self._chosen(traced)
            embedding = self._embedder(traced)
        kept = list({layer.name: layer for layer in chain(chosen, *stages.values())}.values())
        tuned = tuning.rearranged(model, spec, self._methods, traced, kept)
        if tuned.remark:
            self._remarks.append(tuned.remark)
        net = tuned.net
        chosen = [layer.in_net(net) for layer in chosen]
        stages = {name: [layer.in_net(net) for layer in stage] for name, stage in stages.items()}
        network = self._network(tuned, found, step, net.get_submodule(embedding) if embedding else None)
        self._asker.look_at(network)
        if traced is not None:
            chosen = self._keep_applicable(network, chosen, traced, grey)
        levels = model.task.rule == "read-from" and not spec.layers
        plan = Plan(network, self._methods, chosen, stages, spec.augment, spec.eigen_smooth, spec.fuse, levels)
        if network.batch_size > 1 and spec.batch_size is None and model.device.startswith("cuda"):
            size = faults.batch_that_fits(
                lambda count: self._ask_about(plan, grey[:1].expand(count, *grey.shape[1:]).clone()), grey.device
            )
            plan = replace(plan, network=replace(network, batch_size=size))
        randomised: tuple[tuple[str, Plan], ...] = ()
        if traced is not None and spec.sanity is not None and self._methods:
            randomised = tuple(randomising.randomised(plan, traced, spec.sanity))
        return Prepared(replace(model, net=net), plan, randomised, found.chance, self._notes, tuple(self._remarks))

    def _network(
        self, tuned: Tuned, found: Habits, step: Callable[[int, int], None], embedder: nn.Module | None
    ) -> Network:
        spec, model = self._spec, self._model
        mean, std = (torch.tensor(numbers, device=model.device) for numbers in (model.preset.mean, model.preset.std))
        return Network(
            tuned.net,
            model.task,
            1 if model.alone or found.company else spec.batch_size or BATCH_SIZE,
            spec.seed,
            (-mean / std)[:, None, None],
            embedder=embedder,
            step=step,
            precision=tuning.DTYPES[spec.precision],
            cut=tuned.cut,
            channels_last=tuned.channels_last,
            changes_input=found.changes_input,
            sparse=model.task.of_places and not spec.exact,
        )

    def _found_habits(self, grey: Tensor) -> Habits:
        """The habits of a network that nobody here has seen."""
        if not self._model.foreign:
            return Habits()
        found = habits.found_in(self._model.net, self._model.task, _noise(3, grey), alone=self._model.alone)
        self._remarks += found.remarks(self._model.name)
        return found

    def _traced(self, grey: Tensor) -> Trace | None:
        try:
            found = trace(self._model.net, grey, self._model.task, self._asker.root)
        except SetupError:
            if any(method.at_layer or method.needs & parts.TO_PIXELS for method in self._methods):
                raise
            return None  # entries can be told without, and changed pictures compared
        if self._methods and found.frozen and not found.cut:
            self._remarks.append(
                f"warning: {self._model.name} runs {found.frozen[0]!r} under torch.no_grad(): what the score owes to "
                "it alone is on no map"
            )
        return found

    def _chosen(self, traced: Trace) -> tuple[list[Layer], dict[str, list[Layer]]]:
        """(the target layers, the stages that lead to each), as far as the methods look at any."""
        net, found = self._model.net, []
        # A detection's logit is found by a graph, whatever the methods.
        if any(method.at_layer for method in self._methods) or self._model.task.rule == "read-from":
            try:
                found = choosing.resolve(
                    net,
                    traced,
                    self._spec.layers,
                    self._model.name,
                    models.typed(self._spec),
                    self._model.task.rule,
                )
            except SetupError as error:
                self._leave_out([method for method in self._methods if method.at_layer], error)
        if not any(method.needs & parts.AT_STAGES for method in self._methods):
            return found, {}
        return found, {layer.name: choosing.stages(net, traced, layer) for layer in found}

    def _embedder(self, traced: Trace) -> str | None:
        """The name of the module whose input is the embedding, if pictures are compared, and by that of a classifier.

        Raises: RequestError: the network ends in no classifier.
        """
        model = self._model
        if not self._asker.compares or isinstance(model.task, Embed):
            return None
        name = choosing.last_weighted(model.net, traced)
        if not model.foreign or model.task.name != "classify":
            return name
        if isinstance(model.net.get_submodule(name), _NORMS):
            raise RequestError(
                f"--similar-to: {model.name} ends in {name!r}, which is no classifier: if it gives an embedding, say "
                "--task embed"
            )
        self._remarks.append(
            f"{model.name}: pictures are compared by what enters {name!r}; if it gives an embedding, say --task embed"
        )
        return name

    def _keep_applicable(self, network: Network, chosen: list[Layer], traced: Trace, grey: Tensor) -> list[Layer]:
        """The layers, read as they are seen to lie; methods that do not apply are left out or refused."""
        noise = network.arranged(_noise(min(2, network.batch_size), grey))
        if self._model.foreign and self._model.task.rule == "read-from":
            self._check_canvas(network, chosen, grey)
        elif self._model.foreign:
            try:
                example = binding.example_of(self._model.net, grey.shape[1:], self._model.device)
                for layer in chosen:
                    worded.check_places(network, layer, _noise(1, grey), example, self._model.name)
                chosen = [self._placed(network, layer, traced, _noise(2, grey)) for layer in chosen]
            except SetupError as error:
                self._leave_out([method for method in self._methods if method.at_layer], error)
        for method in list(self._methods):
            try:
                self._check_applies(method, Plan(network, [method], chosen), traced, noise)
            except SetupError as error:
                self._leave_out([method], SetupError(f"{method.name} does not apply to {self._model.name}: {error}"))
        if conflicts.asks_all(self._spec) and not self._methods:
            raise SetupError(f"none of the methods applies to {self._model.name}")
        return chosen

    def _check_canvas(self, network: Network, levels: Sequence[Layer], grey: Tensor) -> None:
        """Refuse a detector that pads or moves pictures in a way that only its own code knows, by its finest level.

        Raises: SetupError: its maps don't lie as the picture does.
        """
        with torch.no_grad():
            told = network.outputs(grey[:1]).content not in (None, WHOLE)
        if levels and not told:
            finest = max(levels, key=lambda layer: layer.shape[1] * layer.shape[2])
            _, note = placing.placed(network, finest, _noise(2, grey), self._model.name)
            if note:
                self._notes.update(dict.fromkeys((layer.name for layer in levels), note))
                self._remarks.append(f"warning: {finest.name} of {self._model.name}: {note}")

    def _placed(self, network: Network, layer: Layer, traced: Trace, noises: Tensor) -> Layer:
        found, note = placing.placed(network, layer, noises, self._model.name)
        if note := note or borders.about(self._model.net, traced, found):
            self._notes[layer.name] = note
            self._remarks.append(f"warning: {layer.name} of {self._model.name}: {note}")
        return found

    def _leave_out(self, inapplicable: Sequence[Method], why: SetupError) -> None:
        """Go on without these methods, if all were asked for. Raises: SetupError: they were asked for by name."""
        if not conflicts.asks_all(self._spec):
            raise why from None
        self._remarks.append(f"{', '.join(method.name for method in inapplicable)}: left out: {why}")
        self._methods = [method for method in self._methods if method not in inapplicable]

    def _check_applies(self, method: Method, plan: Plan, traced: Trace, noise: Tensor) -> None:
        """Refuse, before any picture is read, a method that needs what this network does not have."""
        if traced.cut and method.needs & parts.TO_PIXELS:
            raise SetupError(f"it needs gradients to the pixels, and {traced.cut}")
        if traced.scripted and method.needs & parts.SEES_OPERATIONS:
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
                self._remarks.append(
                    f"{method.name}: {traced.rectifiers} ReLU activations are bent; {others} keep their own gradient"
                )
        if method.needs & parts.NOT_EVERYWHERE:
            self._ask_about(plan, noise)

    def _ask_about(self, plan: Plan, images: Tensor) -> None:
        for _ in Batch(plan, images).answers(self._asker.any_target(len(images))):
            pass


def _noise(pictures: int, like: Tensor) -> Tensor:
    """Seeded pictures of the shape of others (N, C, H, W)."""
    return torch.randn(pictures, *like.shape[1:], generator=torch.Generator().manual_seed(0)).to(like.device)
