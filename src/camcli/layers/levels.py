"""The maps that a detector's head reads: the levels of its pyramid, from autograd's graph alone.

A detection's score and its box are computed from one map by two branches of the head. So the levels are the last maps
that both depend on, before the branches part: the FPN's outputs, the maps of an SSD. In a two-stage detector the
branches part after the pooled proposals, which are no map of the picture; then it is what those were pooled from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.tasks.provenance import before, unweighted

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch.autograd.graph import Node


def levels(scores: Node, boxes: Node | None, maps: Collection[Node]) -> set[Node]:
    """Those of the `maps` that scores and boxes are read from; of scores alone, if boxes have no graph."""
    boxes = boxes or scores
    of_scores, of_boxes = before(scores), before(boxes)
    common = of_scores & of_boxes
    parting = {
        child
        for node in (of_scores | of_boxes) - common
        for child, _ in node.next_functions
        if child is not None and child in common
    }
    answers = unweighted(scores) | unweighted(boxes)
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = list(parting or {scores})
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in maps and node not in answers:
            found.add(node)
        else:
            stack += [child for child, _ in node.next_functions if child is not None]
    return found
