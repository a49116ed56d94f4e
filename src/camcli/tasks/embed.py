"""A network without a head: what it gives of a picture is an embedding, which names no class.

Explained is its cosine to another picture's embedding, or a function of the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from camcli.entries import Entry, Placement
from camcli.tasks.classify import Classify, Reading
from camcli.tasks.outputs import Outputs
from camcli.tasks.task import Ranked, Refusal

_ALONE = "it gives an embedding, and one number of that means nothing"
_NO_CLASS = "it gives an embedding, and names no class"


@dataclass(frozen=True, slots=True)
class Embed(Classify):
    """The reading of an embedding (N, D), which stands as the outputs' scores. gives: what it is, in words."""

    name: ClassVar[str] = "embed"
    nothing: ClassVar[str] = "no head, so no class"
    lacks: ClassVar = MappingProxyType({"class_weights": _NO_CLASS})
    forbids: ClassVar = MappingProxyType(
        {"output_index": _ALONE, "contrast": _NO_CLASS, "multi_label": _NO_CLASS, "labels": _NO_CLASS}
    )

    activation: Reading = "none"
    gives: str = "what it gives"

    def predictions(  # type: ignore[override]
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> list[Embedding]:
        """One prediction per picture, which names nothing."""
        return [Embedding(bool(own.isfinite().all())) for own in outputs.scores]


@dataclass(frozen=True, slots=True)
class Embedding(Ranked):
    """What was said of one picture: no class. finite: its numbers can be compared."""

    finite: bool
    ranking: tuple[int, ...] = ()

    @property
    def refusal(self) -> Refusal | None:
        """NaN or infinity."""
        return None if self.finite else ("not-finite", "the model's embedding is not finite (NaN or infinity)")

    @property
    def covers(self) -> None:
        """The view."""

    def of_class(self, class_id: int) -> list[int]:
        return []

    def entry(self, key: int) -> Entry:
        raise NotImplementedError
