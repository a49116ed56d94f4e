"""What is explained: `--class` texts -> selectors, selectors + a prediction -> class ids.

A class is an id, an exact name, an unambiguous part of a name, `top1`, or `topN` for the N best.
Ids are torchvision's, from 0: in ImageNet 243 is "bull mastiff" (the paper's code counts from 1).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from camcli.errors import RequestError, unknown


@dataclass(frozen=True, slots=True)
class TopN:
    """The n best classes of each picture."""

    n: int


@dataclass(frozen=True, slots=True)
class ClassId:
    """The same class for every picture."""

    id: int


Selector = TopN | ClassId


def parse(texts: Sequence[str], labels: Sequence[str], model: str) -> list[Selector]:
    """One selector per text.

    Raises:
        RequestError: an id outside the model's classes, an unknown name, or a part that several names share.
    """
    return [_parse(text.strip(), labels, model) for text in texts]


def select(selectors: Sequence[Selector], ranking: Sequence[int]) -> list[int]:
    """Class ids for one picture in the order asked for, each once; `ranking` holds its ids, best first."""
    ids: dict[int, None] = {}
    for selector in selectors:
        chosen = ranking[: selector.n] if isinstance(selector, TopN) else [selector.id]
        ids.update(dict.fromkeys(chosen))
    return list(ids)


def matching(query: str, labels: Sequence[str]) -> list[int]:
    """Ids whose label contains the query, case ignored: whole-word matches alone where there are any."""
    words = re.compile(rf"(?<!\w){re.escape(query)}(?!\w)", re.IGNORECASE)
    whole = [i for i, label in enumerate(labels) if words.search(label)]
    return whole or [i for i, label in enumerate(labels) if query.lower() in label.lower()]


def _parse(text: str, labels: Sequence[str], model: str) -> Selector:
    if re.fullmatch(r"[+-]?\d+", text):
        class_id = int(text)
        if not 0 <= class_id < len(labels):
            raise RequestError(f"class {class_id} is outside 0-{len(labels) - 1}: {model} has {len(labels)} classes")
        return ClassId(class_id)
    if top := re.fullmatch(r"top(\d+)", text, re.IGNORECASE):
        n = int(top[1])
        if not 1 <= n <= len(labels):
            raise RequestError(f"{text}: {model} has {len(labels)} classes, so top1 to top{len(labels)}")
        return TopN(n)
    # Case decides only where it must: "cardigan" is a garment and "Cardigan" a dog.
    exact = [i for i, label in enumerate(labels) if label == text]
    exact = exact or [i for i, label in enumerate(labels) if label.lower() == text.lower()]
    found = exact or (matching(text, labels) if text else [])
    if not found:
        raise unknown("class", text, labels, f"camcli classes {model}")
    if len(found) > 1:
        listed = ", ".join(f"{i} {labels[i]}" for i in found[:12])
        more = f" and {len(found) - 12} more" if len(found) > 12 else ""
        raise RequestError(f"class {text!r} could be {listed}{more}: give an id or the whole name")
    return ClassId(found[0])
