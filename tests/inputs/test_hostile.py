"""Nobody let in: what a stranger's picture may cost is a row."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from shell import run
from variants import thinned

from camcli.errors import InputError
from camcli.inputs import sandbox
from camcli.inputs.decoding import read, read_frame
from camcli.records import Decoding, Ref

Picture = Callable[..., Path]


def refusal(data: bytes, **limits: Any) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        read(Ref(0, "a", data=data), **limits)
    return caught.value.kind, str(caught.value)


def saved(kind: str, size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_by_the_header() -> None:
    kind, said = refusal(png_of(14_500, 14_500))
    assert (kind, said) == ("too-large", "14500x14500 is more than --max-pixels 210 million")
    assert refusal(png_of(100, 100), max_pixels=9_999)[0] == "too-large"
    assert refusal(png_of(100, 100), max_pixels=10_000)[0] == "broken"


def test_the_limit_is_a_flag(picture: Picture) -> None:
    (row,) = run("classify", picture("a.png", (64, 48)), "--json", "--max-pixels", "3071").rows
    assert row["error"]["message"] == "64x48 is more than --max-pixels 0.003071 million"
    assert run("classify", picture("a.png", (64, 48)), "--json", "--max-pixels", "3072").code == 0


@pytest.mark.parametrize("name", ["a.jpg", "a.tga", "jpeg.png"])
def test_a_file_without_end_is_refused_unread(name: str) -> None:
    """Sparse: it says 5 GB, and has none."""
    header = {"a.tga": saved("TGA"), "jpeg.png": saved("JPEG")}.get(name, b"")
    Path(name).write_bytes(header)
    os.truncate(name, 5 * 10**9)
    (row,) = run("classify", name, "--json").rows
    assert row["error"]["message"] == "5.0 GB: at most 1 GB are read of such a file"


def test_a_pipe_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camcli.storage.pipes.MAX_FILE_BYTES", 10_000_000)
    for module in ("decoding", "guards"):
        monkeypatch.setattr(f"camcli.inputs.{module}.MAX_FILE_BYTES", 10_000_000)
    with subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE) as endless:
        assert endless.stdout is not None
        (row,) = run("classify", f"/dev/fd/{endless.stdout.fileno()}", "--json").rows
        endless.kill()
    assert row["error"]["message"] == "0.0 GB: at most 0.01 GB are read of such a file"


def test_a_socket_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        (row,) = run("classify", f"/dev/fd/{ours.fileno()}", "--json").rows
    assert row["error"]["message"].startswith("not a regular file")


@pytest.mark.exhaustive
def test_a_process_gets_the_memory_that_its_picture_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("JPEG2000", (2000, 1500))
    assert read_frame(Ref(0, "a", data=data)).size == (2000, 1500)
    monkeypatch.setattr(sandbox, "MEMORY", 150_000_000)
    monkeypatch.setattr(sandbox, "BYTES_PER_PIXEL", 0)
    assert refusal(data)[0] in ("too-large", "broken")


def test_a_program_is_not_run() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\n"
    assert refusal(eps) == ("not-a-picture", "EPS holds a program, not pixels: convert it")


def isolations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were decoded in processes of their own, one number each."""
    seen: list[int] = []
    original = sandbox.decoded

    def counted(content: bytes, *asked: Any) -> Any:
        seen.append(len(content))
        return original(content, *asked)

    monkeypatch.setattr(sandbox, "decoded", counted)
    return seen


