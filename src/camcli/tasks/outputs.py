"""A network asked: its outputs, as scores that numbers can be read off."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camcli.entries import Box
from camcli.errors import SetupError
from camcli.machine.faults import device_failed, lacks_memory
from camcli.tasks.tables import tensors_in, with_each

if TYPE_CHECKING:
    from camcli.tasks.task import Task

# The part of its canvas that a picture fills without padding.
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """The outputs of one forward: `raw` as the network returned it, `scores` (N, K) before any activation.

    `content`: the box (x0, y0, x1, y1) that a picture fills on the network's own canvas, in shares of its sides; None
    if the network does not tell of any.
    """

    raw: Any
    scores: Tensor
    task: Task
    embedding: Tensor | None = None
    content: Box | None = None

    @property
    def probabilities(self) -> Tensor:
        """(N, K) in [0, 1]."""
        return self.task.probabilities(self.scores)

    @property
    def compared(self) -> Tensor:
        """(N, D): what pictures are compared by, their embedding; what the network gives if it has no head."""
        return self.scores if self.embedding is None else self.embedding

    @property
    def root(self) -> Tensor:
        """The numbers that a layer must lead to."""
        return self.scores

    @property
    def detections(self) -> Sequence[Any]:
        """What was found in each picture. Only detectors find anything."""
        raise NotImplementedError

    def over(self, masks: Tensor) -> Outputs:
        """The outputs as scores of regions. Only those that say something of places have any."""
        raise NotImplementedError

    def numbers(self) -> Tensor:
        """All numbers that were given for the first picture, in one row."""
        if self.task.table:
            return self.scores[0].float()
        own = [tensor for tensor in tensors_in(self.raw) if tensor.shape[:1] == self.scores.shape[:1]]
        return torch.cat([tensor[0].flatten().float() for tensor in own]) if own else torch.zeros(1)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Outputs:
        """The outputs with each tensor that a target may read changed."""
        found = replace(self, raw=with_each(self.raw, change), scores=change(self.scores))
        return found if self.embedding is None else replace(found, embedding=change(self.embedding))

    @property
    def log_probabilities(self) -> Tensor:
        """(N, K), without the probabilities' loss of digits."""
        return self.task.log_probabilities(self.scores)


# Raised by networks on pictures that they can't take.
_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError)


def asked(net: nn.Module, images: Tensor | list[Tensor]) -> Any:
    """The network's return value. Raises: SetupError: it fails on pictures of this size."""
    try:
        return net(images)
    except _FAILURES as error:
        if lacks_memory(error) or device_failed(error):
            raise
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        height, width = images[0].shape[-2:]
        size = f"{height} pixels high and {width} wide"
        if images[0].ndim == 3 and any(isinstance(module, nn.Conv3d) for module in net.modules()):
            advice = "; if it takes clips (N, C, frames, H, W), say so with --task watch"
        elif images[0].ndim == 4:
            advice = (
                "; it was given (N, C, frames, height, width): a wrapper turns that into another order, and --frames "
                "says how many"
            )
        else:
            advice = _advice(str(error))
        raise SetupError(f"the model fails on a view {size}: {reason}{advice}") from error


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
