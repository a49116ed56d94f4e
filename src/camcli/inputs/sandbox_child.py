"""The process that `sandbox` starts: one picture on stdin, its pixels on stdout."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from camcli.errors import InputError
from camcli.inputs import decoding
from camcli.records import Decoding, Ref


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one request, as `sandbox.decoded` writes it."""
    asked = json.loads(requests.readline())
    with suppress(ImportError):  # Windows has no limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    how = Decoding(**asked["decoding"])
    try:
        frame, _ = decoding.read(Ref(0, "-", data=requests.read()), how, asked["max_pixels"], isolated=True)
    except InputError as error:
        answers.write(json.dumps({"error": [error.stage, error.kind, str(error)]}).encode() + b"\n")
        return
    said = {"shape": frame.rgb.shape, "full_size": frame.full_size, "note": frame.note}
    answers.write(json.dumps(said).encode() + b"\n")
    answers.write(np.ascontiguousarray(frame.rgb).data)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
