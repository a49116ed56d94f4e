"""A row -> the command that makes it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import chain
from typing import Any

from camcli.inputs import json_lines
from camcli.records import Row
from camcli.specs import Spec

# Fields of a Spec whose options are not called as they are, or come once for each of their values.
_NAMES = {"methods": "method", "classes": "class", "layers": "layer", "texts": "text", "model_args": "model-arg"}
_SIDES = ("resize", "crop")
_BOUND = ("question", "caption", "state", "partner")


def described(row: Row) -> dict[str, str]:
    """A row as a command: its `flags`, and the input as it is `typed` after them, "" if its name can't be."""
    if "error" in row:
        return {"typed": _input(row)}
    spec = row["provenance"]["spec"]
    command = "classify" if spec.get("methods") == [] or spec.get("methods") == () else "explain"
    return {
        # A file of settings must not change what is not typed.
        "flags": _line(["camcli", "--no-config", command, *_flags(spec)]),
        "typed": _input(row),
    }


def _input(row: Row) -> str:
    """The input as it is typed, with its frame of a film and what is bound to it and not to all."""
    name = row["input"]
    if "\ufffd" in name:  # it may stand for bytes that are no text, and there may be another file of that very name
        return ""
    frame = f" --start {row['moment']['frame']}f --end {row['moment']['frame'] + 1}f" if "moment" in row else ""
    spec = row["provenance"]["spec"] if "provenance" in row else {}
    shared = dict(spec.get("bound", ()))
    own = {key: value for key, value in row.get("bound", {}).items() if shared.get(key) != value}
    if own:  # of a line, which may say what no flag can
        return f"-{frame} <<< {_quoted(json.dumps({json_lines.IMAGE: name, **own}))}"
    return _quoted(f"./{name}" if name[:1] == "-" and name != "-" else name) + frame


def _line(words: Iterable[str]) -> str:
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """The word as a shell takes it, on one line, and with nothing in it that can't be seen."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    number = ord(letter)
    if letter.isprintable():
        return letter
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _bound(name: str, value: str) -> tuple[str, str]:
    return (f"--{name}", value) if name in _BOUND else ("--bind", f"{name}={value}")


def _flags(spec: Mapping[str, Any]) -> Iterator[str]:
    """The options of all that is not as it would be without them."""
    usual = {field.name: field.default for field in fields(Spec)}
    for name, value in spec.items():
        if name in usual and _plain(value) != _plain(usual[name]):
            yield from _flag(name, value)


def _flag(name: str, value: Any) -> Iterator[str]:
    """A field's option with its value, once for each value of a repeatable one."""
    option = f"--{_NAMES.get(name, name).replace('_', '-')}"
    if name == "bound":
        yield from chain.from_iterable(_bound(*own) for own in value)
    elif value is True:
        yield option
    elif name == "contrast":
        yield from (option, *value)
    elif name == "model_args":
        yield from chain.from_iterable((option, "=".join(pair)) for pair in value)
    elif name in _NAMES:
        yield from chain.from_iterable((option, each) for each in value)
    else:
        yield from (option, _spelled(name, value))


def _spelled(name: str, value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, (list, tuple)):
        return ("x" if name in _SIDES else ",").join(map(_number, value))
    return _number(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
