"""What a network did on one batch; `rectifiers` bends ReLU for it.

`Forward` runs the network once and owns what autograd recorded; `Forward.at(target, layer)` is the `Evidence` that a
method reads: activations and gradients, each computed when first asked for and then shared by all methods.

- The trunk records no graph: parameters are frozen and the hook on the layer hands on a clone of a detached leaf, so
  autograd records from the layer to the score only, and a map costs about one plain forward.
- The clone matters: networks change a layer's output in place right after it (DenseNet's last ReLU, VGG's), and
  a hook that keeps the live tensor then explains another layer.
- Methods that ask what the network would have said (`rescore`, `resume`) go through it in batches of the run's size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from camcli import needs, slopes
from camcli.attention import Attention
from camcli.errors import SetupError
from camcli.frozen import frozen
from camcli.layers import Layer
from camcli.outputs import PLAIN, Outputs, Readout, carried, with_carried
from camcli.rectifiers import BentReLU
from camcli.tapes import Tape
from camcli.targets import OfClass, Target, map_classes

Variant = Callable[[int], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network and how it is asked: what every forward of a run shares.

    `batch_size` bounds the pictures of one forward; `black` (C, 1, 1) is a black pixel, normalised;
    `embedder` is the module whose input is a picture's embedding;
    `step` is told how many of how many variants are done. `precision` is that of all that runs before the layer `cut`.
    `channels_last`: pictures lie so in memory. `changes_input`: the network writes into what it is given.
    """

    net: nn.Module
    readout: Readout = PLAIN
    batch_size: int = 16
    seed: int = 0
    black: Tensor | None = None
    embedder: nn.Module | None = None
    step: Callable[[int, int], None] = field(default=lambda done, of: None)
    precision: torch.dtype = torch.float32
    cut: Layer | None = None
    channels_last: bool = False
    changes_input: bool = False

    def arranged(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) as the network's kernels lie."""
        return images.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def outputs(self, images: Tensor) -> Outputs:
        """One forward, with the embedding where the network has a module that is named as reading it.

        Raises: SetupError: the network fails on pictures of this size, or gives no scores.
        """
        with self._lowered(images.device.type):
            return self._outputs(images.clone() if self.changes_input else images)

    @contextmanager
    def _lowered(self, device: str) -> Iterator[None]:
        if self.cut is None:
            yield
            return

        def back(output: Tensor) -> Tensor:
            torch.set_autocast_enabled(device, False)
            return output.float()

        # Before the hook that keeps the layer's output: what is kept, and all that is behind it, is fp32.
        hook = _on_run(self.cut, back)
        try:
            with torch.autocast(device, self.precision):
                yield
        finally:
            hook.remove()

    def _outputs(self, images: Tensor) -> Outputs:
        if self.embedder is None:
            return self.readout.outputs(self.net, images)
        seen: list[Tensor] = []
        hook = self.embedder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            outputs = self.readout.outputs(self.net, images)
        finally:
            hook.remove()
        embedding = seen[-1]
        return replace(outputs, embedding=embedding.flatten(2).mean(2) if embedding.ndim > 2 else embedding)

    def embedding(self, image: Tensor) -> Tensor:
        """(D,): what the network's last layer with weights reads, of one picture (C, H, W)."""
        with torch.no_grad(), frozen(self.net):
            embedding = self.outputs(image[None]).embedding
        assert embedding is not None
        return embedding[0]


