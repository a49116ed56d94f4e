"""The record of the module runs of one forward, which a layer is chosen from. Hooks every module for that forward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camcli.errors import SetupError
from camcli.layers import levels
from camcli.layers.layouts import Joined, Layouts, token_axis
from camcli.layers.routes import Routes
from camcli.layers.signs import Signs
from camcli.layers.trace import Run, Trace
from camcli.network.rectifiers import ActivationCounter
from camcli.tasks.classify import PLAIN
from camcli.tasks.embed import Embed
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import Outputs
from camcli.tasks.tables import carried, with_carried
from camcli.tasks.task import Task

# The numbers that are explained of one forward, (N,) or (N, K).
Root = Callable[[Outputs], Tensor]


def trace(net: nn.Module, images: Tensor, task: Task = PLAIN, root: Root | None = None) -> Trace:
    """Run once and record each module's output: its shape, and whether every path from images to score crosses it.

    Works on the meta device too: no arithmetic, no weights. `images`: (N, C, H, W), or clips. `root` gives the
    numbers that are explained in place of the scores. If forward cuts the graph (torch.no_grad, detach), paths begin
    after the cut.

    Raises: SetupError: the network fails on such pictures, gives no scores, or none with a gradient.
    """
    asked = root or _explained
    recorder, output, counter = _recorded(net, images, task, asked, _Recorder(len(images)))
    if output.grad_fn is None:
        recorder, output, counter = _recorded(net, images, task, asked, _Recorder(len(images), restarts=True))
        recorder.check_cut(output)
    by_levels = root is None and task.rule == "read-from"
    scores = 0 if root or by_levels else output.shape[1]
    found = recorder.finish(net, images, output, counter, scores=scores, by_levels=by_levels)
    return replace(found, headless=isinstance(task, Embed))


def _explained(outputs: Outputs) -> Tensor:
    return outputs.root


def _recorded(
    net: nn.Module, images: Tensor, task: Task, root: Root, recorder: _Recorder
) -> tuple[_Recorder, Tensor, ActivationCounter]:
    counter = ActivationCounter()
    with ExitStack() as stack:
        stack.enter_context(frozen(net))
        stack.enter_context(torch.enable_grad())
        for name, module in net.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                stack.callback(module.register_forward_pre_hook(recorder.before).remove)
                stack.callback(module.register_forward_hook(recorder.after(name), prepend=True).remove)
        stack.enter_context(counter)
        stack.enter_context(recorder)
        output = root(task.outputs(net, images.detach().clone().requires_grad_().clone()))
    return recorder, output, counter


_ATTENTION = (functional.scaled_dot_product_attention, functional.multi_head_attention_forward)
_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)
# torchvision's convolutions of clips are Conv3d by other names, which add a method and change nothing.
_OF_CLIPS = ("Conv3d", "Conv3DSimple", "Conv3DNoTemporal", "Conv3DDepthwise")
_FOLDS = (("Conv2d", "BatchNorm2d"), *((kind, "BatchNorm3d") for kind in _OF_CLIPS))
_JOINS = (torch.cat, torch.concat, torch.concatenate)


class _Recorder(TorchFunctionMode):
    """Collects module runs, and notes those in which attention is computed.

    Tensors are known by the autograd node that made them, so views in and out of Identity, Dropout and Sequential are
    seen to be one tensor. With `restarts`, an output without a graph, of as many `pictures`, begins one.
    """

    def __init__(self, pictures: int, *, restarts: bool = False) -> None:
        super().__init__()
        self._pictures = pictures
        self._restarts = restarts
        self._joined: list[Joined] = []
        self._restarted: list[str] = []
        self._frozen: list[str] = []
        self._switch = ""
        self._runs: list[tuple[str, str, tuple[int, ...], Node | None]] = []
        self._running: list[tuple[nn.Module, int]] = []
        self._attending: set[int] = set()
        self._in_attention: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        x = next(iter(args), None)
        if func in _JOINS:
            self._join(*args, **(kwargs or {}))
        if func in _ATTENTION or (func in _SOFTMAX and isinstance(x, Tensor) and x.ndim > 2 and x.requires_grad):
            # A softmax of its own in a module is the attention of the module around it.
            owners = (module for module, _ in reversed(self._running) if next(module.parameters(), None) is not None)
            self._attending.update(id(module) for module in islice(owners, 1))
        return func(*args, **(kwargs or {}))

    def _join(self, tensors: Sequence[Tensor], dim: int = 0, **other: Any) -> None:
        """Note which tokens are patches: no graph leads to class tokens and registers, the same for every picture."""
        if any(tensor.ndim != 3 for tensor in tensors):
            return
        axis = dim % 3
        if token_axis(tuple(max(tensors, key=Tensor.numel).shape), self._pictures) != axis:
            return
        patches: list[int] = []
        start = 0
        for tensor in tensors:
            count = tensor.shape[axis]
            if tensor.requires_grad:
                patches += [start + i for i in self._patches_of(tensor, axis)]
            start += count
        if patches:
            self._joined.append(Joined(len(self._runs), start, tuple(patches)))

    def _patches_of(self, tensor: Tensor, axis: int) -> Sequence[int]:
        """The places of the patches among tokens, which may have been joined before, or cut out of such."""
        count, first = tensor.shape[axis], 0
        node: Any = tensor.grad_fn
        whole = count
        if node is not None and node.name() == "SliceBackward0" and node._saved_dim == axis and node._saved_step == 1:
            whole = node._saved_self_sym_sizes[axis]
            # Counted from the end, it is kept as an unsigned number.
            first = node._saved_start if node._saved_start <= whole else node._saved_start - 2**64 + whole
        found = next((join.patches for join in reversed(self._joined) if join.tokens == whole), range(whole))
        return [i - first for i in found if first <= i < first + count]

    def before(self, module: nn.Module, args: Any) -> None:
        self._running.append((module, len(self._runs)))

    def after(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            _, start = self._running.pop()
            if id(module) in self._attending:
                read = getattr(next(iter(args), None), "shape", None)
                inside = range(start, len(self._runs))
                # A norm at its door keeps the shape of what it reads; queries, keys and values together don't.
                self._in_attention.update(i for i in inside if self._runs[i][2] != read)
            if not torch.is_grad_enabled():
                self._frozen.append(name)
                self._switch = "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
            tensor = carried(module, output)
            if tensor is not None and (begun := self._begun(name, tensor)) is not tensor:
                tensor, output = begun, with_carried(output, begun)
            real = tensor is not None and tensor.is_floating_point()  # complex numbers are no map
            shape, node = (tuple(tensor.shape), tensor.grad_fn) if tensor is not None and real else ((), None)
            self._runs.append((name, type(module).__name__, shape, node))
            return output

        return hook

    def _begun(self, name: str, output: Tensor) -> Tensor:
        """The output, with a graph of its own if it should begin one."""
        if not self._restarts or output.requires_grad:
            return output
        if not torch.is_grad_enabled() or not output.is_floating_point() or output.shape[:1] != (self._pictures,):
            return output
        self._restarted.append(name)
        return output.detach().clone().requires_grad_().clone()

    def check_cut(self, output: Tensor) -> None:
        """Raises: SetupError: no module runs with a graph that leads to the score."""
        if output.grad_fn is None:
            raise SetupError(f"no gradient reaches the model's layers: {self._cut()}")

    def _cut(self) -> str:
        if self._frozen:
            return f"forward runs under torch.{self._switch}(): take that out of the code, for explaining"
        return "forward detaches its tensors, or makes its scores of numbers that are none: take that out of the code"

    def finish(
        self,
        net: nn.Module,
        images: Tensor,
        output: Tensor,
        counter: ActivationCounter,
        *,
        scores: int,
        by_levels: bool,
    ) -> Trace:
        assert output.grad_fn is not None
        routes = Routes(output.grad_fn, self._pictures, {join.tokens: join.patches for join in self._joined})
        signs = Signs()
        numbers: dict[Node, int] = {}
        calls: Counter[str] = Counter()
        layouts = Layouts(tuple(images.shape), self._joined)
        runs = tuple(
            Run(
                name,
                kind,
                shape,
                tensor=numbers.setdefault(node, len(numbers)) if node is not None else -1,
                call=_counted(calls, name),
                reaches=node is not None and (node in routes.readers or node is output.grad_fn),
                on_every_path=node in routes.crossed,
                in_attention=i in self._in_attention,
                never_negative=node in routes.crossed and signs.never_negative(node),
                layouts=layouts.of(net.get_submodule(name), shape),
            )
            for i, (name, kind, shape, node) in enumerate(self._runs)
        )
        narrowed = bool(routes.narrowed)
        normalised = tuple(self._normalised(routes))
        return Trace(
            tuple(images.shape),
            runs,
            narrowed,
            counter.rectifiers,
            counter.others,
            normalised,
            scripted=tuple(name for name, part in net.named_modules() if isinstance(part, torch.jit.ScriptModule)),
            frozen=tuple(dict.fromkeys(self._frozen)),
            cut=f"up to {self._restarted[0]!r} {self._cut()}" if self._restarted else "",
            joined=tuple(self._joined),
            read=routes.read,
            scores=scores,
            levels=self._levels(output) if by_levels else (),
        )

    def _levels(self, output: Tensor) -> tuple[int, ...]:
        """The places of the runs that a detector's scores and boxes are read from."""
        assert output.grad_fn is not None
        (scores, _), (boxes, _) = output.grad_fn.next_functions
        if scores is None:
            return ()
        maps = {node for _, _, shape, node in self._runs if node and len(shape) == 4 and shape[0] == self._pictures}
        found = levels.levels(scores, boxes, maps)
        return tuple(i for i, (_, _, _, node) in enumerate(self._runs) if node in found)

    def _normalised(self, routes: Routes) -> Iterator[tuple[str, str]]:
        times = Counter(name for name, *_ in self._runs)
        once = {node: (name, kind) for name, kind, _, node in reversed(self._runs) if node and times[name] == 1}
        for node, (name, kind) in once.items():
            conv, _ = node.next_functions[0] if node.next_functions else (None, 0)
            if conv in once and (once[conv][1], kind) in _FOLDS and routes.readers[conv] == 1:
                yield once[conv][0], name


def _counted(calls: Counter[str], name: str) -> int:
    """The number of times that the name was counted before; counts it once more."""
    calls[name] += 1
    return calls[name] - 1
