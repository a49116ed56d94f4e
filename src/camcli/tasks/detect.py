"""Detection: objects with a box, a label and a score, by torchvision's convention for detectors.

In eval mode a list of pictures (3, H, W) in [0, 1] gives a list of dicts: `boxes` (D, 4) as x0, y0, x1, y1 in the
picture's pixels, `scores` (D,), `labels` (D,), and in some `masks` (D, 1, H, W), `keypoints` (D, P, 3) with
`keypoints_scores` (D, P). What is explained is the logit that a kept detection's score was made of (see `provenance`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camcli.entries import Box, Entry, Place, Placement, Point, Region
from camcli.errors import SetupError
from camcli.records import Fit
from camcli.tasks.outputs import WHOLE, Outputs, asked
from camcli.tasks.provenance import Tables
from camcli.tasks.tables import NoTableError
from camcli.tasks.targets import OfDetection, Target
from camcli.tasks.task import Ranked, Refusal, Rule

# A detection of a changed picture is the same one if it has its label, and a box of at least this IoU.
SAME_IOU = 0.5
THRESHOLD = 0.5
_SIDES = {"x0": 0, "y0": 1, "x1": 2, "y1": 3}
_QUANTITIES = {
    "logit": "the score before the activation",
    "score": "the probability",
    **{side: f"the box's {side}, in pixels" for side in _SIDES},
    "width": "the box's width, in pixels",
    "height": "the box's height, in pixels",
    "mask": "the mean logit within the mask, of detectors that give masks",
}


_OF_IMAGES = "it is defined for networks that give one score for the whole picture"
_LACKS = MappingProxyType(
    {
        **dict.fromkeys(("class_weights", "formation_grads", "attention", "curvature"), _OF_IMAGES),
        "logits": "it compares a class with others, and a detection has one",
        "ascend": "a detection that has gone can't be climbed back to",
        "stages": "a detection has a level, not stages that lead to one layer",
        "bias_grads": "its biases act on proposals, which are no places of the picture",
    }
)
_FORBIDS = MappingProxyType(
    {
        "augment": "detections of a changed picture are others",
        "output_index": "its outputs are detections",
        "similar_to": "it has no embedding of the whole picture",
        "sanity": "with random weights there are no detections to compare",
        "compile": "its pictures have sizes of their own",
        "fuse": "a detection is read at one level",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found in one picture: tensors as the network gave them, and the detections' logits if they are known."""

    given: Mapping[str, Tensor]
    logits: tuple[Tensor, ...] | None
    tables: Tables

    def __len__(self) -> int:
        return len(self.given["scores"])

    def like(self, label: int, box: Tensor) -> tuple[int, float] | None:
        """(the number of the detection most like one with that label and box, their IoU); None if there is none."""
        same = (self.given["labels"] == label).nonzero()[:, 0]
        if not len(same):
            return None
        overlaps = iou(self.given["boxes"].detach()[same], box)
        best = int(overlaps.argmax())
        return int(same[best]), float(overlaps[best])

    def likeness(self, label: int, box: Tensor) -> Tensor:
        """The largest IoU with the box, times the score, of the detections with that label; 0 without any."""
        same = self.given["labels"] == label
        if not bool(same.any()):
            return box.new_zeros(())
        return (iou(self.given["boxes"][same], box) * self.given["scores"][same]).max()

    def number(self, which: int, quantity: str) -> Tensor:
        """A quantity of one detection, with its graph."""
        boxes = self.given["boxes"]
        if quantity in _SIDES:
            return boxes[which, _SIDES[quantity]]
        if quantity == "width":
            return boxes[which, 2] - boxes[which, 0]
        if quantity == "height":
            return boxes[which, 3] - boxes[which, 1]
        if quantity == "mask":
            return self._mask(which)
        if quantity.startswith("keypoint "):
            return self.given["keypoints_scores"][which, int(quantity.removeprefix("keypoint "))]
        if quantity == "logit" and self.logits is not None:
            return self.logits[which]
        return self.given["scores"][which]

    def _mask(self, which: int) -> Tensor:
        """The mean logit where the mask's own probability is above a half; everywhere, if it is nowhere."""
        mask = self.given["masks"][which]
        found = self.tables.under(mask)
        if found is None:
            return mask.mean()
        logits, probabilities = found
        inside = probabilities > 0.5
        return logits[inside].mean() if bool(inside.any()) else logits.mean()


