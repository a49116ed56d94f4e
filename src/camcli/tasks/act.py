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
_SCORES = "logits"
_NO_VALUE = 'the network gives none: a dict {"logits": (N, actions), "value": (N,)} has one'


@dataclass(frozen=True, slots=True)
class Act(Classify):
    """The reading of a policy's output. `value`: the key of the frame's value, (N,) or (N, 1), if it tells one.

    Policies keep places apart up to the head, where a mean over the map is blind: so the default method is hires-cam.
    """

    name: ClassVar[str] = "act"
    method: ClassVar[str] = "hires-cam"
    nothing: ClassVar[str] = "no action"
    of_picture: ClassVar[tuple[str, ...]] = (_VALUE,)

    value: str | None = None

    @property
    def quantities(self) -> Mapping[str, str]:  # type: ignore[override]
        value = {_VALUE: "the value of what the frame shows, whatever the action"} if self.value else {}
        return MappingProxyType(_QUANTITIES | value)

    @property
    def absent(self) -> Mapping[str, str]:  # type: ignore[override]
        return MappingProxyType({} if self.value else {_VALUE: _NO_VALUE})

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own action's score, probability or advantage; or the picture's value."""
        if quantity == _VALUE:
            assert self.value is not None
            return Value(self.value)
        if quantity == "advantage":
            actions = outputs.scores.shape[1]
            others = ((-1 / actions, OfClass((action,) * len(keys))) for action in range(actions))
            return Mixture(((1.0, OfClass(keys)), *others))
        return OfClass(keys, quantity != "logit")


@dataclass(frozen=True, slots=True)
class Value:
    """The value (N,) that a policy tells beside its scores, under that key."""

    key: str

    def __call__(self, outputs: Outputs) -> Tensor:
        value: Tensor = parts_of(outputs.raw)[self.key]
        return value.reshape(len(outputs.scores))


def value_key(raw: Any, pictures: int) -> str | None:
    """The key of the value in what a policy returned of several pictures: "value", or the only one number a picture;
    None without."""
    alone = [
        key
        for key, part in parts_of(raw).items()
        if isinstance(part, Tensor) and part.is_floating_point() and part.shape in ((pictures,), (pictures, 1))
    ]
    return _VALUE if _VALUE in alone else alone[0] if len(alone) == 1 else None


def scores_key(raw: Any, actions: int | None) -> str | None:
    """The key of the scores of a policy that returns several things: the usual one, the only table of so many
    `actions`, or the only table of several columns; None if it can't be told."""
    tables = {key: part.shape[1] for key, part in parts_of(raw).items() if isinstance(part, Tensor) and part.ndim == 2}
    if _SCORES in tables:
        return _SCORES
    fitting = [key for key, columns in tables.items() if columns == actions or (actions is None and columns > 1)]
    return fitting[0] if len(fitting) == 1 else None
