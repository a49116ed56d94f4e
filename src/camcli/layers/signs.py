"""The tensors that can't be below zero, read from autograd's graph alone: names there tell a ReLU of any spelling.

Methods that divide by a sum of activations are safe there, and nowhere else. No values are looked at, so it works on
the meta device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.autograd.graph import Node

# Operations that give no number below zero, whatever goes in.
_RECTIFIES = frozenset("Relu Sigmoid Hardsigmoid Softmax Softplus Exp Abs Sqrt".split())
# Operations that clip, and the saved lower bound.
_CLIPS = {"Hardtanh": "_saved_min_val", "Clamp": "_saved_min", "ClampMin": "_saved_min"}
# Those that give none if none goes in: sums, products, means, other shapes, parts and finer grids of the same values.
_KEEPS = frozenset(
    (
        "Add Mul Cat Stack Mean Sum Clone Alias View UnsafeView Permute Transpose T Squeeze Unsqueeze Expand Slice "
        "Select Split SplitWithSizes Flip Roll ToCopy MaxPool2DWithIndices AvgPool2D AdaptiveAvgPool2D Max Amax "
        "AdaptiveMaxPool2D UpsampleNearest2D UpsampleBilinear2D MaxPool3DWithIndices AvgPool3D AdaptiveAvgPool3D"
    ).split()
)


class Signs:
    """The signs of nodes, kept for each node that was asked about."""

    def __init__(self) -> None:
        self._known: dict[Node, bool] = {}

    def never_negative(self, node: Node) -> bool:
        """True if the node's output can hold no number below zero; False if that can't be told."""
        if node not in self._known:
            self._known[node] = False  # while its inputs are looked at
            self._known[node] = self._told(node)
        return self._known[node]

    def _told(self, node: Any) -> bool:
        kind = node.name().rsplit("Backward", 1)[0]
        if kind in _RECTIFIES:
            return True
        if kind in _CLIPS:
            low = getattr(node, _CLIPS[kind], None)
            return isinstance(low, (int, float)) and low >= 0
        if kind not in _KEEPS or getattr(node, "_saved_alpha", 1) < 0:
            return False
        # A constant, whose sign no graph tells, has no node.
        inputs = [child for child, _ in node.next_functions]
        return None not in inputs and all(self.never_negative(child) for child in inputs)
