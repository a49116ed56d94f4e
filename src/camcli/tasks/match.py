"""A network that tells how well texts go with a picture: each text is a class, its score is a scaled cosine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from camcli.tasks.classify import Classify
from camcli.tasks.outputs import Outputs
from camcli.tasks.targets import Mixture, OfClass, Target
from camcli.tasks.task import Prediction

_LOGIT = "the score: a scaled cosine"
_COSINE = "the cosine of the text's and the picture's embedding"


@dataclass(frozen=True, slots=True)
class Match(Classify):
    """The reading of the scores of texts: `scale` times a cosine, plus `bias`.

    activation: "softmax" over the texts; "sigmoid" for networks that were trained so; "none" of one text alone, as a
    softmax over one is 1 whatever the picture shows.
    """

    name: ClassVar[str] = "match"

    scale: float = 1.0
    bias: float = 0.0

    @property
    def quantities(self) -> Mapping[str, str]:  # type: ignore[override]
        probability = {} if self.activation == "none" else {self.activation: "the probability"}
        return MappingProxyType({"logit": _LOGIT, "cosine": _COSINE} | probability)

    @property
    def absent(self) -> Mapping[str, str]:  # type: ignore[override]
        alone = self.activation == "none"
        return MappingProxyType(
            {"softmax": "of one text it is 1 whatever the picture shows: give two"} if alone else {}
        )

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own text: its score, its cosine, or its probability."""
        if quantity == "cosine":
            return Mixture(((1 / self.scale, OfClass(keys)),), -self.bias / self.scale)
        return OfClass(keys, quantity in ("softmax", "sigmoid"))
