"""A spec and a batch's predictions -> what is asked about each picture, and the targets that ask it of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from camcli.entries import Entry
from camcli.errors import InputError, RequestError
from camcli.models import Model, typed
from camcli.models.sources import user_code
from camcli.network.network import Network
from camcli.questions import classes
from camcli.questions.binding import likens, picture
from camcli.questions.classes import Selector
from camcli.records import Question
from camcli.specs import Spec
from camcli.tasks.outputs import Outputs
from camcli.tasks.targets import Custom, Mixture, Negated, OfClass, Similarity, Target, map_classes
from camcli.tasks.task import Prediction


@dataclass(frozen=True, slots=True)
class Asked:
    """One target for a batch. `questions` holds each picture's own, None if it was asked fewer than others."""

    target: Target
    questions: list[Question | None]

    def about(self, ids: tuple[int, ...]) -> Target:
        """The target that asks the same of other classes."""
        return map_classes(self.target, lambda own: OfClass(ids, own.probability))


@dataclass(frozen=True, slots=True, eq=False)
class Partners:
    """The pictures that those of a batch are compared with: their names and embeddings (N, D)."""

    names: Sequence[str]
    embeddings: Tensor


def _similar_to(names: Sequence[str]) -> list[str]:
    return [f"similar to {Path(name).name}" for name in names]


