"""The names that a pickle asks for, read without running it, and the refusal of one that asks for more than tensors."""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import IO

import torch

from camcli.errors import SetupError
from camcli.models import containers

# A plain state dict asks for these.
_HARMLESS = re.compile(
    r"collections\.OrderedDict|"
    r"torch\.(_utils\._rebuild_\w+|storage\.\w+|\w+Storage|Size|device|b?float\d*|u?int\d*|bool)"
)


class UnsafeFileError(SetupError):
    """A file that asks for more than tensors: loading it could run code."""


def refusal(path: Path, message: str) -> SetupError:
    """The error for a pickle of more than tensors, in words about this file."""
    zipped = zipfile.is_zipfile(path)
    root, named = _classes(path)
    try:
        asked = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path))) if zipped else named
    except pickle.UnpicklingError:  # torch reads protocol 2 only
        asked = named
    asked = [name for name in asked if not containers.knows(name)]
    if not asked:
        return SetupError(f"{path} can't be read as weights (cut off or not a checkpoint): {message.splitlines()[0]}")
    listed = ", ".join(asked[:5]) + (" …" if len(asked) > 5 else "")
    otherwise = "with --trust-checkpoint if you trust whoever made the file"
    if any(name.startswith("fastai.") for name in (root or "", *asked)):
        return UnsafeFileError(
            f"{path} is refused: it is a fastai export (Learner.export), a whole pickled Learner, and loading it could "
            "run code. In fastai, torch.save(learn.model, FILE), and load that "
            f"{otherwise}; or Learner.save, and its network as code (--model FILE.py:factory)"
        )
    if any(name.startswith("ultralytics.") for name in (root or "", *asked)):
        return UnsafeFileError(
            f"{path} is refused: it is a whole pickled network of ultralytics (YOLO), and loading it could run code. "
            f"If you trust whoever made the file: -m ultralytics:{path} --trust-checkpoint, without --weights"
        )
    if any(name.startswith("torch.nn.modules.") for name in (root or "", *asked)):
        made_of = root or next((name for name in asked if not name.startswith("torch.")), asked[0])
        return UnsafeFileError(
            f"{path} is refused: it is a whole pickled network ({made_of}), not weights, and loading it could run "
            f"code. Save model.state_dict() instead, or load it {otherwise}"
        )
    return UnsafeFileError(
        f"{path} is refused: its pickle asks for {listed}, and loading that could run code. "
        f"Save the state_dict alone, or load it {otherwise}"
    )


def _classes(path: Path) -> tuple[str | None, list[str]]:
    """(the class of the pickled object itself, None for a plain container; all that is asked for), running nothing."""
    names: list[str] = []
    root = None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                data = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                with archive.open(data) as file:
                    root = _read_classes(file, names)
        else:
            with path.open("rb") as file:
                # torch's magic number, protocol and system stand before the content, each a pickle of its own.
                while root is None and file.peek(1):
                    root = _read_classes(file, names)
    except (ValueError, OSError, IndexError):
        pass  # what was found before the damage is still worth naming
    return root, [name for name in dict.fromkeys(names) if not _HARMLESS.fullmatch(name)]


def _read_classes(file: IO[bytes], names: list[str]) -> str | None:
    """Adds what one pickle asks for to `names`; returns the class of the pickled object itself if that comes first."""
    strings: list[str] = []
    memo: list[str] = []
    root = None
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("GLOBAL", "STACK_GLOBAL"):
            names.append(".".join(strings[-2:]) if argument is None else argument.replace(" ", "."))
            # Protocol 2 starts with the name, protocol 4 with a frame and two memoized strings.
            # Old files of whole networks name the class in the storage of its source.
            first = number <= (1 if argument else 6) or (root is None and strings[:1] == ["module"])
            if first and names[-1] != "collections.OrderedDict":
                root = names[-1]
        elif opcode.name == "MEMOIZE":
            memo.append(strings[-1] if strings else "")
        elif opcode.name in ("BINGET", "LONG_BINGET") and isinstance(argument, int) and argument < len(memo):
            strings.append(memo[argument])
        elif isinstance(argument, str):
            strings.append(argument)
    return root
