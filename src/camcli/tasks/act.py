"""A policy: a network that looks at a frame and scores actions, and may tell the frame's value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from camcli.tasks.classify import Classify
from camcli.tasks.outputs import Outputs
from camcli.tasks.tables import parts_of
from camcli.tasks.targets import Mixture, OfClass, Target
from camcli.tasks.task import Prediction

_QUANTITIES = {
    "logit": "the action's score before the softmax",
    "probability": "its probability",
    "advantage": "its score less the mean of all actions', as scores of policies are defined up to a constant",
}
_VALUE = "value"
_NO_VALUE = 'the network gives none: a dict {"logits": (N, actions), "value": (N,)} has one'


@dataclass(frozen=True, slots=True)
class Act(Classify):
    """The reading of a policy's output. `valued`: it tells a value, (N,) or (N, 1), beside the scores.

    Policies keep places apart up to the head, where a mean over the map is blind: so the default method is hires-cam.
    """

    name: ClassVar[str] = "act"
    method: ClassVar[str] = "hires-cam"
    nothing: ClassVar[str] = "no action"
    of_picture: ClassVar[tuple[str, ...]] = (_VALUE,)

    valued: bool = False

    @property
    def quantities(self) -> Mapping[str, str]:  # type: ignore[override]
        value = {_VALUE: "the value of what the frame shows, whatever the action"} if self.valued else {}
        return MappingProxyType(_QUANTITIES | value)

    @property
    def absent(self) -> Mapping[str, str]:  # type: ignore[override]
        return MappingProxyType({} if self.valued else {_VALUE: _NO_VALUE})

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own action's score, probability or advantage; or the picture's value."""
        if quantity == _VALUE:
            return Value()
        if quantity == "advantage":
            actions = outputs.scores.shape[1]
            others = ((-1 / actions, OfClass((action,) * len(keys))) for action in range(actions))
            return Mixture(((1.0, OfClass(keys)), *others))
        return OfClass(keys, quantity != "logit")


@dataclass(frozen=True, slots=True)
class Value:
    """The value (N,) that a policy tells beside its scores."""

    def __call__(self, outputs: Outputs) -> Tensor:
        value = value_in(outputs.raw, len(outputs.scores))
        assert value is not None
        return value


def value_in(raw: Any, pictures: int) -> Tensor | None:
    """The value (N,) in what a policy returned: under "value", or the only one number a picture; None without."""
    parts = parts_of(raw)
    if isinstance(named := parts.get(_VALUE), Tensor):
        return named.reshape(pictures)
    alone = [part for part in parts.values() if isinstance(part, Tensor) and part.numel() == pictures]
    return alone[0].reshape(pictures) if len(alone) == 1 else None


def scores_key(raw: Any) -> str | None:
    """The key of the scores of a policy that returns several tables, the widest one; None if it can't be told."""
    tables = {key: part.shape[1] for key, part in parts_of(raw).items() if isinstance(part, Tensor) and part.ndim == 2}
    widest = [key for key, actions in tables.items() if actions == max(tables.values())]
    return widest[0] if len(widest) == 1 else None
