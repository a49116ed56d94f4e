"""A network whose outputs are numbers and no scores of classes: amounts, angles, the similarity of two pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from camcli.entries import Placement
from camcli.tasks.classify import Classify, ClassPrediction, Reading
from camcli.tasks.outputs import Outputs
from camcli.tasks.targets import OfClass, Target
from camcli.tasks.task import Prediction


@dataclass(frozen=True, slots=True)
class Regress(Classify):
    """The reading of numbers (N, K). An entry is an output; they stand in the network's order, none is the best."""

    name: ClassVar[str] = "regress"
    nothing: ClassVar[str] = "no output"
    usual: ClassVar[str] = "output"
    quantities: ClassVar = MappingProxyType({"output": "the number itself"})
    absent: ClassVar[Mapping[str, str]] = MappingProxyType({"softmax": "its numbers are no scores of classes"})
    lacks: ClassVar = MappingProxyType({"logits": "it compares a class with others, and its outputs are no classes"})

    activation: Reading = "none"

    def unnamed(self, count: int) -> tuple[str, ...]:
        """Names of so many outputs that nobody has named."""
        return tuple(f"output {number}" for number in range(count))

    def predictions(
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> list[ClassPrediction]:
        found = Classify.predictions(self, outputs, labels, placements)
        return [replace(own, ranking=sorted(own.ranking)) for own in found]

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own output."""
        return OfClass(keys)


@dataclass(frozen=True, slots=True)
class Liken(Regress):
    """The reading of how much a picture and its partner are alike: one number."""

    name: ClassVar[str] = "liken"
    usual: ClassVar[str] = "similarity"
    quantities: ClassVar = MappingProxyType({"similarity": "the network's own number"})

    def unnamed(self, count: int) -> tuple[str, ...]:
        return ("similarity",) if count == 1 else Regress.unnamed(self, count)
