"""A network's work on one batch, as a method reads it: `Evidence` of one number per picture, from one `Forward`.

Activations and gradients are each computed when first asked for and then shared by all methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from camcli.errors import SetupError
from camcli.network import variants
from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.places import axes, everywhere, resized
from camcli.network.variants import Variant
from camcli.tasks.targets import Target, of_picture, of_variants, table_of


class Evidence:
    """The evidence of one forward about one number per picture. Methods are pure functions of it.

    images (N, 3, H, W) · acts, grads (N, C, h, w) at the layer · input_grads, guided_grads, deconv_grads (N, 3, H, W).
    Of clips there is an axis of time before the height: (N, 3, T, H, W), (N, C, t, h, w).
    Variants are asked about in batches: `rescore` and `again` change the images, `resume` the layer's map.
    """

    def __init__(
        self, forward: Forward, target: Target, layer: Layer | None = None, *, eigen_smooth: bool = False
    ) -> None:
        self._forward = forward
        self._target = target
        self._layer = layer
        self._eigen_smooth = eigen_smooth

    @property
    def images(self) -> Tensor:
        return self._forward.images.detach()

    @property
    def black(self) -> Tensor:
        """The value of a black pixel in the images, (C, 1, 1)."""
        black = self._forward.network.black
        channels = torch.zeros(self.images.shape[1], device=self.images.device) if black is None else black.flatten()
        return everywhere(channels[None], self.images)[0]

    @property
    def places(self) -> tuple[int, ...]:
        """The axes of the places in acts, grads and images: (2, 3), of clips (2, 3, 4)."""
        return axes(self._forward.images)

    def everywhere(self, numbers: Tensor) -> Tensor:
        """Numbers (N, C), to be multiplied with values (N, C, *places) at every place."""
        return everywhere(numbers, self._forward.images)

    def at_size(self, values: Tensor) -> Tensor:
        """Values (N, *grid) or (N, C, *grid) at the images' size, linearly in between."""
        return resized(values, self._forward.size)

    @property
    def stages(self) -> list[Evidence]:
        """The same evidence at the end of each resolution on the way to the layer, and at the layer itself."""
        return [
            Evidence(self._forward, self._target, layer, eigen_smooth=self._eigen_smooth)
            for layer in self._forward.stages[self._at_layer().name]
        ]

    @property
    def logits(self) -> Tensor:
        """The scores of all classes (N, K), before any activation; of a region's own, if the target is about one."""
        return table_of(self._target, self._forward.outputs).scores.detach()

    @property
    def value(self) -> Tensor:
        """y, the number that is explained (N,), as it is asked of variants: of a detection, its likeness to itself."""
        return self._forward.values(of_variants(self._target))

    @property
    def target(self) -> Target:
        return self._target

    def about(self, target: Target) -> Evidence:
        """The same forward's evidence about another number."""
        return Evidence(self._forward, target, self._layer, eigen_smooth=self._eigen_smooth)

    def generator(self) -> torch.Generator:
        """A source of random numbers on the CPU, with the same seed at each call: for each batch and each class."""
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
        """w (N, C) of y = sum_k w_k mean_ij(A_k) + b, as in networks that end in an average and one linear layer.

        Raises: SetupError: the network does not end so after the layer.
        """
        weights = self.grads.sum(self.places)
        means = self.everywhere(weights).expand_as(self.grads) / self.grads[0, 0].numel()
        half = self.resume(1, lambda i: self.acts / 2)[0]
        expected = self.value - (weights * self.acts.mean(self.places)).sum(1) / 2
        scale = float(self.grads.abs().max()), float(self.value.abs().max())
        even = torch.allclose(self.grads, means, rtol=1e-3, atol=1e-5 * scale[0])
        if not even or not torch.allclose(half, expected, rtol=1e-3, atol=1e-4 * scale[1]):
            raise SetupError(
                f"after layer {self._at_layer().name} the score is no linear layer on the map's average, and the "
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
        tokens = output.shape[layer.layout.token_axis] if output.ndim == 3 else 0
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
        return self._at_layer().layout.of_tokens(tokens[:, :, None], self._forward.size)[:, 0]

    @property
    def class_token(self) -> int | None:
        """The class token's place among the layer's tokens; None if the score is read from the patches."""
        return self._at_layer().class_token

    def combine(self, weighted: Tensor) -> Tensor:
        """relu(sum_k weighted_k) (N, h, w); with --eigen-smooth their first principal component instead."""
        return (self.component(weighted, centred=True) if self._eigen_smooth else weighted.sum(1)).relu()

    def component(self, channels: Tensor, *, centred: bool) -> Tensor:
        """(N, h, w): the places of (N, C, h, w) projected on their first principal component.

        A singular vector has no sign of its own: if centred it gets the one that agrees with the channels' sum, else
        the one that makes the projections' sum positive.
        """
        flat = channels.double().flatten(2).transpose(1, 2)  # (N, places, C)
        if centred:
            flat = flat - flat.mean(1, keepdim=True)
        return self.projection(flat @ flat.transpose(1, 2), like=channels if centred else torch.ones_like(channels))

    def projection(self, kernel: Tensor, *, like: Tensor) -> Tensor:
        """(N, h, w): the places projected on the first principal component, from their inner products
        (N, h * w, h * w). The sign agrees with the sum of the channels `like` (N, C, h, w)."""
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
        return variants.rescore(
            self._forward, self._target, count, variant, tag and (tag, self._layer and self._layer.name)
        )

    def resume(self, count: int, variant: Variant, tag: object = None) -> Tensor:
        """y for variants 0 to count of the layer's map, (count, N); `variant(i)` gives (N, C, h, w)."""
        return variants.resume(self._forward, self._target, self._at_layer(), count, variant, tag)

    def again(self, count: int, variant: Variant) -> Iterator[Evidence]:
        """The same evidence about variants 0 to count of the images, (N, 3, H, W) each, some of them at a time.

        m variants stand in the order (m, N): `sum_of(other.grads)` adds them up.
        """
        forward, layer = self._forward, self._layer
        for start, stop in variants.chunks(forward, count):
            images = torch.cat([variant(i) for i in range(start, stop)])
            changed = Forward(forward.network, images, [layer] if layer else [], forward.parts)
            yield Evidence(changed, self._target, layer)
            forward.network.step(stop, count)

    def alone(self) -> Iterator[Evidence]:
        """The same evidence about each picture by itself, one after the other. So no picture's rounding depends on the
        others in the batch."""
        layer = self._layer
        for i in range(len(self.images)):
            own = Forward(self._forward.network.of_picture(i), self.images[i : i + 1].clone(), [layer] if layer else [])
            yield Evidence(own, of_picture(self._target, i), layer)

    def sum_of(self, values: Tensor) -> Tensor:
        """(N, …): the sum over the variants in (m * N, …)."""
        return values.view(-1, len(self.images), *values.shape[1:]).sum(0)

    def ascend(self, start: Tensor, images: Callable[[Tensor], Tensor], *, steps: int, rate: float) -> Tensor:
        """The parameters (N, K) with the largest y of images(parameters) that Adam passes from `start` on."""
        return variants.ascend(self._forward, self._target, start, images, steps, rate)

    def _at_layer(self) -> Layer:
        if self._layer is None:
            raise RuntimeError("the method did not declare in `needs` that it looks at a layer")
        return self._layer