@dataclass(frozen=True, slots=True, eq=False)
class DetectOutputs(Outputs):
    """`found`: what was found in each picture. `scores` (1, D) are one picture's logits; of several there are none."""

    found: tuple[Found, ...] = field(kw_only=True)

    @property
    def detections(self) -> tuple[Found, ...]:
        return self.found

    @property
    def root(self) -> Tensor:
        """One number of all scores and one of all boxes (2,): a layer must lead to both."""
        own = self.found[0].given
        return torch.stack([own["scores"].sum(), own["boxes"].sum()])

    def numbers(self) -> Tensor:
        own = self.found[0].given
        return torch.cat([own[key].flatten().float() for key in ("boxes", "scores", "labels")])


@dataclass(frozen=True, slots=True)
class Detect:
    """The reading of a detector's output.

    threshold: detections of a lower score are no entries. keypoints: their names, if it gives any. masks: it gives a
    mask for each detection.
    """

    name: ClassVar[str] = "detect"
    method: ClassVar[str] = "hires-cam"
    fit: ClassVar[Fit] = "whole"
    rule: ClassVar[Rule] = "read-from"
    table: ClassVar[bool] = False
    of_places: ClassVar[bool] = True
    lacks: ClassVar = _LACKS
    forbids: ClassVar = _FORBIDS
    usual: ClassVar[str] = "logit"
    of_picture: ClassVar[tuple[str, ...]] = ()
    binary: ClassVar[bool] = False
    # COCO's numbers have gaps, which torchvision's lists of names fill so.
    unfound: ClassVar[tuple[str, ...]] = ("__background__", "N/A")
    absent: ClassVar[Mapping[str, str]] = MappingProxyType({})

    threshold: float = THRESHOLD
    keypoints: tuple[str, ...] = ()
    masks: bool = False

    @property
    def nothing(self) -> str:
        return f"nothing found with a score above {self.threshold:g}"

    @property
    def quantities(self) -> Mapping[str, str]:
        named = {f"keypoint:{name}": f"the score of the {name}" for name in self.keypoints}
        own = {name: said for name, said in _QUANTITIES.items() if self.masks or name != "mask"}
        return MappingProxyType(own | named)

    def outputs(self, net: nn.Module, images: Tensor) -> DetectOutputs:
        """See `Task.outputs`."""
        with Tables() as tables:
            raw = asked(net, list(images))
        if not is_detections(raw, len(images)):
            raise NoTableError("the model gives no list of boxes, scores and labels, one for each picture")
        found = tuple(Found(given, tables.logits_of(given["scores"]), tables) for given in raw)
        alone = found[0].logits if len(found) == 1 else None
        scores = images.new_zeros(len(images), 0) if alone is None else torch.stack(alone)[None].detach()
        return DetectOutputs(raw, scores, self, found=found)

    def predictions(
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> list[DetectPrediction]:
        """The detections above the threshold."""
        assert isinstance(outputs, DetectOutputs)
        return [
            DetectPrediction(self, labels, found, placement, outputs.content)
            for found, placement in zip(outputs.found, placements, strict=True)
        ]

    def target(self, outputs: Outputs, found: Sequence[Any], keys: tuple[int, ...], quantity: str) -> Target:
        """The picture's own detection: the logit of its score, or another of its numbers."""
        assert isinstance(outputs, DetectOutputs)
        ((key,), (own,)) = keys, outputs.found
        given = own.given
        if quantity.startswith("keypoint:"):
            quantity = f"keypoint {self.keypoints.index(quantity.removeprefix('keypoint:'))}"
        if quantity == "softmax":
            quantity = "score"
        return OfDetection(int(given["labels"][key]), given["boxes"].detach()[key], quantity, SAME_IOU)

    def probabilities(self, scores: Tensor) -> Tensor:
        raise NotImplementedError

    def log_probabilities(self, scores: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class DetectPrediction(Ranked):
    """The detections in one picture, the surest first. Their keys are their places in what the network gave."""

    task: Detect
    labels: Sequence[str]
    found: Found
    placement: Placement
    content: Box | None

    @property
    def refusal(self) -> Refusal | None:
        """NaN or infinity."""
        numbers = (self.found.given["boxes"], self.found.given["scores"])
        finite = all(bool(value.isfinite().all()) for value in numbers)
        return None if finite else ("not-finite", "the model's boxes and scores are not finite (NaN or infinity)")

    @cached_property
    def ranking(self) -> list[int]:
        scores = self.found.given["scores"].detach()
        order = scores.argsort(descending=True, stable=True)
        ranking: list[int] = order[scores[order] > self.task.threshold].tolist()
        return ranking

    def of_class(self, class_id: int) -> list[int]:
        labels = self.found.given["labels"].tolist()
        return [key for key in self.ranking if labels[key] == class_id]

    def entry(self, key: int) -> Entry:
        given = self.found.given
        label, score = int(given["labels"][key]), float(given["scores"][key].detach())
        logit = float(self.found.logits[key].detach()) if self.found.logits is not None else None
        name = self.labels[label] if 0 <= label < len(self.labels) else f"class {label}"
        return Entry(label, name, score, logit, self.ranking.index(key) + 1, self._place(key))

    @property
    def covers(self) -> Box | None:
        """The box that a map of the network's own canvas covers, with the padding."""
        if self.content in (None, WHOLE):
            return None
        x0, y0, x1, y1 = self.placement.box
        left, top, right, bottom = self.content
        wide, high = (x1 - x0) / (right - left), (y1 - y0) / (bottom - top)
        x0, y0 = x0 - left * wide, y0 - top * high
        return x0, y0, x0 + wide, y0 + high

    def _place(self, key: int) -> Place:
        given = self.found.given
        left, top, right, bottom = given["boxes"][key].detach().tolist()
        box = (*self.placement.in_frame(left, top), *self.placement.in_frame(right, bottom))
        region, share = None, None
        points: tuple[Point, ...] = ()
        if "masks" in given:
            mask = (given["masks"][key].detach().flatten(0, -3)[0] > 0.5).cpu().numpy()
            region, share = Region(mask, self.placement.box), float(mask.mean())
        if "keypoints" in given:
            points = tuple(self._points(key))
        return Place(box, share, region, points)

    def _points(self, key: int) -> Sequence[Point]:
        given = self.found.given
        places = given["keypoints"][key].detach().tolist()
        scores = (
            given["keypoints_scores"][key].detach().tolist() if "keypoints_scores" in given else [None] * len(places)
        )
        names = self.task.keypoints if len(self.task.keypoints) == len(places) else map(str, range(len(places)))
        return [
            Point(name, *self.placement.in_frame(x, y), score)
            for name, (x, y, *_), score in zip(names, places, scores, strict=True)
        ]


def probe(net: nn.Module, images: Tensor) -> Detect | None:
    """The reading of a network's output that is a detector's by its answer for images (N, 3, H, W); None if it is none.

    A list of pictures is asked about, as detectors take it; other networks fail on that, or give something else.
    """
    try:
        raw = asked(net, list(images))
    except SetupError:
        return None
    if not is_detections(raw, len(images)):
        return None
    return Detect(masks="masks" in raw[0])


def is_detections(raw: Any, pictures: int) -> bool:
    """True if it is what torchvision's detectors give for so many pictures."""
    return (
        isinstance(raw, (list, tuple))
        and len(raw) == pictures
        and all(isinstance(one, Mapping) and _fits(one) for one in raw)
    )


def _fits(one: Mapping[str, Any]) -> bool:
    if not all(isinstance(one.get(key), Tensor) for key in ("boxes", "scores", "labels")):
        return False
    count = len(one["scores"])
    return bool(one["boxes"].shape == (count, 4) and one["scores"].shape == one["labels"].shape == (count,))


def iou(boxes: Tensor, box: Tensor) -> Tensor:
    """The intersection over union of boxes (D, 4) with one (4,); 1 for the very box, also if it has no area."""
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clamp_min(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    overlaps = shared / (areas - shared).clamp_min(torch.finfo(boxes.dtype).tiny)
    return torch.where((boxes == box).all(1), 1.0, overlaps)
