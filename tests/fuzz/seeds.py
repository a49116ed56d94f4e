"""What the fuzzer starts from: a small picture in every format and mode that Pillow can write, made here."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F")
# What not every Pillow has, or writes by starting a program.
_NOT_WRITTEN = frozenset({"PDF", "EPS"})


def seeds() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each."""
    Image.init()
    for kind in sorted(Image.SAVE.keys() - _NOT_WRITTEN):
        for mode in MODES:
            if content := _saved(_picture(mode), kind):
                yield f"{kind}-{mode.replace(';', '')}".lower(), content
    yield from _special()
    for dtype in (np.uint8, np.uint16, np.float32):
        buffer = io.BytesIO()
        np.save(buffer, np.ones((7, 9, 3), dtype))
        yield f"npy-{np.dtype(dtype).name}", buffer.getvalue()


def write(folder: Path) -> Path:
    """Each as a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / name).write_bytes(content)
    return folder


def _special() -> Iterator[tuple[str, bytes]]:
    """What makes the reader take another way: turned, animated, with a profile, transparent, in several scans."""
    rgb, palette = _picture("RGB"), _picture("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    options: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "jpeg-turned": (rgb, "JPEG", {"exif": exif}),
        "jpeg-progressive": (rgb, "JPEG", {"progressive": True}),
        "jpeg-profile": (rgb, "JPEG", {"icc_profile": profile}),
        "png-turned": (rgb, "PNG", {"exif": exif}),
        "png-transparent": (palette, "PNG", {"transparency": 3}),
        "png-animated": (rgb, "PNG", {"save_all": True, "append_images": [palette.convert("RGB")]}),
        "gif-animated": (palette, "GIF", {"save_all": True, "append_images": [palette.rotate(90)]}),
        "webp-lossless": (rgb, "WEBP", {"lossless": True}),
        "mpo-two": (rgb, "MPO", {"save_all": True, "append_images": [rgb]}),
        **{
            f"tiff-{by}": (rgb, "TIFF", {"compression": by})
            for by in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "webp", "zstd")
        },
    }
    for name, (image, kind, how) in options.items():
        if content := _saved(image, kind, **how):
            yield name, content


def _picture(mode: str) -> Image.Image:
    ramp = np.add.outer(np.arange(24) * 5, np.arange(32) * 4).astype(np.uint8)
    grey = Image.fromarray(ramp)
    if mode in ("LAB", "I;16"):
        return Image.frombytes(mode, (32, 24), bytes(32 * 24 * (3 if mode == "LAB" else 2)))
    return Image.merge("RGB", (grey, grey.rotate(180), grey)).convert(mode)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes | None:
    """None: this Pillow does not write that mode in that format."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return buffer.getvalue()
