"""The tensors that every route from the picture to the score crosses, read from autograd's graph alone.

If the score is read from a class token, most routes that the graph has carry nothing of the patches: after the last
attention the patches' gradient is exactly zero. A node is narrowed if its gradient is at such tokens only. That holds
from the selection (`x[:, 0]`) down through everything that treats each token alone. If a narrowed node leads to a
tensor whose patches reach the score by another way, that route is the class token's own past, and does not count.

No values are looked at, so it works on the meta device.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any

from camcli.layers.layouts import MAX_PREFIX_TOKENS, token_axis

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch.autograd.graph import Node

# A gradient at few tokens becomes one at all of them, or at others. The dot-products of fused attention do so too.
_MIXES_TOKENS = frozenset("Bmm Transpose T Permute Convolution Index IndexSelect Gather Roll Flip Baddbmm".split())


class Routes:
    """The routes from the picture to the score.

    `crossed`: nodes that every route crosses, with all positions alive. `narrowed`: nodes alive at class tokens.
    `readers`: the number of readers of each node's output, for all nodes below the root. `read`: the first token that
    the score is read from, by the number of tokens, if it is no patch.

    pictures: the number that went in. patches: those of the tokens that are the picture's, by the number of tokens, as
    far as that was seen.
    """

    def __init__(self, root: Node, pictures: int, patches: Mapping[int, Collection[int]]) -> None:
        self._pictures = pictures
        self._patches = patches
        self.read: dict[int, int] = {}
        order = _topological(root)
        self.narrowed: dict[Node, int] = {}
        edges = self._edges(root, order)
        below: dict[Node, int] = {}
        for node in order:
            below[node] = sum(below[child] for child in edges[node]) if _children(node) else 1
        above = dict.fromkeys(order, 0)
        above[root] = 1
        for node in reversed(order):
            for child in edges[node]:
                above[child] += above[node]
        self.readers = Counter(child for node in order for child, _ in _children(node))
        self.crossed = {
            node for node in order if node not in self.narrowed and above[node] * below[node] == below[root]
        }

    def _edges(self, root: Node, order: Sequence[Node]) -> dict[Node, list[Node]]:
        """The edges that carry the patches; fills `narrowed` with each narrowed node's number of rows, N * tokens."""
        wide = {root}
        used: dict[Node, set[int]] = {}
        handed: dict[Node, list[tuple[Node, int]]] = {node: [] for node in order}
        for node in reversed(order):
            if node in wide:
                self.narrowed.pop(node, None)
            elif node not in self.narrowed:
                continue
            for child, number, rows in self._hands_on(node, used.get(node, {0})):
                used.setdefault(child, set()).add(number)
                handed[node].append((child, rows))
                if rows:
                    self.narrowed[child] = rows
                else:
                    wide.add(child)
        return {
            node: [child for child, rows in found if not rows or child not in wide] for node, found in handed.items()
        }

    def _hands_on(self, node: Node, used: set[int]) -> list[tuple[Node, int, int]]:
        """Each (child, number of its output, rows that the narrowed gradient is spread over or 0 if it is not)."""
        rows = self.narrowed.get(node, 0)
        children = _children(node)
        if selected := self._selected_rows(node, used, rows > 0):
            return [(child, number, selected) for child, number in children]
        if not rows:
            return [(child, number, 0) for child, number in children]
        shapes = [_shape(child, number) for child, number in children]
        if _kind(node) == "Cat" and len(_shape(node)) == 3 and _axis(node, 3) == (axis := self._axis_of(_shape(node))):
            # [class token, patches]: nothing reaches the patches.
            most = max(shape[axis] for shape in shapes)
            return [
                (child, number, 0)
                for (child, number), shape in zip(children, shapes, strict=True)
                if shape[axis] < most
            ]
        return [
            (child, number, rows if _keeps_tokens(node, shape, rows) else 0)
            for (child, number), shape in zip(children, shapes, strict=True)
        ]

    def _axis_of(self, shape: tuple[int, ...]) -> int:
        return token_axis(shape, self._pictures)

    def _selected_rows(self, node: Node, used: set[int], narrowed: bool) -> int:
        """N * tokens if the node picks a few tokens out of (N, tokens, C), else 0.

        Few are those that are no patches, or the leading ones if nobody has seen which are. A maximum over the tokens
        counts too (VOLO adds the best patch's score to the class token's): its one patch makes no map. Of a narrowed
        gradient any part of the tokens stays narrowed.
        """
        kind = _kind(node)
        if kind not in ("Select", "Slice", "Split", "SplitWithSizes", "Max", "Amax"):
            return 0
        (child, number), *_ = _children(node)
        before = _shape(child, number)
        if len(before) != 3 or _axis(node, 3) != (axis := self._axis_of(before)):
            return 0
        few = kind in ("Max", "Amax") or narrowed
        if not few:
            start, kept = _picked(node, kind, used, axis, before[axis])
            few = 2 * kept < before[axis] and self._are_others(range(start, start + kept), before[axis])
            if few:
                self.read[before[axis]] = min(start, self.read.get(before[axis], start))
        return before[0] * before[1] if few else 0

    def _are_others(self, picked: range, tokens: int) -> bool:
        patches = self._patches.get(tokens, ())
        if 0 < len(patches) < tokens:
            return not set(picked) & set(patches)
        return picked.stop <= MAX_PREFIX_TOKENS


