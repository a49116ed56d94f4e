"""What ran in one forward, in order, for `layers` to choose from. Hooks every module while that forward runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camcli.errors import SetupError
from camcli.frozen import frozen
from camcli.maps import Run, Trace
from camcli.outputs import PLAIN, Readout
from camcli.rectifiers import ActivationCounter
from camcli.routes import Routes
from camcli.signs import Signs


def trace(net: nn.Module, images: Tensor, readout: Readout = PLAIN) -> Trace:
    """Run once and record each module's output: its shape, and whether every path from images to score crosses it.

    Works on the meta device too: no arithmetic, no weights. `images` (1, 3, H, W).

    Raises: SetupError: the network fails on such pictures, gives no scores, or none with a gradient.
    """
    recorder = _Recorder()
    counter = ActivationCounter()
    with ExitStack() as stack:
        stack.enter_context(frozen(net))
        stack.enter_context(torch.enable_grad())
        for name, module in net.named_modules():
            if name:
                stack.callback(module.register_forward_pre_hook(recorder.before).remove)
                stack.callback(module.register_forward_hook(recorder.after(name)).remove)
        stack.enter_context(counter)
        stack.enter_context(recorder)
        output = readout.outputs(net, images.detach().clone().requires_grad_().clone()).scores
    return recorder.finish(images, output, counter)


_ATTENTION = (functional.scaled_dot_product_attention, functional.multi_head_attention_forward)
_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


class _Recorder(TorchFunctionMode):
    """Collects module runs, and in which of them attention is computed.

    Tensors are known by the autograd node that made them, so views in and out of Identity, Dropout and Sequential are
    seen to be one tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[tuple[str, str, tuple[int, ...], Node | None]] = []
        self._running: list[tuple[nn.Module, int]] = []
        self._attending: set[int] = set()
        self._in_attention: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        x = next(iter(args), None)
        if func in _ATTENTION or (func in _SOFTMAX and isinstance(x, Tensor) and x.ndim > 2 and x.requires_grad):
            # A softmax of its own in a module is the attention of the module around it.
            owners = (module for module, _ in reversed(self._running) if next(module.parameters(), None) is not None)
            self._attending.update(id(module) for module in islice(owners, 1))
        return func(*args, **(kwargs or {}))

    def before(self, module: nn.Module, args: Any) -> None:
        self._running.append((module, len(self._runs)))

    def after(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            _, start = self._running.pop()
            if id(module) in self._attending:
                self._in_attention.update(range(start, len(self._runs)))
            if isinstance(output, Tensor):
                self._runs.append((name, type(module).__name__, tuple(output.shape), output.grad_fn))
            else:
                self._runs.append((name, type(module).__name__, (), None))

        return hook

    def finish(self, images: Tensor, output: Tensor, counter: ActivationCounter) -> Trace:
        if output.grad_fn is None:
            raise SetupError("the model's scores carry no gradient back to the picture")
        routes = Routes(output.grad_fn)
        signs = Signs()
        numbers: dict[Node, int] = {}
        runs = tuple(
            Run(
                name,
                kind,
                shape,
                tensor=numbers.setdefault(node, len(numbers)) if node is not None else -1,
                on_every_path=node in routes.crossed,
                in_attention=i in self._in_attention,
                never_negative=node in routes.crossed and signs.never_negative(node),
            )
            for i, (name, kind, shape, node) in enumerate(self._runs)
        )
        narrowed = bool(routes.narrowed)
        normalised = tuple(self._normalised(routes))
        return Trace(
            tuple(images.shape), runs, output.shape[1], narrowed, counter.rectifiers, counter.others, normalised
        )

    def _normalised(self, routes: Routes) -> Iterator[tuple[str, str]]:
        times = Counter(name for name, *_ in self._runs)
        once = {node: (name, kind) for name, kind, _, node in reversed(self._runs) if node and times[name] == 1}
        for node, (name, kind) in once.items():
            conv, _ = node.next_functions[0] if node.next_functions else (None, 0)
            if kind == "BatchNorm2d" and conv in once and once[conv][1] == "Conv2d" and routes.readers[conv] == 1:
                yield once[conv][0], name