@pytest.mark.parametrize(
    ("kind", "options", "isolated"),
    [
        ("PNG", {}, False),
        ("JPEG", {}, False),
        ("JPEG", {"progressive": True}, False),
        ("TIFF", {"compression": "tiff_lzw"}, False),
        ("WEBP", {"lossless": True}, False),
        ("BMP", {}, False),
        ("JPEG2000", {}, True),
        ("SGI", {}, True),
        ("TGA", {"compression": "tga_rle"}, True),
    ],
)
def test_slow_formats_are_decoded_in_a_process_of_their_own(
    kind: str, options: dict[str, Any], isolated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(kind, **options)
    seen = isolations(monkeypatch)
    pixels = read_frame(Ref(0, "a", data=data)).rgb
    assert bool(seen) == isolated
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def _of_many_scans(size: tuple[int, int], times: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * times + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = isolations(monkeypatch)
    few, many = (read_frame(Ref(0, "a", data=_of_many_scans((60, 40), times))).rgb for times in (2, 300))
    assert len(seen) == 1
    assert few.shape == many.shape
    monkeypatch.setattr("camcli.inputs.guards.MAX_SCANNED_PIXELS", 12 * 60 * 40)
    read_frame(Ref(0, "a", data=_of_many_scans((60, 40), 1)))
    assert len(seen) == 1
    read_frame(Ref(0, "a", data=_of_many_scans((60, 40), 10)))
    assert len(seen) == 2


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 1.0)
    started = time.perf_counter()
    assert refusal(_of_many_scans((3000, 2000), 2000)) == ("too-slow", "it takes more than 1 s to decode")
    assert time.perf_counter() - started < 5


FLOODS = {
    "PNG chunks": ("PNG", 33, struct.pack(">I4sI", 0, b"prIv", zlib.crc32(b"prIv"))),
    "JPEG comments": ("JPEG", 2, b"\xff\xfe\0\2"),
    "JPEG padding": ("JPEG", 2, b"\xff"),
    "JPEG Exif": ("JPEG", 2, b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)),
    "GIF comments": ("GIF", 13, b"!\xfe\1a\0"),
}


@pytest.mark.parametrize("kind", thinned(FLOODS, 2))
@pytest.mark.parametrize("as_file", [False, True])
def test_metadata_without_end_is_left(kind: str, as_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow goes through it in Python, or puts it together piece by piece: minutes for a large file."""
    monkeypatch.setattr(sandbox, "SECONDS", 0.3)
    suffix, at, part = FLOODS[kind]
    buffer = io.BytesIO()
    Image.new("L", (60, 40)).save(buffer, suffix)
    data = buffer.getvalue()
    data = data[:at] + part * (60_000_000 // len(part)) + data[at:]
    ref = Ref(0, "a", data=data)
    if as_file:
        Path("a").write_bytes(data)
        ref = Ref(0, "a", path=Path("a"))
    started = time.perf_counter()
    with pytest.raises(InputError, match=r"it takes more than 0\.3 s to decode"):
        read(ref)
    assert time.perf_counter() - started < 3


def test_a_crash_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert refusal(saved("JPEG2000")) == ("broken", "broken: it crashes its decoder")


def test_refusals_and_scales_come_through() -> None:
    assert refusal(saved("JPEG2000")[:300])[0] == "broken"
    assert refusal(saved("SGI"), max_pixels=10)[0] == "too-large"
    frame, _ = read(Ref(0, "a", data=_of_many_scans((800, 600), 110)), Decoding(draft=100))
    assert (frame.size, frame.rgb.shape) == ((800, 600), (150, 200, 3))


def _swapped_profile() -> bytes:
    """sRGB with red and green exchanged, under another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = (entries[name] + 4 for name in (b"rXYZ", b"gXYZ"))
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile).replace(b"\0s\0R\0G\0B", b"\0x\0y\0z\0w")


def _pixel(mode: str, value: Any, profile: bytes) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.new(mode, (4, 3), value).save(buffer, "PNG", icc_profile=profile)
    pixel: NDArray[np.uint8] = read_frame(Ref(0, "a", data=buffer.getvalue())).rgb[0, 0]
    return pixel


def test_an_embedded_profile_says_what_the_colours_are() -> None:
    swapped = _swapped_profile()
    np.testing.assert_allclose(_pixel("RGB", (200, 10, 10), swapped).astype(int), (10, 200, 10), atol=2)
    np.testing.assert_allclose(_pixel("RGBA", (200, 10, 10, 255), swapped).astype(int), (10, 200, 10), atol=2)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert tuple(_pixel("RGB", (200, 10, 10), srgb)) == (200, 10, 10)


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200, _swapped_profile()[:300]])
def test_a_broken_profile_does_not_cost_the_picture(profile: bytes) -> None:
    assert tuple(_pixel("RGB", (200, 10, 10), profile)) == (200, 10, 10)


def test_no_module_beside_the_pictures_is_imported(picture: Callable[..., Path]) -> None:
    """`python -m` looks for modules in the folder that it is started in, which may be a stranger's."""
    picture("a.jp2")
    Path("json.py").write_text("open('taken', 'w')\n")
    (row,) = run("classify", "a.jp2", "--json").rows
    assert "error" not in row
    assert not Path("taken").exists()
