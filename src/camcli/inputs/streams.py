"""Videos (MP4, WebM, AVI, ...), decoded by PyAV: FFmpeg, kept to the one file that was named.

Of a video that is broken all good frames are given, and then a refusal: FFmpeg itself often leaves out what it can't
decode, and takes the end of a truncated file for the video's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from camcli.errors import InputError
from camcli.inputs import ffmpeg, kinds, pixels
from camcli.inputs.guards import Source, readable, refusing
from camcli.inputs.lengths import shortfall
from camcli.inputs.stills import Film, Still, breaking_off
from camcli.records import Moment

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# Formats that hold their pictures themselves. Playlists, manifests and scripts name other files, and devices none.
_DEMUXERS = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,ogg,asf,flv,ivf,mxf"
# Decoders hold a dozen frames and more, so that less has to do for one than for a picture; 8K has half of it.
MAX_FILM_PIXELS = 2**26
# Broadcasts: a part that is missing is no end, and their headers tell no length. What the decoder says counts.
_BROADCAST = ("mpeg", "mpegts")
# Of these nothing is said of a last packet that is cut off.
_SILENT = ("matroska,webm", "mpegts")
_HDR = (16, 18)  # PQ and HLG, of AVColorTransferCharacteristic


class _BreakError(Exception):
    """The video breaks off. `late`: threads decode ahead, so that good frames before the break may be lost."""

    def __init__(self, why: str, *, late: bool = False) -> None:
        super().__init__(why)
        self.late = late


def opened(source: Source, head: bytes, max_pixels: int) -> Film:
    """The film of a video; its first frame is decoded, for what headers don't tell.

    Raises:
        InputError: it is none, names other files, has no pictures or broken ones, or more than `max_pixels` in a frame.
        SetupError: PyAV is not installed, or too old.
    """
    kind = kinds.named(head)
    if kind is not None and not kind.film:
        raise InputError("decode", "unsupported" if kind.pictured else "not-a-picture", str(kind))
    with ExitStack() as stack:
        reading = _reading(source, stack, threaded=False)
        stream = reading.stream
        _check_size(stream.width, stream.height, max_pixels)
        try:
            _, first = next(reading.frames())
        except StopIteration:
            raise breaking_off(None, "it may be truncated") from None
        except _BreakError as error:
            raise breaking_off(None, error) from None
        _check_size(first.width, first.height, max_pixels)
        rate = float(stream.average_rate) if stream.average_rate else None
        read = partial(_stills, source, max_pixels)
        return Film(pixels.upright_size(first), rate, reading.told(), reading.lasts(), _note(stream, first), read)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > min(max_pixels, MAX_FILM_PIXELS):
        said = f"--max-pixels {max_pixels / 1e6:g} million"
        if max_pixels > MAX_FILM_PIXELS:
            said = f"the {MAX_FILM_PIXELS / 1e6:.0f} million pixels that a film's frames may have"
        raise InputError("decode", "too-large", f"{width}x{height} is more than {said}")


def _note(stream: VideoStream, first: VideoFrame) -> str | None:
    said = []
    if stream.color_trc in _HDR:
        said.append("HDR, shown without tone mapping")
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        said.append(f"its pixels are not square, {aspect.numerator}:{aspect.denominator}, and shown as if they were")
    if first.interlaced_frame:
        said.append("interlaced, shown as it is")
    return "; ".join(said) or None


def _stills(source: Source, max_pixels: int) -> Generator[Still, None, None]:
    """The frames, each with its moment. Raises: InputError: behind the last good one, that the film breaks off."""
    last: Moment | None = None
    size: tuple[int, int] | None = None
    try:
        for moment, frame in _frames(source):
            now = (frame.width, frame.height)
            _check_size(*now, max_pixels)
            size = size or now
            if now != size:
                raise _BreakError(f"it changes its size from {size[0]}x{size[1]} to {now[0]}x{now[1]}")
            yield Still(moment, partial(pixels.rgb, frame, Lock()))
            last = moment
    except (_BreakError, InputError) as error:
        raise breaking_off(last, error) from None
    if last is None:
        raise breaking_off(None, "it may be truncated")


def _frames(source: Source) -> Iterator[tuple[Moment, VideoFrame]]:
    """All good frames. Raises: _BreakError: the next one is broken."""
    given = 0
    try:
        with ExitStack() as stack:
            for found in _reading(source, stack, threaded=True).frames():
                yield found
                given += 1
            return
    except _BreakError as error:
        if not error.late:
            raise
    # Threads report what is broken late, and drop what lies around it: once more without, for the last good frames.
    with ExitStack() as stack:
        for moment, frame in _reading(source, stack, threaded=False).frames():
            if moment.number >= given:
                yield moment, frame


def _reading(source: Source, stack: ExitStack, *, threaded: bool) -> _Reading:
    """The video, opened until the stack is left. Raises: InputError: as `opened`. SetupError: as there."""
    ffmpeg.check("read")
    import av
    from av.codec.context import ThreadType
    from av.stream import Disposition

    with refusing(source, b""):
        file = stack.enter_context(io.BytesIO(source) if isinstance(source, bytes) else readable(source).open("rb"))
    limits = {"max_pixels": str(MAX_FILM_PIXELS)}
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none", **limits}
    try:
        # A file object is read, never its name: FFmpeg would take some names for addresses.
        container = stack.enter_context(
            av.open(file, "r", options=options, metadata_errors="replace", io_open=_no_other_file)
        )
    except Exception:  # noqa: BLE001  a decoder may raise anything on bytes that were made to break it
        file.seek(0)
        raise _unread(file.read(kinds.HEAD)) from None
    # A cover is a stream of one picture.
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise InputError(
            "open", "not-a-picture", "no film: there are no moving pictures in it, or its header is cut off"
        )
    stream = videos[0]
    if getattr(stream, "codec_context", None) is None:
        raise InputError("decode", "unsupported", "a video whose pictures this PyAV has no decoder for: convert it")
    stream.codec_context.options = {**stream.codec_context.options, **limits}
    stream.thread_type = ThreadType.AUTO if threaded else ThreadType.NONE
    return _Reading(container, stream, source, threaded)


def _no_other_file(*_: object) -> None:
    raise PermissionError("a film may not open another file")


def _unread(head: bytes) -> InputError:
    kind = kinds.named(head)
    if kind is None:
        return InputError("decode", "not-a-picture", "neither a picture nor a film that camcli can read")
    return InputError("decode", "broken", f"broken: {kind.name} whose header can't be read; it may be truncated")


@dataclass(slots=True, eq=False)
class _Reading:
    """One pass over a video. `stopped`: a sentence on why it ends too early, once its last packet was reached. `ended`:
    the end of the latest packet of any stream, in seconds."""

    container: InputContainer
    stream: VideoStream
    source: Source
    threaded: bool
    packets: int = 0
    stopped: str | None = None
    ended: Fraction = Fraction(0)

    def frames(self) -> Iterator[tuple[Moment, VideoFrame]]:
        """The good frames. Raises: _BreakError: what comes next is broken, or missing."""
        first: int | None = None
        rate, base = self.stream.average_rate or Fraction(1), self.stream.time_base
        for number, frame in enumerate(self._decoded()):
            if frame.is_corrupt:
                raise _BreakError("the next frame is damaged")
            first = frame.pts if number == 0 else first
            seconds = number / rate
            if frame.pts is not None and first is not None and base is not None:
                seconds = (frame.pts - first) * base
            yield Moment(number, float(seconds)), frame

    def told(self) -> int | None:
        """The number of frames by the header."""
        said = self.stream.metadata.get("NUMBER_OF_FRAMES", "")
        frames = self.stream.frames or (int(said) if re.fullmatch(r"[0-9]{1,18}", said) else 0)
        return frames if frames > 0 else None

    def lasts(self) -> float | None:
        """The duration in seconds by the header, which some formats guess."""
        stream = self.stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return self.container.duration / 1e6 if self.container.duration else None

    def _decoded(self) -> Iterator[VideoFrame]:
        latest: int | None = None
        shown: int | None = None
        for packet in self._packets():
            damaged = packet is not None and self._is_damaged(packet)
            frames, why = ([], self.stopped or "its data are damaged or cut off") if damaged else self._of(packet)
            for frame in frames:
                yield frame
                shown = frame.pts
            if why:
                yield from self._before(packet)
                raise _BreakError(why, late=self.threaded and not damaged)
            if packet is not None and packet.pts is not None and not packet.is_discard:
                latest = packet.pts if latest is None else max(packet.pts, latest)
        if self.threaded and latest != shown:
            raise _BreakError("its last frames are missing", late=True)
        if self.stopped:
            raise _BreakError(self.stopped)

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """The packets of the pictures; None behind them, for which the decoder gives what it still holds."""
        packets: Iterator[Packet[Any]] = self.container.demux()
        held: Packet[VideoStream] | None = None
        try:
            for packet in packets:
                if packet.pts is not None and packet.time_base:
                    self.ended = max(self.ended, (packet.pts + (packet.duration or 0)) * packet.time_base)
                # An empty one would be taken for the end.
                if packet.stream_index == self.stream.index and packet.size:
                    self.packets += 1
                    if held is not None:
                        yield held
                    held = packet
        except Exception as error:  # noqa: BLE001  as when opening
            self.stopped = f"it can't be read on ({type(error).__name__})"
        self.stopped = self.stopped or shortfall(self.container, self.stream, self.source, self.packets, self.ended)
        if held is not None:
            yield held
        yield None

    def _is_damaged(self, packet: Packet[VideoStream]) -> bool:
        """True if it is said to be, or may be: of truncated files of some formats, nothing is said of the last one."""
        name = self.container.format.name
        return (packet.is_corrupt and name not in _BROADCAST) or (self.stopped is not None and name in _SILENT)

    def _of(self, packet: Packet[VideoStream] | None) -> tuple[list[VideoFrame], str | None]:
        """The frames that this packet completes, and what is wrong with it."""
        try:
            return self.stream.decode(packet), None
        except Exception as error:  # noqa: BLE001  as when opening
            return [], f"its data can't be decoded ({type(error).__name__})"

    def _before(self, packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        """What the decoder still holds that is shown before a damaged packet."""
        frames, _ = self._of(None) if packet is not None else ([], None)
        for frame in frames:
            if packet is None or packet.pts is None or frame.pts is None or frame.pts < packet.pts:
                yield frame
