"""A test that tells a target's slope from rounding.

At its maximum a number has no slope: the similarity of a picture to itself, a probability that float32 can't tell from
1, a function that is the same for every picture. The slope computed there is rounding, and a map made of it is noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from camcli.tasks.outputs import Outputs
from camcli.tasks.targets import LogProbability, Mixture, Negated, OfClass, OfDetection, Over, Target

# The share of a number that a network's own rounding may be: some bits more than float32's last.
ROUNDING = 1e-6
# The outputs are moved by so much of themselves, and the slope computed again with more digits...
_MOVED = 10 * ROUNDING
# ... and if that changes the slope by more than this share of it, rounding decides what it is.
_DECIDES = 0.1
# Raised by a user's function that takes float32 alone, or no copy of what the network gave.
_REFUSES = (RuntimeError, TypeError, ValueError, AttributeError, AssertionError, LookupError)


def is_rounding(target: Target, outputs: Outputs) -> Tensor:
    """(N,) of bool: True if d target / d outputs changes when the outputs move as far as rounding moves them, or is so
    small that no change of the outputs by their own size would show in the target's last digit."""
    if not is_steep(target):
        for change in (_moved_precisely, _moved):
            with suppress(*_REFUSES):
                return _is_rounding(target, outputs, change)
    return torch.zeros(len(outputs.scores), dtype=torch.bool, device=outputs.scores.device)


def _is_rounding(target: Target, outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Tensor:
    slope, reach, value = _slope(target, outputs, Tensor.clone)
    other, *_ = _slope(target, outputs, change)
    size = slope.norm(dim=1)
    # Also if this slope has come out as zero and the other has not.
    decided = (other - slope).norm(dim=1) > _DECIDES * size
    hidden = (size > 0) & (reach < torch.finfo(torch.float32).eps / 2 * value.abs())
    found: Tensor = decided | hidden
    return found


def is_steep(target: Target) -> bool:
    """True if its slope is never rounding: for a class's score, which nearly all runs ask about, for the logarithm of
    its probability, and for sums of these."""
    if isinstance(target, OfDetection):  # a score is never asked for through its activation
        return True
    if isinstance(target, (Negated, Over)):
        return is_steep(target.target)
    if isinstance(target, Mixture):
        return all(is_steep(term) for _, term in target.terms)
    return isinstance(target, LogProbability) or (isinstance(target, OfClass) and not target.probability)


def cancels(target: Target, gradient: Tensor, gradient_of: Callable[[Target], Tensor]) -> Tensor | None:
    """(N,) of bool: True if one class's gradient less another's (N, …) is no more than the rounding of either: the two
    are scored alike, as two equal texts are. None for other targets."""
    match target:
        case Negated(inner):
            return cancels(inner, gradient, gradient_of)
        case Mixture(((1.0, first), (-1.0, _))):
            size = gradient_of(first).flatten(1).abs().amax(1)
            found: Tensor = gradient.flatten(1).abs().amax(1) <= ROUNDING * size
            return found
    return None


def _slope(target: Target, outputs: Outputs, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(d target / d all that the network gave, after `change`, (N, …); its length times the length of what was given,
    (N,); the target (N,)), in float64."""
    leaves: list[Tensor] = []

    def leaf(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        leaves.append(change(value.detach()).requires_grad_())
        return leaves[-1]

    pictures = len(outputs.scores)
    given = outputs.mapped(leaf)
    with torch.enable_grad():
        values = target(given)
    gradients: Sequence[Tensor | None] = [None] * len(leaves)
    if values.requires_grad:
        gradients = torch.autograd.grad(values.sum(), leaves, allow_unused=True)
    rows = [
        ((torch.zeros_like(own) if gradient is None else gradient), own.detach())
        for own, gradient in zip(leaves, gradients, strict=True)
        if own.ndim and len(own) == pictures
    ]
    slopes, sizes = (
        torch.cat([row.double().reshape(pictures, -1) for row in part], 1) for part in zip(*rows, strict=True)
    )
    return slopes, slopes.norm(dim=1) * sizes.norm(dim=1), values.detach().double()


def _moved(value: Tensor) -> Tensor:
    signs = torch.randint(0, 2, value.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return value * (1 + _MOVED * signs.to(value))


def _moved_precisely(value: Tensor) -> Tensor:
    return _moved(value.double())
