"""The classes to explain: `--class` texts -> selectors, selectors + a prediction -> class ids.

A class is an id, an exact name, an unambiguous part of a name, `top1`, `topN` for the N best, or `folder` for the one
that each picture's folder names. Of a class that was found several times the best is meant; `person:all` are all of it,
`#2` is the second of all that was found (of a caption its second word, `word:2`), and `each` are all. `id:2` is an id
and `name:2` a name for certain: if a class is called "2" and another one has that id, "2" alone is refused.
Ids are torchvision's, from 0: in ImageNet 243 is "bull mastiff" (the paper's code counts from 1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camcli.errors import RequestError, unknown

if TYPE_CHECKING:
    from camcli.tasks.task import Prediction

# How ids are written.
_NUMBER = r"[+-]?\d{1,18}"
# So many names or fewer are said in full.
_FEW = 20


@dataclass(frozen=True, slots=True)
class TopN:
    """The n best classes of each picture."""

    n: int


@dataclass(frozen=True, slots=True)
class ClassId:
    """The same class for every picture."""

    id: int


@dataclass(frozen=True, slots=True)
class AllOf:
    """All entries of a class."""

    id: int


@dataclass(frozen=True, slots=True)
class Part:
    """The n-th of all that was found, from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Each:
    """All that was found."""


@dataclass(frozen=True, slots=True)
class OfFolder:
    """The class that each picture's parent folder names: a validation set's habit."""


Selector = TopN | ClassId | AllOf | Part | Each | OfFolder


def parse(texts: Sequence[str], labels: Sequence[str], model: str, typed: str | None = None) -> list[Selector]:
    """One selector per text. `typed` are the words that name the model on the command line, if not its name alone.

    Raises:
        RequestError: an id outside the model's classes, an unknown name, or a part that several names share.
    """
    return [_parse(text.strip(), labels, model, typed or model) for text in texts]


def select(selectors: Sequence[Selector], found: Prediction, truth: int | None = None) -> list[int]:
    """The keys of one picture's entries in the order asked for, each once: of those that it has.

    `truth` is the class that `of_folder` gave for it, if that was asked for.
    """
    keys: dict[int, None] = {}
    for selector in selectors:
        keys.update(dict.fromkeys(_selected(selector, found, truth)))
    return list(keys)


def _selected(selector: Selector, found: Prediction, truth: int | None) -> Sequence[int]:
    match selector:
        case TopN(n):
            return found.ranking[:n]
        case ClassId(class_id):
            return found.of_class(class_id)[:1]
        case AllOf(class_id):
            return found.of_class(class_id)
        case Part(number):
            return found.part(number)
        case Each():
            return found.ranking
    assert truth is not None
    return found.of_class(truth)[:1]


def of_folder(folder: str, labels: Sequence[str], wordnet_ids: Sequence[str] | None) -> int | None:
    """The class that a folder is called after: by name (any case, _ and - as blanks), id, or WordNet id.

    `n02123045` and `n02123045_tabby` are WordNet ids; `wordnet_ids` holds the classes' own, if they have some.
    If all names are numbers, a number is a name, and no id.
    """
    if labels.count(folder) == 1:
        return labels.index(folder)
    if folder.isdecimal() and all(label.isdecimal() for label in labels):
        same = _called(folder, labels)
        return same[0] if len(same) == 1 else None
    wordnet_id = re.match(r"n\d{8}(?![0-9a-zA-Z])", folder)
    if wordnet_id and wordnet_ids and wordnet_id[0] in wordnet_ids:
        return wordnet_ids.index(wordnet_id[0])
    plain = [_plain(label) for label in labels]
    if plain.count(_plain(folder)) == 1:
        return plain.index(_plain(folder))
    return int(folder) if folder.isdecimal() and int(folder) < len(labels) else None


def matching(query: str, labels: Sequence[str]) -> list[int]:
    """Ids whose label contains the query, case ignored: whole-word matches alone if there are any."""
    words = re.compile(rf"(?<!\w){re.escape(query)}(?!\w)", re.IGNORECASE)
    whole = [i for i, label in enumerate(labels) if words.search(label)]
    return whole or [i for i, label in enumerate(labels) if query.lower() in label.lower()]


