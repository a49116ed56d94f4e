"""One batch, asked method by method: averaged over augmentations, and fused over layers if that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from camcli.methods import Method
from camcli.network.evidence import Evidence
from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.network import Network
from camcli.network.places import each_frame, resized
from camcli.specs import Fuse
from camcli.tasks.targets import Target

# One stride of 32 less and more than 224 pixels, so that the usual networks' maps stay on whole cells.
SCALES = (1.0, 6 / 7, 8 / 7)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A change of the images, which can be undone in the answer."""

    flip: bool = False
    scale: float = 1.0

    def of(self, images: Tensor) -> Tensor:
        """The images (N, C, H, W) changed: (N, C, H', W'); of clips each frame."""
        if self.scale != 1:
            size = [max(1, round(side * self.scale)) for side in images.shape[-2:]]
            images = each_frame(
                images, lambda own: interpolate(own, size, mode="bilinear", align_corners=False, antialias=True)
            )
        return images.flip(-1) if self.flip else images

    def undone(self, values: Tensor, size: Sequence[int]) -> Tensor:
        """The answer (N, …, h', w') to the changed images as one (N, …, *size) to the images themselves."""
        values = values.flip(-1) if self.flip else values
        return resized(values, size)


def augmentations(names: Sequence[str]) -> list[Augmentation]:
    """Every combination of the named changes; the first changes nothing."""
    flips = (False, True) if "flip" in names else (False,)
    scales = SCALES if "scale" in names else (1.0,)
    return [Augmentation(flip, scale) for scale, flip in product(scales, flips)]


def fused(maps: Sequence[Tensor], how: Fuse) -> Tensor:
    """Maps (N, *grid) of several layers as one of the largest grid, each scaled to its own maximum."""
    size = max((values.shape[1:] for values in maps), key=torch.Size.numel)
    own = tuple(range(1, 1 + len(size)))
    tops = [values.amax(own, keepdim=True) for values in maps]
    scaled = [values / top.where(top > 0, 1.0) for values, top in zip(maps, tops, strict=True)]
    stacked = torch.stack([resized(values, size) for values in scaled])
    if how == "mean":
        return stacked.mean(0)
    return stacked.amax(0) if how == "max" else stacked.prod(0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The questions to every batch of a run. `levels`: an answer is read at the one layer that has its gradient."""

    network: Network
    methods: Sequence[Method]
    layers: Sequence[Layer] = ()
    stages: Mapping[str, Sequence[Layer]] = field(default_factory=dict)
    augment: Sequence[str] = ()
    eigen_smooth: bool = False
    fuse: Fuse | None = None
    levels: bool = False

    def with_bound(self, bound: Sequence[Tensor]) -> Plan:
        """The plan for a batch whose pictures have these tensors (N, …) with them."""
        return replace(self, network=replace(self.network, bound=bound)) if bound else self


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One method's raw values for a batch, (N, h, w) or (N, C, h, w). `layer`: the layer that they were asked at.
    `read_at`: all layers that they were read at, such as fused layers, or the stages before the layer too."""

    method: Method
    layer: Layer | None
    read_at: Sequence[Layer]
    values: NDArray[np.float32]

    @property
    def layer_name(self) -> str | None:
        return "+".join(layer.name for layer in self.read_at) or None


class Batch:
    """One batch of images (N, C, H, W), gone through the network once per augmentation."""

    def __init__(self, plan: Plan, images: Tensor) -> None:
        self._plan = plan
        parts = frozenset().union(*(method.needs for method in plan.methods))
        self._forwards = [
            (change, Forward(plan.network, change.of(images), plan.layers, parts, plan.stages))
            for change in augmentations(plan.augment)
        ]

    @property
    def forward(self) -> Forward:
        """The forward of the unchanged images."""
        return self._forwards[0][1]

    def ask(self, targets: Sequence[Target]) -> None:
        """Announce the targets that will be asked about."""
        for _, forward in self._forwards:
            forward.ask(targets)

    def answers(self, target: Target) -> Iterator[Answer]:
        """Each method's answers, at each of its layers or fused over them."""
        for method in self._plan.methods:
            yield from self.answers_of(method, target)

    def _level_of(self, target: Target) -> Layer:
        """The level that a detection was read from: the last one, as later levels are made of earlier ones, that has a
        gradient."""
        levels = self._plan.layers
        return next((own for own in reversed(levels) if self.forward.has_gradient(target, own)), levels[-1])

    def answers_of(self, method: Method, target: Target) -> Iterator[Answer]:
        """One method's answers."""
        layers: Sequence[Layer | None] = [None]
        if method.at_layer:
            layers = [self._level_of(target)] if self._plan.levels else self._plan.layers
        found = [self._values(method, target, layer) for layer in layers]
        if self._plan.fuse is not None and method.at_layer and method.kind == "map":
            yield Answer(method, layers[-1], self._plan.layers, _array(fused(found, self._plan.fuse)))
            return
        for layer, values in zip(layers, found, strict=True):
            yield Answer(method, layer, self._read_at(method, layer), _array(values))

    def _read_at(self, method: Method, layer: Layer | None) -> Sequence[Layer]:
        if layer is None:
            return ()
        return self._plan.stages[layer.name] if method.at_stages else (layer,)

    def _values(self, method: Method, target: Target, layer: Layer | None) -> Tensor:
        smooth = self._plan.eigen_smooth
        total = None
        for change, forward in self._forwards:
            values = method.function(Evidence(forward, target, layer, eigen_smooth=smooth)).float()
            values = _more_than_rounding(values, method, forward, target, layer)
            total = values if total is None else total + change.undone(values, total.shape[2 - forward.images.ndim :])
        assert total is not None
        return total / len(self._forwards)


def _more_than_rounding(
    values: Tensor, method: Method, forward: Forward, target: Target, layer: Layer | None
) -> Tensor:
    """The values, with zeros for each picture whose values are only the rounding of a sum that cancels."""
    if layer is None or not method.sums_products:
        return values
    is_noise = values.flatten(1).amax(1) <= forward.rounding_of_sum(target, layer)
    return values.masked_fill(is_noise.view(-1, *[1] * (values.ndim - 1)), 0.0)


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.cpu().numpy()
    return array


def batch_of(views: Sequence[NDArray[np.float32]], network: Network, device: str) -> Tensor:
    """Views (C, h, w), or of clips (C, t, h, w), of one shape as a batch on the device."""
    # The channels lie last in memory, as in each view.
    stacked = torch.from_numpy(np.stack([np.moveaxis(view, 0, -1) for view in views])).movedim(-1, 1)
    if device.startswith("cuda"):
        stacked = stacked.pin_memory()  # copied while the host goes on
    return network.arranged(stacked.to(device, non_blocking=True))
