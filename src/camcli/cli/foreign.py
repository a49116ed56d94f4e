"""The things that a config file in the working directory can't say: it may have come with a folder of somebody's."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from camcli.models import catalog
from camcli.specs import TARGETS
from camcli.storage import uris

# Options that say where files are written.
WRITTEN = ("output", "results", "report")
# Options whose text is read by people or networks, and opens nothing.
_WORDS = ("caption", "question", "template", "text")
_NUMBER = re.compile(r"[\w]+=(true|false|none|[-+.,()\[\] \d]+(e[-+]?\d+)?)", re.IGNORECASE)


class ForeignError(Exception):
    """The reason why a value is refused, as the end of a sentence."""


def check(option: str, value: str | Sequence[str] | bool) -> None:
    """Check a value as it would be typed.

    Raises: ForeignError: with it the file would run code, fetch something, remove files, or write outside the folder.
    """
    if (option, value) in (("trust-checkpoint", True), ("ray-address", value)):
        raise ForeignError("lets others run code here")
    if (option, value) in (("overwrite", True), ("resume", False)):
        raise ForeignError("removes an earlier run")
    for text in texts_of(value):
        if (option == "model" and is_code(text)) or (option == "target" and text not in TARGETS):
            raise ForeignError("runs code")
        if option == "model-arg" and not _NUMBER.fullmatch(text):
            raise ForeignError("may name a file that runs code (numbers, true, false and none can't)")
        if option in WRITTEN and text != "-" and _lies_outside(text):
            raise ForeignError("writes outside the working directory")
        if option == "model" and is_of_hub(text):
            raise ForeignError("fetches something")
        if option not in _WORDS and ("://" in text or text.startswith(("//", "\\\\"))):
            raise ForeignError("fetches something")


def texts_of(value: str | Sequence[str] | bool) -> Sequence[str]:
    """The texts that would be typed after the option."""
    return [value] if isinstance(value, str) else () if isinstance(value, bool) else value


def is_of_hub(model: str) -> bool:
    """True if the name is one of a hub's, where anybody may have put it, and no folder here has it."""
    library, _, name = model.partition(":")
    if f"{library}:" == catalog.HF:
        return not os.path.isdir(name)
    return f"{library}:" in (catalog.TIMM, catalog.OPEN_CLIP) and ":" in name


def is_code(model: str) -> bool:
    """True if what the name stands for may run code of anybody's."""
    return catalog.is_user_code(model) or catalog.is_ultralytics(model)


def _lies_outside(path: str) -> bool:
    """True if the path leads elsewhere than below the working directory, by whatever links."""
    # realpath takes loops of links, too.
    return uris.is_uri(path) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath("."))