class Asker:
    """Turns the flags that say what is explained into targets, a batch at a time.

    Raises:
        RequestError: an unknown class, output or function, or flags that exclude each other.
        SetupError: the user's function can't be loaded.
    """

    def __init__(self, spec: Spec, model: Model, function: Callable[[Any], Tensor] | None = None) -> None:
        self._spec = spec
        self._model = model
        self._selectors: list[Selector] = []
        self._pair: list[Selector] = []
        self._custom: Custom | None = None
        self._similarity: Similarity | None = None
        self.compares = spec.similar_to is not None or likens(spec, model)
        if spec.output_index is not None:
            if spec.output_index not in range(len(model.labels)):
                raise RequestError(f"--output-index {spec.output_index}: the model has {len(model.labels)} outputs")
        elif spec.asks_function:
            self._custom = Custom(spec.target, function or user_code.guarded(spec.target))
        elif spec.contrast is not None:
            self._pair = classes.parse(spec.contrast, model.labels, model.name, typed(spec))
            if any(isinstance(selector, classes.TopN) and selector.n > 1 for selector in self._pair):
                raise RequestError("--contrast takes two classes: top1, an id or a name each")
        elif self.compares and spec.classes not in ((), ("top1",)):
            raise RequestError("--partner and --class each say what is explained: give one")
        elif not self.compares:
            self._selectors = classes.parse(spec.classes, model.labels, model.name, typed(spec))
            self._check_found(model)

    def _check_found(self, model: Model) -> None:
        """Raises: RequestError: a class is asked about that its network never finds."""
        for selector in self._selectors:
            if isinstance(selector, (classes.ClassId, classes.AllOf)):
                name = model.labels[selector.id] if model.labels else ""
                if name in model.task.unfound:
                    raise RequestError(f"class {selector.id} is {name!r}, which {model.name} never finds")

    @property
    def by_folder(self) -> bool:
        return any(isinstance(selector, classes.OfFolder) for selector in (*self._selectors, *self._pair))

    @property
    def asked_for(self) -> Sequence[str]:
        """The words that say which entries are asked about."""
        return self._spec.contrast or self._spec.classes

    @property
    def root(self) -> Target | None:
        """The target that the layer's map must lead to: a user's function; None for the scores."""
        return self._custom

    def any_target(self, pictures: int) -> Target:
        """A target that can be asked of any pictures of this model."""
        return self._custom or OfClass((0,) * pictures)

    def look_at(self, network: Network) -> None:
        """Read the picture that others are compared with, if there is one.

        Raises: RequestError: it can't be read.
        """
        if self._spec.similar_to is None:
            return
        try:
            pixels = picture(self._spec.similar_to, self._spec, self._model)
        except InputError as error:
            raise RequestError(f"--similar-to {self._spec.similar_to}: {error}") from None
        self._similarity = Similarity(network.embedding(pixels)[None])

    def ask(
        self,
        outputs: Outputs,
        found: Sequence[Prediction],
        truths: Sequence[int | None],
        partners: Partners | None = None,
    ) -> list[Asked]:
        """The targets and questions of this batch, in the order asked for. A picture without what is asked has none."""
        return list(self._ask(outputs, found, truths, partners))

    def _ask(
        self,
        outputs: Outputs,
        found: Sequence[Prediction],
        truths: Sequence[int | None],
        partners: Partners | None,
    ) -> Iterator[Asked]:
        if self._custom is not None:
            yield self._of_all(outputs, self._custom, [self._custom.name] * len(found), "function")
        elif partners is not None:
            yield self._of_all(outputs, Similarity(partners.embeddings), _similar_to(partners.names), "similarity")
        elif self._similarity is not None:
            names = [str(self._spec.similar_to)] * len(found)
            yield self._of_all(outputs, self._similarity, _similar_to(names), "similarity")
        elif self._spec.output_index is not None:
            chosen = [[self._spec.output_index]] * len(found)
            yield from self._of_entries(outputs, found, chosen, "output")
        elif self._pair:
            pairs = [
                [classes.select([selector], own, truth) for selector in self._pair]
                for own, truth in zip(found, truths, strict=True)
            ]
            yield self._of_pairs(outputs, found, pairs)
        elif self._quantity in self._model.task.of_picture:
            target = self._model.task.target(outputs, found, (), self._quantity)
            yield self._of_all(outputs, target, [self._quantity] * len(found), self._quantity)
        else:
            chosen = [classes.select(self._selectors, own, truth) for own, truth in zip(found, truths, strict=True)]
            yield from self._of_entries(outputs, found, chosen, self._quantity)

    @property
    def _quantity(self) -> str:
        usual = self._model.task.usual if self._spec.target == "logit" else self._spec.target
        return self._spec.quantity or usual

    def _of_entries(
        self, outputs: Outputs, found: Sequence[Prediction], chosen: Sequence[Sequence[int]], quantity: str
    ) -> Iterator[Asked]:
        # Every picture explains its own n-th entry in one backward; one with fewer entries repeats its last.
        for nth in range(max(map(len, chosen))):
            keys = tuple(own[min(nth, len(own) - 1)] if own else 0 for own in chosen)
            target = self._model.task.target(outputs, found, keys, quantity)
            values = target(outputs).tolist()
            questions = [
                self._question(found[i].entry(keys[i]), values[i], quantity) if nth < len(own) else None
                for i, own in enumerate(chosen)
            ]
            yield Asked(self._signed(target), questions)

    def _of_pairs(
        self, outputs: Outputs, found: Sequence[Prediction], pairs: Sequence[Sequence[Sequence[int]]]
    ) -> Asked:
        both = [len(pair[0]) and len(pair[1]) for pair in pairs]
        keys = [[own[0] if own else 0 for own in pair] for pair in pairs]
        plus, minus = (self._model.task.target(outputs, found, own, self._quantity) for own in zip(*keys, strict=True))
        target = Mixture(((1.0, plus), (-1.0, minus)))
        questions = [
            self._question(own.entry(key[0]), value, self._quantity, own.entry(key[1])) if there else None
            for own, key, there, value in zip(found, keys, both, target(outputs).tolist(), strict=True)
        ]
        return Asked(self._signed(target), questions)

    def _of_all(self, outputs: Outputs, target: Target, labels: Sequence[str], quantity: str) -> Asked:
        negated = self._spec.counterfactual
        values = target(outputs).tolist()
        told = zip(labels, values, strict=True)
        return Asked(self._signed(target), [Question(own, value, quantity, negated=negated) for own, value in told])

    def _question(self, entry: Entry, value: float, quantity: str, minus: Entry | None = None) -> Question:
        if quantity == "logit" and entry.score is None:  # only the probability is known
            quantity = "score"
        return Question(entry.label, value, quantity, entry, minus, self._spec.counterfactual)

    def _signed(self, target: Target) -> Target:
        return Negated(target) if self._spec.counterfactual else target
