"""The logit that a kept score was made of: of many thousands, most of which non-maximum suppression has thrown away.

Suppression, thresholds and top-k are indexing. So a kept score depends on one entry of the table that an activation
gave (in FCOS on one of each of two), and the logit is what entered that activation at the same place. No detector's
post-processing has to be known, and a saturated activation hides nothing: its own gradient is never asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
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
# Before these a number is no choice among others, but a sum of many.
_WEIGHTED = ("Convolution", "Addmm", "Mm", "Bmm", "Addbmm", "Baddbmm")


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

    def logits_of(self, scores: Tensor) -> Tensor | None:
        """The logits (D,), with their graph, that scores (D,) were made of; None if that can't be told."""
        if not len(scores) or scores.grad_fn is None:
            return None
        near = _unweighted(scores.grad_fn)
        tables = [(before, after) for before, after in self._seen if after.grad_fn in near]
        # In FCOS the score is the root of a class's and a place's: the class's table is the wider one.
        for before, after in sorted(tables, key=lambda table: -table[1].shape[-1]):
            places = _places(scores, after)
            if places is not None:
                return before.flatten()[places]
        return self._of_several(scores, tables)

    def under(self, values: Tensor) -> tuple[Tensor, Tensor] | None:
        """(logits, probabilities), flat, of the entries of one table that the values depend on; None if of none."""
        if values.grad_fn is None:
            return None
        near = _unweighted(values.grad_fn)
        for before, after in reversed(self._seen):
            if after.grad_fn in near and (gradient := _gradient(values.sum(), after)) is not None:
                places = gradient.flatten().nonzero()[:, 0]
                if len(places):
                    return before.flatten()[places], after.detach().flatten()[places]
        return None

    @staticmethod
    def _of_several(scores: Tensor, tables: Sequence[tuple[Tensor, Tensor]]) -> Tensor | None:
        """The logits of scores that come from several tables, such as one a level of a pyramid."""
        found: list[Tensor | None] = [None] * len(scores)
        widest = max((after.shape[-1] for _, after in tables), default=0)
        for before, after in tables:
            if after.shape[-1] != widest:
                continue
            for number, place in _some_places(scores, after):
                found[number] = before.flatten()[place]
        logits = [logit for logit in found if logit is not None]
        return torch.stack(logits) if len(logits) == len(found) else None


def _unweighted(root: Node) -> set[Node]:
    """The nodes that lead to the root without a product of weights."""
    seen: set[Node] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if not node.name().startswith(_WEIGHTED):
                stack += [child for child, _ in node.next_functions if child is not None]
    return seen


def _places(scores: Tensor, table: Tensor) -> Tensor | None:
    """The place (D,) in the flat table of the entry that each score depends on; None if one depends on none."""
    found = dict(_some_places(scores, table))
    if len(found) != len(scores):
        return None
    return torch.tensor([found[i] for i in range(len(scores))], device=scores.device)


def _some_places(scores: Tensor, table: Tensor) -> list[tuple[int, int]]:
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
