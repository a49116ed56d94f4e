"""A network's return value -> scores (N, K) before any activation, and the probabilities that belong to them.

A classifier may return a tensor, a tuple, a dict or an object with `.logits`; its head may end in a softmax or a
sigmoid; one logit alone is the score of "yes" in a question of yes or no. Grad-CAM's score is the one *before* the
activation (arXiv:1610.02391 sec. 3), so if the head has one, its input is read instead of its output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from camcli.entries import Entry, Placement
from camcli.records import Fit
from camcli.tasks.activations import Activations
from camcli.tasks.outputs import Outputs, asked
from camcli.tasks.tables import as_table, scores_in
from camcli.tasks.targets import OfClass, Target
from camcli.tasks.task import Prediction, Ranked, Refusal, Rule

Reading = Literal["softmax", "sigmoid", "none"]

QUANTITIES = MappingProxyType({"logit": "the score before the activation", "softmax": "the probability"})
_NONE: MappingProxyType[str, str] = MappingProxyType({})
# Logarithms stay finite; below that a probability in float32 says nothing.
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Classify:
    """The reading of one network's output.

    key: the one that is read of several outputs. activation: it turns scores into probabilities ("none": they are no
    classes' scores). activated: the head ends in its own softmax or sigmoid. given: the network gives probabilities,
    but does not end in an activation, like an average of softmaxes; their logarithms (of sigmoids: log-odds) are the
    scores; 1, or 100 if they are per cent. binary: one logit, read as the scores (-z, z) of two classes, so that the
    second one's probability is sigmoid(z). table: the network gives scores (N, K); if not, a target function alone
    says what is explained. scaled: the output is the activation's, or its logarithm, times a number, plus another.
    unsigned: the scores of several classes are all of one sign, so they may be no logits.
    """

    name: ClassVar[str] = "classify"
    method: ClassVar[str] = "grad-cam"
    fit: ClassVar[Fit] = "crop"
    rule: ClassVar[Rule] = "crossing"
    nothing: ClassVar[str] = "no class"
    unfound: ClassVar[tuple[str, ...]] = ()
    absent: ClassVar[Mapping[str, str]] = MappingProxyType({})
    usual: ClassVar[str] = "logit"
    of_picture: ClassVar[tuple[str, ...]] = ()
    of_places: ClassVar[bool] = False
    quantities: ClassVar = QUANTITIES
    lacks: ClassVar = _NONE
    forbids: ClassVar = _NONE

    key: str | None = None
    activation: Reading = "softmax"
    activated: bool = False
    scaled: bool = False
    given: int = 0
    binary: bool = False
    table: bool = True
    unsigned: bool = False

    def outputs(self, net: nn.Module, images: Tensor) -> Outputs:
        """The outputs of one forward.

        Raises: SetupError: the network fails on pictures of this size, or gives no scores.
        """
        seen = Activations()
        with seen if self.activated else nullcontext():
            raw = asked(net, images)
            if not self.table:
                return Outputs(raw, images.new_zeros(len(images), 0), self)
            _, output = scores_in(raw, self.key)
        scores = as_table(seen.before(output, scaled=self.scaled) if self.activated else output, len(images))
        if self.given:
            scores = unactivated(scores / self.given, self.activation)
        return Outputs(raw, torch.cat([-scores, scores], dim=1) if self.binary else scores, self)

    def probabilities(self, scores: Tensor) -> Tensor:
        """(N, K) in [0, 1]; rows sum to 1 unless several labels can be true at once. Numbers that are no scores of
        classes have none, and stay as they are."""
        if self.activation == "none":
            return scores
        if self.activation == "sigmoid":
            return scores.sigmoid()
        return scores.exp() if self.given else scores.softmax(1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """(N, K), without the probabilities' loss of digits; 0 without probabilities."""
        if self.activation == "none":
            return torch.zeros_like(scores)
        if self.activation == "sigmoid":
            return functional.logsigmoid(scores)
        return scores if self.given else scores.log_softmax(1)

    def predictions(
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> list[ClassPrediction]:
        """One prediction per picture, from its scores of classes with these names."""
        logits = outputs.scores.detach().cpu().float()
        probabilities = self.probabilities(logits).numpy() if self.activation != "none" else None
        rankings = logits.argsort(dim=1, descending=True, stable=True).tolist()
        return [
            ClassPrediction(labels, ranking, own, probabilities[i] if probabilities is not None else None)
            for i, (ranking, own) in enumerate(zip(rankings, logits.numpy(), strict=True))
        ]

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own class: its score, or its probability."""
        return OfClass(keys, quantity == "softmax")


# Nearly every classifier is read so: one tensor of logits.
PLAIN = Classify()
# Anything else, which a target function is told about, is read so.
UNREAD = Classify(activation="none", table=False)


@dataclass(frozen=True, slots=True)
class ClassPrediction(Ranked):
    """One picture's scores: class ids best first, logits and probabilities float32 (K,) by id."""

    labels: Sequence[str]
    ranking: list[int]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None

    @property
    def refusal(self) -> Refusal | None:
        """NaN or infinity. A class that is masked out has a score of minus infinity."""
        finite = bool((self.logits < np.inf).all())
        return None if finite else ("not-finite", "the model's scores are not finite (NaN or infinity)")

    @property
    def covers(self) -> None:
        """The view."""

    def of_class(self, class_id: int) -> list[int]:
        return [class_id]

    def entry(self, key: int) -> Entry:
        probability = float(self.probabilities[key]) if self.probabilities is not None else None
        return Entry(key, self.labels[key], probability, float(self.logits[key]))


def without_classes(labels: Sequence[str], task: Classify) -> tuple[tuple[str, ...], Classify]:
    """(a name for each output, their task) of a network whose outputs are numbers, none of them a class's score."""
    outputs = 1 if task.binary else len(labels)
    named = tuple(labels) if outputs == len(labels) else tuple(f"output {i}" for i in range(outputs))
    return named, replace(task, activation="none", given=0, binary=False)


def unactivated(probabilities: Tensor, activation: Reading) -> Tensor:
    """The scores of probabilities: their logarithms, of sigmoids their log-odds."""
    if activation == "sigmoid":
        return torch.logit(probabilities, eps=1e-7)
    return probabilities.clamp_min(_LEAST).log()
