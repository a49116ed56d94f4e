"""Which architecture a state dict belongs to: all of torchvision's and the bundled one, by names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camcli.errors import SetupError
from camcli.models import architecture_of, catalog, fitting
from camcli.models.architecture import Architecture
from camcli.models.fitting import Fit
from camcli.records import ModelSpec

# RegNet's constructor computes its widths with tensors, which need values.
_NEEDS_VALUES = ("regnet",)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture and how a file fits it; `classes` is the number that the file's head, or else its own, has."""

    name: str
    fit: Fit
    classes: int


def candidate(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Candidate:
    """How a file fits an architecture, which was asked for with these tensors."""
    on = "meta" if architecture.package == "torchvision" and not architecture.name.startswith(_NEEDS_VALUES) else "cpu"
    with torch.device(on):
        wanted = fitting.shapes_of(architecture.build(False).state_dict())
    fit, _ = fitting.meet(wanted, tensors, architecture.rename)
    own = next((shape[0] for shape in reversed(wanted.values()) if shape), 0)
    return Candidate(architecture.name, fit, fit.heads[0].shape[0] if fit.heads else own)


def ranked(tensors: Mapping[str, Tensor]) -> list[Candidate]:
    """torchvision's architectures and the bundled one, the nearest first; no problems: right up to a head."""
    found = [candidate(architecture_of(ModelSpec(name, "none"), tensors), tensors) for name in catalog.names()]
    return sorted(found, key=lambda candidate: candidate.fit.problems)


def only(candidates: Sequence[Candidate], file: str) -> Candidate:
    """The one architecture that fits.

    Raises:
        SetupError: none does, or several do.
    """
    fits = [candidate for candidate in candidates if candidate.fit.problems == 0]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise SetupError(f"{file} fits {', '.join(c.name for c in fits)} alike: say which with --model")
    nearest = "; ".join(f"{c.name}: {fitting.differences(c.fit, limit=2)}" for c in candidates[:3])
    raise SetupError(f"{file} fits none of {len(candidates)} architectures. Nearest: {nearest}. Name one with --model")
