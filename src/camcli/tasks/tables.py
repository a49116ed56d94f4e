"""A network's return value -> the one table (N, K) in it, or the tensors that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from torch import Tensor, nn

from camcli.errors import RequestError, SetupError


class NoTableError(SetupError):
    """A network's return value holds no scores of classes."""


def scores_in(output: Any, key: str | None) -> tuple[str | None, Tensor]:
    """(the key, the scores) of what the network returned; the key is None if that is the tensor itself."""
    return chosen(output, key, _is_table, "logits", "(N, classes) tensor")


def chosen(
    output: Any, key: str | None, fits: Callable[[Tensor], bool], usual: str, kind: str
) -> tuple[str | None, Tensor]:
    """(the key, the tensor) of what the network returned: the named one, the one with the usual name, or the only one
    that fits its `kind`; the key is None if the tensor itself was returned.

    Raises: RequestError: no such key; NoTableError: none fits, or several do.
    """
    if isinstance(output, Tensor):
        if key is not None:
            raise RequestError(f"--output-key {key}: the model gives one tensor, not several outputs")
        return None, output
    outputs = _named(output)
    if key is not None:
        if key not in outputs:
            raise RequestError(f"--output-key {key}: the model's outputs are {_listed(outputs)}")
        return key, outputs[key]
    if usual in outputs:
        return usual, outputs[usual]
    fitting = [(name, value) for name, value in outputs.items() if fits(value)]
    if len(fitting) == 1:
        return fitting[0]
    if not outputs:
        told = type(output).__qualname__
        raise NoTableError(
            f"the model returns no tensor ({told}): it is no classifier. Let it return its scores as one"
        )
    raise NoTableError(f"the model's output has no single {kind}: choose one with --output-key, of {_listed(outputs)}")


def _named(output: Any) -> dict[str, Tensor]:
    """The tensors in a dict, tuple, named tuple or output object, by key, index or attribute; if it holds none, those
    of its parts, by "outer.inner"."""
    parts = parts_of(output)
    found = {key: value for key, value in parts.items() if isinstance(value, Tensor)}
    if found:
        return found
    inner = {key: _named(value) for key, value in parts.items() if isinstance(value, (Mapping, tuple, list))}
    return {f"{outer}.{key}": value for outer, values in inner.items() for key, value in values.items()}


def parts_of(output: Any) -> dict[str, Any]:
    """The parts of what a network returned, by key, index or attribute; a tensor has none."""
    if isinstance(output, Tensor):
        return {}
    if isinstance(output, Mapping):
        pairs = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, (tuple, list)):
        # Named tuples have the one, torch's own the other.
        names = getattr(output, "_fields", getattr(output, "__match_args__", ()))
        pairs = list(zip(names or map(str, range(len(output))), output, strict=True))
    else:
        pairs = list(vars(output).items()) if hasattr(output, "__dict__") else []
    return dict(pairs)


def carried(module: nn.Module, output: Any) -> Tensor | None:
    """The tensor that a module hands on: its output, or the first of several, as of blocks that tell their attention
    too. None for torch's own modules that give several: they are recurrent, or an attention."""
    if isinstance(output, Tensor):
        return output
    several = isinstance(output, (tuple, list)) and output and not type(module).__module__.startswith("torch.")
    return output[0] if several and isinstance(output[0], Tensor) else None


def with_carried(output: Any, tensor: Tensor) -> Any:
    """A module's output with another tensor to hand on."""
    if isinstance(output, Tensor):
        return tensor
    others = output[1:]
    return type(output)(tensor, *others) if hasattr(output, "_fields") else type(output)([tensor, *others])


def tensors_in(output: Any) -> list[Tensor]:
    """All tensors in what the network returned."""
    return [output] if isinstance(output, Tensor) else list(_named(output).values())


def _is_table(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim >= 2 and value.shape[2:].numel() == 1


def as_table(output: Tensor, pictures: int) -> Tensor:
    """(N, K) from (N, K), (N,) for one logit, (N, K, 1, 1) for a convolutional head, or (N, 1, K) for one token.

    A network that squeezes its output gives (K,) for one picture, or one number.
    """
    if not output.is_floating_point():
        kind = str(output.dtype).removeprefix("torch.")
        raise NoTableError(f"the model gives {kind} numbers, not scores: what it gives must come before an argmax")
    table = output
    if output.ndim < 2 and (pictures == 1 or output.shape == (pictures,)):
        table = output.reshape(pictures, -1)
    elif output.ndim > 2 and max(output.shape[1:]) == output.shape[1:].numel():
        table = output.flatten(1)
    if table.ndim != 2 or len(table) != pictures:
        given = "x".join(map(str, output.shape)) or "one number"
        raise NoTableError(f"the model gives {given} for {pictures} picture(s), not (N, classes): it is no classifier")
    if table.shape[1] == 0:
        raise NoTableError("the model gives no scores: its table has no classes")
    return table


def _listed(outputs: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({'x'.join(map(str, value.shape))})" for name, value in outputs.items()) or "no tensors"


def with_each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A network's return value, of the same kind, with each tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        parts = [with_each(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [with_each(part, change) for part in value]
    if isinstance(value, Mapping):
        changed: Any = copy(value)
        for key, part in value.items():
            changed[key] = with_each(part, change)
        return changed
    if hasattr(value, "__dict__"):
        changed = copy(value)
        for name, part in vars(value).items():
            if isinstance(part, Tensor):
                setattr(changed, name, change(part))
        return changed
    return value
