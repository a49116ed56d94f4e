"""A classifier of clips: several frames go in together (N, C, T, H, W), and one answer about all of them comes out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import ClassVar

from camcli.tasks.classify import Classify

_FORBIDS = MappingProxyType(
    {"neurons": "a channel's activations are a clip, and sheets show pictures", "similar_to": "it names one picture"}
)


@dataclass(frozen=True, slots=True)
class Watch(Classify):
    """The reading of one network's output, as of a classifier of pictures."""

    name: ClassVar[str] = "watch"
    forbids: ClassVar = _FORBIDS


def of_clips(task: Classify) -> Watch:
    """The same reading, of a network that takes clips."""
    return Watch(**{field.name: getattr(task, field.name) for field in fields(task)})
