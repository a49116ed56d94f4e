"""Guards that keep one file from stopping a run: time and scans are counted, and refusals have words of their own."""

from __future__ import annotations

import io
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from PIL import Image, UnidentifiedImageError

from camcli.errors import InputError
from camcli.inputs import kinds, lists, sandbox, tiffs
from camcli.records import MAX_FILE_BYTES

# The source of a picture: a file, or bytes.
Source: TypeAlias = bytes | Path
# Ghostscript and Windows would run what these hold.
PROGRAMS = frozenset({"EPS", "WMF"})
# Pillow knows these by name, and can't read them.
NAMES_ONLY = frozenset({"HDF5", "GRIB", "BUFR", "MPEG"})
# Each scan of a JPEG goes over all of its pixels; cameras and encoders make up to a dozen.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 2_500_000_000
# Five times what a large PNG takes.
SECONDS_PER_PIXEL = 2e-7
SCAN = b"\xff\xda"


class NoRoomError(Exception):
    """There is no room for so many pixels now."""


class _Timed:
    """A file for one thread, whose reads fail once that thread has computed for too long. Pillow goes through metadata
    in Python, and a file may hold millions of parts. A disk that is slow costs nothing."""

    deadline = 0.0

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self.deadline:
            raise sandbox.too_slow()
        return super().read(size)  # type: ignore[misc,no-any-return]


class _TimedBytes(_Timed, io.BytesIO):
    pass


class _TimedFile(_Timed, io.BufferedReader):
    pass


def timed(source: Source) -> _TimedBytes | _TimedFile:
    file = _TimedBytes(source) if isinstance(source, bytes) else _TimedFile(io.FileIO(source))
    file.deadline = time.thread_time() + sandbox.SECONDS
    return file


@contextmanager
def refusing(source: Source, head: bytes) -> Iterator[None]:
    """Turn all that a decoder raises into a refusal in our own words: Pillow's messages carry object addresses."""
    try:
        yield
    except UnidentifiedImageError:
        raise _unidentified(source, head) from None
    except Image.DecompressionBombError:
        limit = (Image.MAX_IMAGE_PIXELS or 0) * 2
        raise InputError("decode", "too-large", f"larger than {limit / 1e6:.0f} megapixels") from None
    except PermissionError:
        raise InputError("open", "permission", "no permission to read it") from None
    except MemoryError:
        raise InputError("decode", "too-large", "it doesn't fit in memory") from None
    except (InputError, NoRoomError):
        raise
    except Exception as error:  # noqa: BLE001  a decoder may raise anything on bytes that were made to break it
        raise InputError("decode", "broken", _in_own_words(error)) from None


def _unidentified(source: Source, head: bytes) -> InputError:
    kind = kinds.named(head)
    if head.startswith(kinds.TIFFS):
        with timed(source) as file:
            kind = tiffs.unread(file)
    if kind is None:
        listed = ": names of files come through stdin, `camcli explain - < LIST`" if lists.names_files(head) else ""
        return InputError("decode", "not-a-picture", f"not a picture that Pillow can read{listed}")
    return InputError("decode", "unsupported" if kind.pictured else "not-a-picture", str(kind))


class _Pillow:
    """Pillow without its warnings (at half its limit, about odd metadata), and with a limit that leaves ours to decide.

    Both hold for the process: the first of several threads sets them and the last one sets them back. Pillow refuses
    twice its limit, inside containers too, whose headers tell nothing.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()
        self._limit: int | None = None

    @contextmanager
    def __call__(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                self._limit = Image.MAX_IMAGE_PIXELS
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._filters.__exit__(None, None, None)
                    Image.MAX_IMAGE_PIXELS = self._limit


pillow = _Pillow()


def _in_own_words(error: BaseException) -> str:
    text = str(error).lower()
    if "truncated" in text or "not enough" in text or isinstance(error, EOFError):
        return "truncated: the picture ends too early"
    return f"broken: its data can't be decoded ({type(error).__name__})"


# Decoded in C, in a time that the pixels bound; decoders in Python and those of other formats may take any time.
LINEAR = frozenset({"JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM"})


def is_linear(opened: Image.Image, pixels: int, source: Source) -> bool:
    """True if the number of pixels bounds the time that the decoder takes."""
    if opened.format not in LINEAR or any(tile[0] in Image.DECODERS for tile in getattr(opened, "tile", ())):
        return False
    if opened.format not in ("JPEG", "MPO"):
        return True
    scans = whole(source).count(SCAN)
    return scans <= MAX_SCANS and scans * pixels <= MAX_SCANNED_PIXELS


def whole(source: Source) -> bytes:
    """The source's bytes. Raises: InputError: more than `MAX_FILE_BYTES`."""
    if isinstance(source, bytes):
        return source
    if (size := bytes_of(source)) > MAX_FILE_BYTES:
        raise too_long(size)
    return source.read_bytes()


def too_long(size: int) -> InputError:
    limit = MAX_FILE_BYTES / 1e9
    return InputError("decode", "too-large", f"{size / 1e9:.1f} GB: at most {limit:g} GB are read of such a file")


def bytes_of(source: Source) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def readable(path: Path) -> Path:
    """The path of a file that can be read. Raises: InputError: it is missing, empty, or no regular file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError("open", "missing", "no such file") from None
    except PermissionError:
        raise InputError("open", "permission", "no permission to read it") from None
    except (OSError, ValueError):
        raise InputError("open", "missing", "not a usable path") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError("open", "not-a-file", "it is a folder: name it on the command line")
    if not stat.S_ISREG(status.st_mode):  # a pipe that nobody writes to would hang for ever
        raise InputError("open", "not-a-file", "not a regular file; pipe it in instead: `camcli explain - < FILE`")
    if status.st_size == 0:
        raise InputError("open", "empty", "the file is empty")
    return path