def _parse(text: str, labels: Sequence[str], model: str, typed: str) -> Selector:
    if text.lower() == "folder":
        return OfFolder()
    if text.lower() == "each":
        return Each()
    if part := re.fullmatch(r"(?:#|word:\s*)([1-9]\d{0,8})", text, re.IGNORECASE):
        return Part(int(part[1]))
    if every := re.fullmatch(r"(.+):\s*all", text, re.IGNORECASE):
        one = _parse(every[1].strip(), labels, model, typed)
        return AllOf(one.id) if isinstance(one, ClassId) else one
    if forced := re.fullmatch(r"(id|name)\s*:\s*(.+)", text, re.IGNORECASE):
        by_name = forced[1].lower() == "name"
        return _of_name(forced[2], labels, typed) if by_name else _of_id(forced[2], labels, model)
    if re.fullmatch(_NUMBER, text):
        return _of_number(text, labels, model, typed)
    if top := re.fullmatch(r"top(\d{1,9})", text, re.IGNORECASE):
        n = int(top[1])
        if labels and not 1 <= n <= len(labels):
            raise RequestError(f"{text}: {model} has {len(labels)} classes, so top1 to top{len(labels)}")
        return TopN(n)
    return _of_name(text, labels, typed)


def _of_number(text: str, labels: Sequence[str], model: str, typed: str) -> ClassId:
    """The class called by this number, or with this id: both readings must mean one class."""
    called = _called(text, labels)
    if not called:
        return _of_id(text, labels, model)
    class_id = int(text)
    if len(called) == 1 and (called == [class_id] or not 0 <= class_id < len(labels)):
        return ClassId(called[0])
    if not 0 <= class_id < len(labels):
        return _of_name(text, labels, typed)
    own = labels[called[0]]
    raise RequestError(
        f"class {text} is the name of id {called[0]}, and id {class_id} is called {labels[class_id]!r}: "
        f"say name:{own} or id:{class_id}"
    )


def _called(number: str, labels: Sequence[str]) -> list[int]:
    """Ids of the classes that are called by this number: "07" is 7 if none is called "07"."""
    exact = [i for i, label in enumerate(labels) if label == number]
    return exact or [i for i, label in enumerate(labels) if re.fullmatch(_NUMBER, label) and int(label) == int(number)]


def _of_id(text: str, labels: Sequence[str], model: str) -> ClassId:
    if not re.fullmatch(_NUMBER, text):
        raise RequestError(f"class id:{text} is no id: give a number from 0 to {len(labels) - 1}")
    class_id = int(text)
    if not labels and class_id >= 0:  # nobody has told how many there are
        return ClassId(class_id)
    if not 0 <= class_id < len(labels):
        raise RequestError(f"class {class_id} is outside 0-{len(labels) - 1}: {model} has {len(labels)} classes")
    return ClassId(class_id)


def _of_name(text: str, labels: Sequence[str], typed: str) -> ClassId:
    # Case decides only where it must: "cardigan" is a garment and "Cardigan" a dog.
    exact = [i for i, label in enumerate(labels) if label == text]
    exact = exact or [i for i, label in enumerate(labels) if label.lower() == text.lower()]
    found = exact or (matching(text, labels) if text else [])
    if not found:
        raise _unknown(text, labels, typed)
    if len(found) > 1:
        listed = ", ".join(f"{i} {labels[i]}" for i in found[:12])
        more = f" and {len(found) - 12} more" if len(found) > 12 else ""
        raise RequestError(f"class {text!r} could be {listed}{more}: give an id or the whole name")
    return ClassId(found[0])


def _unknown(text: str, labels: Sequence[str], typed: str) -> RequestError:
    """The error for an unknown class: lists few names itself, of many the near ones and the command that lists all."""
    if not labels:
        return RequestError(f"unknown class {text!r}: its classes have no names: give ids, or names with --labels FILE")
    if len(labels) <= _FEW:
        return RequestError(f"unknown class {text!r}: the classes are {', '.join(labels)}")
    return unknown("class", text, labels, f"camcli classes {typed}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()
