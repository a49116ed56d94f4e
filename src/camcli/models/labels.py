"""Class names by id: from a text, a JSON or a folder of class folders, or from what a checkpoint says of itself."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from camcli.errors import RequestError

MAX_BYTES = 50_000_000
# Where configs and checkpoints keep them: transformers, torchvision's datasets, timm, people.
KEYS = ("id2label", "label2id", "class_to_idx", "idx_to_class", "label_names", "labels", "classes", "names")

# Those of them that can only hold id -> name.
_BY_ID = ("id2label", "idx_to_class")
# The classes of a single logit, if nobody knows their names: it is the second's score.
NO_YES = ("no", "yes")

_ID_FIRST = re.compile(r"([0-9]{1,9})(?:\s*[:,]\s*|\s+-\s+|\s+)(.*)")
_WORDNET_FIRST = re.compile(r"n[0-9]{8}(?:\s*[:,]\s*|\s+)(.+)")
_FORMS = f"no names in it: give a list, id to name, name to id, or one of them under {' or '.join(KEYS)}"


class _NamesError(ValueError):
    """A fault in the names, as the end of a sentence that starts with their file."""


def read(path: Path) -> tuple[str, ...]:
    """The names in a file or folder, by id.

    Text: one a line; ids in front, from 0, or WordNet ids in front are cut off if every line has one. JSON: a list,
    id -> name, name -> id, id -> [WordNet id, name], or an object that holds one of them under one of `KEYS`.
    Folder: its sub-folders in the order of torchvision's ImageFolder.

    Raises:
        RequestError: missing, unreadable, empty, not UTF-8, broken, or ids that are not 0 to n-1, each once.
    """
    if os.path.isdir(path):
        return folders(path)
    text = text_of(path)
    try:
        if path.suffix.lower() == ".json" or text.lstrip().startswith(("[", "{")):
            return _in_json(text)
        return _in_lines(text)
    except _NamesError as error:
        raise RequestError(f"{path}: {error}") from None


def found_in(mapping: Mapping[str, object]) -> tuple[str, ...] | None:
    """The names under one of `KEYS` in a checkpoint's own dict or a config; None if there are no valid ones."""
    for key in KEYS:
        try:
            return _from_value(mapping[key], lists=key != "labels", by_id=key in _BY_ID)
        except (KeyError, _NamesError):
            continue
    return None


@cache
def wordnet_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-1k's 1000 classes, by class id: "n01440764" is 0."""
    return tuple(files("camcli.models").joinpath("imagenet_wordnet_ids.txt").read_text(encoding="ascii").split())


def numbered(count: int) -> tuple[str, ...]:
    """Stand-ins for `count` classes whose names nobody knows: "class 0", "class 1", …"""
    return tuple(f"class {i}" for i in range(count))


def of_detector(path: Path) -> tuple[str, ...]:
    """The names in a file, by the labels that a detector gives.

    Raises: RequestError: as `read`, or the file does not tell whether its first name is that of label 0 or 1: detectors
        of torchvision's convention keep 0 for the background, others don't.
    """
    names = read(path)
    by_id = not os.path.isdir(path) and text_of(path).lstrip().startswith("{")
    if by_id or names[0].strip("_").lower() == "background":
        return names
    raise RequestError(
        f"{path}: is {names[0]!r} label 0 or 1 of the detector? If 1, put a line background before it; if 0, write the "
        f'names as JSON, {{"0": "{names[0]}", …}}'
    )


def are_stand_ins(names: tuple[str, ...]) -> bool:
    """True if these are stand-ins for names that nobody knows."""
    return names in (NO_YES, numbered(len(names)))


def about_order(path: Path) -> list[str]:
    """Remarks on the order of class folders: timm's is another one if names hold numbers or capitals."""
    if not os.path.isdir(path):
        return []
    names = folders(path)
    natural = tuple(sorted(names, key=_natural))
    if names == natural:
        return []
    first = next(i for i, (one, other) in enumerate(zip(names, natural, strict=True)) if one != other)
    ours, theirs = (", ".join(order[max(0, first - 1) : first + 3]) for order in (names, natural))
    return [
        f"{path}: class folders in torchvision's order ({ours}, …); timm sorts them {theirs}, …: "
        "if timm trained the network, give --labels a text with a name a line in that order"
    ]


def _natural(name: str) -> list[tuple[str, int]]:
    """timm's key: letters without case, numbers by value."""
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name.lower())]


