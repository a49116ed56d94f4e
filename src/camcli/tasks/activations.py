"""The softmaxes and sigmoids that run in one forward, and the one of them that gave the network's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camcli.errors import SetupError

Activation = Literal["softmax", "sigmoid"]

_SOFTMAX = frozenset(
    getattr(owner, name) for owner in (torch, Tensor, functional) for name in ("softmax", "log_softmax")
)
_SIGMOID = frozenset({torch.sigmoid, Tensor.sigmoid, torch.special.expit, functional.logsigmoid})
_IN_PLACE = frozenset({torch.sigmoid_, Tensor.sigmoid_})
# A head of logits ends in one of these.
_LINEAR = frozenset(
    {functional.linear, functional.bilinear, functional.conv2d, torch.addmm, torch.baddbmm}
    | {getattr(owner, name) for owner in (torch, Tensor) for name in ("matmul", "mm", "bmm")}
)
# These give scores in the order of their size, and beside them whose they are.
_RANKING = frozenset(getattr(owner, name) for owner in (torch, Tensor) for name in ("topk", "sort", "max"))
# Any two points lie on a line, and two classes' probabilities mirror each other.
_ON_A_LINE = 4


class Activations(TorchFunctionMode):
    """Remembers what entered and left each softmax, log-softmax or sigmoid that could be a head's, all rankings, and
    what products with weights gave."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[Tensor, Tensor, Activation]] = []
        self._ranked: list[tuple[Tensor, Tensor]] = []
        self._products: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kind = _kind(func)
        if kind is None:
            after = func(*args, **(kwargs or {}))
            if func in _RANKING and isinstance(after, tuple) and args and args[0].ndim == 2:
                self._ranked.append((after[0], after[1]))
            if func in _LINEAR and _is_like_a_head(after):
                self._products.append(after)
            return after
        before = args[0] if args else (kwargs or {})["input"]
        kept = before.clone() if func in _IN_PLACE else before
        after = func(*args, **(kwargs or {}))
        if _is_like_a_head(after):
            self._seen.append((kept, after, kind))
        return after

    def kind_of(self, output: Tensor) -> Activation | None:
        """The activation that gave this output, None if none did."""
        found = self._given_by(output)
        return found[2] if found else None

    def kind_like(self, table: Tensor) -> Activation | None:
        """The last activation that gave as many numbers as the table (N, K) holds, one row a picture."""
        return next((kind for _, _, kind in self._like(table)), None)

    def scaled(self, table: Tensor) -> tuple[Activation, float] | None:
        """(the last activation that gave as many numbers, k); None unless the table (N, K) is k times those, or k times
        their logarithms, plus a constant: 2 p - 1, log2 p, decibels."""
        for before, after, kind in self._like(table)[:1]:
            if before.data_ptr() == table.data_ptr():  # of one picture, logits are their log-softmax plus a constant
                return None
            given = after.reshape(table.shape)
            for numbers in (given, given.log()):
                if (slope := _slope(numbers, table)) is not None:
                    return kind, slope
        return None

    def _like(self, table: Tensor) -> list[tuple[Tensor, Tensor, Activation]]:
        """The activations, the last one first, that gave as many numbers as the table (N, K) holds, a row a picture."""
        return [
            seen
            for seen in reversed(self._seen)
            if seen[1].numel() == table.numel() and (not seen[1].ndim or len(seen[1]) == len(table))
        ]

    def ranks(self, output: Tensor, others: Sequence[Tensor]) -> bool:
        """True if a ranking of a table gave this output, or its activation's input: several scores, or one with its
        column's number among `others`. One alone may be the best of a bag's."""
        found = self._given_by(output)
        given = (output,) if found is None else (output, found[0])
        told = {other.data_ptr() for other in others}
        return any(
            _is_same(one, values)
            for values, ids in self._ranked
            for one in given
            if values.shape[1:].numel() > 1 or ids.data_ptr() in told
        )

    def is_product(self, output: Tensor) -> bool:
        """True if a linear layer or a convolution gave this very output: those are logits, of whatever sign."""
        return any(_is_same(one, output) for one in self._products)

    def before(self, output: Tensor, *, scaled: bool = False) -> Tensor:
        """The input of the activation that gave this output, or the numbers that it is `scaled` from, in the output's
        shape."""
        found = next(iter(self._like(output)), None) if scaled else self._given_by(output)
        if found is None:
            raise SetupError("the model ends in a softmax or sigmoid on some pictures and not on others")
        before, after, _ = found
        # A table that was transposed for its activation is the same numbers in another order.
        if after.ndim == 2 and (after.mT.shape, after.mT.stride()) == (output.shape, output.stride()):
            return before.mT
        return before.reshape(output.shape)

    def _given_by(self, output: Tensor) -> tuple[Tensor, Tensor, Activation] | None:
        for before, after, kind in reversed(self._seen):
            if _is_same(after, output):
                return before, after, kind
        return None


def _is_same(one: Tensor, other: Tensor) -> bool:
    """True if they hold the same numbers in one memory: a squeeze or view of a result is still that result."""
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()


def _is_like_a_head(after: Tensor) -> bool:
    """True if it could be a head's, which has one axis beside the batch, or none at all. Attention's are large."""
    return not after.ndim or max(after.shape[1:], default=1) * len(after) == after.numel()


def _kind(func: Any) -> Activation | None:
    if func in _SOFTMAX:
        return "softmax"
    return "sigmoid" if func in _SIGMOID or func in _IN_PLACE else None


def _slope(numbers: Tensor, table: Tensor) -> float | None:
    """k of the line table = k * numbers + c on which all lie; None if there is none, or too few numbers to tell."""
    x, y = numbers.double().flatten(), table.double().flatten()
    if len(x) < _ON_A_LINE or not (x.isfinite().all() and y.isfinite().all()):
        return None
    x, y = x - x.mean(), y - y.mean()
    rounding = 4 * torch.finfo(torch.float32).eps * float(table.abs().max())
    if float(x.abs().max()) == 0 or float(y.abs().max()) < 16 * rounding:
        return None
    slope = float(x @ y / (x @ x))
    return slope if float((y - slope * x).abs().max()) <= 1e-3 * float(y.abs().max()) + rounding else None
