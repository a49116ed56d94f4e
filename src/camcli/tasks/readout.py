"""A network's return value -> scores (N, K) before any activation, and the probabilities that belong to them.

A classifier may return a tensor, a tuple, a dict or an object with `.logits`; its head may end in a softmax or a
sigmoid; one logit alone is the score of "yes" in a question of yes or no. Grad-CAM's score is the one *before* the
activation (arXiv:1610.02391 sec. 3), so if the head has one, its input is read instead of its output.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from camcli.errors import SetupError
from camcli.machine.faults import device_failed, lacks_memory
from camcli.tasks.activations import Activations
from camcli.tasks.tables import as_table, scores_in

Reading = Literal["softmax", "sigmoid", "none"]

# Logarithms stay finite; below that a probability in float32 says nothing.
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Readout:
    """The reading of one network's output.

    key: the one that is read of several outputs. activation: it turns scores into probabilities ("none": they are no
    classes' scores). activated: the head ends in its own softmax or sigmoid. given: the network gives probabilities,
    but does not end in an activation, like an average of softmaxes; their logarithms (of sigmoids: log-odds) are the
    scores; 1, or 100 if they are per cent. binary: one logit, read as the scores (-z, z) of two classes, so that the
    second one's probability is sigmoid(z). table: the network gives scores (N, K); if not, a target function alone
    says what is explained. scaled: the output is the activation's, or its logarithm, times a number, plus another.
    unsigned: the scores of several classes are all of one sign, so they may be no logits.
    """

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
            scores = _unactivated(scores / self.given, self.activation)
        return Outputs(raw, torch.cat([-scores, scores], dim=1) if self.binary else scores, self)

    def probabilities(self, scores: Tensor) -> Tensor:
        """(N, K) in [0, 1]; rows sum to 1 unless several labels can be true at once."""
        assert self.activation != "none"
        if self.activation == "sigmoid":
            return scores.sigmoid()
        return scores.exp() if self.given else scores.softmax(1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """(N, K), without the probabilities' loss of digits."""
        if self.activation == "sigmoid":
            return functional.logsigmoid(scores)
        return scores if self.given else scores.log_softmax(1)


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """The outputs of one forward: `raw` as the network returned it, `scores` (N, K) before any activation."""

    raw: Any
    scores: Tensor
    readout: Readout
    embedding: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """(N, K) in [0, 1]."""
        return self.readout.probabilities(self.scores)

    @property
    def log_probabilities(self) -> Tensor:
        """(N, K), without the probabilities' loss of digits."""
        return self.readout.log_probabilities(self.scores)


# Nearly every classifier is read so: one tensor of logits.
PLAIN = Readout()
# Anything else, which a target function is told about, is read so.
UNREAD = Readout(activation="none", table=False)


# Raised by networks on pictures that they can't take.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError)


def asked(net: nn.Module, images: Tensor) -> Any:
    """The network's return value. Raises: SetupError: it fails on pictures of this size."""
    try:
        return net(images)
    except _FAILURES as error:
        if lacks_memory(error) or device_failed(error):
            raise
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        size = f"{images.shape[2]} pixels high and {images.shape[3]} wide"
        raise SetupError(f"the model fails on a view {size}: {reason}{_advice(str(error))}") from error


# Words of an error about the size of the pictures. An error without words may be about it too.
_OF_SIZE = re.compile(
    r"\b(sizes?|shapes?|dimensions?|elements|kernel|heights?|widths?|resolution|divisible|small|large|\d+x\d+)\b", re.I
)
_OF_CAUSES = (
    ("Inference tensor", "forward runs under torch.inference_mode: take that out of the code"),
    ("view size is not compatible", "its .view can't be taken of this tensor: .reshape in its place can"),
    ("should be the same", "it mixes precisions: give all of it float32"),
    ("same dtype", "it mixes precisions: give all of it float32"),
    ("expected scalar type", "it mixes precisions: give all of it float32"),
    ("on the same device", "it makes tensors on another device: make them on the picture's"),
)


def _advice(said: str) -> str:
    for words, cause in _OF_CAUSES:
        if words in said:
            return f"; {cause}"
    return "; see --resize, --crop, --fit" if not said.strip() or _OF_SIZE.search(said) else ""


def _unactivated(probabilities: Tensor, activation: Reading) -> Tensor:
    if activation == "sigmoid":
        return torch.logit(probabilities, eps=1e-7)
    return probabilities.clamp_min(_LEAST).log()