class Forward:
    """One forward of one batch: images float32 (N, C, H, W), normalised, on the network's device.

    `layers` are kept for maps, and the `stages` before each of them (see
    `layers.stages`). `parts` names the parts of Evidence that will be read
    (see `needs`): with one that reaches the pixels the graph does too, so that saliencies can be computed from the
    same forward; without layers and parts, nothing is recorded at all.
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
        self._asked: dict[Target, int] = {}
        self._tables: dict[tuple[Any, ...], Tensor] = {}
        to_pixels = bool(needs.TO_PIXELS.intersection(parts))
        self._relu = BentReLU() if needs.BENDS_RELU.intersection(parts) else None
        self._attention = Attention() if needs.ATTENTION.intersection(parts) else None
        self._tapes = {layer.name: Tape() for layer in self.layers} if needs.RESUMES.intersection(parts) else {}
        self._tail = Tape() if "formation_grads" in parts else None
        self._parts = parts
        self._biased: list[tuple[nn.Module, Tensor]] = []
        self._right: dict[str, bool] = {}
        self.images = images.detach().requires_grad_() if to_pixels else images
        with ExitStack() as stack:
            stack.enter_context(frozen(network.net))
            stack.enter_context(torch.set_grad_enabled(bool(self.layers) or to_pixels))
            for layer in self.layers:
                stack.callback(_on_run(layer, self._keep(layer)).remove)
            if "bias_grads" in parts:
                for module in network.net.modules():
                    if isinstance(module, _BIASED):
                        stack.callback(module.register_forward_hook(self._keep_biased).remove)
            if self._tail is not None and self._attention is not None:
                for module in network.net.modules():
                    stack.callback(module.register_forward_pre_hook(self._attention.before).remove)
                    stack.callback(module.register_forward_hook(self._keep_block).remove)
            for mode in filter(None, (self._relu, self._attention, *self._tapes.values(), self._tail)):
                stack.enter_context(mode)
            if "curvature" in parts:
                # The fused kernels of attention have no second derivative.
                stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
            # A network may change its input in place; the leaf that is differentiated must stay as it is.
            self._outputs = network.outputs(self.images.clone() if to_pixels else self.images)
        if missing := next((layer.name for layer in self.layers if layer.name not in self._kept), None):
            raise SetupError(f"layer {missing!r} does not run on every picture: choose another with --layer")
        self.logits = self._outputs.scores.detach()

    def at(self, target: Target, layer: Layer | None = None, *, eigen_smooth: bool = False) -> Evidence:
        """The evidence for one number per picture, seen from one of the kept layers.

        Raises: SetupError: the target is none of this network.
        """
        return Evidence(self, target, layer, eigen_smooth=eigen_smooth)

    def ask(self, targets: Sequence[Target]) -> None:
        """Announce what else will be asked of this batch: variants then go through the network once for all."""
        for target in targets:
            self._asked.setdefault(target, len(self._asked))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return self.images.shape[-2], self.images.shape[-1]

    def values(self, target: Target) -> Tensor:
        """The target's number for each picture (N,)."""
        return target(self._outputs).detach()

    def output(self, layer: Layer) -> Tensor:
        """The layer's output as the network arranges it, before anything downstream changed it."""
        return self._kept[layer.name].detach()

    def activations(self, layer: Layer) -> Tensor:
        """(N, C, h, w): the layer's output as a map."""
        return layer.to_map(self.output(layer), self.size)

    def gradient(self, rule: str, target: Target, layer: Layer | None) -> Tensor:
        """d target / d layer (N, C, h, w), or d target / d images (N, C, H, W) where `layer` is None, under a rule.

        In eval mode pictures don't influence each other, so the gradient of the sum is each picture's own.
        """
        key = (rule, layer.name if layer else None, target)
        if key not in self._gradients:
            source = self._kept[layer.name] if layer else self.images
            if not source.requires_grad:
                raise RuntimeError("the method did not declare in `needs` that it differentiates to the pixels")
            (gradient,) = self._differentiate(target, [source], rule=rule)
            gradient = layer.to_map(gradient, self.size) if layer else gradient
            (self._gradients[key],) = self._more_than_rounding(target, [gradient])
        return self._gradients[key]

    def curvature(self, target: Target, layer: Layer) -> Tensor:
        """H A (N, C, h, w): the Hessian of the target in the layer's map, times that map."""
        source = self._kept[layer.name]
        (gradient,) = self._differentiate(target, [source], twice=True)
        slope = layer.to_map(gradient.detach(), self.size)
        (self._gradients["gradient", layer.name, target],) = self._more_than_rounding(target, [slope])
        # A is the map alone: class and register tokens are no players, and add nothing to H A.
        given = source.detach()
        places = layer.from_map(layer.to_map(given, self.size), torch.zeros_like(given))
        with torch.enable_grad():
            along = (gradient * places).sum()
        (product,) = _or_zeros(self._gradients_of(along, [source]), [source])
        product = layer.to_map(product.detach(), self.size)
        # A slope that is rounding may have a true change, at a maximum; of the rounding's own size it is rounding too.
        largest, noise, size = (values.flatten(1).abs().amax(1) for values in (product, slope, self.activations(layer)))
        # By chance it may come out smaller, even as zero, than what shows in the target's last digit.
        noise = noise.maximum(torch.finfo(torch.float32).eps * self.values(target).abs() / size.clamp_min(_SMALLEST))
        (product,) = self._more_than_rounding(target, [product], where=largest <= _ROUNDING_CHANGES * noise)
        return product

    def bias_gradients(self, target: Target) -> list[Tensor]:
        """For each convolution and batch norm with a bias b: b * d target / d its output, (N, C, h, w)."""
        gradients = self._differentiate(target, [output for _, output in self._biased])
        gradients = self._more_than_rounding(target, gradients)
        return [
            _implicit_bias(module)[None, :, None, None] * gradient
            for (module, _), gradient in zip(self._biased, gradients, strict=True)
        ]

    def is_rounding(self, target: Target) -> Tensor:
        """(N,) of bool: whether nothing but rounding is left of the target's slope at what the network gave."""
        if target not in self._rounding:
            self._rounding[target] = slopes.is_rounding(target, self._outputs)
        return self._rounding[target]

    def rounding_of_sum(self, target: Target, layer: Layer) -> Tensor:
        """(N,): how large rounding alone can make a sum over channels of the layer's dy/dA times A."""
        key = (target, layer.name)
        if key not in self._sizes:
            weights = self.gradient("gradient", target, layer).abs().mean((2, 3), keepdim=True)
            self._sizes[key] = slopes.ROUNDING * (weights * self.activations(layer).abs()).sum(1).amax((1, 2))
        return self._sizes[key]

    def cancels(self, target: Target, layer: Layer) -> Tensor:
        """(N,) of bool: whether what speaks for and against the target at the layer adds up to rounding."""
        weights = self.gradient("gradient", target, layer).mean((2, 3), keepdim=True)
        total = (weights * self.activations(layer)).sum(1).abs().amax((1, 2))
        return total <= self.rounding_of_sum(target, layer)

    @property
    def attention(self) -> Attention:
        if self._attention is None:
            raise RuntimeError("the method did not declare in `needs` that it reads attention")
        return self._attention

    def formation_gradients(self, target: Target) -> list[Tensor]:
        """d s_l / d A_l (N, heads, L, L) for each block l: s_l is what the network's end says of those tokens' mean.

        Raises: SetupError: the network has no blocks of tokens that its end could read.
        """
        attention, tail = self.attention, self._tail
        if tail is None or not attention.blocks or not tail.reaches(self._outputs.scores):
            raise SetupError("the network has no blocks of self-attention over tokens that lead to its score")
        if len({tokens.shape for tokens in attention.blocks.values()}) > 1:
            raise SetupError("its blocks give tokens of several shapes: this is no plain ViT")
        gradients = []
        for index, tokens in sorted(attention.blocks.items()):
            with torch.enable_grad():
                pooled = tokens.mean(1, keepdim=True).expand_as(tokens)  # whichever the end reads, it reads the mean
                (scores,) = tail.play(pooled, [self._outputs.scores])
                value = target(Outputs(scores, scores, self.network.readout)).sum()
            found = self._gradients_of(value, [attention.edges[index]])
            (gradient,) = _or_zeros(found, [attention.weights[index]])
            gradients.append(gradient.view(*tokens.shape[:1], -1, tokens.shape[1], tokens.shape[1]))
        return gradients

    def rescore(self, target: Target, count: int, variant: Variant, tag: object = None) -> Tensor:
        """What the target would have been for variants 0 to count of the images: (count, N).

        `variant(i)` gives (N, C, H, W). With a `tag` the variants are the same for every target, and go through the
        network once for all that were announced.
        """
        return self._table(target, count, ("rescore", tag), lambda start, stop: self._predict(start, stop, variant))

    def resume(self, target: Target, layer: Layer, count: int, variant: Variant, tag: object = None) -> Tensor:
        """What the target would have been for variants 0 to count of the layer's map: (count, N).

        `variant(i)` gives (N, C, h, w). Only what lies behind the layer is run again.
        """
        if not self._tapes:
            raise RuntimeError("the method did not declare in `needs` that it runs the network from a layer on")
        return self._table(
            target, count, ("resume", layer.name, tag), lambda start, stop: self._resumed(layer, start, stop, variant)
        )

    def again(self, target: Target, layer: Layer | None, count: int, variant: Variant) -> Iterator[Evidence]:
        """Evidence of the same parts for variants 0 to count of the images, some of them at a time: m variants of each
        of the N pictures stand in the order (m, N)."""
        for start, stop in self._chunks(count):
            images = torch.cat([variant(i) for i in range(start, stop)])
            yield Forward(self.network, images, [layer] if layer else [], self._parts).at(target, layer)
            self.network.step(stop, count)

    def alone(self, target: Target, layer: Layer | None) -> Iterator[Evidence]:
        """Evidence of each picture gone through the network by itself, of what is seen at the layer and no more."""
        for i in range(len(self.images)):
            own = _of_picture(target, i)
            images = self.images.detach()[i : i + 1].clone()
            yield Forward(self.network, images, [layer] if layer else []).at(own, layer)

    def ascend(
        self, target: Target, start: Tensor, images: Callable[[Tensor], Tensor], steps: int, rate: float
    ) -> Tensor:
        """The best of `start` (N, K) and Adam's `steps` from there, towards a larger target of images(parameters), by
        picture."""
        parameters = start.clone().requires_grad_()
        adam = torch.optim.Adam([parameters], lr=rate)
        best, best_value = start.clone(), torch.full_like(start[:, 0], -torch.inf)
        for step in range(steps + 1):
            with frozen(self.network.net), torch.set_grad_enabled(step < steps):
                values = target(self.network.outputs(images(parameters)))
                cost = -values.sum()
            better = values.detach() > best_value
            best[better], best_value[better] = parameters.detach()[better], values.detach()[better]
            if step < steps:
                (parameters.grad,) = _or_zeros(self._gradients_of(cost, [parameters]), [parameters])
                adam.step()
            self.network.step(step, steps)
        return best

    def _table(self, target: Target, count: int, key: tuple[Any, ...], run: Callable[[int, int], Outputs]) -> Tensor:
        self.ask([target])
        found = self._tables.get(key) if key[-1] is not None else None
        if found is None or self._asked[target] >= len(found):
            rows: list[Tensor] = []
            with torch.no_grad(), frozen(self.network.net):
                for start, stop in self._chunks(count):
                    outputs = run(start, stop)
                    rows.append(torch.stack([asked(outputs).view(stop - start, -1) for asked in self._asked]))
                    self.network.step(stop, count)
            found = self._tables[key] = torch.cat(rows, dim=1)
        return found[self._asked[target]]

    def _chunks(self, count: int) -> Iterator[tuple[int, int]]:
        """Variants at a time so that a forward holds about a batch of pictures."""
        step = max(1, self.network.batch_size // len(self.images))
        for start in range(0, count, step):
            yield start, min(start + step, count)

    def _predict(self, start: int, stop: int, variant: Variant) -> Outputs:
        return self.network.outputs(torch.cat([variant(i) for i in range(start, stop)]))

    def _resumed(self, layer: Layer, start: int, stop: int, variant: Variant) -> Outputs:
        given = self.output(layer)
        outputs = torch.stack([layer.from_map(variant(i), given) for i in range(start, stop)])
        if self._tape_is_right(layer):
            raw, scores = self._tapes[layer.name].play_many(outputs, [self._outputs.raw, self._outputs.scores])
            return Outputs(raw.flatten(0, 1), scores.flatten(0, 1), self.network.readout)
        # (variants, tokens, N, C) where tokens come first.
        first = layer.reading.arrangement == "tokens first"
        outputs = outputs.transpose(0, 1).flatten(1, 2) if first else outputs.flatten(0, 1)
        images = self.images.detach().repeat(stop - start, *[1] * (self.images.ndim - 1))
        hook = _on_run(layer, lambda output: outputs.clone())
        try:
            return self.network.outputs(images)
        finally:
            hook.remove()

    def _tape_is_right(self, layer: Layer) -> bool:
        """Whether the tape stands for what lies behind the layer: played with what was seen, it gives the scores.

        Outputs that are no tensors, and code that a TorchFunctionMode can't see, go through the whole network.
        """
        if layer.name not in self._right:
            tape, raw, scores = self._tapes[layer.name], self._outputs.raw, self._outputs.scores
            right = self.network.embedder is None and isinstance(raw, Tensor)
            # One that squeezes the picture's axis away can't be told from several pictures' once it is played.
            right = right and raw.shape[:1] == (len(self.images),)
            right = right and tape.reaches(raw) and tape.reaches(scores)
            if right:
                try:
                    (again,) = tape.play_many(self.output(layer)[None], [scores])
                    right = torch.allclose(again[0], self.logits, rtol=1e-4, atol=1e-5 * float(self.logits.abs().max()))
                except RuntimeError:  # vmap can't do what the network does
                    right = False
            self._right[layer.name] = right
        return self._right[layer.name]

    def _differentiate(
        self, target: Target, sources: Sequence[Tensor], *, rule: str = "gradient", twice: bool = False
    ) -> list[Tensor]:
        with torch.enable_grad():  # the caller may be inside no_grad
            value = target(self._outputs).sum()
        return _or_zeros(self._gradients_of(value, sources, rule=rule, twice=twice), sources)

    def _more_than_rounding(self, target: Target, gradients: list[Tensor], where: Tensor | None = None) -> list[Tensor]:
        """The gradients (N, …), with zeros for pictures where rounding is all that the target's slope is made of."""
        if slopes.is_steep(target):
            return gradients
        rounding = self.is_rounding(target)
        rounding = rounding if where is None else rounding & where
        return [values.masked_fill(rounding.view(-1, *[1] * (values.ndim - 1)), 0.0) for values in gradients]

    def _gradients_of(
        self, value: Tensor, sources: Sequence[Any], *, rule: str = "gradient", twice: bool = False
    ) -> Sequence[Tensor | None]:
        """d value / d sources, None where it does not depend on one, with ReLU's backward bent by the rule.

        All that a method differentiates is differentiated here, and nothing else says which rule holds: so no answer
        depends on what was asked before. twice: the gradients can be differentiated once more.
        """
        if not value.requires_grad or not sources:
            return [None] * len(sources)
        with self._relu.bent(rule) if self._relu is not None else nullcontext():
            return torch.autograd.grad(value, sources, retain_graph=True, allow_unused=True, create_graph=twice)

    def _keep(self, layer: Layer) -> Callable[[Tensor], Tensor]:
        def hook(output: Tensor) -> Tensor:
            # Behind another kept layer the graph is already there and must not be cut.
            leaf = output if output.requires_grad else output.detach().requires_grad_()
            self._kept[layer.name] = leaf
            handed_on = leaf.clone()
            if layer.name in self._tapes:
                self._tapes[layer.name].start(handed_on)
            return handed_on

        return hook

    def _keep_biased(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
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


class Evidence:
    """What one forward says about one number per picture. Methods are pure functions of this.

    images (N, 3, H, W) · acts, grads (N, C, h, w) at the layer · input_grads, guided_grads, deconv_grads (N, 3, H, W).
    Variants are asked about in batches: `rescore` and `again` change the images, `resume` the layer's map.
    """

    def __init__(self, forward: Forward, target: Target, layer: Layer | None, *, eigen_smooth: bool = False) -> None:
        self._forward = forward
        self._target = target
        self._layer = layer
        self._eigen_smooth = eigen_smooth

    @property
    def images(self) -> Tensor:
        return self._forward.images.detach()

    @property
    def black(self) -> Tensor:
        """What a black pixel is in the images, (C, 1, 1)."""
        black = self._forward.network.black
        return torch.zeros(self.images.shape[1], 1, 1, device=self.images.device) if black is None else black

    @property
    def stages(self) -> list[Evidence]:
        """The same evidence seen from the end of each resolution on the way to the layer, and from the layer itself."""
        return [
            Evidence(self._forward, self._target, layer, eigen_smooth=self._eigen_smooth)
            for layer in self._forward.stages[self._at_layer().name]
        ]

    @property
    def logits(self) -> Tensor:
        """The scores of all classes (N, K), before any activation."""
        return self._forward.logits

    @property
    def value(self) -> Tensor:
        """y, the number that is explained (N,)."""
        return self._forward.values(self._target)

    @property
    def target(self) -> Target:
        return self._target

    def about(self, target: Target) -> Evidence:
        """The same forward's evidence about another number."""
        return Evidence(self._forward, target, self._layer, eigen_smooth=self._eigen_smooth)

    def generator(self) -> torch.Generator:
        """A source of random numbers on the CPU, seeded alike at each call: so for each batch and each class."""
        return torch.Generator().manual_seed(self._forward.network.seed)

    @cached_property
    def acts(self) -> Tensor:
        """A, the layer's output (N, C, h, w)."""
        return self._forward.activations(self._at_layer())

    @property
    def grads(self) -> Tensor:
        """dy/dA (N, C, h, w), y the class's logit or another target."""
        return self._forward.gradient("gradient", self._target, self._at_layer())

    @property
    def curvature(self) -> Tensor:
        """H A (N, C, h, w), H the second derivative of y in A."""
        return self._forward.curvature(self._target, self._at_layer())

    @cached_property
    def class_weights(self) -> Tensor:
        """w (N, C) where y = sum_k w_k mean_ij(A_k) + b, as in networks that end in an average and one linear layer.

        Raises: SetupError: the network does not end so behind the layer.
        """
        weights = self.grads.sum((2, 3))
        means = weights[:, :, None, None].expand_as(self.grads) / self.grads[0, 0].numel()
        half = self.resume(1, lambda i: self.acts / 2)[0]
        expected = self.value - (weights * self.acts.mean((2, 3))).sum(1) / 2
        scale = float(self.grads.abs().max()), float(self.value.abs().max())
        even = torch.allclose(self.grads, means, rtol=1e-3, atol=1e-5 * scale[0])
        if not even or not torch.allclose(half, expected, rtol=1e-3, atol=1e-4 * scale[1]):
            raise SetupError(
                f"behind layer {self._at_layer().name} the score is no linear layer on the map's average, and the "
                "original CAM is defined for no other network; grad-cam is its generalisation"
            )
        return weights

    @property
    def input_grads(self) -> Tensor:
        """dy/dx (N, 3, H, W)."""
        return self._forward.gradient("gradient", self._target, None)

    @property
    def guided_grads(self) -> Tensor:
        """dy/dx with ReLU's backward passing only where both its input and the gradient are positive."""
        return self._forward.gradient("guided", self._target, None)

    @property
    def deconv_grads(self) -> Tensor:
        """dy/dx with ReLU's backward passing wherever the gradient is positive, whatever its input was."""
        return self._forward.gradient("deconvnet", self._target, None)

    @property
    def bias_grads(self) -> list[Tensor]:
        """b * dy/dz (N, C, h, w) for each convolution and batch norm, z its output and b its (implicit) bias."""
        return self._forward.bias_gradients(self._target)

    @property
    def attention(self) -> list[Tensor]:
        """The weights of each self-attention over the layer's tokens, (N, heads, L, L) from the first to the last.

        Raises: SetupError: the network has none.
        """
        layer = self._at_layer()
        output = self._forward.output(layer)
        tokens = output.shape[layer.reading.token_axis] if output.ndim == 3 else 0
        found = [weights for weights in self._forward.attention.weights if weights.shape[-1] == tokens]
        found = [weights.detach() for weights in found if len(weights) == len(self.images)]
        if not found:
            raise SetupError(f"layer {layer.name} is no grid of tokens that attend to each other: this is no plain ViT")
        return [weights if weights.ndim == 4 else weights[:, None] for weights in found]

    @property
    def formation_grads(self) -> list[Tensor]:
        """d s_l / d A_l (N, heads, L, L) for each block: A_l its attention, s_l the score that its tokens would get."""
        return self._forward.formation_gradients(self._target)

    def to_grid(self, tokens: Tensor) -> Tensor:
        """One number a token (N, L), on the layer's grid (N, h, w), without class and register tokens."""
        return self._at_layer().reading.of_tokens(tokens[:, :, None], self._forward.size)[:, 0]

    @property
    def class_token(self) -> int | None:
        """Where the class token lies among the layer's tokens; None: the score is read from the patches."""
        return self._at_layer().class_token

    def combine(self, weighted: Tensor) -> Tensor:
        """relu(sum_k weighted_k) (N, h, w); with --eigen-smooth their first principal component instead."""
        return (self.component(weighted, centred=True) if self._eigen_smooth else weighted.sum(1)).relu()

    def component(self, channels: Tensor, *, centred: bool) -> Tensor:
        """(N, h, w): the places of (N, C, h, w) projected on their first principal component.

        A singular vector has no sign of its own: where centred it gets the one that agrees with the channels' sum, else
        the one that makes the projections' sum positive.
        """
        flat = channels.double().flatten(2).transpose(1, 2)  # (N, places, C)
        if centred:
            flat = flat - flat.mean(1, keepdim=True)
        return self.projection(flat @ flat.transpose(1, 2), like=channels if centred else torch.ones_like(channels))

    def projection(self, kernel: Tensor, *, like: Tensor) -> Tensor:
        """(N, h, w): places on the first principal component, from their inner products (N, h * w, h * w); signed as
        the channels `like` (N, C, h, w) add up."""
        values, vectors = torch.linalg.eigh(kernel)
        projected = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
        total = like.double().flatten(2).sum(1)
        agreement = (projected * total).sum(1, keepdim=True)
        projected = torch.where(agreement >= 0, projected, -projected)
        return projected.float().view(len(like), *like.shape[2:])

    def rescore(self, count: int, variant: Variant, tag: object = None) -> Tensor:
        """y for variants 0 to count of the images, (count, N); `variant(i)` gives (N, 3, H, W).

        A `tag` says that the variants don't depend on the target, so that one run serves all.
        """
        return self._forward.rescore(self._target, count, variant, tag and (tag, self._layer and self._layer.name))

    def resume(self, count: int, variant: Variant, tag: object = None) -> Tensor:
        """y for variants 0 to count of the layer's map, (count, N); `variant(i)` gives (N, C, h, w)."""
        return self._forward.resume(self._target, self._at_layer(), count, variant, tag)

    def again(self, count: int, variant: Variant) -> Iterator[Evidence]:
        """The same evidence of variants 0 to count of the images, (N, 3, H, W) each, some of them at a time.

        m variants stand in the order (m, N): `sum_of(other.grads)` adds them up.
        """
        return self._forward.again(self._target, self._layer, count, variant)

    def alone(self) -> Iterator[Evidence]:
        """The same evidence of each picture by itself, one after the other: no picture's rounding depends on which
        others stand in the batch."""
        return self._forward.alone(self._target, self._layer)

    def sum_of(self, values: Tensor) -> Tensor:
        """(N, …): the sum over the variants in (m * N, …)."""
        return values.view(-1, len(self.images), *values.shape[1:]).sum(0)

    def ascend(self, start: Tensor, images: Callable[[Tensor], Tensor], *, steps: int, rate: float) -> Tensor:
        """The parameters (N, K) with the largest y of images(parameters) that Adam passes from `start` on."""
        return self._forward.ascend(self._target, start, images, steps, rate)

    def _at_layer(self) -> Layer:
        if self._layer is None:
            raise RuntimeError("the method did not declare in `needs` that it looks at a layer")
        return self._layer


def _on_run(layer: Layer, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Change what that run of the layer's module which gives the map hands on, before hooks of the network's own."""
    runs = count()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if next(runs) != layer.call:
            return output
        tensor = carried(module, output)
        if tensor is None:
            raise SetupError(f"layer {layer.name!r} gives no tensor: choose another with --layer")
        return with_carried(output, change(tensor))

    return layer.module.register_forward_hook(hook, prepend=True)


def _of_picture(target: Target, i: int) -> Target:
    """The target of a batch that holds the i-th picture alone."""
    return map_classes(target, lambda own: OfClass((own.ids[i],), own.probability))


def _or_zeros(gradients: Sequence[Tensor | None], sources: Sequence[Tensor]) -> list[Tensor]:
    """Zeros for sources that no path to the value crosses."""
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for gradient, source in zip(gradients, sources, strict=True)
    ]


# How many times its own size a gradient that is rounding may change by, along the activations.
_ROUNDING_CHANGES = 100
_SMALLEST = torch.finfo(torch.float32).tiny

_BIASED = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)


def _implicit_bias(module: nn.Module) -> Tensor:
    """What the module adds to each channel: its bias, less for a batch norm what it takes off as the mean."""
    if isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        assert module.running_var is not None
        mean = module.running_mean / torch.sqrt(module.running_var + module.eps)
        return (module.bias - mean * module.weight).detach()
    assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    return module.bias.detach() if module.bias is not None else module.weight.new_zeros(module.out_channels)