def text_of(path: Path) -> str:
    """The text of a UTF-8 file of at most `MAX_BYTES`, without its byte order mark.

    Raises:
        RequestError: missing, not a file, unreadable, too large, empty, or not UTF-8.
    """
    try:
        if not os.path.exists(path):
            raise RequestError(f"{path}: no such file: give the path of one that is there")
        if not path.is_file():
            raise RequestError(f"{path}: not a regular file: give the path of a text or JSON file")
        if path.stat().st_size > MAX_BYTES:
            raise RequestError(f"{path}: larger than {MAX_BYTES // 1_000_000} MB: give a text or JSON file")
        text = path.read_text(encoding="utf-8-sig")
    except OSError:
        raise RequestError(f"{path}: can't be read: check its permissions") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path}: not UTF-8: give a text or JSON file, saved as UTF-8") from None
    if not text.strip():
        raise RequestError(f"{path}: the file is empty: give a text or JSON file with something in it")
    return text


def folders(path: Path) -> tuple[str, ...]:
    """A folder's sub-folders in the order of torchvision's ImageFolder.

    Raises:
        RequestError: unreadable, or it has none.
    """
    # Hidden ones included, as in find_classes: the ids must be those the network was trained with.
    try:
        with os.scandir(path) as entries:
            names = tuple(sorted(entry.name for entry in entries if entry.is_dir()))
    except OSError:
        raise RequestError(f"{path}: can't be read: check its permissions") from None
    if not names:
        raise RequestError(f"{path}: no sub-folders: give a folder that has one per class")
    return names


def _in_lines(text: str) -> tuple[str, ...]:
    names = [line.strip() for line in text.rstrip().split("\n")]
    ids = [_ID_FIRST.fullmatch(name) for name in names]
    if all(match and int(match[1]) == i for i, match in enumerate(ids)):
        names = [match[2] for match in ids if match]
    words = [_WORDNET_FIRST.fullmatch(name) for name in names]
    if all(words):
        names = [match[1] for match in words if match]
    if "" in names:
        raise _NamesError(f"line {names.index('') + 1} has no name: give one name a line")
    return tuple(names)


def _in_json(text: str) -> tuple[str, ...]:
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice)
    except json.JSONDecodeError as error:
        raise _NamesError(f"broken JSON at line {error.lineno}, column {error.colno}: mend it") from None
    except _NamesError:
        raise
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets thousands deep
        raise _NamesError("broken JSON: give a list of names") from None
    held = [key for key in KEYS if isinstance(value, dict) and isinstance(value.get(key), (list, dict))]
    if not held:
        return _from_value(value, lists=True)
    names = found_in(value)
    return names if names is not None else _from_value(value[held[0]])


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    twice = next((key for key, count in Counter(key for key, _ in pairs).items() if count > 1), None)
    if twice is not None:
        raise _NamesError(f"{twice!r} is there twice: give each id or name once")
    return dict(pairs)


def _from_value(value: object, *, lists: bool = False, by_id: bool = False) -> tuple[str, ...]:
    """A list of names, id -> name, id -> [WordNet id, name], or name -> id.

    Numbers are names if nothing else can be meant: in `lists`, if each is there once, and with `by_id`.
    """
    if isinstance(value, (list, tuple)) and value:
        if lists and all(type(name) is int for name in value) and len(set(value)) == len(value):
            return tuple(map(str, value))
        return tuple(_name(name, i) for i, name in enumerate(value))
    if not isinstance(value, Mapping) or not value:
        raise _NamesError(_FORMS)
    keys = [_id(key) for key in value]
    if by_id and None not in keys and all(type(name) is int for name in value.values()):
        return _in_order(keys, [str(name) for name in value.values()])
    if None not in keys and not all(isinstance(entry, int) for entry in value.values()):
        pair = (list, tuple)
        return _in_order(keys, [v[1] if isinstance(v, pair) and len(v) == 2 else v for v in value.values()])
    ids = [_id(entry) for entry in value.values()]
    if None in ids:
        raise _NamesError(_FORMS)
    names = _in_order(ids, list(value))
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise _NamesError(f"{twice[0]!r} is there twice: give each name its own id")
    return names


def _in_order(ids: list[int | None], names: list[object]) -> tuple[str, ...]:
    counts, last = Counter(ids), len(ids) - 1
    wrong = next((i for i in range(len(ids)) if counts[i] != 1), None)
    if wrong is not None:
        what = "doubled" if counts[wrong] else "missing"
        raise _NamesError(f"id {wrong} is {what}: give each id from 0 to {last} once")
    by_id = dict(zip(ids, names, strict=True))
    return tuple(_name(by_id[i], i) for i in range(len(ids)))


def _id(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _name(value: object, i: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _NamesError(f"class {i} has no name: give each id a text that is not empty")
    return value.strip()
