"""A coverage-guided fuzzer over decode -> view: any bytes are a picture or one refusal.

    python tests/fuzz/decode_view.py FOLDER -max_total_time=600

FOLDER is the corpus: the seeds are written into it, and what reaches new code is kept there. All other arguments are
libFuzzer's. The input of a crash is left in the working folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(
    include=[
        "PIL",
        "camcli.inputs.decoding",
        "camcli.inputs.guards",
        "camcli.inputs.preprocessing",
        "camcli.inputs.colours",
        "camcli.inputs.deep",
        "camcli.inputs.tiffs",
        "camcli.inputs.sandbox",
    ]
):
    from PIL import Image

    from camcli.inputs import decoding, preprocessing, sandbox

    Image.init()  # all of Pillow's plug-ins

import numpy as np
import seeds
from numpy.typing import NDArray

from camcli.errors import InputError
from camcli.records import Decoding, Frame, Preset, Ref

MAX_PIXELS = 200_000
PRESET = Preset(resize=32, crop=28, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear")


DRAFT = Decoding(draft=64)


def in_this_process(
    content: bytes, asked: Mapping[str, Any], pixels: int
) -> tuple[NDArray[np.uint8], tuple[int, int] | None, str | None]:
    """What `sandbox.decoded` does, where the fuzzer sees it."""
    frame, _ = decoding.read(Ref(0, "-", data=content), DRAFT, MAX_PIXELS, isolated=True)
    return frame.rgb, frame.full_size, frame.note


def check(frame: Frame) -> None:
    height, width, channels = frame.rgb.shape
    assert channels == 3, frame.rgb.shape
    assert frame.rgb.dtype == np.uint8
    assert height * width >= 1
    assert frame.bands is not None or height * width <= MAX_PIXELS
    for fit in ("crop", "pad", "squash", "full"):
        try:
            view = preprocessing.view_of(frame, PRESET, fit)
        except InputError:
            continue
        assert np.isfinite(view.pixels).all()
        assert fit == "full" or view.pixels.shape == (3, 28, 28)
        left, top, right, bottom = view.box
        assert left < right
        assert top < bottom


def one_input(data: bytes) -> None:
    try:
        frame, _ = decoding.read(Ref(0, "-", data=data), DRAFT, MAX_PIXELS)
    except InputError:
        return
    check(frame)


def main(arguments: list[str]) -> None:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    sandbox.decoded = in_this_process
    seeds.write(Path(arguments[1]))
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
