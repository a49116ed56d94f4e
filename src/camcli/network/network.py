"""A network and how it is asked: its task, the size of a batch, and the part that runs in a lower precision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from camcli.errors import SetupError
from camcli.network import canvas
from camcli.network.layer import Layer
from camcli.tasks.bound import given
from camcli.tasks.classify import PLAIN
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import Outputs
from camcli.tasks.tables import carried, with_carried
from camcli.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network and how it is asked: all that the forwards of a run share.

    `batch_size` bounds the pictures of one forward; `black` (C, 1, 1) is a black pixel, normalised;
    `embedder` is the module whose input is a picture's embedding;
    `step` is told how many of how many variants are done. `precision` is that of all that runs before the layer `cut`.
    `channels_last`: pictures lie so in memory. `changes_input`: the network writes into what it is given. `sparse`:
    gradients are computed only where they are not zero. `bound`: tensors (N, …) that go in with the N pictures of a
    batch; changed pictures, in whole repeats of the batch, keep their own.
    """

    net: nn.Module
    task: Task = PLAIN
    batch_size: int = 16
    seed: int = 0
    black: Tensor | None = None
    embedder: nn.Module | None = None
    step: Callable[[int, int], None] = field(default=lambda done, of: None)
    precision: torch.dtype = torch.float32
    cut: Layer | None = None
    channels_last: bool = False
    changes_input: bool = False
    sparse: bool = False
    bound: Sequence[Tensor] = ()

    def of_picture(self, i: int) -> Network:
        """The network with what goes in with the i-th picture of the batch alone."""
        return replace(self, bound=[tensor[i : i + 1] for tensor in self.bound])

    def arranged(self, images: Tensor) -> Tensor:
        """The images (N, C, H, W), or clips, lying in memory as the network's kernels do."""
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def outputs(self, images: Tensor) -> Outputs:
        """The outputs of one forward, with the embedding if `embedder` is set.

        Raises: SetupError: the network fails on pictures of this size, or gives no scores.
        """
        with ExitStack() as stack:
            stack.enter_context(self._lowered(images.device.type))
            if self.bound:
                stack.callback(given(self.net, self.bound).remove)
            return self._outputs(images.clone() if self.changes_input else images)

    @contextmanager
    def _lowered(self, device: str) -> Iterator[None]:
        if self.cut is None:
            yield
            return

        def back(output: Tensor) -> Tensor:
            torch.set_autocast_enabled(device, False)
            return output.float()

        # Before the hook that keeps the layer's output: what is kept, and all that comes after it, is fp32.
        hook = on_run(self.cut, back)
        try:
            with torch.autocast(device, self.precision):
                yield
        finally:
            hook.remove()

    def _outputs(self, images: Tensor) -> Outputs:
        if self.task.rule == "read-from":
            with canvas.contents(self.net) as contents:
                outputs = self.task.outputs(self.net, images)
            return replace(outputs, content=contents[-1]) if contents else outputs
        if self.embedder is None:
            return self.task.outputs(self.net, images)
        seen: list[Tensor] = []
        hook = self.embedder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            outputs = self.task.outputs(self.net, images)
        finally:
            hook.remove()
        return replace(outputs, embedding=_pooled(seen[-1], isinstance(self.embedder, nn.Linear)))

    def embedding(self, image: Tensor) -> Tensor:
        """(D,): the input of the network's last layer with weights, or what a network without a head gives, for one
        picture (C, H, W)."""
        with torch.no_grad(), frozen(self.net):
            return self.outputs(image[None]).compared[0]


def _pooled(given: Tensor, channels_last: bool) -> Tensor:
    """(N, D): the mean over all places of what a layer is given, a map (N, D, h, w) or tokens (N, L, D)."""
    if given.ndim == 2:
        return given
    return given.flatten(1, -2).mean(1) if channels_last else given.flatten(2).mean(2)


def on_run(layer: Layer, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Change the output of the layer's module in the run that gives the map, before hooks of the network's own."""
    runs = count()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if next(runs) != layer.call:
            return output
        tensor = carried(module, output)
        if tensor is None:
            raise SetupError(f"layer {layer.name!r} gives no tensor: choose another with --layer")
        return with_carried(output, change(tensor))

    return layer.module.register_forward_hook(hook, prepend=True)


@contextmanager
def watched(net: nn.Module, names: Collection[str]) -> Iterator[set[str]]:
    """The names, of those given, whose modules run inside the block."""
    ran: set[str] = set()
    with ExitStack() as stack:
        for name in names:
            hook = net.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.add(name))
            stack.callback(hook.remove)
        yield ran
