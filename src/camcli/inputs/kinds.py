"""The kind of bytes, by their beginning: pictures that are read, pictures that are not, and other files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# So much of the beginning tells every kind apart.
HEAD = 4096

ARRAY = b"\x93NUMPY"
_SIGNATURES = (
    ARRAY,
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\x00\x00\x00\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x01\x00",
    b"8BPS\x00\x01",
    b"DDS |\x00\x00\x00",
    b"qoif\x00\x00",
    b"icns\x00",
    b"SIMPLE  =                    T",
)
TIFFS = tuple(signature for signature in _SIGNATURES if signature[:2] in (b"II", b"MM"))

_CONVERT = "convert it to JPEG or PNG"
_FRAME = "name its file, and its frames are read (`pip install camcli[video]`)"
_DEVELOP = "develop it to JPEG, PNG or an 8-bit TIFF"
_VALUES = "convert it to PNG, or its values to a .npy array"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind that is not read as a picture: its name, and the way on. `pictured`: it is a picture, or a film, at all.
    `film`: its frames are read, by `films`."""

    name: str
    way: str
    pictured: bool = True
    film: bool = False

    def __str__(self) -> str:
        what = "is no picture" if self.film else "camcli doesn't read"
        return f"{self.name}, which {what}: {self.way}"


def _film(format: str) -> Kind:
    return Kind(f"a video ({format})", _FRAME, film=True)


_HEIC = Kind("a HEIC picture", _CONVERT)
_DICOM = Kind("a DICOM file", _VALUES)
_JXL = Kind("a JPEG XL picture", _CONVERT)
_EXR = Kind("an OpenEXR picture", _VALUES)
_RADIANCE = Kind("a Radiance HDR picture", _VALUES)
_MP4 = _film("MP4 or QuickTime")
_WEBM = _film("WebM or Matroska")
_MPEG = _film("MPEG")
_CR3 = Kind("a camera's raw file (Canon CR3)", _DEVELOP)
_SVG = Kind("an SVG drawing", "render it to a PNG", False)
_XML = Kind("an XML document, no picture", "what was asked for may not be there", False)
_HTML = Kind("a web page, no picture", "its address may need a log-in, or be another one", False)
_JSON = Kind(
    "JSON, no picture",
    'name the pictures one a line: jq -r .input makes such a list of rows, or as {"image": …} a line',
    False,
)
RAW = Kind("a camera's raw file, with a preview in front of the picture", _DEVELOP)

