"""The logit that a kept score was made of: of many thousands, most of which non-maximum suppression has thrown away.

Suppression, thresholds and top-k are indexing. So a kept score depends on one entry of the table that an activation
gave (in FCOS on one of each of two), and the logit is what entered that activation at the same place. No detector's
post-processing has to be known, and a saturated activation hides nothing: its own gradient is never asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ACTIVATIONS = frozenset(
    {getattr(owner, name) for owner in (torch, Tensor) for name in ("softmax", "sigmoid")}
    | {functional.softmax, functional.sigmoid, torch.special.expit}
)
# Before these a number is no choice among others, but a sum of many. With "_" they are `network.sparse`'s.
_WEIGHTED = ("Convolution", "Addmm", "Mm", "Bmm", "Addbmm", "Baddbmm", "_Convolution", "_Linear")


class Tables(TorchFunctionMode):
    """Remembers what entered and left each softmax and sigmoid that has a graph."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        after = func(*args, **(kwargs or {}))
        if func in _ACTIVATIONS and after.requires_grad:
            before = args[0] if args else (kwargs or {})["input"]
            self._seen.append((before, after))
        return after

    def logits_of(self, scores: Tensor) -> tuple[Tensor, ...] | None:
        """The logits, each with its graph, that scores (D,) were made of; None if that can't be told.

        They are kept apart, so that the gradient of one does not go through the table once for each of the others.
        """
        if not len(scores) or scores.grad_fn is None:
            return None
        near = unweighted(scores.grad_fn)
        tables = [(before, after) for before, after in self._seen if after.grad_fn in near]
        # In FCOS the score is the root of a class's and a place's: the class's table is the wider one.
        widest = max((after.shape[-1] for _, after in tables), default=0)
        found: list[Tensor | None] = [None] * len(scores)
        for before, after in tables:
            if after.shape[-1] == widest:  # one, or one a level of a pyramid
                for number, place in _places(scores, after):
                    found[number] = before.flatten()[place]
        logits = tuple(logit for logit in found if logit is not None)
        return logits if len(logits) == len(found) else None

    def under(self, values: Tensor) -> tuple[Tensor, Tensor] | None:
        """(logits, probabilities), flat, of the entries of one table that the values depend on; None if of none."""
        if values.grad_fn is None:
            return None
        near = unweighted(values.grad_fn)
        for before, after in reversed(self._seen):
            if after.grad_fn in near and (gradient := _gradient(values.sum(), after)) is not None:
                places = gradient.flatten().nonzero()[:, 0]
                if len(places):
                    return before.flatten()[places], after.detach().flatten()[places]
        return None


def unweighted(root: Node) -> set[Node]:
    """The nodes that lead to the root without a product with weights, and the first such products."""
    return before(root, stop_at_weights=True)


def before(root: Node, *, stop_at_weights: bool = False) -> set[Node]:
    """The node and all that it was computed from."""
    seen: set[Node] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if not (stop_at_weights and node.name().startswith(_WEIGHTED)):
                stack += [child for child, _ in node.next_functions if child is not None]
    return seen


def _places(scores: Tensor, table: Tensor) -> list[tuple[int, int]]:
    """(number of a score, place in the flat table) for each score that depends on one entry of it.

    The gradient of the scores' sum is not zero at these entries, and that of the sum of i times the i-th is i times as
    large: two backwards tell all, through indexing alone.
    """
    numbers = torch.arange(1, len(scores) + 1, device=scores.device, dtype=scores.dtype)
    once = _gradient(scores.sum(), table)
    if once is None:
        return []
    places = once.flatten().nonzero()[:, 0]
    if not len(places) or len(places) > len(scores):
        return []
    times = _gradient((scores * numbers).sum(), table)
    assert times is not None
    ratios = (times.flatten()[places].double() / once.flatten()[places].double()).round().long() - 1
    if len(set(ratios.tolist())) != len(ratios):
        return []
    return list(zip(ratios.tolist(), places.tolist(), strict=True))


def _gradient(value: Tensor, table: Tensor) -> Tensor | None:
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(value, [table], retain_graph=True, allow_unused=True)
    return gradient
