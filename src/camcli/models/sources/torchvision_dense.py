"""torchvision's segmentation networks by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from camcli.models.model import Architecture, Args
from camcli.models.sources import torchvision as classifiers
from camcli.records import Preset
from camcli.tasks.segment import Segment
from camcli.tasks.task import Task

# The auxiliary head is for training; it runs after the head, and says nothing of the answer.
_AUXILIARY = "aux_classifier."


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """A torchvision segmentation network; `tensors` are those of a file that will fill it.

    Raises: RequestError: neither a member of the weights nor "none", or a wrong argument.
    """
    member = classifiers.member_of(name, "none" if tensors is not None else weights)
    transforms, categories = member.transforms(), tuple(member.meta["categories"])

    defaults = {"weights_backbone": None, "num_classes": len(categories)}
    (side,) = transforms.resize_size
    return Architecture(
        name=name,
        build=lambda initialise: classifiers.built(name, defaults | args, initialise=initialise),
        preset=Preset(side, side, tuple(transforms.mean), tuple(transforms.std), transforms.interpolation.value),
        labels=categories,
        **classifiers.filled_from(member, weights, tensors),
        rename=lambda key: None if key.startswith(_AUXILIARY) else key,
        read=_read,
    )


def _read(net: nn.Module, multi_label: bool) -> tuple[Task, int]:
    """(the reading of the network's output, number of classes): as many as its last convolution has channels."""
    last = [module for module in net.get_submodule("classifier").modules() if isinstance(module, nn.Conv2d)][-1]
    return Segment("out", labels_exclude=not multi_label), last.out_channels
