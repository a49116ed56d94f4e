"""Decoding in a process of its own, which ends when it takes too long, too much memory, or crashes.

For the few formats whose decoders may do so; others decode in threads, a hundred times as fast to start.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camcli.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = 8.0


def decoded(source: io.BytesIO | Path, asked: Mapping[str, Any]) -> tuple[NDArray[np.uint8], tuple[int, int] | None]:
    """What `images.read` makes of it, told `asked`: (the upright sRGB pixels (H, W, 3), `Frame.full_size`).

    Raises: InputError: as `images.read`; it took more than `SECONDS`, or its decoder crashed.
    """
    content = source.getvalue() if isinstance(source, io.BytesIO) else source.read_bytes()
    with subprocess.Popen(
        [sys.executable, "-m", "camcli.isolated"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the run's to handle
    ) as process:
        try:
            answer, _ = process.communicate(json.dumps(dict(asked)).encode() + b"\n" + content, SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError("decode", "too-slow", f"it takes more than {SECONDS:g} s to decode") from None
        finally:
            process.kill()
    end = answer.find(b"\n")
    if end < 0:
        raise InputError("decode", "broken", "broken: it crashes its decoder")
    said: dict[str, Any] = json.loads(answer[:end])
    if "error" in said:
        raise InputError(*said["error"])
    full = said["full_size"]
    pixels = np.frombuffer(answer, np.uint8, offset=end + 1)
    return pixels.reshape(said["shape"]), tuple(full) if full else None
