"""The weights that `--weights` names: a file or folder, an URL, weights of the model's own, or none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from camcli.errors import RequestError
from camcli.specs import ModelSpec
from camcli.storage import uris


def weights_url(spec: ModelSpec) -> str | None:
    """The URL that `weights` is, None if it is none.

    Raises: RequestError: it is not https, or its sha256 is none.
    """
    if not uris.is_uri(spec.weights) or os.path.exists(spec.weights):
        return None
    if not spec.weights.startswith("https://"):
        raise RequestError(f"--weights {spec.weights}: weights come by https:// only, or from a file")
    _, mark, fragment = spec.weights.partition("#")
    if mark and not re.fullmatch("sha256=[0-9a-f]{64}", fragment):
        raise RequestError(f"--weights {spec.weights}: write #sha256= and the file's 64 hexadecimal digits, or nothing")
    return spec.weights


def weights_file(spec: ModelSpec) -> Path | None:
    """The file or folder that `weights` names, None if it names none of these.

    Raises: RequestError: it looks like a path, and nothing is there.
    """
    if spec.weights in ("DEFAULT", "none"):
        return None
    if os.path.exists(spec.weights):  # says no where a Path would raise: too long, odd characters
        return Path(spec.weights)
    if Path(spec.weights).suffix or "/" in spec.weights:
        raise RequestError(f"no such weights file: {spec.weights}")
    return None
