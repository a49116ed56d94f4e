"""Films that the tests draw: blocks of known colours, over squares that tell the frame's number."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
COLOURS = (
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)],
    [(0, 255, 255), (255, 0, 255), (200, 120, 60), (30, 90, 150)],
    [(255, 255, 255), (0, 0, 0), (128, 128, 128), (60, 200, 120)],
)
SIZE = (128, 96)


def frame(number: int, size: tuple[int, int] = SIZE) -> RGB:
    """uint8 (H, W, 3): twelve blocks, and along the foot a square for each bit of the number, white if it is set."""
    width, height = size
    blocks = np.array(COLOURS, np.uint8).repeat(height // 3 // 2 * 2, 0).repeat(width // 4 // 2 * 2, 1)
    drawn = np.pad(blocks, ((0, height - len(blocks)), (0, width - blocks.shape[1]), (0, 0)), "edge")
    drawn[-16:, :112] = (np.array([number >> bit & 1 for bit in range(7)], np.uint8) * 255).repeat(16)[:, None]
    return drawn


def numbered(rgb: RGB) -> int:
    """The number that is drawn in a frame."""
    return sum(int(rgb[-8, 16 * bit + 8, 1] > 127) << bit for bit in range(7))


def psnr(one: RGB, other: RGB) -> float:
    error = float(((one.astype(float) - other) ** 2).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def video(
    frames: list[RGB],
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 30,
    ticks: list[int] | None = None,
    turn: int = 0,
    **context: Any,
) -> bytes:
    """A video of these frames; `ticks`: their times in 1/rate; `turn`: degrees; `context`: of the encoder."""
    import av

    path = Path(f"drawn.{container}.bin")
    matrix = context.pop("context", context.get("colorspace", 6))
    tags = {name: context.pop(name) for name in ("colorspace", "color_range", "color_trc") if name in context}
    mux = {"movflags": "+faststart"} if container == "mp4" else {}
    with av.open(str(path), "w", format=container, options=context.pop("mux", mux)) as output:
        stream = output.add_stream(codec, rate=rate, options=context.pop("options", {}))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for name, value in (tags | context).items():
            setattr(stream.codec_context, name, value)
        if turn:
            stream.set_display_rotation(turn)
        for number, rgb in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(rgb, "rgb24" if rgb.shape[2] == 3 else "rgba")
            if not pixels.startswith(("rgb", "gbr")):
                shown = shown.reformat(
                    format=pixels,
                    dst_colorspace={1: 1, 6: 5}[matrix],
                    src_color_range=2,
                    dst_color_range=tags.get("color_range", 1),
                    interpolation=0x20,
                )
            shown.pts = ticks[number] if ticks else number
            shown.time_base = Fraction(1, rate)
            output.mux(stream.encode(shown))
        output.mux(stream.encode(None))
    return path.read_bytes()


def animation(frames: list[Image.Image], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()
