"""One forward of one batch, and all that is differentiated in it.

- The trunk records no graph: parameters are frozen and the hook on the layer hands on a clone of a detached leaf, so
  autograd records from the layer to the score only, and a map costs about one plain forward.
- The clone matters: networks change a layer's output in place right after it (DenseNet's last ReLU, VGG's), and
  a hook that keeps the live tensor then explains another layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import SetupError
from camcli.network import slopes
from camcli.network.attention import Attention
from camcli.network.layer import Grid, Layer
from camcli.network.network import Network, on_run
from camcli.network.parts import ATTENTION, BENDS_RELU, DENSE, RESUMES, TO_PIXELS
from camcli.network.places import axes, everywhere
from camcli.network.rectifiers import BentReLU
from camcli.network.sparse import SparseBackward
from camcli.network.tapes import Tape
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import Outputs
from camcli.tasks.tables import carried, with_carried
from camcli.tasks.targets import Target


class Forward:
    """One forward of one batch: images float32 (N, C, H, W) or clips (N, C, T, H, W), normalised, on the network's
    device.

    `layers` are kept for maps, and so are the `stages` before each of them (see `choosing.stages`). `parts` names the
    parts of Evidence that will be read (see `parts`). If one of them reaches the pixels, the graph does too, so that
    saliencies can be computed from the same forward. Without layers and parts, nothing is recorded at all.
    """

    def __init__(
        self,
        network: Network,
        images: Tensor,
        layers: Sequence[Layer] = (),
        parts: Collection[str] = (),
        stages: Mapping[str, Sequence[Layer]] | None = None,
    ) -> None:
        self.network = network
        self.stages = stages or {}
        self.layers = tuple({layer.name: layer for layer in chain(layers, *self.stages.values())}.values())
        self._kept: dict[str, Tensor] = {}
        self._gradients: dict[tuple[Any, ...], Tensor] = {}
        self._rounding: dict[Target, Tensor] = {}
        self._sizes: dict[tuple[Target, str], Tensor] = {}
        self.asked: dict[Target, int] = {}
        self.tables: dict[tuple[Any, ...], Tensor] = {}
        to_pixels = bool(TO_PIXELS.intersection(parts))
        self._relu = BentReLU() if BENDS_RELU.intersection(parts) else None
        self._attention = Attention() if ATTENTION.intersection(parts) else None
        self.tapes = {layer.name: Tape() for layer in self.layers} if RESUMES.intersection(parts) else {}
        self._tail = Tape() if "formation_grads" in parts else None
        self.parts = parts
        self._biased: list[tuple[nn.Module, Tensor]] = []
        self.replayed: dict[str, bool] = {}
        self.images = images.detach().requires_grad_() if to_pixels else images
        with ExitStack() as stack:
            stack.enter_context(frozen(network.net))
            stack.enter_context(torch.set_grad_enabled(bool(self.layers) or to_pixels))
            for layer in self.layers:
                stack.callback(on_run(layer, self._keep(layer)).remove)
            if "bias_grads" in parts:
                for module in network.net.modules():
                    if isinstance(module, _BIASED):
                        stack.callback(module.register_forward_hook(self._keep_biased).remove)
            if self._tail is not None and self._attention is not None:
                for module in network.net.modules():
                    stack.callback(module.register_forward_pre_hook(self._attention.before).remove)
                    stack.callback(module.register_forward_hook(self._keep_block).remove)
            sparse = SparseBackward() if network.sparse and not DENSE.intersection(parts) else None
            for mode in filter(None, (sparse, self._relu, self._attention, *self.tapes.values(), self._tail)):
                stack.enter_context(mode)
            if "curvature" in parts:
                # The fused kernels of attention have no second derivative.
                stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
            # A network may change its input in place; the leaf that is differentiated must stay as it is.
            self.outputs = network.outputs(self.images.clone() if to_pixels else self.images)
        if missing := next((layer.name for layer in self.layers if layer.name not in self._kept), None):
            raise SetupError(f"layer {missing!r} does not run on every picture: choose another with --layer")
        self.logits = self.outputs.scores.detach()

    def ask(self, targets: Sequence[Target]) -> None:
        """Announce targets that will be asked of this batch: variants then go through the network once for all."""
        for target in targets:
            self.asked.setdefault(target, len(self.asked))

    @property
    def size(self) -> Grid:
        """(H, W) of the images, or (T, H, W) of the clips."""
        return tuple(self.images.shape[2:])

    def values(self, target: Target) -> Tensor:
        """The target's number for each picture (N,)."""
        return target(self.outputs).detach()

    def output(self, layer: Layer) -> Tensor:
        """The layer's output as the network arranges it, before anything downstream changed it."""
        return self._kept[layer.name].detach()

    def activations(self, layer: Layer) -> Tensor:
        """(N, C, *grid): the layer's output as a map."""
        return layer.to_map(self.output(layer), self.size)

    def gradient(self, rule: str, target: Target, layer: Layer | None) -> Tensor:
        """d target / d layer (N, C, *grid), or d target / d images, shaped as these, if `layer` is None, under a rule.

        In eval mode pictures don't influence each other, so the gradient of the sum is each picture's own.
        """
        key = (rule, layer.name if layer else None, target)
        if key not in self._gradients:
            source = self._kept[layer.name] if layer else self.images
            if not source.requires_grad:
                raise RuntimeError("the method did not declare in `needs` that it differentiates to the pixels")
            (gradient,) = self._differentiate(target, [source], rule=rule)
            gradient = layer.to_map(gradient, self.size) if layer else gradient
            (gradient,) = self._more_than_rounding(target, [gradient])
            alike = slopes.cancels(target, gradient, lambda own: self.gradient(rule, own, layer))
            if alike is not None:
                gradient = gradient.masked_fill(alike.view(-1, *[1] * (gradient.ndim - 1)), 0.0)
            self._gradients[key] = gradient
        return self._gradients[key]

    def has_gradient(self, target: Target, layer: Layer) -> bool:
        """True if the target changes with the layer's map."""
        return bool(self.gradient("gradient", target, layer).any())

    def curvature(self, target: Target, layer: Layer) -> Tensor:
        """H A (N, C, *grid): the Hessian of the target in the layer's map, times that map."""
        source = self._kept[layer.name]
        (gradient,) = self._differentiate(target, [source], twice=True)
        slope = layer.to_map(gradient.detach(), self.size)
        (self._gradients["gradient", layer.name, target],) = self._more_than_rounding(target, [slope])
        # A is the map alone: class and register tokens are no players, and add nothing to H A.
        given = source.detach()
        places = layer.from_map(layer.to_map(given, self.size), torch.zeros_like(given))
        with torch.enable_grad():
            along = (gradient * places).sum()
        (product,) = or_zeros(self.gradients_of(along, [source]), [source])
        product = layer.to_map(product.detach(), self.size)
        # At a maximum a slope that is rounding may have a true change; one of the rounding's own size is rounding too.
        largest, noise, size = (values.flatten(1).abs().amax(1) for values in (product, slope, self.activations(layer)))
        # By chance the noise may be less than what shows in the target's last digit, even zero.
        noise = noise.maximum(torch.finfo(torch.float32).eps * self.values(target).abs() / size.clamp_min(_SMALLEST))
        (product,) = self._more_than_rounding(target, [product], where=largest <= _ROUNDING_CHANGES * noise)
        return product

    def bias_gradients(self, target: Target) -> list[Tensor]:
        """For each convolution and batch norm with a bias b: b * d target / d its output, (N, C, *grid)."""
        gradients = self._differentiate(target, [output for _, output in self._biased])
        gradients = self._more_than_rounding(target, gradients)
        return [
            everywhere(_implicit_bias(module)[None], gradient) * gradient
            for (module, _), gradient in zip(self._biased, gradients, strict=True)
        ]

    def is_rounding(self, target: Target) -> Tensor:
        """(N,) of bool: True if only rounding is left of the target's slope at the network's outputs."""
        if target not in self._rounding:
            self._rounding[target] = slopes.is_rounding(target, self.outputs)
        return self._rounding[target]

    def rounding_of_sum(self, target: Target, layer: Layer) -> Tensor:
        """(N,): the largest sum over channels of the layer's dy/dA times A that rounding alone can make."""
        key = (target, layer.name)
        if key not in self._sizes:
            slope = self.gradient("gradient", target, layer).abs()
            products = slope.mean(axes(slope), keepdim=True) * self.activations(layer).abs()
            self._sizes[key] = slopes.ROUNDING * products.sum(1).flatten(1).amax(1)
        return self._sizes[key]

    def cancels(self, target: Target, layer: Layer) -> Tensor:
        """(N,) of bool: True if the evidence for and against the target at the layer adds up to rounding."""
        slope = self.gradient("gradient", target, layer)
        products = slope.mean(axes(slope), keepdim=True) * self.activations(layer)
        total = products.sum(1).abs().flatten(1).amax(1)
        return total <= self.rounding_of_sum(target, layer)

    @property
    def attention(self) -> Attention:
        if self._attention is None:
            raise RuntimeError("the method did not declare in `needs` that it reads attention")
        return self._attention

    def formation_gradients(self, target: Target) -> list[Tensor]:
        """d s_l / d A_l (N, heads, L, L) for each block l: s_l is the score of its tokens' mean, by the network's end.

        Raises: SetupError: the network has no blocks of tokens that its end could read.
        """
        attention, tail = self.attention, self._tail
        if tail is None or not attention.blocks or not tail.reaches(self.outputs.scores):
            raise SetupError("the network has no blocks of self-attention over tokens that lead to its score")
        if len({tokens.shape for tokens in attention.blocks.values()}) > 1:
            raise SetupError("its blocks give tokens of several shapes: this is no plain ViT")
        gradients = []
        for index, tokens in sorted(attention.blocks.items()):
            with torch.enable_grad():
                pooled = tokens.mean(1, keepdim=True).expand_as(tokens)  # whichever the end reads, it reads the mean
                (scores,) = tail.play(pooled, [self.outputs.scores])
                value = target(Outputs(scores, scores, self.network.task)).sum()
            found = self.gradients_of(value, [attention.edges[index]])
            (gradient,) = or_zeros(found, [attention.weights[index]])
            gradients.append(gradient.view(*tokens.shape[:1], -1, tokens.shape[1], tokens.shape[1]))
        return gradients

    def _differentiate(
        self, target: Target, sources: Sequence[Tensor], *, rule: str = "gradient", twice: bool = False
    ) -> list[Tensor]:
        with torch.enable_grad():  # the caller may be inside no_grad
            value = target(self.outputs).sum()
        return or_zeros(self.gradients_of(value, sources, rule=rule, twice=twice), sources)

    def _more_than_rounding(self, target: Target, gradients: list[Tensor], where: Tensor | None = None) -> list[Tensor]:
        """The gradients (N, …), with zeros for pictures at which the target's slope is only rounding."""
        if slopes.is_steep(target):
            return gradients
        rounding = self.is_rounding(target)
        rounding = rounding if where is None else rounding & where
        return [values.masked_fill(rounding.view(-1, *[1] * (values.ndim - 1)), 0.0) for values in gradients]

    def gradients_of(
        self, value: Tensor, sources: Sequence[Any], *, rule: str = "gradient", twice: bool = False
    ) -> Sequence[Tensor | None]:
        """d value / d sources, with ReLU's backward bent by the rule; None for a source that it does not depend on.

        All that a method differentiates is differentiated here, and nothing else sets the rule. So no answer depends
        on what was asked before. twice: the gradients can be differentiated once more.
        """
        if not value.requires_grad or not sources:
            return [None] * len(sources)
        with self._relu.bent(rule) if self._relu is not None else nullcontext():
            return torch.autograd.grad(value, sources, retain_graph=True, allow_unused=True, create_graph=twice)

    def _keep(self, layer: Layer) -> Callable[[Tensor], Tensor]:
        def hook(output: Tensor) -> Tensor:
            # After another kept layer the graph is already there and must not be cut.
            leaf = output if output.requires_grad else output.detach().requires_grad_()
            self._kept[layer.name] = leaf
            handed_on = leaf.clone()
            if layer.name in self.tapes:
                self.tapes[layer.name].start(handed_on)
            return handed_on

        return hook

    def _keep_biased(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        if not output.requires_grad:  # of another picture, which goes in with this one
            return output
        self._biased.append((module, output))
        return output.clone()  # the ReLU that follows may work in place

    def _keep_block(self, module: nn.Module, args: Any, output: Any) -> Any:
        assert self._attention is not None
        assert self._tail is not None
        tokens = carried(module, output)
        if not self._attention.after(tokens):
            return output
        assert tokens is not None
        handed_on = tokens.clone()
        self._tail.start(handed_on)
        return with_carried(output, handed_on)


def or_zeros(gradients: Sequence[Tensor | None], sources: Sequence[Tensor]) -> list[Tensor]:
    """The gradients, with zeros for sources that no path to the value crosses."""
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for gradient, source in zip(gradients, sources, strict=True)
    ]


# A gradient that is rounding may change by so many times its own size along the activations.
_ROUNDING_CHANGES = 100
_SMALLEST = torch.finfo(torch.float32).tiny

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_BIASED = (*_CONVOLUTIONS, *_BATCH_NORMS)


def _implicit_bias(module: nn.Module) -> Tensor:
    """The number that the module adds to each channel: its bias, in a batch norm less the scaled running mean.

    Raises: SetupError: a batch norm goes by the pictures' own statistics, and adds no number of its own.
    """
    if isinstance(module, _BATCH_NORMS):
        if module.running_mean is None or module.running_var is None:
            raise SetupError("it adds up biases, and a batch norm without running statistics has none of its own")
        mean = module.running_mean / torch.sqrt(module.running_var + module.eps)
        if not module.affine:
            return -mean
        return (module.bias - mean * module.weight).detach()
    assert isinstance(module, _CONVOLUTIONS)
    return module.bias.detach() if module.bias is not None else module.weight.new_zeros(module.out_channels)
