"""What a network did on one batch. The only file that hooks or differentiates; `rectifiers` bends ReLU for it.

`Forward` runs the network once and owns what autograd recorded; `Forward.at(class_ids, layer)` is the `Evidence`
that a method reads: activations and gradients, each computed when first asked for and then shared by all methods.

- The trunk records no graph: parameters are frozen and the hook on the layer hands on a clone of a detached leaf, so
  autograd records from the layer to the score only, and a map costs about one plain forward.
- The clone matters: networks change a layer's output in place right after it (DenseNet's last ReLU, VGG's), and
  a hook that keeps the live tensor then explains another layer.
- `trace` records what ran, for `layers` to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camcli.errors import SetupError
from camcli.layers import Layer
from camcli.maps import Run, Trace
from camcli.outputs import PLAIN, Readout
from camcli.rectifiers import ActivationCounter, BentReLU
from camcli.routes import Routes


class Forward:
    """One forward of one batch: images float32 (N, C, H, W), normalised, on the network's device.

    `layers` are kept for maps. With `to_pixels` the graph reaches the images, so that saliencies can be computed from
    the same forward; without it, and without layers, nothing is recorded at all.
    """

    def __init__(
        self,
        net: nn.Module,
        images: Tensor,
        layers: Sequence[Layer] = (),
        *,
        to_pixels: bool = False,
        readout: Readout = PLAIN,
    ) -> None:
        self._outputs: dict[str, Tensor] = {}
        self._gradients: dict[tuple[str, str | None, tuple[int, ...]], Tensor] = {}
        self._relu = BentReLU() if to_pixels else None
        self.images = images.detach().requires_grad_() if to_pixels else images
        with ExitStack() as stack:
            stack.enter_context(_frozen(net))
            stack.enter_context(torch.set_grad_enabled(bool(layers) or to_pixels))
            for layer in layers:
                stack.callback(layer.module.register_forward_hook(self._keep(layer.name)).remove)
            if self._relu is not None:
                stack.enter_context(self._relu)
            # A network may change its input in place; the leaf that is differentiated must stay as it is.
            self._scores = readout.scores(net, self.images.clone() if to_pixels else self.images)
        self.logits = self._scores.detach()

    def at(self, class_ids: Tensor, layer: Layer | None = None) -> Evidence:
        """The evidence for one class per picture, class_ids int64 (N,), seen from one of the kept layers."""
        return Evidence(self, class_ids, layer)

    def activations(self, layer: Layer) -> Tensor:
        """(N, C, h, w): the layer's output, before anything downstream changed it."""
        return layer.to_map(self._outputs[layer.name].detach(), self._size())

    def gradient(self, rule: str, class_ids: Tensor, layer: Layer | None) -> Tensor:
        """d score / d layer (N, C, h, w), or d score / d images (N, 3, H, W) where `layer` is None, under a rule.

        The score is the logit of each picture's own class; in eval mode pictures don't influence each other, so the
        gradient of the sum is each picture's own.
        """
        key = (rule, layer.name if layer else None, tuple(class_ids.tolist()))
        if key not in self._gradients:
            source = self._outputs[layer.name] if layer else self.images
            if not source.requires_grad:
                raise RuntimeError("the method did not declare in `needs` that it differentiates to the pixels")
            if self._relu is not None:
                self._relu.rule = rule
            gradient = self._differentiate(class_ids, source)
            self._gradients[key] = layer.to_map(gradient, self._size()) if layer else gradient
        return self._gradients[key]

    def _size(self) -> tuple[int, int]:
        return self.images.shape[-2], self.images.shape[-1]

    def _differentiate(self, class_ids: Tensor, source: Tensor) -> Tensor:
        gradient = None
        if self._scores.requires_grad:
            with torch.enable_grad():  # the caller may be inside no_grad
                score = self._scores.gather(1, class_ids[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, source, retain_graph=True, allow_unused=True)
        # The score does not depend on a layer that no path crosses.
        return torch.zeros_like(source) if gradient is None else gradient

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Any], Tensor]:
        def hook(module: nn.Module, args: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise SetupError(f"layer {name!r} gives no tensor: choose another with --layer")
            # Behind another kept layer the graph is already there and must not be cut.
            leaf = output if output.requires_grad else output.detach().requires_grad_()
            self._outputs[name] = leaf
            return leaf.clone()

        return hook


class Evidence:
    """What one forward says about one class per picture. Methods are pure functions of this.

    images (N, 3, H, W) · acts, grads (N, C, h, w) at the layer · input_grads, guided_grads, deconv_grads (N, 3, H, W).
    """

    def __init__(self, forward: Forward, class_ids: Tensor, layer: Layer | None) -> None:
        self._forward = forward
        self._class_ids = class_ids
        self._layer = layer

    @property
    def images(self) -> Tensor:
        return self._forward.images.detach()

    @cached_property
    def acts(self) -> Tensor:
        """A, the layer's output (N, C, h, w)."""
        return self._forward.activations(self._at_layer())

    @property
    def grads(self) -> Tensor:
        """dy/dA (N, C, h, w), y the class's logit."""
        return self._forward.gradient("gradient", self._class_ids, self._at_layer())

    @property
    def input_grads(self) -> Tensor:
        """dy/dx (N, 3, H, W)."""
        return self._forward.gradient("gradient", self._class_ids, None)

    @property
    def guided_grads(self) -> Tensor:
        """dy/dx with ReLU's backward passing only where both its input and the gradient are positive."""
        return self._forward.gradient("guided", self._class_ids, None)

    @property
    def deconv_grads(self) -> Tensor:
        """dy/dx with ReLU's backward passing wherever the gradient is positive, whatever its input was."""
        return self._forward.gradient("deconvnet", self._class_ids, None)

    def _at_layer(self) -> Layer:
        if self._layer is None:
            raise RuntimeError("the method did not declare in `needs` that it looks at a layer")
        return self._layer


def trace(net: nn.Module, images: Tensor, readout: Readout = PLAIN) -> Trace:
    """Run once and record each module's output: its shape, and whether every path from images to score crosses it.

    Works on the meta device too: no arithmetic, no weights. `images` (1, 3, H, W).
    """
    recorder = _Recorder()
    counter = ActivationCounter()
    with ExitStack() as stack:
        stack.enter_context(_frozen(net))
        stack.enter_context(torch.enable_grad())
        for name, module in net.named_modules():
            if name:
                stack.callback(module.register_forward_pre_hook(recorder.before).remove)
                stack.callback(module.register_forward_hook(recorder.after(name)).remove)
        stack.enter_context(counter)
        stack.enter_context(recorder)
        output = readout.scores(net, images.detach().clone().requires_grad_().clone())
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
        assert output.grad_fn is not None
        routes = Routes(output.grad_fn)
        numbers: dict[Node, int] = {}
        runs = tuple(
            Run(
                name,
                kind,
                shape,
                tensor=numbers.setdefault(node, len(numbers)) if node is not None else -1,
                on_every_path=node in routes.crossed,
                in_attention=i in self._in_attention,
            )
            for i, (name, kind, shape, node) in enumerate(self._runs)
        )
        narrowed = bool(routes.narrowed)
        return Trace(tuple(images.shape), runs, output.shape[1], narrowed, counter.rectifiers, counter.others)


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for the length of a forward; each flag then goes back to what it was."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    training = [module for module in net.modules() if module.training]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        for module in training:
            module.training = False
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
