"""A classifier's prediction for a picture: its classes, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from camcli.records import ClassScore
from camcli.tasks.readout import Readout


@dataclass(frozen=True, slots=True)
class Prediction:
    """One picture's scores: class ids best first, logits and probabilities float32 (K,) by id."""

    labels: Sequence[str]
    ranking: list[int]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None

    def allows(self, class_id: int) -> bool:
        """True if the network does not mask the class out, by a score of minus infinity."""
        return bool(self.logits[class_id] > -np.inf)

    def score(self, class_id: int) -> ClassScore:
        probability = float(self.probabilities[class_id]) if self.probabilities is not None else None
        return ClassScore(class_id, self.labels[class_id], probability, float(self.logits[class_id]))


def predictions(logits: Tensor, labels: Sequence[str], readout: Readout) -> list[Prediction]:
    """One prediction per picture, from scores (N, K) of classes with these names."""
    logits = logits.cpu().float()
    probabilities = readout.probabilities(logits).numpy() if readout.activation != "none" else None
    rankings = logits.argsort(dim=1, descending=True, stable=True).tolist()
    return [
        Prediction(labels, ranking, own, probabilities[i] if probabilities is not None else None)
        for i, (ranking, own) in enumerate(zip(rankings, logits.numpy(), strict=True))
    ]


def without_classes(labels: Sequence[str], readout: Readout) -> tuple[tuple[str, ...], Readout]:
    """(a name for each output, their readout) of a network whose outputs are numbers, none of them a class's score."""
    outputs = 1 if readout.binary else len(labels)
    named = tuple(labels) if outputs == len(labels) else tuple(f"output {i}" for i in range(outputs))
    return named, replace(readout, activation="none", given=0, binary=False)
