"""A batch's answers -> each picture's attributions, with what is wrong with them in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from camcli.answers import diagnosis
from camcli.answers.batch import Answer, Batch
from camcli.answers.neurons import neurons_of
from camcli.maps import likeness
from camcli.network import parts
from camcli.network.forward import Forward
from camcli.questions.asking import Asked
from camcli.records import Attribution, Kind, SanityCheck
from camcli.specs import TARGETS
from camcli.tasks.task import Prediction


def attributions(
    batch: Batch,
    asked: Sequence[Asked],
    found: Sequence[Prediction],
    randomised: Sequence[tuple[str, Batch]],
    *,
    neurons: bool,
) -> list[list[Attribution] | str]:
    """Each picture's answers to what is asked, or the reason why it has none. `randomised`: the same batch in networks
    with random weights, each after the name of its random part."""
    explained: list[list[Attribution] | str] = [[] for _ in found]
    forward = batch.forward
    batch.ask([one.target for one in asked])
    for one in asked:
        for answer in batch.answers(one.target):
            alike = _class_insensitive(batch, one, answer, found)
            again = [(part, _same(other.answers_of(answer.method, one.target), answer)) for part, other in randomised]
            weighed = None
            if neurons and answer.layer is not None:
                weighed = neurons_of(forward, one.target, answer.layer)
            for picture, question in enumerate(one.questions):
                own = explained[picture]
                if question is None or isinstance(own, str):
                    continue
                values, layer = answer.values[picture], answer.layer
                if not np.isfinite(values).all():
                    explained[picture] = diagnosis.not_finite(forward, layer, answer.method.name, picture)
                    continue
                note = diagnosis.of_values(values, forward, one.target, layer, question, picture)
                checks = tuple(_check(part, values, other.values[picture], answer.method.kind) for part, other in again)
                answered = Attribution(
                    method=answer.method.name,
                    kind=answer.method.kind,
                    layer=answer.layer_name,
                    target=question,
                    values=values,
                    neurons=weighed[picture] if weighed else (),
                    sanity=checks,
                )
                note = note or diagnosis.of_sanity(answered.unchanged_by) or _doubts(forward, answer, picture, alike)
                own.append(replace(answered, note=note))
    return explained


def _doubts(forward: Forward, answer: Answer, picture: int, alike: Sequence[str | None]) -> str | None:
    """Further caveats of an answer that shows something; None if there are none."""
    method = answer.method
    signed = diagnosis.of_signs(method.signed, forward, answer.read_at, picture) if method.signed else None
    pooled = diagnosis.POOLED if method.pooled and forward.network.task.of_places else None
    return "; ".join(filter(None, (alike[picture], signed, method.rounding, pooled))) or None


def _class_insensitive(batch: Batch, asked: Asked, answer: Answer, found: Sequence[Prediction]) -> list[str | None]:
    """Notes, one a picture: its map is the same for a rival class, or even for the least likely one; None if not.

    The best class and the second are each other's rivals. Nothing is compared that costs a further forward.
    """
    notes: list[str | None] = [None] * len(found)
    method = answer.method
    first = next(question for question in asked.questions if question is not None)
    of_class = first.quantity in TARGETS and first.entry is not None and first.minus is None
    # A detection is no class, and a segmentation's head costs half a forward to differentiate.
    of_class = of_class and not batch.forward.network.task.of_places
    dear = method.needs & (parts.ASKS_AGAIN | parts.TO_PIXELS | parts.AT_STAGES)
    if method.kind != "map" or dear or not of_class or len(found[0].ranking) < 2:
        return notes
    if not method.needs & parts.OF_TARGET:
        return [f"class-insensitive: {method.name} never looks at the class"] * len(found)
    asked_ids = [question.entry.id if question and question.entry else -1 for question in asked.questions]
    rivals = [own.ranking[own.ranking[0] == asked_id] for own, asked_id in zip(found, asked_ids, strict=True)]
    alike = _cosines(batch, asked, answer, rivals)
    alike = [cosine if i in own.ranking[:2] else None for cosine, i, own in zip(alike, asked_ids, found, strict=True)]
    if not any(alike):
        return notes
    # Nothing in the network is known of which classes are related; the least likely one shares least with the best.
    unlike = [own.ranking[-1] for own in found]
    too = _cosines(batch, asked, answer, unlike)
    for picture, (own, cosine) in enumerate(zip(found, alike, strict=True)):
        if cosine is not None:
            stranger = own.entry(unlike[picture]) if too[picture] is not None else None
            notes[picture] = diagnosis.of_same_map(cosine, own.entry(rivals[picture]), stranger)
    return notes


def _cosines(batch: Batch, asked: Asked, answer: Answer, ids: Sequence[int]) -> list[float | None]:
    """The cosine of each picture's map with that of another class; None if they are not one map."""
    others = _same(batch.answers_of(answer.method, asked.about(tuple(ids))), answer).values
    return [likeness.same_map(own, other) for own, other in zip(answer.values, others, strict=True)]


def _same(answers: Iterable[Answer], answer: Answer) -> Answer:
    """The answer of the same layer."""
    return next(other for other in answers if other.layer_name == answer.layer_name)


def _check(part: str, values: NDArray[np.float32], other: NDArray[np.float32], kind: Kind) -> SanityCheck:
    return SanityCheck(part, likeness.rank_correlation(values, other, kind), likeness.ssim(values, other, kind))
