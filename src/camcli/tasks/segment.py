"""Segmentation: a class for each pixel. The mean score of a class over a region is explained (arXiv:2002.11434).

The region is fixed by the first forward, for all variants of a picture: the pixels that are predicted as the class, or
a pixel, a box or a mask that the user gives. The paper sums over the region; the mean is the same map, and can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from camcli.entries import Entry, Place, Placement, Region
from camcli.records import Fit
from camcli.tasks.classify import unactivated
from camcli.tasks.outputs import Outputs, asked
from camcli.tasks.regions import Within
from camcli.tasks.tables import NoTableError, chosen, with_each
from camcli.tasks.targets import OfClass, Over, Target
from camcli.tasks.task import Ranked, Refusal, Rule

# Names of the class that is no thing.
BACKGROUND = frozenset({"background", "__background__"})
# Below this stride from the picture to its output a network says something of places, not of the picture.
MAX_STRIDE = 32
_SUM_WITHIN = 1e-3

_OF_IMAGES = "it is defined for networks that give one score for the whole picture"
_LACKS = MappingProxyType({"class_weights": _OF_IMAGES, "formation_grads": _OF_IMAGES})
_FORBIDS = MappingProxyType(
    {
        "augment": "the region is one of the picture as it is",
        "output_index": "its outputs are scores of classes at each place",
        "similar_to": "it has no embedding of the whole picture",
        "compile": "its pictures have sizes of their own",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class DenseOutputs(Outputs):
    """`dense` (N, K, h, w): each class's score at each place, before any activation. `scores` (N, K): its mean where
    the class is predicted, 0 where it is nowhere."""

    dense: Tensor = field(kw_only=True)

    def over(self, masks: Tensor) -> RegionOutputs:
        """The outputs as scores of regions, `masks` of bool (N, h, w) or of one whole repeat of the batch."""
        masks = masks.repeat(len(self.dense) // len(masks), 1, 1)
        return RegionOutputs(self.raw, _mean(self.dense, masks), self.task, dense=self.dense, masks=masks)

    def mapped(self, change: Any) -> DenseOutputs:
        dense = change(self.dense)
        return replace(self, raw=with_each(self.raw, change), scores=_of_predicted(dense), dense=dense)


@dataclass(frozen=True, slots=True, eq=False)
class RegionOutputs(Outputs):
    """Scores (N, K) of one region a picture; its probabilities are means of the places' own."""

    dense: Tensor = field(kw_only=True)
    masks: Tensor = field(kw_only=True)

    @property
    def probabilities(self) -> Tensor:
        return _mean(self.task.probabilities(self.dense), self.masks)

    @property
    def log_probabilities(self) -> Tensor:
        return _mean(self.task.log_probabilities(self.dense), self.masks)


