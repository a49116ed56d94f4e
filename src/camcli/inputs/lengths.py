"""The length that a video's header promises, against what was read of it: FFmpeg takes the end of a truncated file for
the video's."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

from camcli.inputs import kinds
from camcli.inputs.guards import Source, bytes_of, timed

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# A transport stream's packets: as they are, with times before them, and with sums behind them.
_TS_PACKETS = (188, 192, 204)
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def shortfall(
    container: InputContainer, stream: VideoStream, source: Source, packets: int, ended: Fraction
) -> str | None:
    """A sentence on what the header promises and the file does not hold; None if all is there, or nothing can tell.

    packets: so many were read of the stream. ended: the end of the latest one of any stream, in seconds.
    """
    if container.format.name == "mpegts" and all(bytes_of(source) % size for size in _TS_PACKETS):
        return "the file ends within a packet"
    promised = _promised(container, stream, source, packets)
    frame = 1 / (stream.average_rate or Fraction(25))
    # A last frame may have no duration, and times are rounded.
    if promised is None or ended + frame * 3 / 2 + Fraction(1, 200) >= promised:
        return None
    return f"its header tells {float(promised):.2f} s"


def _promised(container: InputContainer, stream: VideoStream, source: Source, packets: int) -> Fraction | None:
    """The duration in seconds by a header that measured it; None where it is guessed from the file itself."""
    name = container.format.name
    if name.startswith("mov"):
        # An edit list leaves out frames, and says the duration without them.
        if packets >= stream.frames or stream.duration is None or stream.time_base is None:
            return None
        return stream.duration * stream.time_base
    if name == "avi":
        return stream.frames / stream.average_rate if stream.frames and stream.average_rate else None
    if name == "asf":
        with timed(source) as file:
            return _of_asf(file.read(kinds.HEAD))
    if name in ("matroska,webm", "flv") and container.duration:
        return Fraction(container.duration, 1_000_000)
    return None


def _of_asf(head: bytes) -> Fraction | None:
    """The duration by a Windows Media header, which FFmpeg forgets for a truncated file; None for a live one."""
    found = head.find(_ASF_PROPERTIES)
    if found < 0:
        return None
    played, _, preroll, flags = struct.unpack_from("<QQQI", head.ljust(found + 100, b"\0"), found + 64)
    return None if flags & 1 else Fraction(played, 10_000_000) - Fraction(preroll, 1000)
