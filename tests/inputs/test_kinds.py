"""What is no picture that camcli reads is refused as what it is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shell import SAMPLES, run

from camcli.errors import InputError
from camcli.inputs import kinds
from camcli.inputs.decoding import read_frame
from camcli.inputs.refs import expand
from camcli.records import Ref


def ftyp(*brands: bytes) -> bytes:
    content = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (8 + len(content)).to_bytes(4, "big") + b"ftyp" + content + bytes(200)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


NAMED = {
    "HEIC": (ftyp(b"heic", b"mif1", b"heic"), "unsupported", "a HEIC picture, which camcli doesn't read: convert it"),
    "HEIC by the general brand": (ftyp(b"mif1", b"heic"), "unsupported", "a HEIC picture"),
    "JPEG XL": (b"\xff\x0a" + bytes(50), "unsupported", "a JPEG XL picture"),
    "DICOM": (
        bytes(128) + b"DICM" + bytes(100),
        "unsupported",
        "a DICOM file, which camcli doesn't read: convert it to",
    ),
    "EXR": (b"\x76\x2f\x31\x01" + bytes(100), "unsupported", "an OpenEXR picture"),
    "HDR": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n", "unsupported", "a Radiance HDR picture"),
    "CR3": (ftyp(b"crx ", b"crx ", b"isom"), "unsupported", "a camera's raw file (Canon CR3)"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(100), "unsupported", "a camera's raw file (Fujifilm RAF)"),
    "MP4": (
        ftyp(b"isom", b"isom", b"avc1"),
        "unsupported",
        "a video (MP4 or QuickTime), which is no picture: name its file, and its frames are read",
    ),
    "MOV": (ftyp(b"qt  "), "unsupported", "a video (MP4 or QuickTime)"),
    "WebM": (b"\x1aE\xdf\xa3" + bytes(100), "unsupported", "a video (WebM or Matroska)"),
    "AVI": (b"RIFF\0\0\1\0AVI LIST" + bytes(100), "unsupported", "a video (AVI)"),
    "MPEG": (b"\0\0\1\xb3\x14\0\xf0\x13" + bytes(100), "unsupported", "a video (MPEG)"),
    "GRIB": (
        b"GRIB\0\0\0\1" + bytes(100),
        "unsupported",
        "a GRIB file, which camcli doesn't read: convert it to PNG, or",
    ),
    "bzip2": (bz2.compress(b"x"), "not-a-picture", "a bzip2 file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "unsupported", "an HDF5 or NetCDF file"),
    "SVG": (
        b'<?xml version="1.0"?>\n<svg width="9"/>',
        "not-a-picture",
        "an SVG drawing, which camcli doesn't read: rend",
    ),
    "PDF": (b"%PDF-1.7\n", "not-a-picture", "a PDF document, which camcli doesn't read: render its page"),
    "page": (b"\n<!doctype HTML>\n<title>404</title>", "not-a-picture", "a web page, no picture"),
    "error": (b"<Error><Code>AccessDenied</Code></Error>", "not-a-picture", "an XML document, no picture"),
    "JSON": (json.dumps({"schema": 1}).encode(), "not-a-picture", "JSON, no picture"),
    "zip": (npz(), "not-a-picture", "a zip archive (an .npz file is one)"),
    "gzip": (gzip.compress(b"x"), "not-a-picture", "a gzip file"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "not-a-picture", "a Git LFS pointer"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named(name: str) -> None:
    data, kind, said = NAMED[name]
    with pytest.raises(InputError) as caught:
        read_frame(Ref(0, "a", data=data))
    assert (caught.value.kind, str(caught.value)[: len(said)]) == (kind, said)


def test_avif_may_name_the_general_brand_first() -> None:
    assert kinds.named(ftyp(b"mif1", b"avif", b"miaf")) is None


@pytest.mark.parametrize("name", ["page", "DICOM"])
def test_piped_in_it_is_one_row(name: str) -> None:
    data, kind, said = NAMED[name]
    outcome = run("classify", "-", "--json", stdin=data)
    (row,) = outcome.rows
    assert outcome.code == 4
    assert (row["input"], row["error"]["kind"]) == ("-", kind)
    assert row["error"]["message"].startswith(said)


def piped(data: bytes) -> NDArray[np.uint8]:
    (ref,) = expand(["-"], stdin=io.BufferedReader(io.BytesIO(data)))
    return read_frame(ref).rgb


PIPED = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "AVIF")


@pytest.mark.parametrize("kind", PIPED)
def test_what_a_file_of_that_format_shows_a_pipe_shows(kind: str) -> None:
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow can't write {kind}")
    with Image.open(SAMPLES / "espresso.jpg") as photo:
        photo.convert("RGB").resize((64, 64)).save("a", kind)
    assert np.array_equal(piped(Path("a").read_bytes()), read_frame(Ref(0, "a", path=Path("a"))).rgb)


def psd() -> bytes:
    """8-bit RGB, uncompressed: a composite of red and nothing else."""
    header = b"8BPS\0\1" + bytes(6) + (3).to_bytes(2, "big") + (20).to_bytes(4, "big") + (30).to_bytes(4, "big")
    planes = b"\xff" * 600 + bytes(1200)
    return header + (8).to_bytes(2, "big") + (3).to_bytes(2, "big") + bytes(12) + bytes(2) + planes


def test_a_photoshop_file_is_decoded_from_a_pipe_too() -> None:
    Path("a.psd").write_bytes(psd())
    assert read_frame(Ref(0, "", path=Path("a.psd"))).rgb[0, 0].tolist() == [255, 0, 0]
    assert piped(psd())[0, 0].tolist() == [255, 0, 0]


@pytest.mark.exhaustive
def test_what_folders_hold_besides_is_said() -> None:
    Path("in/deep").mkdir(parents=True)
    for name in ("b.heic", "deep/c.HEIC", "d.dcm", "notes.txt"):
        Path("in", name).write_bytes(b"x")
    with Image.open(SAMPLES / "espresso.jpg") as photo:
        photo.resize((64, 64)).save("in/a.jpg")
        np.save("in/e.npy", np.asarray(photo.resize((64, 64))))
    outcome = run("classify", "in", "--json")
    assert [row["input"] for row in outcome.rows] == ["in/a.jpg", "in/e.npy"]
    assert outcome.rows[1]["size"] == [64, 64]
    said = "camcli: 3 files passed over: 1 .dcm, 2 .heic"
    assert said in outcome.err.splitlines()
    assert "passed over" not in run("classify", "in", "--json", "-q").err
    assert said in run("classify", "in", "--json", "--shard", "1/1").err.splitlines()
    assert "no pictures in in/deep; 1 file passed over: 1 .heic" in run("classify", "in/deep").err
