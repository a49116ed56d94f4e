"""A network that answers a question about the picture (VQA): its answers are classes, and the question goes in too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from camcli.tasks.classify import Classify


@dataclass(frozen=True, slots=True)
class Answer(Classify):
    """The reading of the scores of answers, before any activation: arXiv:1610.02391 sec. 8.2."""

    name: ClassVar[str] = "answer"
    nothing: ClassVar[str] = "no answer"