def _keeps_tokens(node: Node, before: tuple[int, ...], rows: int) -> bool:
    """True if each token's output is its own: rows stay rows, and the operation is not one that mixes them."""
    kind = _kind(node)
    if (kind in _MIXES_TOKENS and not _swaps_pictures(node, kind)) or kind.startswith("ScaledDot"):
        return False
    return all(rows in accumulate(shape, mul) for shape in (_shape(node), before))


def _swaps_pictures(node: Any, kind: str) -> bool:
    """True if it turns (N, tokens, C) into (tokens, N, C) or back, which mixes nothing."""
    if kind == "Permute":
        return tuple(_signed(dim) % 3 for dim in node._saved_dims) == (1, 0, 2)
    if kind == "Transpose":
        return len(_shape(node)) == 3 and {_signed(node._saved_dim0) % 3, _signed(node._saved_dim1) % 3} == {0, 1}
    return False


def _picked(node: Any, kind: str, used: set[int], axis: int, tokens: int) -> tuple[int, int]:
    """(first, count) of the tokens that are handed on."""
    if kind == "Select":
        return _signed(node._saved_index) % tokens, 1
    if kind == "Slice":
        return _signed(node._saved_start) % tokens, _shape(node)[axis]
    return sum(_shape(node, i)[axis] for i in range(min(used))), sum(_shape(node, i)[axis] for i in used)


def _axis(node: Any, ndim: int) -> int | None:
    """The saved dimension; negative ones are saved as unsigned. None for a maximum over everything, or over several."""
    saved = getattr(node, "_saved_dim", None)
    if isinstance(saved, tuple):
        saved = saved[0] if len(saved) == 1 else None
    if saved is None:
        return None
    return _signed(saved) % ndim


def _signed(saved: int) -> int:
    """A saved number with its sign: negative ones are saved as unsigned."""
    return int(saved) - 2**64 if saved >= 2**63 else int(saved)


def _kind(node: Node) -> str:
    return node.name().rsplit("Backward", 1)[0]


def _shape(node: Node, number: int = 0) -> tuple[int, ...]:
    metadata: Any = node._input_metadata
    return tuple(map(int, metadata[number].shape))


def _children(node: Node) -> list[tuple[Node, int]]:
    return [(child, number) for child, number in node.next_functions if child is not None]


def _topological(root: Node) -> list[Node]:
    """The nodes, each after all that it was computed from."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, children_done = stack.pop()
        if children_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child, _ in _children(node))
    return order
