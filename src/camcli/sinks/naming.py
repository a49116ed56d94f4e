"""Names of an answer's files."""

from __future__ import annotations

import hashlib
import os
import sys
import unicodedata
from typing import TypeAlias

from camcli.records import Picture
from camcli.specs import OutputSpec

MAX_NAME_BYTES = 255
# Bytes of a class in a name.
MAX_SLUG = 80
# The ending of a film that is written.
FILM = ".mp4"
# The files of one answer's pictures: paths, URIs or "-" for stdout.
Paths: TypeAlias = dict[Picture, str]


def slug_of(text: str) -> str:
    """The text as a part of a file's name: its letters and digits, of any script and in lower case, a dash for what
    lies between them. At most MAX_SLUG bytes. It holds nothing that a file system or a terminal takes for an order."""
    slug = ""
    for character in unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()):
        # Accents and vowel signs that are characters of their own belong to the letter before them.
        mark = unicodedata.category(character).startswith("M") and slug[-1:] not in ("", "-")
        if character.isalnum() or mark:
            slug += character
        elif slug[-1:] != "-":
            slug += "-"
    coding = sys.getfilesystemencoding()
    return slug.strip("-").encode(coding, "ignore")[:MAX_SLUG].decode(coding, "ignore")


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
