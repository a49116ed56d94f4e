"""A spec and a batch's predictions -> what is asked about each picture, and the targets that ask it of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camcli.errors import InputError, RequestError
from camcli.inputs import decoding, preprocessing
from camcli.inputs.refs import expand
from camcli.models import Model, typed
from camcli.models.sources import user_code
from camcli.network.forward import Forward
from camcli.network.network import Network
from camcli.questions import classes
from camcli.questions.classes import Selector
from camcli.records import ClassScore, Question
from camcli.specs import Spec
from camcli.tasks import targets
from camcli.tasks.classification import Prediction
from camcli.tasks.targets import Custom, Mixture, Negated, OfClass, Similarity, Target


@dataclass(frozen=True, slots=True)
class Asked:
    """One target for a batch. `questions` holds each picture's own, None if it was asked fewer than others."""

    target: Target
    questions: list[Question | None]

    def about(self, ids: tuple[int, ...]) -> Target:
        """The target that asks the same of other classes."""
        first = next(question for question in self.questions if question is not None)
        target = OfClass(ids, first.quantity == "softmax")
        return Negated(target) if first.negated else target


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
        if spec.output_index is not None:
            if spec.output_index not in range(len(model.labels)):
                raise RequestError(f"--output-index {spec.output_index}: the model has {len(model.labels)} outputs")
        elif spec.target not in targets.QUANTITIES:
            self._custom = Custom(spec.target, function or user_code.guarded(spec.target))
        elif spec.contrast is not None:
            self._pair = classes.parse(spec.contrast, model.labels, model.name, typed(spec))
            if any(isinstance(selector, classes.TopN) and selector.n > 1 for selector in self._pair):
                raise RequestError("--contrast takes two classes: top1, an id or a name each")
        elif spec.similar_to is None:
            self._selectors = classes.parse(spec.classes, model.labels, model.name, typed(spec))

    @property
    def by_folder(self) -> bool:
        return any(isinstance(selector, classes.OfFolder) for selector in (*self._selectors, *self._pair))

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
            (ref,) = expand([self._spec.similar_to])
            view = preprocessing.view_of(
                decoding.read_frame(ref, self._spec.decoding), self._model.preset, self._spec.fit
            )
        except (InputError, ValueError) as error:
            raise RequestError(f"--similar-to {self._spec.similar_to}: {error}") from None
        pixels = torch.from_numpy(view.pixels).to(self._model.device)
        self._similarity = Similarity(network.embedding(pixels))

    def ask(self, forward: Forward, found: Sequence[Prediction], truths: Sequence[int | None]) -> list[Asked]:
        """The targets and questions of this batch, in the order asked for."""
        return list(self._ask(forward, found, truths))

    def _ask(self, forward: Forward, found: Sequence[Prediction], truths: Sequence[int | None]) -> Iterator[Asked]:
        if self._custom is not None:
            yield self._of_all(forward, self._custom, self._custom.name, "function")
        elif self._similarity is not None:
            yield self._of_all(
                forward, self._similarity, f"similar to {Path(str(self._spec.similar_to)).name}", "similarity"
            )
        elif self._spec.output_index is not None:
            chosen = [[self._spec.output_index]] * len(found)
            yield from self._of_classes(forward, found, chosen, "output")
        elif self._pair:
            pairs = [
                [classes.select([selector], own.ranking, truth)[0] for selector in self._pair]
                for own, truth in zip(found, truths, strict=True)
            ]
            yield self._of_pairs(forward, found, pairs)
        else:
            chosen = [
                classes.select(self._selectors, own.ranking, truth) for own, truth in zip(found, truths, strict=True)
            ]
            yield from self._of_classes(forward, found, chosen, self._spec.target)

    def _of_classes(
        self, forward: Forward, found: Sequence[Prediction], chosen: Sequence[Sequence[int]], quantity: str
    ) -> Iterator[Asked]:
        # Every picture explains its own n-th class in one backward; one with fewer classes repeats its last.
        for nth in range(max(map(len, chosen))):
            ids = tuple(own[min(nth, len(own) - 1)] for own in chosen)
            target = OfClass(ids, probability=quantity == "softmax")
            values = forward.values(target).tolist()
            questions = [
                self._question(found[i].score(ids[i]), values[i], quantity) if nth < len(own) else None
                for i, own in enumerate(chosen)
            ]
            yield Asked(self._signed(target), questions)

    def _of_pairs(self, forward: Forward, found: Sequence[Prediction], pairs: Sequence[Sequence[int]]) -> Asked:
        probability = self._spec.target == "softmax"
        plus, minus = (OfClass(ids, probability) for ids in zip(*pairs, strict=True))
        target = Mixture(((1.0, plus), (-1.0, minus)))
        questions = [
            self._question(own.score(pair[0]), value, self._spec.target, own.score(pair[1]))
            for own, pair, value in zip(found, pairs, forward.values(target).tolist(), strict=True)
        ]
        return Asked(self._signed(target), list(questions))

    def _of_all(self, forward: Forward, target: Target, label: str, quantity: str) -> Asked:
        negated = self._spec.counterfactual
        values = forward.values(target).tolist()
        return Asked(self._signed(target), [Question(label, value, quantity, negated=negated) for value in values])

    def _question(self, score: ClassScore, value: float, quantity: str, minus: ClassScore | None = None) -> Question:
        return Question(score.label, value, quantity, score, minus, self._spec.counterfactual)

    def _signed(self, target: Target) -> Target:
        return Negated(target) if self._spec.counterfactual else target
