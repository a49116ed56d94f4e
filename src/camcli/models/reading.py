"""The reading of a network's output: its task, the number of classes, and whether it takes one picture at a time.

torchvision's networks are known; other classifiers' last layer tells; code that nobody here has seen is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from camcli.errors import RequestError
from camcli.models.model import DETECTED, Architecture
from camcli.records import Preset
from camcli.specs import ModelSpec, Spec
from camcli.tasks import declared, detect, probing, watch
from camcli.tasks.classify import UNREAD, Classify
from camcli.tasks.embed import Embed
from camcli.tasks.frozen import frozen
from camcli.tasks.segment import Segment
from camcli.tasks.tables import NoTableError
from camcli.tasks.task import Task


def task_of(
    arch: Architecture, net: nn.Module, preset: Preset, spec: ModelSpec, device: str, remarks: list[str]
) -> tuple[Task, int, bool]:
    """(how the output is read, number of classes, whether the network takes one picture at a time): by forwards, if
    the last layer alone does not say it."""
    if arch.read is not None:
        task, classes = arch.read(net, spec.multi_label)
        if isinstance(task, Embed):
            remarks.append(_of_embedding(arch, task))
        return task, classes, task.name == "detect"
    if not arch.probed and spec.output_key is None:
        return *probing.readout(len(list(net.parameters())[-1]), spec.multi_label), False
    noise = _noise((2, *preset.view_shape), device)
    name = spec.task or declared.named_by(net)
    if (own := declared.reading_of(name, net, noise, spec.output_key, spec.multi_label)) is not None:
        return own
    if spec.task == "embed" or (spec.task is None and _is_headless(arch, net, noise, spec)):
        embed, alone = probing.embedding(net, noise, spec.output_key)
        remarks.append(_of_embedding(arch, embed))
        return embed, 0, alone
    if spec.task == "segment":
        task, classes = _segmentation(arch, net, noise, spec)
        remarks += _remarks_on_places(arch, task)
        return task, classes, False
    try:
        task, classes, alone = probing.probe_twice(net, noise, spec.output_key, spec.multi_label)
    except NoTableError:
        asks = isinstance(spec, Spec) and spec.asks_function
        if (
            spec.task is None
            and not asks
            and (dense := probing.places(net, noise, spec.output_key, spec.multi_label)) is not None
        ):
            remarks.append(f"{arch.name} gives a score of each class at each place: taken to segment")
            remarks += _remarks_on_places(arch, dense[0])
            return *dense, False
        if not asks:
            raise
        return UNREAD, 0, False
    remarks += _remarks(arch, task, alone=alone)
    return (watch.of_clips(task) if preset.frames is not None else task), classes, alone


def _is_headless(arch: Architecture, net: nn.Module, noise: Tensor, spec: ModelSpec) -> bool:
    """True if the network says so in timm's words, or pictures are to be compared and it gives vectors of length 1."""
    compares = isinstance(spec, Spec) and spec.compares and arch.foreign
    return getattr(net, "num_classes", None) == 0 or (compares and probing.is_unit(net, noise, spec.output_key))


def _of_embedding(arch: Architecture, task: Embed) -> str:
    return f"{arch.name} has no head: the embedding that pictures are compared by is {task.gives}"


def _remarks(arch: Architecture, task: Classify, *, alone: bool) -> Iterator[str]:
    """What the user should know of the reading of a classifier's output."""
    if alone:
        yield f"{arch.name} takes one picture at a time: each is explained alone, slower"
    if task.given:
        scores = "log-odds" if task.activation == "sigmoid" else "logarithms"
        given = "probabilities" if task.given == 1 else "per cent"
        yield f"{arch.name} gives {given}: they are reported as they are, and their {scores} explained"
    if task.scaled:
        yield f"{arch.name} gives numbers made of its {task.activation}'s: what entered that is read"
    if task.unsigned and arch.foreign:
        yield (
            f"warning: {arch.name} gives numbers of one sign only: they are read as scores, of which the largest "
            f"is the best, probabilities are their {task.activation}. Let it give logits, if they mean more"
        )


def _remarks_on_places(arch: Architecture, task: Segment) -> Iterator[str]:
    """What the user should know of the reading of a segmentation network's output."""
    if task.given:
        scores = "logarithms" if task.labels_exclude else "log-odds"
        yield f"{arch.name} gives numbers in 0-1, taken to be probabilities: their {scores} are explained"


def if_detector(arch: Architecture, net: nn.Module, spec: ModelSpec, device: str, remarks: list[str]) -> Architecture:
    """The architecture, told that it detects if it answers so; a detector's pictures are not made ready.

    Raises: RequestError: it is said to detect, and does not.
    """
    with torch.no_grad(), frozen(net):
        found = detect.probe(net, _noise((1, 3, *DETECTED.view_size), device))
    if found is None:
        if spec.task == "detect":
            raise RequestError(f"--task detect: {arch.name} gives no list of boxes, scores and labels of its pictures")
        return arch
    remarks.append(
        f"{arch.name} gives boxes, scores and labels: taken to detect, pictures are given to it whole, in 0-1"
    )
    return replace(arch, preset=DETECTED, assumed_preset=False, read=lambda net, several: (found, 0))


def _noise(shape: tuple[int, ...], device: str) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _segmentation(arch: Architecture, net: nn.Module, noise: Tensor, spec: ModelSpec) -> tuple[Segment, int]:
    """(how the output is read, number of classes) of a network that is said to segment."""
    found = probing.places(net, noise, spec.output_key, spec.multi_label)
    if found is None:
        raise NoTableError(f"--task segment: {arch.name} gives no scores (N, classes, height, width) of its pictures")
    return found
