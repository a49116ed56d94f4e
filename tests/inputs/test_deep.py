"""Samples of more than 8 bits, TIFFs whose tags say more than Pillow's mode, and what is white."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shell import SAMPLES, run
from tiff_files import tiff

from camcli.errors import InputError
from camcli.inputs.decoding import read_frame
from camcli.records import AS_IT_IS, Decoding, Frame, Ref

with Image.open(SAMPLES / "cat_chelsea.jpg") as _photo:
    RGB = np.asarray(_photo.convert("RGB").resize((64, 48)))
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
FULL = (GREY.astype(np.float64) - GREY.min()) / float(GREY.max() - GREY.min())  # from 0 to 1
EIGHT = np.rint(FULL * 255).astype(np.uint8)


def frame(data: bytes, decoding: Decoding = AS_IT_IS) -> Frame:
    return read_frame(Ref(0, "-", data=data), decoding)


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        frame(data)
    return str(caught.value)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def array_file(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png16(array: NDArray[np.uint16]) -> bytes:
    """Written by OpenCV: Pillow writes no 16-bit colours."""
    swapped = array[..., [2, 1, 0, 3][: array.shape[2]]] if array.ndim == 3 else array
    encoded: bytes = cv2.imencode(".png", swapped)[1].tobytes()
    return encoded


def deep(bits: int) -> NDArray[Any]:
    whole: NDArray[Any] = np.rint(FULL * (2.0**bits - 1)).astype(np.uint32 if bits > 16 else np.uint16)
    return whole


SHAPES: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "8 bits, 0 is white": (255 - EIGHT, {"photometric": 0}),
    "8 bits, 0 is white, one plane": (255 - EIGHT, {"photometric": 0, "apart": True}),
    "16 bits": (deep(16), {}),
    "16 bits, 0 is white": (65535 - deep(16), {"photometric": 0}),
    "16 bits, one plane": (deep(16), {"apart": True}),
    "12 bits": (deep(12), {"twelve": True}),
    "32 bits": (deep(32), {}),
    "signed 16": (np.rint(FULL * 32767).astype(np.int16), {}),
    "signed 32": (np.rint(FULL * 65535).astype(np.int32), {}),
    "float": (FULL.astype(np.float32), {}),
    "float, 0 is white": ((1 - FULL).astype(np.float32), {"photometric": 0}),
    "float of bytes": (EIGHT.astype(np.float32), {}),
}
# What Pillow does not open: refused by name.
NOT_OPENED = {
    ("16 bits, 0 is white", ">"): "1 band of big-endian uint16, where 0 is white",
    ("32 bits", ">"): "1 band of big-endian uint32",
    ("12 bits", ">"): "1 band of big-endian uint12",
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("zipped", [False, True])
def test_deep_grey_tiffs_are_the_picture_or_named(name: str, order: str, zipped: bool) -> None:
    array, options = SHAPES[name]
    data = tiff(array, order=order, zipped=zipped, **options)
    if (said := NOT_OPENED.get((name, order))) is not None:
        assert refusal(data).startswith(f"a TIFF of {said}, which camcli doesn't read: give its values as a .npy array")
        return
    assert np.abs(frame(data).rgb - EIGHT[..., None].astype(float)).max() <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_colours_of_tiffs_are_those_of_the_file(order: str, zipped: bool, apart: bool, bits: int) -> None:
    array = RGB if bits == 8 else RGB.astype(np.uint16) * 257
    data = tiff(array, order=order, zipped=zipped, apart=apart)
    seen = frame(data)
    assert np.array_equal(seen.rgb, RGB)
    assert seen.note is None
    whitened = frame(data, Decoding(white=32896)).rgb
    assert np.array_equal(whitened, RGB if bits == 8 else np.minimum(255, np.rint(RGB * (257 * 255 / 32896))))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (EIGHT.astype(np.int16) * 12 - 1024, r"^int16 values from -1024 to 2036: say what is white with --white VALUE"),
        ((FULL * 2 - 1).astype(np.float32), r"^float32 values from -1 to 1: "),
        (np.where(FULL < 0.1, -9999, FULL * 900).astype(np.float32), r"^float32 values from -9999 to 900: "),
        ((FULL * 200 - 100).astype(np.int32), r"^int32 values from -100 to 100: "),
        ((FULL * 200 - 100).astype(np.int8), r"^int8 values from -100 to 100: "),
    ],
    ids=["CT", "NDVI", "elevation", "int32", "int8"],
)
@pytest.mark.parametrize("order", "<>")
def test_values_below_zero_are_no_picture_until_it_is_said_what_is_white(
    array: NDArray[Any], said: str, order: str
) -> None:
    data = tiff(array, order=order)
    with pytest.raises(InputError, match=said):
        frame(data)
    white = float(array.max())
    expected = np.rint(np.clip(array / white, 0, 1) * 255)
    assert np.abs(frame(data, Decoding(white=white)).rgb[..., 0] - expected).max() <= 1


def test_what_interpolation_leaves_below_zero_is_black() -> None:
    values = FULL.astype(np.float32)
    values[0, 0] = -0.02
    assert frame(tiff(values)).rgb[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("array", "options", "said"),
    [
        (np.dstack([RGB, RGB[..., :2]]), {"photometric": 1}, "5 bands of uint8"),
        (RGB.astype(np.uint16), {"photometric": 1}, "3 bands of uint16"),
        (np.dstack([RGB, RGB, RGB, RGB]).astype(np.uint16), {"apart": True, "photometric": 1}, "12 bands of uint16"),
        (FULL.astype(np.float16), {}, "1 band of float16"),
        (FULL, {}, "1 band of float64"),
        (np.dstack([FULL] * 3).astype(np.float32), {}, "3 bands of float32"),
        (RGB, {"tags": {259: (34887,)}}, "3 bands of uint8, compressed with LERC"),
    ],
)
def test_tiffs_that_are_not_read_are_named(array: NDArray[Any], options: dict[str, Any], said: str) -> None:
    given = array.shape[2] if array.ndim == 3 else 1
    bands = given if given <= 3 else "the bands that the network takes"
    said = f"a TIFF of {said}, which camcli doesn't read: give its values as a .npy array (height, width, {bands})"
    assert refusal(tiff(array, **options)).startswith(said)


@pytest.mark.parametrize(
    "tags",
    [{50706: (1, 4, 0, 0)}, {271: (0x6E6F4E,), 254: (1,)}, {262: (32803,)}],
    ids=["DNG", "a preview in front", "filter array"],
)
def test_the_preview_of_a_raw_file_is_not_taken_for_the_picture(tags: dict[int, tuple[int, ...]]) -> None:
    assert refusal(tiff(RGB if 262 not in tags else GREY, tags=tags)).startswith("a camera's raw file")


# A fourth band

NIR = (RGB[..., 1] // 2 + 90).astype(np.uint8)
GEO = {33550: (1, 1, 0)}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_near_infrared_is_not_taken_for_transparency(order: str, zipped: bool, bits: int) -> None:
    """As GDAL writes four bands where nobody says what the fourth is."""
    array = np.dstack([RGB, NIR])
    array = array if bits == 8 else array.astype(np.uint16) * 257
    seen = frame(tiff(array, order=order, zipped=zipped, extra=2))
    assert np.array_equal(seen.rgb, RGB)
    assert seen.note is not None
    assert seen.note.endswith("taken for a band of its own (near infrared?) and left out")


def test_a_band_of_a_map_may_be_mostly_empty() -> None:
    """Water has no near infrared: on a map a few soft places are enough to tell."""
    sea = NIR.copy()
    sea[:, :40] = 0
    array = np.dstack([RGB, sea])
    assert np.array_equal(frame(tiff(array, extra=2, tags=GEO)).rgb, RGB)
    note = frame(tiff(array, extra=2)).note
    assert note is not None
    assert note.endswith("of the picture: the picture is laid over white")
    assert np.array_equal(frame(tiff(np.dstack([GREY, NIR]), extra=2, tags=GEO)).rgb[..., 0], GREY)


@pytest.mark.parametrize("tags", [{}, GEO])
def test_true_transparency_is_laid_over_white(tags: dict[int, tuple[int, ...]]) -> None:
    clear = np.full_like(GREY, 255)
    clear[:, :30] = 0
    for alpha in (clear, np.where(clear == 0, 128, 255).astype(np.uint8)):
        seen = frame(tiff(np.dstack([RGB, alpha]), extra=2, tags=tags))
        share = alpha[..., None] / 255
        assert np.abs(seen.rgb - (RGB * share + 255 * (1 - share))).max() <= 1
        assert seen.note is None


def test_bands_that_are_said_to_be_no_transparency_are_left_out() -> None:
    seen = frame(tiff(np.dstack([RGB, NIR]), extra=0))
    assert np.array_equal(seen.rgb, RGB)
    assert seen.note == "the first 3 of 4 bands"
    assert frame(tiff(np.dstack([RGB, NIR, NIR]), tags={338: (0, 0)})).note == "the first 3 of 5 bands"
    assert frame(tiff(RGB)).note is None


def test_soft_transparency_of_other_formats_is_said() -> None:
    seen = frame(saved(Image.fromarray(np.dstack([RGB, NIR])), "PNG"))
    assert seen.note == (
        "its transparency, band 4, is neither clear nor opaque in 100% of the picture: the picture is laid over white"
    )
    edges = np.full_like(NIR, 255)
    edges[:, :20] = np.arange(20) * 12
    assert frame(saved(Image.fromarray(np.dstack([RGB, edges])), "PNG")).note is None


# What is white

TWELVE = deep(12)
COLOURS12 = np.rint(RGB / 255 * 4095).astype(np.uint16)
PARTS: dict[str, tuple[bytes, float, NDArray[np.uint8]]] = {
    "12 bits of a PNG": (saved(Image.fromarray(TWELVE), "PNG"), 4095, EIGHT),
    "12 bits of a TIFF": (tiff(TWELVE), 4095, EIGHT),
    "12 bits of a big-endian TIFF": (tiff(TWELVE, order=">"), 4095, EIGHT),
    "reflectance": (saved(Image.fromarray(np.rint(FULL * 10000).astype(np.uint16)), "PNG"), 10000, EIGHT),
    "reflectance as floats": (tiff((FULL * 10000).astype(np.float32)), 10000, EIGHT),
    "a part of 1": (tiff((FULL / 5).astype(np.float32)), 0.2, EIGHT),
    "just above 1": (tiff((FULL * 1.02).astype(np.float32)), 1, np.minimum(255, np.rint(FULL * 255 * 1.02))),
    "large whole numbers": (tiff(np.rint(FULL * 10_000_000).astype(np.int32)), 10_000_000, EIGHT),
    "12 bits of a PGM": (b"P5 64 48 65535\n" + TWELVE.astype(">u2").tobytes(), 4095, EIGHT),
    "a dark PGM": (b"P5 64 48 65535\n" + EIGHT.astype(">u2").tobytes(), 255, EIGHT),
    "12 bits of a JPEG 2000": (saved(Image.fromarray(TWELVE), "JPEG2000"), 4095, EIGHT),
    "colours of a PNG": (png16(COLOURS12), 4095, RGB),
    "colours and transparency of a PNG": (
        png16(np.dstack([COLOURS12, np.full_like(TWELVE, 65535)])),
        4095,
        RGB,
    ),
    "colours of a TIFF": (tiff(COLOURS12), 4095, RGB),
    "an array": (array_file(COLOURS12), 4095, RGB),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_the_range_is_said_and_mended_by_white(name: str) -> None:
    data, white, expected = PARTS[name]
    note = frame(data).note
    assert note is not None
    assert "--white VALUE" in note
    seen = frame(data, Decoding(white=white))
    assert seen.note is None
    shown = expected[..., None] if expected.ndim == 2 else expected
    assert np.abs(seen.rgb - shown.astype(float)).max() <= 1


@pytest.mark.exhaustive
def test_a_pgm_says_itself_what_is_white() -> None:
    data = b"P5 64 48 4095\n" + TWELVE.astype(">u2").tobytes()
    assert np.abs(frame(data).rgb[..., 0] - EIGHT.astype(float)).max() <= 1
    assert frame(data).note is None
    assert np.array_equal(frame(data, Decoding(white=4095)).rgb, frame(data).rgb)


@pytest.mark.parametrize("array", [np.full((9, 8, 2), 300, np.int16), np.full((9, 8, 5), 300.0), np.full((9, 8), -1)])
def test_any_array_of_numbers_is_a_picture_once_it_is_said_what_is_white(array: NDArray[Any]) -> None:
    assert "say what is white with --white VALUE" in refusal(array_file(array))
    bands = frame(array_file(array), Decoding(white=600)).bands
    assert bands is not None
    assert np.array_equal(bands[..., 0], np.full((9, 8), 0.5 if array.max() > 0 else 0.0, np.float32))


def test_white_is_said_not_to_reach_what_is_read_as_bytes() -> None:
    """Pillow reads 16-bit grey with transparency as 8 bits, and has no way to the lower ones."""
    data = tiff(np.dstack([TWELVE] * 4), photometric=5)
    assert frame(data, Decoding(white=4095)).note is None  # ink, not light
    data = _grey_and_alpha(TWELVE)
    note = frame(data).note
    assert note is not None
    assert note.startswith("dark: ")
    assert frame(data, Decoding(white=4095)).note == "--white does not reach such samples: they are read as 8 bits"


def _grey_and_alpha(grey: NDArray[np.uint16]) -> bytes:
    """A PNG of 16-bit grey and opaque alpha, which neither Pillow nor OpenCV writes."""
    rows = np.stack([grey, np.full_like(grey, 65535)], axis=-1).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_white_leaves_bytes_as_they_are() -> None:
    for data in (saved(Image.fromarray(RGB), "PNG"), tiff(RGB), array_file(RGB)):
        assert np.array_equal(frame(data, Decoding(white=100)).rgb, RGB)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_pngs_are_what_another_reader_reads(bits: int, bands: int) -> None:
    whole = np.dstack([RGB, np.full_like(GREY, 255)])[..., :bands] if bands > 1 else GREY
    data = png16(whole.astype(np.uint16) * 257) if bits == 16 else saved(Image.fromarray(whole), "PNG")
    other = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    assert np.abs(frame(data).rgb - other.astype(float)).max() <= 1


# What a user sees of it


@pytest.mark.exhaustive
def test_a_note_is_in_the_row_and_on_the_screen() -> None:
    Path("in").mkdir()
    Path("in/deep.png").write_bytes(PARTS["12 bits of a PNG"][0])
    Image.fromarray(RGB).save("in/plain.png")
    deep_row, plain = run("classify", "in", "--json").rows
    said = "dark: its largest value is 4095, and white is taken to be 65535; say what it is: --white VALUE"
    assert deep_row["note"] == said
    assert "note" not in plain
    assert f"[{said}]" in run("classify", "in").out
    assert said in run("classify", "in/deep.png").out
    (row,) = run("classify", "in/deep.png", "--white", "4095", "--json").rows
    assert "note" not in row
    assert row["provenance"]["spec"]["white"] == 4095


@pytest.mark.parametrize("white", ["0", "-3", "nan", "inf"])
def test_a_white_that_is_none_is_refused(white: str) -> None:
    outcome = run("classify", SAMPLES / "espresso.jpg", "--white", white)
    assert outcome.code == 2
    assert "a number above 0" in outcome.err


def test_a_note_is_said_where_there_is_no_row_to_see() -> None:
    Path("deep.png").write_bytes(PARTS["12 bits of a PNG"][0])
    said = "camcli: deep.png: dark: its largest value is 4095, and white is taken to be 65535; "
    said += "say what it is: --white VALUE"
    assert said in run("explain", "deep.png", "-o", "-").err.splitlines()
    assert said in run("compare", "deep.png", "-M", "grad-cam", "-o", "sheet.png").err.splitlines()


def test_norm_run_draws_the_picture_that_was_explained() -> None:
    Path("deep.png").write_bytes(PARTS["12 bits of a PNG"][0])
    shown = []
    for norm in ("image", "run"):
        flags = ["--white", "4095", "--norm", norm, "-o", norm, "--format", "png", "--json"]
        (row,) = run("explain", "deep.png", *flags).rows
        with Image.open(row["explanations"][0]["files"]["overlay"]) as overlay:
            shown.append(np.asarray(overlay))
    assert np.array_equal(shown[0], shown[1])


def test_signed_16_bits_without_negatives_reach_half_as_far() -> None:
    values = np.rint(FULL * 32767).astype(np.int16)
    assert np.abs(frame(tiff(values)).rgb[..., 0].astype(int) - EIGHT).max() <= 1


def test_a_file_of_several_pages_says_which_one_was_read() -> None:
    red, green, blue = (Image.fromarray(RGB[..., band]) for band in range(3))
    assert frame(saved(red, "TIFF", save_all=True, append_images=[green, blue])).note == "the first of 3 pages"
    assert frame(saved(red, "TIFF")).note is None


def test_a_first_page_that_is_a_smaller_copy_is_said_to_be_one() -> None:
    small = saved(Image.fromarray(RGB), "TIFF", tiffinfo={254: 1})
    assert "its first page is a smaller copy of another one" in str(frame(small).note)


def test_an_array_of_the_other_byte_order_is_read() -> None:
    stored = io.BytesIO()
    np.save(stored, (RGB.astype(np.uint16) * 257).astype(">u2"))
    assert np.array_equal(frame(stored.getvalue()).rgb, RGB)
