"""What is explained: `--class` texts -> selectors, selectors + a prediction -> class ids.

A class is an id, an exact name, an unambiguous part of a name, `top1`, `topN` for the N best, or `folder` for the one
that each picture's folder names.
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


@dataclass(frozen=True, slots=True)
class OfFolder:
    """The class that each picture's parent folder names: a validation set's habit."""


Selector = TopN | ClassId | OfFolder


def parse(texts: Sequence[str], labels: Sequence[str], model: str, typed: str | None = None) -> list[Selector]:
    """One selector per text. `typed` are the words that name the model on the command line, if not its name alone.

    Raises:
        RequestError: an id outside the model's classes, an unknown name, or a part that several names share.
    """
    return [_parse(text.strip(), labels, model, typed or model) for text in texts]


def select(selectors: Sequence[Selector], ranking: Sequence[int], truth: int | None = None) -> list[int]:
    """Class ids for one picture in the order asked for, each once; `ranking` holds its ids, best first.

    `truth` is what `of_folder` gave for it, where that was asked for.
    """
    ids: dict[int, None] = {}
    for selector in selectors:
        if isinstance(selector, TopN):
            ids.update(dict.fromkeys(ranking[: selector.n]))
        elif isinstance(selector, ClassId):
            ids[selector.id] = None
        else:
            assert truth is not None
            ids[truth] = None
    return list(ids)


def of_folder(folder: str, labels: Sequence[str], wordnet_ids: Sequence[str] | None) -> int | None:
    """The class that a folder is called after: by name (any case, _ and - as blanks), id, or WordNet id.

    `n02123045` and `n02123045_tabby` are WordNet ids; `wordnet_ids` holds the classes' own, where they have some.
    """
    if labels.count(folder) == 1:
        return labels.index(folder)
    wordnet_id = re.match(r"n\d{8}(?![0-9a-zA-Z])", folder)
    if wordnet_id and wordnet_ids and wordnet_id[0] in wordnet_ids:
        return wordnet_ids.index(wordnet_id[0])
    plain = [_plain(label) for label in labels]
    if plain.count(_plain(folder)) == 1:
        return plain.index(_plain(folder))
    return int(folder) if folder.isdecimal() and int(folder) < len(labels) else None


def matching(query: str, labels: Sequence[str]) -> list[int]:
    """Ids whose label contains the query, case ignored: whole-word matches alone where there are any."""
    words = re.compile(rf"(?<!\w){re.escape(query)}(?!\w)", re.IGNORECASE)
    whole = [i for i, label in enumerate(labels) if words.search(label)]
    return whole or [i for i, label in enumerate(labels) if query.lower() in label.lower()]


def _parse(text: str, labels: Sequence[str], model: str, typed: str) -> Selector:
    if text.lower() == "folder":
        return OfFolder()
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
        raise unknown("class", text, labels, f"camcli classes {typed}")
    if len(found) > 1:
        listed = ", ".join(f"{i} {labels[i]}" for i in found[:12])
        more = f" and {len(found) - 12} more" if len(found) > 12 else ""
        raise RequestError(f"class {text!r} could be {listed}{more}: give an id or the whole name")
    return ClassId(found[0])


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()
