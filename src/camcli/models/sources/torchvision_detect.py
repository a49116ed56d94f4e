"""torchvision's detectors by name: boxes, masks and keypoints."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from camcli.models import labels
from camcli.models.model import DETECTED, Architecture, Args
from camcli.models.sources import torchvision as classifiers
from camcli.tasks.detect import Detect
from camcli.tasks.task import Task


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """A torchvision detector; `tensors` are those of a file that will fill it.

    Raises: RequestError: neither a member of the weights nor "none", or a wrong argument.
    """
    member = classifiers.member_of(name, "none" if tensors is not None else weights)
    categories, points = tuple(member.meta["categories"]), tuple(member.meta.get("keypoint_names", ()))
    classes = int(args.get("num_classes", len(categories)))

    def read(net: nn.Module, multi_label: bool) -> tuple[Task, int]:
        return Detect(keypoints=points, masks=name.startswith("maskrcnn")), classes

    defaults = {"weights_backbone": None, "num_classes": classes}
    return Architecture(
        name=name,
        build=lambda initialise: classifiers.built(name, defaults | args, initialise=initialise),
        preset=DETECTED,
        labels=categories if classes == len(categories) else labels.numbered(classes),
        **classifiers.filled_from(member, weights, tensors),
        read=read,
        probed=True,
    )
