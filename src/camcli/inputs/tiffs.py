"""A TIFF's tags: they describe its samples when Pillow's mode does not, or when Pillow reads them differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

from camcli.inputs import kinds

_NEW_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE = 254, 258, 259, 262, 271
_SAMPLES, _PLANAR, _EXTRA, _FORMAT = 277, 284, 338, 339
_DNG_VERSION = 50706
# Scale, tie points and keys of a GeoTIFF; GDAL's own.
_GEO = (33550, 33922, 34264, 34735, 42112, 42113)
# Of longer files the exact number says no more.
_MAX_PAGES = 1000
_FILTER_ARRAYS = (32803, 34892)
_FORMS = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
_SCHEMES = {7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}
# Modes that libtiff has in the machine's byte order already, and Pillow would turn once more.
_NATIVE = {"I;32BS": "I;32NS", "F;32BF": "F;32NF", "I;16BS": "I;16NS"}


@dataclass(frozen=True, slots=True)
class Tags:
    """The samples by a TIFF's tags: `samples` numbers of `bits` bits a pixel. form: uint, int, float.

    zero_is_white: as on film. apart: each band in a plane of its own. unassociated: the last band is said to be
    transparency that the others are not multiplied by. geo: a map, whose bands need not be colours.
    """

    samples: int
    bits: int
    form: str
    zero_is_white: bool
    apart: bool
    unassociated: bool
    geo: bool

    @property
    def dtype(self) -> str:
        return f"{self.form}{self.bits}"


def tags_of(opened: Image.Image) -> Tags | None:
    """The tags of an opened TIFF; None if it is none."""
    return _tags(opened.tag_v2) if isinstance(opened, TiffImagePlugin.TiffImageFile) else None


def is_raw(opened: Image.Image) -> bool:
    """True if Pillow would read the preview of a camera's raw file."""
    if not isinstance(opened, TiffImagePlugin.TiffImageFile):
        return False
    directory = opened.tag_v2
    return _DNG_VERSION in directory or (_MAKE in directory and _number(directory, _NEW_SUBFILE, 0) & 1 == 1)


def about_pages(file: BinaryIO) -> str | None:
    """A note on a file whose first page is a smaller copy of another, or one of several; else None."""
    try:
        directory, header = _first(file)
        if _number(directory, _NEW_SUBFILE, 0) & 1:
            return "its first page is a smaller copy of another one: convert the page that is meant"
        pages = 1
        while directory.next and pages < _MAX_PAGES:
            file.seek(directory.next)
            directory = TiffImagePlugin.ImageFileDirectory_v2(header)
            directory.load(file)
            pages += not _number(directory, _NEW_SUBFILE, 0) & 1  # a pyramid's are copies
    except Exception:  # noqa: BLE001  as when decoding: the first page is readable all the same
        return None
    return f"the first of {pages} pages" if pages > 1 else None


def about_bands(tags: Tags, seen: Image.Image) -> str | None:
    """A note on a file that holds more bands than Pillow's picture of it; else None."""
    read = len(seen.getbands())
    return f"the first {read} of {tags.samples} bands" if tags.samples > read else None


def mend(opened: Image.Image, tags: Tags | None) -> None:
    """Make Pillow read the samples as the tags say; call it before Pillow reads them."""
    if tags is None or not isinstance(opened, TiffImagePlugin.TiffImageFile):
        return
    if tags.apart and not opened.use_load_libtiff and (tags.bits != 8 or tags.zero_is_white):
        # Pillow's own reader of planes knows those of 8 bits only; libtiff goes by the file, whatever this says.
        opened.tag_v2[_COMPRESSION] = 8
        opened._setup()
    if opened.tile[0][0] == "libtiff" and (native := _NATIVE.get(rawmode(opened))):
        opened.tile = [with_rawmode(opened.tile[0], native)]


def rawmode(opened: Image.Image) -> str:
    """The layout of the samples in the file, in Pillow's words."""
    tiles = getattr(opened, "tile", ())
    arguments = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) or not arguments else arguments[0])


def with_rawmode(tile: Any, changed: str) -> Any:
    """A tile that is read in another raw mode."""
    arguments = changed if isinstance(tile[3], str) else (changed, *tile[3][1:])
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def unread(file: BinaryIO) -> kinds.Kind | None:
    """The kind of a TIFF that Pillow can't read; None if its tags can't be read either."""
    try:
        return _kind(_first(file)[0])
    except Exception:  # noqa: BLE001  as when decoding
        return None


def _first(file: BinaryIO) -> tuple[Any, bytes]:
    """The directory of the first page, and the header, which tells how directories are written."""
    file.seek(0)
    header = file.read(8)
    if header[2:3] == b"+" or header[3:4] == b"+":
        header += file.read(8)
    directory = TiffImagePlugin.ImageFileDirectory_v2(header)
    file.seek(directory.next)
    directory.load(file)
    return directory, header


def _kind(directory: Any) -> kinds.Kind:
    tags = _tags(directory)
    if _DNG_VERSION in directory or _number(directory, _PHOTOMETRIC, 0) in _FILTER_ARRAYS:
        return kinds.RAW
    bands = f"{tags.samples} bands" if tags.samples != 1 else "1 band"
    scheme = _number(directory, _COMPRESSION, 1)
    by = f", compressed with {_SCHEMES[scheme]}" if scheme in _SCHEMES else ""
    bands_given = str(tags.samples) if tags.samples <= 3 else "the bands that the network takes"
    way = f"give its values as a .npy array (height, width, {bands_given})"
    if tags.samples <= 3:
        way += ", or convert it to 8 bits"
    order = "big-endian " if directory.prefix == b"MM" and tags.bits > 8 else ""
    zero = ", where 0 is white" if tags.zero_is_white else ""
    return kinds.Kind(f"a TIFF of {bands} of {order}{tags.dtype}{zero}{by}", way)


def _tags(directory: Any) -> Tags:
    return Tags(
        samples=_number(directory, _SAMPLES, 1),
        bits=_number(directory, _BITS, 1),
        form=_FORMS.get(_number(directory, _FORMAT, 1), "uint"),
        zero_is_white=_number(directory, _PHOTOMETRIC, 0) == 0,
        apart=_number(directory, _PLANAR, 1) == 2,
        unassociated=_number(directory, _EXTRA, 2) == 2,
        geo=any(tag in directory for tag in _GEO),
    )


def _number(directory: Any, tag: int, default: int) -> int:
    """A tag's number, the first one of several."""
    value = directory.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default
