"""JSON lines -> pictures with what is bound to them: a question, a caption, a partner, one picture a line.

A line is an object: `image` names the picture, and all other keys go with it. The keys whose values are files are known
by name; they, as the pictures, are looked for beside the list, or in the working directory if the list comes through a
pipe.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from camcli.errors import InputError
from camcli.inputs import kinds, lists
from camcli.inputs.lists import Framing
from camcli.records import Ref
from camcli.specs import PARTNER
from camcli.storage import uris

SUFFIXES = (".jsonl", ".ndjson")
IMAGE = "image"
STATE = "state"
# The keys whose texts are names of files.
_FILES = (PARTNER, STATE)


def is_list(name: str) -> bool:
    """True if a file of that name holds such lines."""
    return name.lower().endswith(SUFFIXES)


def framing(head: bytes) -> Framing | None:
    """The framing of such lines, in bytes that begin so; None if they are something else."""
    framed = lists.framing(head)
    if framed is not None and framed.encoding is None:
        return None
    framed = framed or lists.lines_in(head)
    first = next(lists.entries(head, framed), b"")
    return framed if _names_a_picture(first) and not os.path.lexists(first) else None


def _names_a_picture(line: bytes) -> bool:
    """True if it is such a line, or the beginning of one that is too long to be seen whole (in UTF-16 half as much)."""
    try:
        found = json.loads(line)
    except ValueError:
        return line.startswith(b"{") and len(line) >= kinds.HEAD // 2 and f'"{IMAGE}"'.encode() in line
    return isinstance(found, dict) and IMAGE in found


def refs(entries: Iterable[bytes], name: str, folder: Path, default: Mapping[str, Any]) -> Iterator[Ref]:
    """A ref for each line, numbered from 0; a refusal in it if the line is none. `default` goes with each picture that
    brings no other."""
    for number, entry in enumerate(entries, 1):
        try:
            yield _ref(json.loads(entry, parse_constant=_no_number), folder, default)
        except (ValueError, RecursionError) as error:
            said = str(error) if isinstance(error, _LineError) else "no JSON"
            refusal = InputError("read", "not-a-line", f'line {number} is {said}: write {{"{IMAGE}": "FILE", …}}')
            yield Ref(0, f"{name}:{number}", path=Path(f"{name}:{number}"), held=refusal)


class _LineError(ValueError):
    """A line that is JSON, and names no picture."""


def _no_number(text: str) -> None:
    raise _LineError(f"no JSON, which has no {text}")


def _ref(line: Any, folder: Path, default: Mapping[str, Any]) -> Ref:
    if not isinstance(line, dict):
        raise _LineError("no object")
    image = line.pop(IMAGE, None)
    if not isinstance(image, str) or not image:
        raise _LineError(f"an object without {IMAGE!r}")
    bound = {**default, **line}
    for key in _FILES:
        if isinstance(line.get(key), str):
            bound[key] = _beside(line[key], folder)
    found = _beside(image, folder)
    ref = Ref(0, found, bound=bound, mark=_mark(line) if line else "")
    if uris.is_uri(found):
        return replace(ref, uri=found, root=Path(found).parent)
    return replace(ref, path=Path(found), root=folder)


def _mark(keys: Mapping[str, Any]) -> str:
    """Six letters that tell what goes with one picture from what goes with another."""
    told = json.dumps(keys, sort_keys=True).encode("utf-8", "surrogatepass")
    return blake2b(told, digest_size=3).hexdigest()


def _beside(name: str, folder: Path) -> str:
    return name if uris.is_uri(name) or folder == Path() else os.fspath(folder / name)


def both_ways(ref: Ref) -> tuple[Ref, ...]:
    """The ref, and its partner with the two in each other's place, if there is one and it is a file."""
    partner = ref.bound.get(PARTNER)
    if not isinstance(partner, str) or ref.held is not None or (ref.path is None and ref.uri is None):
        return (ref,)
    bound = {**ref.bound, PARTNER: ref.name}
    if uris.is_uri(partner):
        return ref, replace(ref, name=partner, uri=partner, path=None, root=Path(partner).parent, bound=bound)
    path = Path(partner)
    return ref, replace(ref, name=partner, path=path, uri=None, root=path.parent, bound=bound)
