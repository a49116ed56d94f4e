"""A network that writes a caption: each word has a probability, given the picture and the words before it.

The words are given to it (teacher forcing), so what is explained is the caption as it stands: of a word the logarithm
of its probability, of the whole caption the sum of these without the end's (arXiv:1610.02391 sec. 8.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camcli.entries import Entry, Placement
from camcli.errors import SetupError
from camcli.records import Fit
from camcli.tasks.outputs import Outputs, asked
from camcli.tasks.tables import chosen
from camcli.tasks.targets import OfClass, Target
from camcli.tasks.task import Prediction, Refusal, Rule

_QUANTITIES = MappingProxyType(
    {
        "log-probability": "the logarithm of the word's probability; of the caption the sum of its words'",
        "logit": "the word's score before the softmax; of the caption the sum of its words'",
    }
)
_LACKS = MappingProxyType(
    {
        "logits": "it compares a class with others, and a word's rivals are other words in its place",
        "class_weights": "it is defined for networks that end in an average and one linear layer",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class CaptionOutputs(Outputs):
    """`tokens` (N, T): the words' ids, `end` after the last one. `scores` (N, 2 + 2 T): the logarithms of the
    probabilities of the caption and of each word, then the same of their scores before the softmax; 0 after the end."""

    tokens: Tensor = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Caption:
    """The reading of a captioner, whose output (N, T, V) scores the words of each place. `end`: the id of the end."""

    name: ClassVar[str] = "caption"
    # A word is about one of several things, which a mean over all of the map can't find.
    method: ClassVar[str] = "hires-cam"
    fit: ClassVar[Fit] = "crop"
    rule: ClassVar[Rule] = "crossing"
    table: ClassVar[bool] = True
    of_places: ClassVar[bool] = True
    binary: ClassVar[bool] = False
    nothing: ClassVar[str] = "no word"
    unfound: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[str] = "log-probability"
    of_picture: ClassVar[tuple[str, ...]] = ()
    quantities: ClassVar[Mapping[str, str]] = _QUANTITIES
    absent: ClassVar[Mapping[str, str]] = MappingProxyType({"softmax": "log-probability is its logarithm"})
    lacks: ClassVar[Mapping[str, str]] = _LACKS
    forbids: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"output_index": "its outputs are words", "similar_to": "it writes"}
    )

    end: int
    key: str | None = None

    def outputs(self, net: nn.Module, images: Tensor) -> CaptionOutputs:
        """The outputs of one forward.

        Raises: SetupError: the network fails on pictures of this size, or does not score the words that it is given.
        """
        seen: list[Any] = []
        hook = net.register_forward_hook(lambda module, args, output: seen.append(args[1]))
        try:
            raw = asked(net, images)
        finally:
            hook.remove()
        logits = self.words(raw)
        tokens: Tensor = seen[-1]
        if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
            given, words = ("x".join(map(str, tensor.shape)) for tensor in (logits, tokens))
            raise SetupError(
                f"the model gives {given} of {words} words: scores (N, words, vocabulary) of each are read"
            )
        there = (tokens == self.end).cumsum(1) == 0
        columns = [_own(logits.log_softmax(2), tokens, there), _own(logits, tokens, there)]
        scores = torch.cat([part for own in columns for part in (own.sum(1, keepdim=True), own)], dim=1)
        return CaptionOutputs(raw, scores, self, tokens=tokens)

    def words(self, raw: Any) -> Tensor:
        """The scores (N, T, V) in what the network returned."""
        return chosen(raw, self.key, lambda value: value.ndim == 3, "logits", "(N, words, vocabulary) tensor")[1]

    def predictions(
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> list[CaptionPrediction]:
        """One caption per picture; `labels` are the words by id."""
        assert isinstance(outputs, CaptionOutputs)
        scores = outputs.scores.detach().cpu().float().numpy()
        tokens = outputs.tokens.tolist()
        lengths = [own.index(self.end) if self.end in own else len(own) for own in tokens]
        return [
            CaptionPrediction(labels, own[:length], row[: length + 1])
            for own, length, row in zip(tokens, lengths, scores, strict=True)
        ]

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """Each picture's own word, or caption."""
        after = outputs.scores.shape[1] // 2 if quantity == "logit" else 0
        return OfClass(tuple(key + after for key in keys))

    def probabilities(self, scores: Tensor) -> Tensor:
        return self.log_probabilities(scores).exp()

    def log_probabilities(self, scores: Tensor) -> Tensor:
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class CaptionPrediction:
    """One picture's caption: key 0 is all of it, key n its n-th word. `logs` float32 (1 + words,)."""

    labels: Sequence[str]
    words: Sequence[int]
    logs: NDArray[np.float32]

    @property
    def ranking(self) -> Sequence[int]:
        """The caption, then its words in their order."""
        return range(len(self.words) + 1) if self.words else ()

    @property
    def refusal(self) -> Refusal | None:
        finite = bool(np.isfinite(self.logs).all())
        return None if finite else ("not-finite", "the model's scores are not finite (NaN or infinity)")

    @property
    def covers(self) -> None:
        """The view."""

    def of_class(self, class_id: int) -> Sequence[int]:
        return [key for key, word in enumerate(self.words, 1) if word == class_id]

    def told(self, count: int) -> Sequence[int]:
        return self.ranking

    def part(self, number: int) -> Sequence[int]:
        return [number] if number <= len(self.words) else []

    @property
    def _text(self) -> str:
        """The caption; pieces of words with WordPiece's mark, ##, go on the words before them."""
        return " ".join(self.labels[word] for word in self.words).replace(" ##", "").removeprefix("##")

    def entry(self, key: int) -> Entry:
        log = float(self.logs[key])
        if key == 0:
            return Entry(None, self._text, float(np.exp(log)), log)
        return Entry(self.words[key - 1], self.labels[self.words[key - 1]], float(np.exp(log)), log, part=key)


def _own(table: Tensor, tokens: Tensor, there: Tensor) -> Tensor:
    """The numbers (N, T) of the words in a table (N, T, V), 0 where there is none."""
    numbers: Tensor = table.gather(2, tokens[:, :, None])[:, :, 0]
    return torch.where(there, numbers, torch.zeros_like(numbers))
