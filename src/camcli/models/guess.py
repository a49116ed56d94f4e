"""A guess at a state dict's architecture: one of torchvision's or the bundled one, by names and shapes.

Building all of them takes seconds. So those that can't fit are ruled out by a table of the number of tensors of each
shape; the others are built and compared name by name. The table says where to look, never what fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

import torch
from torch import Tensor

from camcli.errors import SetupError
from camcli.models import catalog
from camcli.models.model import Architecture
from camcli.models.sources import architecture_of
from camcli.models.weights import causes, fitting, misfits, reparametrised
from camcli.models.weights.fitting import Fit
from camcli.models.weights.heads import Shape
from camcli.specs import ModelSpec

# RegNet's constructor computes its widths with tensors, which need values.
_NEEDS_VALUES = ("regnet",)
# Weights that a file may have otherwise and still fit: the stem, a head of up to three layers, the first layers of
# MNASNet's version 1.
_MAX_OTHERWISE = 10
_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture and how a file fits it; `classes` counts those of the file's head, or else its own.

    hint: why it does not fit, as far as that is known. obstacle: why it can't be taken although it fits.
    """

    name: str
    fit: Fit
    classes: int
    hint: str = ""
    obstacle: str = ""


def candidate(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Candidate:
    """An architecture, asked for with a file's tensors, and how the file fits it."""
    wanted = fitting.shapes_of(_state(architecture))
    fit, whole = fitting.meet(wanted, tensors, architecture.rename, as_it_is=architecture.whole)
    own = next((shape[0] for shape in reversed(wanted.values()) if shape), 0)
    hint = misfits.hint(fit, wanted, fitting.shapes_of(whole)) if fit.problems else ""
    obstacle = "" if fit.problems else misfits.in_the_way(fit, whole)
    return Candidate(architecture.name, fit, fit.heads[0].shape[0] if fit.heads else own, hint, obstacle)


def ranked(tensors: Mapping[str, Tensor]) -> list[Candidate]:
    """The architectures, torchvision's and the bundled one, that a file may fit, the nearest first; three at least.

    Without problems the file fits, up to a head.
    """
    names, otherwise = _likeliest(tensors)
    found = _compared(names, tensors)
    if not any(candidate.fit.problems == 0 for candidate in found):
        found += _compared(otherwise, tensors)
    return sorted(found, key=lambda candidate: candidate.fit.problems)


def only(candidates: Sequence[Candidate], file: str, made_for: str = "") -> Candidate:
    """The one architecture that fits. made_for: what is known of the library that the file was made for.

    Raises:
        SetupError: none does, or several do.
    """
    fits = fitting_ones(candidates)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise SetupError(f"{file} {_which(fits)}")
    said = f"{file} fits none of {len(catalog.classifiers())} architectures"
    if made_for:
        raise SetupError(f"{said}. {made_for}")
    near = candidates[:_NEAREST] if candidates[0].fit.names else ()
    nearest = "; ".join(f"{c.name}: {misfits.differences(c.fit, limit=2)}" for c in near)
    said += f". Nearest: {nearest}" if near else ": not one of its tensors is known in any"
    raise SetupError(said + way_on(candidates))


def fitting_ones(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that the file fits; if any, also those whose only problem is another network beside theirs."""
    fits = [candidate for candidate in candidates if candidate.fit.problems == 0]
    places = {candidate.fit.prefix for candidate in fits}
    beside = [c for c in candidates if fits and 0 < len(c.fit.further) == c.fit.problems and c.fit.prefix not in places]
    return fits + beside


def way_on(candidates: Sequence[Candidate]) -> str:
    """The way on for a file that fits none of these candidates, the nearest first; starts with ". "."""
    return candidates[0].hint or f". If it is one of them made with other arguments, {causes.WITH_ARGUMENTS}"


def _which(fits: Sequence[Candidate]) -> str:
    """The way to choose one of those that a file fits: they stand in it side by side, or can't be told apart."""
    places = {candidate.fit.prefix.removesuffix("."): candidate.name for candidate in fits}
    if len(places) < len(fits) or not all(places):
        return f"fits {', '.join(candidate.name for candidate in fits)} alike: say which with --model"
    listed = ", ".join(f"{name} under {place}" for place, name in places.items())
    return f"holds {len(fits)} networks ({listed}): say which, --weights-key {' or '.join(places)}"


def shapes(state: Mapping[str, Tensor]) -> Counter[Shape]:
    """The number of weights of each shape: the matrices and kernels."""
    return Counter(tuple(value.shape) for value in state.values() if value.ndim in (2, 4))


def state_of(name: str) -> Mapping[str, Tensor]:
    """The tensors of an architecture, without numbers if that can be."""
    return _state(architecture_of(ModelSpec(name, "none"), {}))


def library() -> str:
    """The torchvision that is installed, in words."""
    return f"torchvision {version('torchvision').partition('+')[0]}"


def _state(architecture: Architecture) -> Mapping[str, Tensor]:
    on = "meta" if architecture.package == "torchvision" and not architecture.name.startswith(_NEEDS_VALUES) else "cpu"
    with torch.device(on):
        return architecture.build(False).state_dict()


def _compared(names: Iterable[str], tensors: Mapping[str, Tensor]) -> list[Candidate]:
    return [candidate(architecture_of(ModelSpec(name, "none"), tensors), tensors) for name in names]


def _likeliest(tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """(the architectures that a file can fit as far as its shapes tell, those to compare it with if none of them fits).

    Those that the table does not know can always fit. A table of another torchvision may be wrong about any.
    """
    made_with, table = _table()
    whole, _ = reparametrised.computed(tensors, ())
    held = shapes(whole)
    known = [name for name in catalog.classifiers() if name in table]
    distance = {name: ((table[name] - held).total(), (held - table[name]).total()) for name in known}
    likely = [name for name in known if distance[name][0] <= min(_MAX_OTHERWISE, table[name].total() // 2)]
    likely += [name for name in catalog.classifiers() if name not in table]
    others = sorted((name for name in known if name not in likely), key=lambda name: sum(distance[name]))
    return likely, others[: _NEAREST if made_with == library() else None]


@cache
def _table() -> tuple[str, dict[str, Counter[Shape]]]:
    """(the torchvision that it was made with, shapes by architecture)."""
    text = files("camcli.models").joinpath("architecture_shapes.txt").read_text(encoding="ascii")
    made_with, *lines = text.splitlines()
    table = {}
    for line in lines:
        name, *entries = line.split()
        pairs = [entry.split("*") for entry in entries]
        table[name] = Counter({tuple(map(int, shape.split("x"))): int(count) for count, shape in pairs})
    return made_with, table
