"""Names of an answer's files."""

from __future__ import annotations

import hashlib
import os
from typing import TypeAlias

from camcli.records import Picture
from camcli.specs import OutputSpec

MAX_NAME_BYTES = 255
MAX_SLUG = 80
# The ending of a film that is written.
FILM = ".mp4"
# The files of one answer's pictures: paths, URIs or "-" for stdout.
Paths: TypeAlias = dict[Picture, str]


def suffix_of(kind: Picture, spec: OutputSpec, moving: str | None = None) -> str:
    """The ending of a file of that kind; `moving`: that of an overlay that moves."""
    if kind == "overlay" and moving is not None:
        return moving
    return "." + {"raw": "npz", "heatmap": "png", "neurons": "png", "mask": "png", "gif": "gif"}.get(kind, spec.format)


def fitting(name: str, tail: str) -> str:
    """name + tail within the file system's limit; a name that must be cut keeps a hash of the whole."""
    if len(os.fsencode(name + tail)) <= MAX_NAME_BYTES:
        return name + tail
    digest = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    room = MAX_NAME_BYTES - len(os.fsencode(digest + tail))
    return os.fsencode(name)[:room].decode("utf-8", "ignore") + digest + tail
