"""The weights of self-attention, as they are used: attention rollout multiplies them, LeGrad differentiates them.

Fused kernels never write them down, so a TorchFunctionMode computes them step by step while a forward is watched.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


class Attention(TorchFunctionMode):
    """Records each self-attention's weights (N, heads, L, L), or (N, L, L) of one head, and the output (N, L, D) of the
    block that holds it.

    A block is the largest module that gives tokens and holds this attention alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        self.blocks: dict[int, Tensor] = {}
        # The weights' places in the graph, for gradients in them.
        self.edges: list[Any] = []
        self._begun: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            return self._multi_head(func, args, kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._scaled_dot_product(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX:
            self._add(result, result)
        return result

    def before(self, module: nn.Module, args: Any) -> None:
        """Notes that a module begins."""
        self._begun.append(len(self.weights))

    def after(self, output: Any) -> bool:
        """True if the module that is done is a block, as far as is known yet."""
        index = self._begun.pop()
        if len(self.weights) != index + 1 or not isinstance(output, Tensor) or output.ndim != 3:
            return False
        if output.shape[1] != self.weights[index].shape[-1]:
            return False
        self.blocks[index] = output
        return True

    def _multi_head(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        asked, averaged = kwargs.get("need_weights", True), kwargs.get("average_attn_weights", True)
        output, weights = func(*args, **(kwargs | {"need_weights": True, "average_attn_weights": False}))
        # The weights returned are a view of those used, and the graph goes through the latter.
        used = weights.grad_fn.next_functions[0] if weights.grad_fn is not None else None
        self._add(weights, GradientEdge(*used) if used else weights)
        if not asked:
            return output, None
        return output, weights.mean(1) if averaged else weights

    def _scaled_dot_product(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **others: Any,
    ) -> Tensor:
        scores = query @ key.transpose(-2, -1) * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        weights = scores.softmax(-1)
        self._add(weights, weights)
        return weights @ value

    def _add(self, weights: Tensor, edge: Any) -> None:
        if weights.ndim in (3, 4) and weights.shape[-1] == weights.shape[-2]:
            self.weights.append(weights)
            self.edges.append(edge)
