"""Moving pictures, written: H.264 in MP4 by PyAV, and animated GIF and WebP by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from camcli.errors import RequestError
from camcli.inputs import ffmpeg
from camcli.inputs.pixels import BT709, matrix_of
from camcli.machine.pools import ahead
from camcli.storage.scratch import Scratch
from camcli.storage.writing import failing, whole_at

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

ANIMATIONS = frozenset({".gif", ".webp"})
# Ticks a second: exact for the usual rates, but for a 120000th of a second at 23.976; MPEG-4 has no finer ones.
_CLOCK = 60_000
# Visually lossless. Without B-frames each frame's end is told by the next one in the file, so that times are exact.
_H264: dict[str, object] = {"preset": "veryfast", "crf": "18", "bf": "0"}
_MPEG4: dict[str, object] = {"b": "20M", "qmin": "2", "qmax": "4"}
# By AVColorPrimaries and the like: BT.709, or BT.601 of 525 lines.
_TAGS_709, _TAGS_601, _LIMITED, _FULL = 1, 6, 1, 2
# GIF counts in hundredths of a second, and browsers show a frame of one of them as if it were ten.
_GIF_TICKS = 100
_SHORTEST_TICKS = 2
_PALETTE_FRAMES = 16
_PALETTE_SIDE = 256
_WEBP = {"quality": 85, "method": 2}


class FilmWriter:
    """A film that is being written. `note`: a sentence if it is no H.264; None if it is.

    `size` (width, height) as written: H.264 that all players show has even sides, so that an odd one gets one line
    more, which repeats the last.
    """

    def __init__(self, path: Path, container: OutputContainer, size: tuple[int, int], rate: Fraction) -> None:
        from av.codec import codecs_available

        h264 = "libx264" in codecs_available
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self.note = None if h264 else "this PyAV can't write H.264: written as MPEG-4, which browsers don't show"
        self._path, self._container, self._given = path, container, size
        self._tick, self._begin = -1, 0.0
        self._lasts = max(1, round(_CLOCK / rate))
        self._matrix = matrix_of(*self.size)
        self._stream: VideoStream = container.add_stream("libx264" if h264 else "mpeg4", rate=rate)
        stream = self._stream
        stream.width, stream.height = self.size
        stream.pix_fmt = "yuv420p"
        stream.options = _H264 if h264 else _MPEG4
        stream.time_base = stream.codec_context.time_base = Fraction(1, _CLOCK)
        tags = _TAGS_709 if self._matrix == BT709 else _TAGS_601
        stream.color_primaries = stream.color_trc = stream.colorspace = tags
        stream.color_range = _LIMITED

    def add(self, rgb: NDArray[np.uint8], seconds: float) -> None:
        """Writes a frame, uint8 (H, W, 3), shown from that time on; the times ascend. The first one begins the film,
        whatever its time.

        Raises:
            ValueError: it is of another size than was said.
            SetupError: it can't be written.
        """
        import av
        from av.video.reformatter import Interpolation

        if rgb.shape != (self._given[1], self._given[0], 3):
            raise ValueError(f"a frame of shape {rgb.shape} in a film of {self._given[0]}x{self._given[1]}")
        more = [(0, new - old) for new, old in zip(self.size[::-1], rgb.shape, strict=False)]
        even = np.pad(rgb, (*more, (0, 0)), "edge") if any(map(any, more)) else rgb
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), "rgb24").reformat(
            format="yuv420p",
            dst_colorspace=self._matrix,
            src_color_range=_FULL,
            dst_color_range=_LIMITED,
            interpolation=Interpolation.AREA,
        )
        # Two frames of one time would be one.
        self._begin = seconds if self._tick < 0 else self._begin
        self._tick = max(self._tick + 1, round((seconds - self._begin) * _CLOCK))
        frame.pts, frame.time_base = self._tick, Fraction(1, _CLOCK)
        self._write(frame)

    def finish(self) -> None:
        """Writes what the encoder still holds; the last frame lasts as long as the rate says."""
        if self._tick < 0:
            raise ValueError("a film of no frames")
        self._write(None)

    def _write(self, frame: VideoFrame | None) -> None:
        with failing(self._path):
            for packet in self._stream.encode(frame):
                packet.duration = round(self._lasts * Fraction(1, _CLOCK) / packet.time_base)
                self._container.mux(packet)


def encode(
    path: Path,
    pictures: Iterable[tuple[NDArray[np.uint8], float]],
    rate: float,
    scratch: Scratch,
    *,
    durable: bool = False,
) -> None:
    """Writes pictures and their times in seconds as a film, of at least one; see `film`."""
    following = ahead(pictures)  # one is drawn while the one before is encoded
    first, start = next(following)
    height, width = first.shape[:2]
    with film(path, (width, height), rate, scratch, durable=durable) as writer:
        writer.add(first, start)
        for picture, seconds in following:
            writer.add(picture, seconds)


@contextmanager
def film(
    path: Path,
    size: tuple[int, int],
    rate: Fraction | float,
    scratch: Scratch | None = None,
    *,
    durable: bool = False,
) -> Iterator[FilmWriter]:
    """A writer of H.264 in MP4, for frames of that (width, height), at their own times; `rate`, frames a second, says
    how long the last one lasts. The film is at `path` once the block is left; after an exception it is nowhere.

    Colours are BT.709, or BT.601 for standard definition, and tagged so: players that don't read tags guess the same.

    Raises: SetupError: PyAV is not installed, or the film can't be written.
    """
    ffmpeg.check("written")
    import av

    with whole_at(path, scratch, durable=durable) as temporary:
        with failing(path):
            # Absolute: FFmpeg would take some names for addresses.
            container = av.open(str(temporary.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            writer = FilmWriter(path, container, size, Fraction(rate).limit_denominator(_CLOCK))
            yield writer
            writer.finish()
        except BaseException:
            with suppress(OSError):
                container.close()
            raise
        with failing(path):
            container.close()


def animation(frames: Sequence[NDArray[np.uint8]], seconds: float | Sequence[float], suffix: str) -> bytes:
    """A GIF or WebP of these frames, uint8 (H, W, 3), that goes on for ever; `seconds`: how long each is shown, or all.

    A GIF has one palette, by frames from all of it, so that still parts keep their colours; it is dithered, since
    overlays are smooth, and bands in them look like edges of the map.

    Raises: RequestError: another suffix.
    """
    if suffix.lower() not in ANIMATIONS:
        raise RequestError(f"{suffix or 'no suffix'} is no animation: .gif and .webp are")
    lasting = [seconds] * len(frames) if isinstance(seconds, int | float) else list(seconds)
    ends = [sum(lasting[:shown]) for shown in range(len(frames) + 1)]
    pictures = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    if suffix.lower() == ".webp":
        durations = [max(1, round(end * 1000) - round(start * 1000)) for start, end in pairwise(ends)]
        _save(buffer, "WEBP", pictures, durations, **_WEBP)
    else:
        palette = _palette(pictures)
        dithered = [each.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for each in pictures]
        ticks = (round(end * _GIF_TICKS) - round(start * _GIF_TICKS) for start, end in pairwise(ends))
        _save(buffer, "GIF", dithered, [max(_SHORTEST_TICKS, each) * 1000 // _GIF_TICKS for each in ticks])
    return buffer.getvalue()


def _save(buffer: io.BytesIO, kind: str, pictures: list[Image.Image], durations: list[int], **options: int) -> None:
    first, *others = pictures
    first.save(buffer, kind, save_all=True, append_images=others, duration=durations, loop=0, **options)


def _palette(pictures: list[Image.Image]) -> Image.Image:
    """A picture with 256 colours for all of them, from a mosaic of some, made small."""
    some = pictures[:: -(-len(pictures) // _PALETTE_FRAMES)]
    mosaic = Image.new("RGB", (_PALETTE_SIDE, _PALETTE_SIDE * len(some)))
    for place, picture in enumerate(some):
        mosaic.paste(picture.resize((_PALETTE_SIDE, _PALETTE_SIDE)), (0, _PALETTE_SIDE * place))
    return mosaic.quantize(256, Image.Quantize.MEDIANCUT)
