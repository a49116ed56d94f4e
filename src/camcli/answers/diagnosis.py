"""Words for what is wrong with an answer: blank, flat and class-insensitive maps are named, never painted as noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from camcli.entries import Entry
    from camcli.network.forward import Forward
    from camcli.network.layer import Layer
    from camcli.records import Question
    from camcli.tasks.targets import Target

# A map whose values differ by less than this share of the largest shows no place.
FLAT = 1e-5
# Measured on persons that a detector found: the peak of grad-cam lies in the box as often as the box is large.
POOLED = (
    "its weights are means over the whole map, which find one object or place no better than chance: hires-cam is made "
    "for that"
)
# A probability this near to 0 or 1 has a gradient that float32 can't carry through a network.
_SATURATED = 1e-6


def of_values(
    values: NDArray[np.float32], forward: Forward, target: Target, layer: Layer | None, question: Question, picture: int
) -> str | None:
    """The reason why a finite answer shows nothing; None if it shows something."""
    if not values.any():
        return f"blank: {_why_blank(forward, target, layer, question, picture)}"
    if values.ndim == len(forward.size) and values.size > 1 and float(np.ptp(values)) <= FLAT * float(values.max()):
        return "flat: the same value everywhere, so it points nowhere"
    return None


def _why_blank(forward: Forward, target: Target, layer: Layer | None, question: Question, picture: int) -> str:
    where = layer.name if layer else "the picture"
    if layer is not None and not forward.output(layer)[picture].any():
        return f"{where} is dead: its activations are zero everywhere"
    if question.minus is not None and question.entry is not None and question.minus.id == question.entry.id:
        return "a class less itself is zero whatever the picture shows"
    if question.quantity == "softmax" and min(question.value, 1 - question.value) < _SATURATED:
        return f"the probability is saturated at {question.value:.6g}; explain the logit, --target logit"
    if forward.is_rounding(target)[picture]:
        return _AT_REST.get(question.quantity, _AT_REST["function"])
    if layer is not None or forward.images.requires_grad:
        if not forward.gradient("gradient", target, layer)[picture].any():
            return f"the gradient at {where} is zero everywhere"
        if layer is not None and forward.cancels(target, layer)[picture]:
            return f"what speaks for {question.name} at {where} and what speaks against it cancel, but for rounding"
    return f"no positive evidence for {question.name} at {where}"


# The reasons why a target's slope is no more than rounding.
_AT_REST = {
    "similarity": "no picture could be more similar, so no part of this one speaks for it: its gradient is rounding",
    "softmax": "the probabilities are saturated, their gradient is rounding; explain the logits, --target logit",
    "function": "the number hardly depends on what the network says: its gradient is rounding",
}


def of_signs(why: str, forward: Forward, layers: Sequence[Layer], picture: int) -> str | None:
    """A note on a method that wants activations of one sign, if some are below zero; else None."""
    signed = [layer.name for layer in layers if bool((forward.activations(layer)[picture] < 0).any())]
    return f"activations below zero at {' and '.join(signed)}: {why}" if signed else None


def not_finite(forward: Forward, layer: Layer | None, method: str, picture: int) -> str:
    """A note on the source of numbers that are not finite: the activations at the layer, or the method."""
    if layer is not None and not forward.output(layer)[picture].isfinite().all():
        return f"the activations at {layer.name} are not finite (NaN or infinity)"
    return f"{method} gives numbers that are not finite (NaN or infinity), though the activations are"


def of_same_map(cosine: float, rival: Entry, unlike: Entry | None) -> str:
    """A note on a class's map that is also the rival's. For two classes of one thing that is right; only a map that is
    the same for an `unlike` class too does not depend on the class."""
    same = f"the same map as {rival.id} {rival.label} (cosine {cosine:.4f})"
    return same if unlike is None else f"class-insensitive: {same}, and as {unlike.id} {unlike.label}"


def of_sanity(unchanged: Sequence[str]) -> str | None:
    """A note on an answer that stays as it is with random weights in these parts, from the head on; None without
    parts."""
    if not unchanged:
        return None
    parts = unchanged[0] if len(unchanged) == 1 else f"{unchanged[0]} to {unchanged[-1]}"
    return f"fails the sanity check: random weights in {parts} leave it as it is"
