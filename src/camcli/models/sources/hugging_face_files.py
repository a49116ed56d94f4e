"""The files of a repository of Hugging Face's: where they are, and whether they hold all weights of a network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from camcli.errors import SetupError
from camcli.models import catalog
from camcli.models.sources.boundary import quiet, reason_of

# What is needed of a repository: never pickles, never code.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
_WEIGHTS = "model.safetensors"


def folder_of(name: str) -> Path:
    """The folder of that name, or the repository's files in the hub's cache, downloaded if they are not there.

    Raises: SetupError: they can't be had.
    """
    bare = name.removeprefix(catalog.HF)
    if os.path.isdir(bare):
        return Path(bare)
    if bare.startswith((".", "/", "~")) or bare.count("/") > 1:
        raise SetupError(f"{name}: no such folder")
    from huggingface_hub import snapshot_download

    found = partial(snapshot_download, bare, allow_patterns=list(_FILES))
    try:
        return Path(found(local_files_only=True))
    except Exception:  # noqa: BLE001  not in the cache: what it raises then differs from version to version
        pass
    try:
        with quiet():
            return Path(found())
    except Exception as error:  # noqa: BLE001  the network, the hub, the licence: anything may be wrong
        raise SetupError(
            f"can't get {name} from the hub ({reason_of(error)}): download it elsewhere and name its folder, "
            f"{catalog.HF}./FOLDER"
        ) from None


def check_whole(name: str, lacking: Iterable[str]) -> None:
    """Raises: SetupError: the files lack weights, which transformers fills at random."""
    if listed := sorted(lacking):
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise SetupError(
            f"{name} lacks {', '.join(listed[:3])}{more}: it has no such head, or another; its scores would be random"
        )


def lacking_of(info: Mapping[str, Any]) -> set[str]:
    """The names of the weights that `from_pretrained` tells were not in the files, or of another shape."""
    other = (key if isinstance(key, str) else key[0] for key in info.get("mismatched_keys", ()))
    return {*info.get("missing_keys", ()), *other}


def file_in(folder: Path) -> Path | None:
    """The file of its weights; of several, the index that names them."""
    found = (folder / name for name in (_WEIGHTS, f"{_WEIGHTS}.index.json"))
    return next((path for path in found if path.is_file()), None)