# No name begins so: those that are letters alone go on with something that no name has.
_STARTS: tuple[tuple[int, bytes, Kind], ...] = (
    (128, b"DICM", _DICOM),
    (0, b"\xff\x0a", _JXL),
    (0, b"\x00\x00\x00\x0cJXL ", _JXL),
    (0, b"\x76\x2f\x31\x01", _EXR),
    (0, b"#?RADIANCE", _RADIANCE),
    (0, b"#?RGBE", _RADIANCE),
    (0, b"\x1aE\xdf\xa3", _WEBM),
    (8, b"AVI LIST", _film("AVI")),
    (0, b"\x00\x00\x01\xba", _MPEG),
    (0, b"\x00\x00\x01\xb3", _MPEG),
    (0, b"OggS\x00", _film("Ogg")),
    (0, b"FLV\x01", _film("Flash")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _film("Windows Media")),
    (0, b"FUJIFILMCCD-RAW", Kind("a camera's raw file (Fujifilm RAF)", _DEVELOP)),
    (0, b"IIRO\x08\x00", Kind("a camera's raw file (Olympus ORF)", _DEVELOP)),
    (0, b"IIRS\x08\x00", Kind("a camera's raw file (Olympus ORF)", _DEVELOP)),
    (0, b"IIU\x00", Kind("a camera's raw file (Panasonic RW2)", _DEVELOP)),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 or NetCDF file", _VALUES)),
    (0, b"NRRD000", Kind("an NRRD file", _VALUES)),
    (344, b"n+1\x00", Kind("a NIfTI file", _VALUES)),
    (0, b"%PDF-", Kind("a PDF document", "render its page to a PNG", False)),
    (0, b"PK\x03\x04", Kind("a zip archive (an .npz file is one)", "unpack it", False)),
    (0, b"\x1f\x8b", Kind("a gzip file", "unpack it", False)),
    (4, b"1AY&SY", Kind("a bzip2 file", "unpack it", False)),
    (0, b"\xfd7zXZ\x00", Kind("an xz file", "unpack it", False)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", "unpack it", False)),
    (257, b"ustar", Kind("a tar archive", "unpack it", False)),
    (0, b"version https://git-lfs", Kind("a Git LFS pointer, no picture", "git lfs pull fetches the file", False)),
)
# The brands of ISO files; AVIF's, which is read, is none of them.
_BRANDS: Mapping[bytes, Kind] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), _HEIC),
    **dict.fromkeys((b"qt  ", b"isom", b"iso2", b"iso4", b"iso5", b"iso6"), _MP4),
    **dict.fromkeys((b"mp41", b"mp42", b"M4V ", b"M4VH", b"avc1", b"dash", b"3gp4", b"3gp5", b"3gp6", b"3g2a"), _MP4),
    b"crx ": _CR3,
}
# The first parts of QuickTime films that name no brand.
_ATOMS = frozenset({b"moov", b"mdat", b"wide"})
# Pictures and films that a folder's run passes over, and names in its summary.
UNREAD_SUFFIXES = frozenset(
    (
        ".heic .heif .hif .jxl .dcm .dicom .psd .psb .xcf .exr .hdr .svg .svgz .eps .qoi .dds .icns .jpf .jpx .nii "
        ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .raf .pef .srw .x3f .raw "
        ".mp4 .m4v .mov .webm .mkv .avi .mpg .mpeg .wmv"
    ).split()
)


def is_picture(head: bytes) -> bool:
    """True if the bytes begin a picture that is read."""
    return (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or (head[:3] == b"\0\0\0" and head[4:8] == b"ftyp")
        or re.match(rb"P[Ff]\s\d+\s\d+\s-?[\d.]+\s", head) is not None
        or re.match(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s", head) is not None
    )


def may_become_one(head: bytes) -> bool:
    """True if a signature begins with these few bytes."""
    return any(signature.startswith(head) for signature in _SIGNATURES)


def by_format(name: str) -> Kind:
    """The kind of a format that Pillow has a name for, and no reader."""
    return Kind(f"a {name} file", _VALUES)


def named(head: bytes) -> Kind | None:
    """The kind of the bytes, of those known and not read; None if it is none of them."""
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[:1] == b"\0" and head[4:8] in _ATOMS:
        return _MP4
    if all(head[start : start + 1] == b"G" for start in range(0, 941, 188)):
        return _MPEG  # a transport stream, in packets of 188 bytes
    found = next((kind for at, start, kind in _STARTS if head.startswith(start, at)), None)
    return found or _of_text(head)


def is_avif(head: bytes) -> bool:
    """True for AVIF, which may name HEIF's general brand first and its own among the others."""
    return head[4:8] == b"ftyp" and not {b"avif", b"avis"}.isdisjoint(_brands(head))


def _brands(head: bytes) -> list[bytes]:
    size = max(16, min(int.from_bytes(head[:4], "big"), 256))
    return [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]


def _of_brands(head: bytes) -> Kind | None:
    """The kind by the brands; None for AVIF, which is read."""
    return None if is_avif(head) else next((_BRANDS[brand] for brand in _brands(head) if brand in _BRANDS), None)


def _of_text(head: bytes) -> Kind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1024].lower()
    if re.match(rb"<(?:!doctype html|html|head|body)\b", text):
        return _HTML
    if re.match(rb"<(?:\?xml|svg|!doctype|!--|[a-z][a-z0-9:]*[ >])", text):
        return _SVG if b"<svg" in text else _HTML if b"<html" in text else _XML
    return _JSON if re.match(rb"\{\s*\"|\[\s*[\[{\"]", text) else None
