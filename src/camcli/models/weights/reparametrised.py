"""Weights that a file keeps as the parts they are computed from: pruned, weight-normed, spectral-normed.

Each is computed once, by the formula that torch's own module uses in eval mode, and so exactly.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What torch.nn.utils.parametrize puts between a module and its parameter.
_REGISTERED = re.compile(r"(^|\.)parametrizations\.(?=[^.]+$)")


@dataclass(frozen=True, slots=True)
class _Way:
    """Parts of a weight: their maker, their names' endings, the weight from them (None if they don't go together)."""

    made_by: str
    endings: tuple[str, ...]
    weight: Callable[..., Tensor | None]


def _pruned(original: Tensor, mask: Tensor) -> Tensor | None:
    return mask.to(original.dtype) * original if original.shape == mask.shape else None


def _weight_normed(g: Tensor, v: Tensor) -> Tensor | None:
    """g v / |v|; the norm is over the axes along which g has one number, over all if g is a number."""
    axes = [axis for axis, size in enumerate(g.shape) if size != 1]
    if g.ndim not in (0, v.ndim) or len(axes) > 1 or any(g.shape[axis] != v.shape[axis] for axis in axes):
        return None
    weight: Tensor = torch._weight_norm(v.float(), g.float(), axes[0] if axes else -1)
    return weight


def _spectral_normed(original: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    """W / (u W v): the stored vectors, as they are."""
    if original.ndim < 2 or u.ndim != 1 or u.numel() * v.numel() != original.numel():
        return None
    # The outputs' axis, or else the inputs', as in a transposed convolution.
    axis = next((axis for axis in (0, 1) if original.shape[axis] == u.numel()), None)
    if axis is None:
        return None
    matrix = original.float().movedim(axis, 0).flatten(1)
    return original.float() / torch.dot(u.float(), torch.mv(matrix, v.float()))


_WAYS = (
    _Way("torch.nn.utils.prune", ("_orig", "_mask"), _pruned),
    _Way("weight_norm", ("_g", "_v"), _weight_normed),
    _Way("weight_norm", (".original0", ".original1"), _weight_normed),
    _Way("spectral_norm", ("_orig", "_u", "_v"), _spectral_normed),
    _Way("spectral_norm", (".original", ".0._u", ".0._v"), _spectral_normed),
)


def computed(tensors: Mapping[str, Tensor], own: Iterable[str]) -> tuple[Mapping[str, Tensor], dict[str, str]]:
    """(the tensors with each weight in place of its parts, computed name -> what had made the parts).

    own: the network's names. Parts stay as they are if the network has such parts itself.
    """
    own = list(own)
    ways = [way for way in _WAYS if not any(name.endswith(way.endings[0]) for name in own)]
    how: dict[str, str] = {}
    weights: dict[str, tuple[str, Tensor]] = {}
    gone: set[str] = set()
    for way in ways:
        for base in [name.removesuffix(way.endings[0]) for name in tensors if name.endswith(way.endings[0])]:
            parts = [base + ending for ending in way.endings]
            name = _REGISTERED.sub(r"\1", base)
            if name in tensors or not _alone(base, parts, tensors):
                continue
            weight = way.weight(*(tensors[part] for part in parts))
            if weight is not None:
                how[name] = way.made_by
                weights[parts[0]] = name, weight
                gone.update(parts[1:])
    if not weights:
        return tensors, {}
    whole = OrderedDict(weights.get(name, (name, value)) for name, value in tensors.items() if name not in gone)
    whole._metadata = getattr(tensors, "_metadata", {})  # type: ignore[attr-defined]
    return whole, how


def _alone(base: str, parts: Sequence[str], tensors: Mapping[str, Tensor]) -> bool:
    """True if all the parts are there and, below a registered parametrisation, nothing else."""
    if any(part not in tensors for part in parts):
        return False
    if not parts[0].startswith(f"{base}."):
        return True
    return sum(name.startswith(f"{base}.") for name in tensors) == len(parts) and bool(_REGISTERED.search(base))
