"""Targets of explanations: one number per picture, read off the network's output. Methods differentiate or compare it.

Targets are told apart by equality, so that what was computed for one is found again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from camcli.errors import SetupError

if TYPE_CHECKING:
    from torch import Tensor

    from camcli.tasks.outputs import Outputs


class Target(Protocol):
    """Gives (N,), one number per picture, for N pictures or for whole repeats of the batch."""

    def __call__(self, outputs: Outputs) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class OfClass:
    """Each picture's own class: its score before the softmax, or with `probability` after it. arXiv:1610.02391 sec. 3.

    For a network without classes: one of its outputs.
    """

    ids: tuple[int, ...]
    probability: bool = False

    def __call__(self, outputs: Outputs) -> Tensor:
        return _own(outputs.probabilities if self.probability else outputs.scores, self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Over:
    """A target read off one region a picture, `masks` of bool (N, h, w), in place of all of it: arXiv:2002.11434."""

    masks: Tensor
    target: Target

    def __call__(self, outputs: Outputs) -> Tensor:
        return self.target(outputs.over(self.masks))


@dataclass(frozen=True, slots=True, eq=False)
class OfDetection:
    """A quantity of one detection, by its `label` and `box` (4,): of the detection most like it, if the outputs are a
    changed picture's. It is 0 where there is none of its label with an IoU of at least `same`.
    """

    label: int
    box: Tensor
    quantity: str
    same: float

    def __call__(self, outputs: Outputs) -> Tensor:
        values = []
        for found in outputs.detections:
            alike = found.like(self.label, self.box)
            there = alike is not None and alike[1] >= self.same
            values.append(found.number(alike[0], self.quantity) if there else self.box.new_zeros(()))
        return _stacked(values)


@dataclass(frozen=True, slots=True, eq=False)
class LikeDetection:
    """The likeness in [0, 1] of what was found to one detection: the largest IoU times score of its label's.

    D-RISE (arXiv:2006.03204 sec. 3.1), with the label in place of the vector of class probabilities.
    """

    label: int
    box: Tensor

    def __call__(self, outputs: Outputs) -> Tensor:
        return _stacked([found.likeness(self.label, self.box) for found in outputs.detections])


@dataclass(frozen=True, slots=True)
class Mixture:
    """A weighted sum of targets, `plus` a number: one class less another tells what speaks for the one rather than the
    other."""

    terms: tuple[tuple[float, Target], ...]
    plus: float = 0.0

    def __call__(self, outputs: Outputs) -> Tensor:
        first, *others = [weight * target(outputs) for weight, target in self.terms]
        total = sum(others, start=first)
        return total + self.plus if self.plus else total


@dataclass(frozen=True, slots=True)
class LogProbability:
    """The logarithm of each picture's own class's probability."""

    ids: tuple[int, ...]

    def __call__(self, outputs: Outputs) -> Tensor:
        return _own(outputs.log_probabilities, self.ids)


@dataclass(frozen=True, slots=True)
class Negated:
    """A target with its sign changed, for what speaks against it: the counterfactual of arXiv:1610.02391 sec. 3.3."""

    target: Target

    def __call__(self, outputs: Outputs) -> Tensor:
        return -self.target(outputs)


@dataclass(frozen=True, slots=True)
class Custom:
    """A function of what the network returned, as the user wrote it.

    Raises: SetupError: it gives something else than one number per picture.
    """

    name: str
    function: Callable[[Any], Tensor]

    def __call__(self, outputs: Outputs) -> Tensor:
        values = self.function(outputs.raw)
        pictures = len(outputs.scores)
        if tuple(getattr(values, "shape", ())) != (pictures,):
            shape = getattr(values, "shape", None)
            given = f"a {type(values).__name__}" if shape is None else "x".join(map(str, shape)) or "one number in all"
            raise SetupError(f"--target {self.name} gives {given} for {pictures} picture(s), not one number each")
        return values


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """The cosine between each picture's embedding and another's, in [-1, 1]: `references` (N, D), or one for all."""

    references: Tensor

    def __call__(self, outputs: Outputs) -> Tensor:
        embedding = outputs.compared
        references = self.references.to(embedding)
        references = references.repeat(len(embedding) // len(references), 1)
        lengths = embedding.norm(dim=1) * references.norm(dim=1)
        cosine: Tensor = (embedding * references).sum(1) / lengths.clamp_min(1e-12)
        return cosine


def map_classes(target: Target, change: Callable[[OfClass], Target]) -> Target:
    """The target with each class in it changed; one that is about no class stays as it is."""
    if isinstance(target, OfClass):
        return change(target)
    if isinstance(target, Negated):
        return Negated(map_classes(target.target, change))
    if isinstance(target, Over):
        return Over(target.masks, map_classes(target.target, change))
    if isinstance(target, Mixture):
        return replace(target, terms=tuple((weight, map_classes(term, change)) for weight, term in target.terms))
    return target


def of_picture(target: Target, i: int) -> Target:
    """The target of a batch that holds the i-th picture alone."""
    if isinstance(target, Negated):
        return Negated(of_picture(target.target, i))
    if isinstance(target, Mixture):
        return replace(target, terms=tuple((weight, of_picture(term, i)) for weight, term in target.terms))
    if isinstance(target, Over):
        return Over(target.masks[i : i + 1], of_picture(target.target, i))
    if isinstance(target, LogProbability):
        return LogProbability((target.ids[i],))
    if isinstance(target, Similarity) and len(target.references) > 1:
        return Similarity(target.references[i : i + 1])
    return OfClass((target.ids[i],), target.probability) if isinstance(target, OfClass) else target


def of_variants(target: Target) -> Target:
    """The target as it is asked of changed pictures: there is no i-th detection in those, but one that is like it."""
    if isinstance(target, Negated):
        return Negated(of_variants(target.target))
    if isinstance(target, Mixture):
        return replace(target, terms=tuple((weight, of_variants(term)) for weight, term in target.terms))
    return LikeDetection(target.label, target.box) if isinstance(target, OfDetection) else target


def table_of(target: Target, outputs: Outputs) -> Outputs:
    """The outputs whose scores (N, K) the target is read off."""
    if isinstance(target, Negated):
        return table_of(target.target, outputs)
    if isinstance(target, Mixture):
        return table_of(target.terms[0][1], outputs)
    return outputs.over(target.masks) if isinstance(target, Over) else outputs


def _stacked(values: list[Tensor]) -> Tensor:
    first = values[0].new_zeros(len(values))
    for i, value in enumerate(values):
        first[i] = value
    return first


def _own(table: Tensor, ids: tuple[int, ...]) -> Tensor:
    repeats = len(table) // len(ids)
    columns = table.new_tensor(ids * repeats).long()
    return table.gather(1, columns[:, None])[:, 0]
