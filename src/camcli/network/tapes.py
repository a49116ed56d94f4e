"""The calls of a network after a layer, recorded as they run, so that they can be run again from there on.

A TorchFunctionMode writes down each call that the layer's output reaches. Replayed under vmap, the tape takes many
outputs of the layer at once, whatever batch size the network's own code has seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands in a recorded call for a tensor that depends on the layer."""

    number: int


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[..., Any]
    args: Any
    kwargs: Any
    result: Any


class Tape(TorchFunctionMode):
    """Records from `start(output)` on. Code that looks at values may go another way next time: it is on no tape."""

    def __init__(self) -> None:
        super().__init__()
        self._looked = False
        self._calls: list[_Call] = []
        # By id; the tensors are kept, so that no id is given twice.
        self._numbers: dict[int, tuple[int, Tensor]] = {}

    def start(self, output: Tensor) -> None:
        """Begins to record all that depends on this tensor. Of several runs of a layer the last counts."""
        self._looked = False
        self._calls.clear()
        self._numbers.clear()
        self._slot(output)

    def reaches(self, tensor: Tensor) -> bool:
        """True if the tensor depends on the layer in a way that the tape can play."""
        return id(tensor) in self._numbers and not self._looked

    def play(self, output: Tensor, wanted: Sequence[Tensor]) -> list[Tensor]:
        """The wanted tensors of the recorded run, as they would have been with this output of the layer."""
        values: dict[int, Any] = {0: output.clone(memory_format=torch.contiguous_format)}
        for call in self._calls:
            args, kwargs = _replace((call.args, call.kwargs), _Slot, lambda slot: values[slot.number])
            self._assign(call.result, call.function(*args, **kwargs), values)
        return [values[self._numbers[id(tensor)][0]] for tensor in wanted]

    def play_many(self, outputs: Tensor, wanted: Sequence[Tensor]) -> list[Tensor]:
        """`play` for each of outputs (M, *shape of the layer's output): (M, *shape) for each of the wanted.

        Raises: RuntimeError: the network does something that vmap can't.
        """
        with warnings.catch_warnings():
            # Operations without a batching rule (fused attention) are looped over: slower, and right.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return list(torch.vmap(lambda output: tuple(self.play(output, wanted)))(outputs))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        seen: list[Tensor] = []
        _replace((args, kwargs), Tensor, seen.append)
        if not any(map(self.reaches, seen)):
            return func(*args, **kwargs)
        self._looked = self._looked or func in _LOOKS
        recorded = _replace((args, kwargs), Tensor, self._known)
        result = func(*args, **kwargs)
        produced: list[Tensor] = []
        # `x[i] = y` returns nothing and changes x.
        result_or_changed = args[0] if result is None else result
        _replace(result_or_changed, Tensor, produced.append)
        if produced:
            slots = _replace(result_or_changed, Tensor, self._slot)
            self._calls.append(_Call(func, recorded[0], recorded[1], None if result is None else slots))
        return result

    def _known(self, tensor: Tensor) -> Tensor | _Slot:
        return _Slot(self._numbers[id(tensor)][0]) if self.reaches(tensor) else tensor

    def _slot(self, tensor: Tensor) -> _Slot:
        number, _ = self._numbers.setdefault(id(tensor), (len(self._numbers), tensor))
        return _Slot(number)

    def _assign(self, slots: Any, result: Any, values: dict[int, Any]) -> None:
        if isinstance(slots, _Slot):
            values[slots.number] = result
        elif isinstance(slots, (list, tuple)):
            for slot, part in zip(slots, result, strict=True):
                self._assign(slot, part, values)


# Calls that turn a tensor's values into Python's, which code can decide by.
_LOOKS = frozenset(
    (Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist, Tensor.numpy)
)


def _replace(value: Any, kind: type, by: Callable[[Any], Any]) -> Any:
    """The value with each part of that kind, in tuples, lists and dicts, replaced."""
    if isinstance(value, kind):
        return by(value)
    if isinstance(value, tuple):
        # torch.Size and the named tuples of torch.return_types are rebuilt as plain tuples.
        return tuple(_replace(part, kind, by) for part in value)
    if isinstance(value, list):
        return [_replace(part, kind, by) for part in value]
    if isinstance(value, dict):
        return {key: _replace(part, kind, by) for key, part in value.items()}
    return value
