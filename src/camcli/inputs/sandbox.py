"""Decoding in a process of its own, which ends when it takes too long, too much memory, or crashes.

For the few formats whose decoders may do so; others decode in threads, a hundred times as fast to start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from camcli.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = 8.0
# The memory of a process: for Python and a decoder's tables, and a few copies of the picture.
MEMORY = 2**30
BYTES_PER_PIXEL = 48
MAX_MEMORY = 4 * 2**30


def too_slow() -> InputError:
    return InputError("decode", "too-slow", f"it takes more than {SECONDS:g} s to decode")


def decoded(
    content: bytes, asked: Mapping[str, Any], pixels: int
) -> tuple[NDArray[np.uint8], tuple[int, int] | None, str | None]:
    """The result of `decoding.read`, told `asked`: (the upright sRGB pixels (H, W, 3), `Frame.full_size`, its note).

    Raises: InputError: as `decoding.read`; it took more than `SECONDS` or the memory for so many pixels, or its decoder
        crashed.
    """
    memory = min(MAX_MEMORY, MEMORY + len(content) + pixels * BYTES_PER_PIXEL)
    request = json.dumps({**asked, "memory": memory}).encode() + b"\n"
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "camcli.inputs.sandbox_child"],  # -P: no module of the folder that it runs in
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the run's to handle
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # NumPy would map memory for each core
    ) as process:
        try:
            answer, _ = process.communicate(request + content, SECONDS)
        except subprocess.TimeoutExpired:
            raise too_slow() from None
        finally:
            process.kill()
    end = answer.find(b"\n")
    if end < 0:
        raise InputError("decode", "broken", "broken: it crashes its decoder")
    said: dict[str, Any] = json.loads(answer[:end])
    if "error" in said:
        raise InputError(*said["error"])
    full = said["full_size"]
    rgb = np.frombuffer(answer, np.uint8, offset=end + 1)
    return rgb.reshape(said["shape"]), tuple(full) if full else None, said["note"]