@dataclass(frozen=True, slots=True)
class Segment:
    """The reading of a segmentation network's output.

    key: the one that is read of several outputs. labels_exclude: a place has one class (softmax), not several
    (sigmoid). binary: one map of logits, read as the scores (-z, z) of two classes. given: it gives probabilities,
    whose logarithms (of sigmoids: log-odds) are the scores. within: the region that is asked about; None: the pixels
    that are predicted as the class.
    """

    name: ClassVar[str] = "segment"
    fit: ClassVar[Fit] = "full"
    rule: ClassVar[Rule] = "coarsest"
    table: ClassVar[bool] = False
    usual: ClassVar[str] = "logit"
    of_picture: ClassVar[tuple[str, ...]] = ()
    nothing: ClassVar[str] = "nothing but background"
    unfound: ClassVar[tuple[str, ...]] = ()
    absent: ClassVar[Mapping[str, str]] = MappingProxyType({})
    lacks: ClassVar = _LACKS
    forbids: ClassVar = _FORBIDS
    quantities: ClassVar = MappingProxyType(
        {"logit": "the mean score over the region", "softmax": "the mean probability over the region"}
    )

    key: str | None = None
    labels_exclude: bool = True
    binary: bool = False
    given: bool = False
    within: Within | None = None

    @property
    def of_places(self) -> bool:
        """True if a pixel, a box or a mask is asked about."""
        return self.within is not None

    @property
    def method(self) -> str:
        """Grad-CAM of all that is predicted as a class; of one place its mean gradient tells nothing."""
        return "grad-cam" if self.within is None else "hires-cam"

    def outputs(self, net: nn.Module, images: Tensor) -> DenseOutputs:
        """See `Task.outputs`."""
        raw = asked(net, images)
        dense = dense_in(raw, self.key)[1]
        if self.given:
            dense = unactivated(dense, "softmax" if self.labels_exclude else "sigmoid")
        dense = torch.cat([-dense, dense], dim=1) if self.binary else dense
        return DenseOutputs(raw, _of_predicted(dense), self, dense=dense)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Of scores (N, K) or (N, K, h, w)."""
        return scores.softmax(1) if self.labels_exclude else scores.sigmoid()

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Of scores (N, K) or (N, K, h, w)."""
        return scores.log_softmax(1) if self.labels_exclude else functional.logsigmoid(scores)

    def predictions(
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> list[RegionsPrediction | RegionPrediction]:
        """The classes that are there, or those of the region that is asked about."""
        assert isinstance(outputs, DenseOutputs)
        dense = outputs.dense.detach()
        if self.within is None:
            return [
                RegionsPrediction(self, labels, own, placement)
                for own, placement in zip(dense, placements, strict=True)
            ]
        return [
            RegionPrediction(self, labels, own, placement, *self.within.mask(placement, own.shape[1:]))
            for own, placement in zip(dense, placements, strict=True)
        ]

    def target(self, outputs: Outputs, found: Sequence[Any], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own class, over its region."""
        assert isinstance(outputs, DenseOutputs)
        masks = torch.stack([own.mask(key) for own, key in zip(found, keys, strict=True)])
        return Over(masks, OfClass(keys, quantity == "softmax"))


@dataclass(frozen=True, eq=False)
class RegionPrediction(Ranked):
    """One region's classes, the likeliest first. `refusal` says why there is no such region in this picture."""

    task: Segment
    labels: Sequence[str]
    dense: Tensor
    placement: Placement
    region: NDArray[np.bool_]
    refusal: Refusal | None = None

    @property
    def covers(self) -> None:
        """The view."""

    @cached_property
    def ranking(self) -> list[int]:
        ranking: list[int] = self._scores.argsort(descending=True, stable=True).tolist()
        return ranking

    def of_class(self, class_id: int) -> list[int]:
        return [class_id]

    def mask(self, key: int) -> Tensor:
        """The region (h, w), whatever the class."""
        return torch.from_numpy(self.region).to(self.dense.device)

    def entry(self, key: int) -> Entry:
        score, probability = float(self._scores[key]), float(self._probabilities[key])
        return Entry(key, self.labels[key], probability, score, where=self._where)

    @cached_property
    def _of_region(self) -> Tensor:
        """Each class's scores within the region (K, cells)."""
        return self.dense[:, self.mask(0)]

    @cached_property
    def _scores(self) -> Tensor:
        return self._of_region.mean(1)

    @cached_property
    def _probabilities(self) -> Tensor:
        return self.task.probabilities(self._of_region[None])[0].mean(1)

    @cached_property
    def _where(self) -> Place:
        return _place(self.region, self.placement)


@dataclass(frozen=True, eq=False)
class RegionsPrediction(Ranked):
    """The classes that some place is predicted as, the largest region first; background counts as none."""

    task: Segment
    labels: Sequence[str]
    dense: Tensor
    placement: Placement

    @property
    def refusal(self) -> Refusal | None:
        """NaN or infinity."""
        finite = bool(self.dense.isfinite().all())
        return None if finite else ("not-finite", "the model's scores are not finite (NaN or infinity)")

    @property
    def covers(self) -> None:
        """The view."""

    @property
    def ranking(self) -> list[int]:
        return [key for key in self._present if self.labels[key].lower() not in BACKGROUND]

    def of_class(self, class_id: int) -> list[int]:
        return [class_id] if class_id in self._present else []

    def mask(self, key: int) -> Tensor:
        """The places (h, w) that are predicted as the class."""
        return self._predicted == key

    def entry(self, key: int) -> Entry:
        mask = self.mask(key)
        of_region = self.dense[:, mask]
        probability = float(self.task.probabilities(of_region[None])[0, key].mean())
        where = _place(mask.cpu().numpy(), self.placement)
        return Entry(key, self.labels[key], probability, float(of_region[key].mean()), where=where)

    @cached_property
    def _predicted(self) -> Tensor:
        """The best class of each place (h, w)."""
        return self.dense.argmax(0)

    @cached_property
    def _present(self) -> list[int]:
        """The classes that some place is predicted as, the largest region first."""
        counts = torch.bincount(self._predicted.flatten(), minlength=len(self.dense))
        order = counts.argsort(descending=True, stable=True).tolist()
        return [key for key in order if counts[key]]


def dense_in(raw: Any, key: str | None) -> tuple[str | None, Tensor]:
    """(the key, the scores (N, K, h, w)) of what the network returned; the key is None if that is the tensor itself.

    Raises: RequestError, NoTableError: there is no such tensor, or several could be it.
    """
    key, found = chosen(raw, key, _is_dense, "out", "(N, classes, height, width) tensor")
    if found.ndim != 4 or not found.is_floating_point():
        given = f"{str(found.dtype).removeprefix('torch.')} {'x'.join(map(str, found.shape))}"
        raise NoTableError(f"the model gives {given}, not scores (N, classes, height, width)")
    return key, found


def probe(raw: Any, images: Tensor, key: str | None, multi_label: bool) -> tuple[Segment, int] | None:
    """(how the output is read, number of classes) of what a network returned for images; None if it says nothing of
    places."""
    try:
        key, dense = dense_in(raw, key)
    except NoTableError:
        return None
    size, grid = images.shape[2:], dense.shape[2:]
    near = all(own <= side <= own * MAX_STRIDE for own, side in zip(grid, size, strict=True))
    if len(dense) != len(images) or not near:
        return None
    classes = dense.shape[1]
    inside = float(dense.min()) >= 0 and float(dense.max()) <= 1 + _SUM_WITHIN
    sums = inside and classes > 1 and float((dense.sum(1) - 1).abs().max()) < _SUM_WITHIN
    found = Segment(key, labels_exclude=classes > 1 and (sums or not (inside or multi_label)), given=inside)
    return replace(found, binary=classes == 1), 2 if classes == 1 else classes


def _is_dense(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim == 4 and value.shape[2] * value.shape[3] > 1


def _of_predicted(dense: Tensor) -> Tensor:
    """(N, K): the mean of each class's score where it is the best."""
    best, classes = dense.flatten(2).max(1)
    none = dense.new_zeros(dense.shape[:2])
    counts = none.scatter_add(1, classes, torch.ones_like(best))
    return none.scatter_add(1, classes, best) / counts.clamp_min(1)


def _mean(dense: Tensor, masks: Tensor) -> Tensor:
    """(N, K): means of (N, K, h, w) over masks of bool (N, h, w)."""
    sums = (dense.flatten(2) @ masks.to(dense).flatten(1)[:, :, None])[:, :, 0]
    return sums / masks.sum((1, 2))[:, None].clamp_min(1)


def _place(mask: NDArray[np.bool_], placement: Placement) -> Place:
    """The place of a mask (h, w) over the view: its box in the frame, and its share of the view."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = None
    if rows.size:
        x0, y0, x1, y1 = placement.box
        steps = (x1 - x0) / width, (y1 - y0) / height
        box = (
            x0 + columns[0] * steps[0],
            y0 + rows[0] * steps[1],
            x0 + (columns[-1] + 1) * steps[0],
            y0 + (rows[-1] + 1) * steps[1],
        )
    return Place(box and (*map(float, box),), float(mask.mean()), Region(mask, placement.box))  # type: ignore[arg-type]
