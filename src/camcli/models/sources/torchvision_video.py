"""torchvision's classifiers of clips by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from camcli.models import catalog, labels
from camcli.models.model import Architecture, Args
from camcli.models.sources import torchvision as classifiers
from camcli.records import Preset
from camcli.tasks import probing, watch
from camcli.tasks.task import Task

# Frames of a clip, and frames a second, if the weights' own words do not tell.
_FRAMES, _RATE = 16, 15.0


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """A torchvision classifier of clips; `tensors` are those of a file that will fill it.

    Raises: RequestError: neither a member of the weights nor "none", or a wrong argument.
    """
    member = classifiers.member_of(name, "none" if tensors is not None else weights)
    categories = tuple(member.meta["categories"])
    classes = int(args.get("num_classes", len(categories)))
    return Architecture(
        name=name,
        build=lambda initialise: classifiers.built(name, {"num_classes": classes} | args, initialise=initialise),
        preset=_preset(member),
        labels=categories if classes == len(categories) else labels.numbered(classes),
        **classifiers.filled_from(member, weights, tensors),
        read=_read,
        # Position embeddings of MViT hold for one size, in time too.
        fixed_size=catalog.entries()[name].family == "mvit",
    )


def _read(net: nn.Module, multi_label: bool) -> tuple[Task, int]:
    """(the reading of the network's output, number of classes): as many as its last layer gives."""
    found, classes = probing.readout(len(list(net.parameters())[-1]), multi_label)
    return watch.of_clips(found), classes


def _preset(member: Any) -> Preset:
    """The weights' preset. The clips that their accuracy was measured on are told in a sentence alone."""
    transforms, told = member.transforms(), member.meta.get("_docs", "")
    frames, rate = re.search(r"clip_len=(\d+)", told), re.search(r"frame_rate=(\d+(?:\.\d+)?)", told)
    crop = transforms.crop_size
    return Preset(
        resize=transforms.resize_size[0] if len(transforms.resize_size) == 1 else tuple(transforms.resize_size),
        crop=crop[0] if crop[0] == crop[1] else tuple(crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
        squash=len(transforms.resize_size) > 1,
        antialias=False,
        frames=int(frames[1]) if frames else _FRAMES,
        rate=float(rate[1]) if rate else _RATE,
    )
